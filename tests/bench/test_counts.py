"""The counted metrics against a second implementation of everything between workload and record.

The rules of DESIGN.md ("Schedules", "KV pages and preemption", "Counted traffic", "Two clocks") are
simulated here from their text, with plain loops over rows; nothing of `plan` or `meters` is used.
The experts of each row come from transformers' routers, or from the drawn routing.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from lpbench.bench.arm import ArmLog
from lpbench.bench.experiment import ArmSpec
from lpbench.bench.loop import Limits, Step, run_arm
from lpbench.executors.executor import Execution, Routed
from lpbench.executors.torch_engine.build import torch_executor
from lpbench.executors.torch_engine.choice import pick_kernels
from lpbench.executors.torch_engine.executor import TorchExecutor
from lpbench.executors.torch_engine.weights import ModelWeights, dummy_weights
from lpbench.plan.iteration import IterationPlan
from lpbench.plan.request import Request
from lpbench.plan.schedules import parse_schedule
from lpbench.record.schema import Arm
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import PRECISIONS
from lpbench.workload.routing import RoutingDraws
from tests.arms import build_bench, single_thread
from tests.checkpoints import save_gpt_oss, save_qwen3_moe
from tests.oracle import Oracle, final_sequences
from tests.rowwise import Row, bytes_of_pass

PAGE = 16

CEILINGS = {4: (1, 2, 4, 4, 4), 12: (1, 2, 4, 6, 12), 16: (1, 2, 4, 8, 16), 24: (1, 2, 4, 8, 24)}
"""PAPER.md 1.2: stages by cap, for batches of up to 512, 1024, 2048, 4096 and more tokens."""


# What is asked for.


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One request, in lengths."""

    prompt: int
    output: int
    context: int = 0
    arrival: int = 0

    @property
    def longest(self) -> int:
        """Tokens it ever holds: the last generated one is never fed."""
        return self.context + self.prompt + self.output - 1


@dataclass(frozen=True, kw_only=True)
class Rules:
    """One schedule and the limits on admission; `groups` only where layers are grouped."""

    schedule: str
    budget: int
    pages: int = 10_000
    seqs: int = 256
    groups: Callable[[int], int] | None = None


def whole(budget: int = 8192) -> Rules:
    """Return the rules of `whole`."""
    return Rules(schedule=f"whole:max_num_batched_tokens={budget}", budget=budget)


def chunked(budget: int) -> Rules:
    """Return the rules of `chunked`."""
    return Rules(schedule=f"chunked:max_num_batched_tokens={budget}", budget=budget)


def layered(per_group: int = 512, *, budget: int = 8192) -> Rules:
    """Return the rules of `layered` with its own rule for the number of groups."""
    return Rules(
        schedule=f"layered:tokens_per_group={per_group},max_num_batched_tokens={budget}",
        budget=budget,
        groups=lambda tokens: max(1, -(-tokens // per_group)),
    )


def fixed(groups: int, *, budget: int = 8192) -> Rules:
    """Return the rules of `layered` with a fixed number of groups."""
    return Rules(
        schedule=f"layered:num_groups={groups},max_num_batched_tokens={budget}",
        budget=budget,
        groups=lambda _: groups,
    )


def hybrid(chunk: int, *, groups: int) -> Rules:
    """Return the rules of `hybrid`, the alias of the one above."""
    return replace(
        fixed(groups, budget=chunk), schedule=f"hybrid:chunk={chunk},num_groups={groups}"
    )


def table(cap: int, *, budget: int = 8192) -> Rules:
    """Return the rules of `layered` with the authors' step table."""

    def groups(tokens: int) -> int:
        for step, limit in enumerate((512, 1024, 2048, 4096)):
            if tokens <= limit:
                return CEILINGS[cap][step]
        return CEILINGS[cap][4]

    return Rules(
        schedule=f"layered:rule=table,max_groups={cap},max_num_batched_tokens={budget}",
        budget=budget,
        groups=groups,
    )


# What happens, by the rules.


@dataclass(kw_only=True)
class Life:
    """A request under way: `state` is coming, waiting, prefill, decode or finished."""

    number: int
    ask: Ask
    state: str = "waiting"
    generated: int = 0
    entered: int = 0
    pages: int = 0
    admission: int = 0
    again: bool = False

    @property
    def known(self) -> int:
        """Tokens that are known: context, prompt and all generated ones."""
        return self.ask.context + self.ask.prompt + self.generated

    @property
    def first(self) -> int:
        """Position of the first row of its prefill: all is computed again once preempted."""
        return 0 if self.again else self.ask.context

    @property
    def left(self) -> int:
        """Tokens of its prefill that have not entered the first layer."""
        return self.known - self.first - self.entered

    @property
    def order(self) -> tuple[bool, int, int]:
        """Place in the queue: preempted ones first, each part FCFS."""
        return not self.again, self.ask.arrival, self.number


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One iteration: its number, its rows by layer, and what is logged about it."""

    iteration: int
    rows: list[list[Row]]
    decodes: list[int]
    preempted: list[int]
    groups: int | None
    opens_batch: bool
    sampled: int


@dataclass(frozen=True)
class Part:
    """Tokens `start` to `stop - 1` of a prefill."""

    life: Life
    start: int
    stop: int


@dataclass(kw_only=True)
class Simulation:
    """The life of an arm, by the text of DESIGN.md."""

    rules: Rules
    num_layers: int
    lives: list[Life]
    batch: list[Part] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    num_groups: int | None = None
    admissions: int = 0
    clock: int = 0

    def passes(self) -> Iterator[Pass]:
        """Yield every iteration until all are finished."""
        while unfinished := [life for life in self.lives if life.state != "finished"]:
            soonest = min(life.ask.arrival for life in unfinished)
            self.clock = max(self.clock, soonest)
            yield self.iterate()
            self.clock += 1

    def iterate(self) -> Pass:
        """Run one iteration: pages for decodes, prefill, tokens."""
        preempted = self.give_pages()
        decoding = self.decoding()
        rows: list[list[Row]] = [
            [(life.number, life.known - 1, False) for life in decoding]
            for _ in range(self.num_layers)
        ]
        opens = not self.batch
        if opens:
            self.form_batch(preempted, decodes=len(decoding))
        groups = self.num_groups if self.batch else None
        low, high = self.spans.pop(0) if self.batch else (0, 0)
        for part in self.batch:
            where = range(part.life.first + part.start, part.life.first + part.stop)
            for layer in range(low, high):
                rows[layer] += [(part.life.number, position, True) for position in where]
        return Pass(
            iteration=self.clock,
            rows=rows,
            decodes=[life.number for life in decoding],
            preempted=[life.number for life in preempted],
            groups=groups,
            opens_batch=opens and bool(self.batch),
            sampled=self.sample(decoding, top=high == self.num_layers),
        )

    def decoding(self) -> list[Life]:
        """Return the running decodes in admission order."""
        return sorted(
            (life for life in self.lives if life.state == "decode"),
            key=lambda life: life.admission,
        )

    @property
    def free(self) -> int:
        """Pages nobody holds."""
        return self.rules.pages - sum(life.pages for life in self.lives)

    def give_pages(self) -> list[Life]:
        """Give decodes their pages in admission order; preempt the last admitted for want."""
        preempted: list[Life] = []
        for life in self.decoding():
            while life not in preempted and -(-life.known // PAGE) > life.pages:
                if self.free:
                    life.pages += 1
                    continue
                victim = self.decoding()[-1]
                victim.state, victim.pages = "waiting", 0
                victim.entered, victim.again = 0, True
                preempted.append(victim)
        return preempted

    def form_batch(self, preempted: Sequence[Life], *, decodes: int) -> None:
        """Take prompts in order of service, as many tokens as the budget has."""
        is_whole = self.rules.schedule.startswith("whole")
        is_chunked = self.rules.schedule.startswith("chunked")
        left = self.rules.budget - (decodes if is_chunked else 0)
        for life in self.line():
            if left <= 0 or life in preempted or (is_whole and life.left > left):
                break
            if life.state == "waiting" and not self.admit(life):
                break
            take = min(life.left, left)
            self.batch.append(Part(life, life.entered, life.entered + take))
            life.entered += take
            left -= take
        tokens = sum(part.stop - part.start for part in self.batch)
        self.spans = self.split(tokens)
        self.num_groups = len(self.spans) if self.rules.groups else None

    def line(self) -> list[Life]:
        """Return the cut prompt, then the preempted, then the waiting that are visible."""
        cut = [life for life in self.lives if life.state == "prefill"]
        waiting = [
            life
            for life in self.lives
            if life.state == "waiting" and life.ask.arrival <= self.clock
        ]
        return cut + sorted(waiting, key=lambda life: life.order)

    def admit(self, life: Life) -> bool:
        """Give a waiting request its pages and its place, if there are both."""
        need = -(-life.known // PAGE)
        running = sum(life.state in ("prefill", "decode") for life in self.lives)
        if need > self.free or running >= self.rules.seqs:
            return False
        life.state, life.pages, life.admission = "prefill", need, self.admissions
        self.admissions += 1
        return True

    def split(self, tokens: int) -> list[tuple[int, int]]:
        """Return the layer groups of a batch, sizes differing by at most one, larger first."""
        groups = min(self.num_layers, self.rules.groups(tokens)) if self.rules.groups else 1
        sizes = [self.num_layers // groups] * groups
        for larger in range(self.num_layers % groups):
            sizes[larger] += 1
        return [(sum(sizes[:at]), sum(sizes[: at + 1])) for at in range(groups)]

    def sample(self, decoding: Sequence[Life], *, top: bool) -> int:
        """Count a token for every decode, and for every prefill that is through."""
        due = list(decoding)
        if top:
            for part in self.batch:
                if part.life.left == 0:
                    part.life.state = "decode"
                    due.append(part.life)
            self.batch = []
        for life in due:
            life.generated += 1
            if life.generated == life.ask.output:
                life.state, life.pages = "finished", 0
        return len(due)


def simulate(asks: Sequence[Ask], rules: Rules, *, num_layers: int) -> list[Pass]:
    """Return all iterations of an arm."""
    lives = [Life(number=number, ask=ask) for number, ask in enumerate(asks)]
    return list(Simulation(rules=rules, num_layers=num_layers, lives=lives).passes())


# What is counted, by the definitions.


@dataclass(frozen=True, kw_only=True)
class Routing:
    """Experts of every row: by request, [position][layer]; and the model's constants."""

    experts: Mapping[int, Sequence[Sequence[frozenset[int]]]]
    num_experts: int
    expert_bytes: int

    def of(self, rows: Sequence[Row], layer: int) -> set[int]:
        """Return the distinct experts of rows of a layer."""
        found: set[int] = set()
        for request, position, _ in rows:
            found |= self.experts[request][position][layer]
        return found


Line = dict[str, object]


@dataclass(frozen=True, kw_only=True)
class Distinct:
    """D, P and E_d of one (iteration, layer), and its rows."""

    every: set[int]
    prefill: set[int]
    decode: set[int]
    rows: list[Row]


def distinct(one: Pass, routing: Routing) -> list[Distinct]:
    """Return D, P and E_d of every layer of an iteration."""
    return [
        Distinct(
            every=routing.of(rows, layer),
            prefill=routing.of([row for row in rows if row[2]], layer),
            decode=routing.of([row for row in rows if not row[2]], layer),
            rows=rows,
        )
        for layer, rows in enumerate(one.rows)
    ]


def count_lines(passes: Sequence[Pass], routing: Routing) -> list[Line]:
    """Return what is logged of every iteration."""
    lines: list[Line] = []
    for one in passes:
        layers = distinct(one, routing)
        loads = sum(len(layer.every) for layer in layers)
        lines.append(
            {
                "iteration": one.iteration,
                "decodes": one.decodes,
                "preempted": one.preempted,
                "num_groups": one.groups,
                "distinct_experts": [len(layer.every) for layer in layers],
                "distinct_experts_prefill": [len(layer.prefill) for layer in layers],
                "distinct_experts_decode": [len(layer.decode) for layer in layers],
                "expert_bytes": routing.expert_bytes * loads,
            }
        )
    return lines


def ratio(above: int, below: int) -> float | None:
    """Return a quotient, or nothing where there is nothing to divide by."""
    return above / below if below else None


def count_metrics(passes: Sequence[Pass], routing: Routing) -> dict[str, float | None]:
    """Return the counted metrics of an arm."""
    found = [(one, layer) for one in passes for layer in distinct(one, routing)]
    carrying = {one.iteration for one in passes if any(row[2] for rows in one.rows for row in rows)}
    mixed = [layer for one, layer in found if one.iteration in carrying]
    alone = [layer for one, layer in found if one.iteration not in carrying]
    loads = sum(len(layer.every) for _, layer in found)
    added = sum(len(layer.prefill - layer.decode) for _, layer in found)
    pairs = sum(
        len(routing.experts[request][position][layer])
        for one in passes
        for layer, rows in enumerate(one.rows)
        for request, position, _ in rows
    )
    return {
        "distinct_expert_loads": loads,
        "expert_bytes": routing.expert_bytes * loads,
        "expert_bytes_prefill_marginal": routing.expert_bytes * added,
        "expert_bytes_prefill_iterations": routing.expert_bytes
        * sum(len(layer.every) for layer in mixed),
        "reload_factor": reload_factor(passes, routing),
        "expert_coverage": coverage([layer for _, layer in found], routing),
        "expert_coverage_prefill_iterations": coverage(mixed, routing),
        "expert_coverage_decode_iterations": coverage(alone, routing),
        "tokens_per_expert": ratio(pairs, loads),
        "iterations": len(passes),
        "decode_rows": sum(len(one.decodes) for one in passes),
        "prefill_rows": sum(row[2] for one in passes for row in one.rows[0]),
        "preemptions": sum(len(one.preempted) for one in passes),
    }


def coverage(layers: Sequence[Distinct], routing: Routing) -> float | None:
    """Return the share of experts loaded, over the (iteration, layer) pairs that have a row."""
    with_rows = sum(bool(layer.rows) for layer in layers)
    return ratio(sum(len(layer.every) for layer in layers), routing.num_experts * with_rows)


def reload_factor(passes: Sequence[Pass], routing: Routing) -> float | None:
    """Return how often each request's prefill touches an expert, pass by pass, over once."""
    touches = 0
    union: dict[tuple[int, int], set[int]] = {}
    for one in passes:
        for layer, rows in enumerate(one.rows):
            for request in {row[0] for row in rows if row[2]}:
                mine = routing.of([row for row in rows if row[2] and row[0] == request], layer)
                touches += len(mine)
                union.setdefault((request, layer), set()).update(mine)
    return ratio(touches, sum(len(experts) for experts in union.values()))


def batches(passes: Sequence[Pass]) -> dict[int, int]:
    """Return how many batches were cut into how many groups."""
    opened = Counter(one.groups for one in passes if one.opens_batch and one.groups is not None)
    return dict(opened)


# What the product says.


@dataclass(frozen=True, kw_only=True)
class Logged:
    """One arm as the product logs it."""

    lines: Sequence[Mapping[str, object]]
    arm: Arm
    tokens: Mapping[int, Sequence[int]]


def as_requests(asks: Sequence[Ask]) -> tuple[Request, ...]:
    """Return the same requests in the product's words."""
    return tuple(
        Request(
            index=number,
            arrival=ask.arrival,
            context_tokens=ask.context,
            prompt_tokens=ask.prompt,
            output_tokens=ask.output,
        )
        for number, ask in enumerate(asks)
    )


def run(executor: TorchExecutor, asks: Sequence[Ask], *, shape: ModelShape, rules: Rules) -> Logged:
    """Serve a workload in the engine and keep what the arm's log says."""
    requests = as_requests(asks)
    policy = parse_schedule(rules.schedule)
    arm = ArmSpec(typed=rules.schedule, label=rules.schedule, policy=policy)
    log = ArmLog(arm, requests, shape, precision=PRECISIONS["float32"])
    policy.refuse(requests, max_num_seqs=rules.seqs)
    executor.start_arm(None)
    steps = run_arm(
        policy,
        requests,
        executor,
        num_layers=shape.num_layers,
        limits=Limits(num_kv_pages=rules.pages, max_num_seqs=rules.seqs),
    )
    lines = [log.observe(step) for step in steps]
    return Logged(lines=lines, arm=log.to_record(), tokens=log.tokens)


def assert_counts_equal(passes: Sequence[Pass], logged: Logged, routing: Routing) -> None:
    """Hold every iteration's line and every counted metric to the second implementation."""
    expected = count_lines(passes, routing)
    for ours, theirs in zip(expected, logged.lines, strict=False):
        assert ours == {name: theirs[name] for name in ours}
    assert len(expected) == len(logged.lines)
    metrics = count_metrics(passes, routing)
    assert metrics == {name: logged.arm.metrics[name].value for name in metrics}
    assert batches(passes) == logged.arm.effective_groups


def assert_bytes_equal(
    passes: Sequence[Pass], logged: Logged, *, shape: ModelShape, routing: Routing
) -> None:
    """Hold every modelled term of the ledger to a sum over rows, and its residuals to nothing."""
    expected: Counter[str] = Counter()
    for one in passes:
        expected += bytes_of_pass(one.rows, shape, sampled=one.sampled, bytes_per_value=4)
    loads = sum(len(layer.every) for one in passes for layer in distinct(one, routing))
    expected["experts"] = routing.expert_bytes * loads
    ledger = logged.arm.ledger
    assert {**expected} == {term.name: term.bytes for term in ledger.modelled}
    assert expected["experts"] == ledger.counted_bytes
    assert 0 == {term.name: term.bytes for term in ledger.residual}["iteration_log"]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Compute on one thread."""
    with single_thread():
        yield


# The model's own routing.

LAYERS = 5
ASKS = (
    Ask(prompt=33, output=14),
    Ask(prompt=1, output=20, context=30),
    Ask(prompt=90, output=6, arrival=1),
    Ask(prompt=16, output=12, arrival=2),
    Ask(prompt=17, output=9, context=15, arrival=4),
    Ask(prompt=2, output=1, arrival=40),
    Ask(prompt=47, output=7, arrival=70),
)
POOL = 9
MODEL_ROUTED = (
    whole(),
    chunked(13),
    chunked(37),
    layered(16),
    layered(16, budget=41),
    fixed(3),
    fixed(2, budget=29),
    hybrid(50, groups=4),
    table(16),
)


@dataclass(frozen=True, kw_only=True)
class ModelRouted:
    """A model in the engine, and what transformers' routers choose for its workload."""

    executor: TorchExecutor
    shape: ModelShape
    routing: Routing
    tokens: Mapping[int, Sequence[int]]
    least_margin: float


def model_routed(family: str, folder: Path) -> ModelRouted:
    """Write a checkpoint, run transformers over the whole sequences, and load the engine."""
    save = {"qwen3_moe": save_qwen3_moe, "gpt_oss": save_gpt_oss}[family]
    oracle = Oracle(save(folder, layers=LAYERS, experts=16, top_k=3, expert_size=32, seed=SEED))
    bench = build_bench(folder, as_requests(ASKS))
    tokens = run(bench.executor, ASKS, shape=bench.shape, rules=whole()).tokens
    seen = {
        request: oracle.see(sequence)
        for request, sequence in final_sequences(bench.ids, tokens).items()
    }
    experts = {
        request: [[frozenset(layer) for layer in row] for row in one.experts.tolist()]
        for request, one in seen.items()
    }
    return ModelRouted(
        executor=bench.executor,
        shape=bench.shape,
        routing=Routing(experts=experts, num_experts=16, expert_bytes=oracle.expert_bytes),
        tokens=tokens,
        least_margin=min(float(one.margins.min()) for one in seen.values()),
    )


SEED = 2


@pytest.fixture(scope="module", params=["qwen3_moe", "gpt_oss"])
def routed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ModelRouted:
    """Return engine and oracle of a family."""
    return model_routed(request.param, tmp_path_factory.mktemp("checkpoint"))


@pytest.mark.parametrize("pages", [10_000, POOL], ids=["ample", "preempting"])
@pytest.mark.parametrize("rules", MODEL_ROUTED, ids=lambda rules: rules.schedule)
def test_counts_equal_transformers_routers(routed: ModelRouted, rules: Rules, pages: int) -> None:
    """Counted from the engine and counted from transformers' routers by hand is the same."""
    rules = replace(rules, pages=pages)
    passes = simulate(ASKS, rules, num_layers=LAYERS)
    logged = run(routed.executor, ASKS, shape=routed.shape, rules=rules)
    assert routed.least_margin > 1e-4, "a choice of experts is within rounding; take another seed"
    assert (pages == POOL) == any(one.preempted for one in passes)
    assert routed.tokens == logged.tokens
    assert_counts_equal(passes, logged, routed.routing)
    assert_bytes_equal(passes, logged, shape=routed.shape, routing=routed.routing)


# Drawn routing, random workloads.

DRAWN_LAYERS = (1, 3, 5)
NUM_EXPERTS, TOP_K = 12, 3


@cache
def tiny(num_layers: int) -> tuple[ModelShape, ModelWeights]:
    """Return a model that costs next to nothing, with drawn weights."""
    shape, _ = find_shape("gpt-oss-20b")
    shape = replace(
        shape,
        num_layers=num_layers,
        windows=(0,) * num_layers,
        hidden_size=16,
        num_heads=2,
        num_kv_heads=1,
        head_dim=8,
        num_experts=NUM_EXPERTS,
        top_k=TOP_K,
        expert_size=8,
        vocab_size=32,
    )
    return shape, dummy_weights(shape, dtype=torch.float32, device="cpu", seed=0)


def check_drawn(asks: Sequence[Ask], rules: Rules, *, num_layers: int) -> list[Pass]:
    """Compare simulation and engine on a workload with calibrated routing; return the passes."""
    shape, weights = tiny(num_layers)
    requests = as_requests(asks)
    draws = RoutingDraws("calibrated", 7, num_layers, NUM_EXPERTS, TOP_K)
    executor = torch_executor(
        shape,
        weights,
        kernels=pick_kernels(shape, device=weights.embed.device, dtype=weights.embed.dtype),
        requests=requests,
        ids={number: [1] * (ask.context + ask.prompt) for number, ask in enumerate(asks)},
        draws=draws,
    )
    experts = {
        number: [
            [frozenset(layer) for layer in row]
            for row in draws.experts(request=number, start=0, stop=ask.longest)
            .transpose(1, 0, 2)
            .tolist()
        ]
        for number, ask in enumerate(asks)
    }
    values = 3 * 16 * 8 + 2 * 8 + 16
    routing = Routing(experts=experts, num_experts=NUM_EXPERTS, expert_bytes=4 * values)
    passes = simulate(asks, rules, num_layers=num_layers)
    logged = run(executor, asks, shape=shape, rules=rules)
    assert_counts_equal(passes, logged, routing)
    assert_bytes_equal(passes, logged, shape=shape, routing=routing)
    return passes


def situations(*, most: int, tokens: int) -> st.SearchStrategy[tuple[list[Ask], Rules]]:
    """Return requests, a schedule that does not refuse them, and limits that may hurt.

    Args:
        most: requests.
        tokens: of a prompt; outputs and contexts are half as long.
    """
    asks = st.builds(
        Ask,
        prompt=st.integers(1, tokens),
        output=st.one_of(st.integers(1, 3), st.integers(1, tokens // 2)),
        context=st.one_of(st.just(0), st.integers(1, tokens // 2)),
        arrival=st.one_of(st.just(0), st.integers(0, 12), st.integers(0, tokens)),
    )
    return st.lists(asks, min_size=1, max_size=most).flatmap(
        lambda asks: st.tuples(st.just(asks), limited_rules(asks))
    )


@st.composite
def limited_rules(draw: st.DrawFn, asks: Sequence[Ask]) -> Rules:
    """Draw a schedule and limits for these requests."""
    seqs = draw(st.integers(1, len(asks) + 1))
    need = [-(-ask.longest // PAGE) for ask in asks]
    most_decodes = min(seqs, len(asks) - 1)
    longest = max(ask.longest for ask in asks)
    schedules = st.one_of(
        st.builds(whole, st.integers(longest, 3 * longest)),
        st.builds(chunked, st.integers(most_decodes + 1, most_decodes + 60)),
        st.builds(layered, st.integers(1, 60), budget=st.integers(10, 150)),
        st.builds(fixed, st.integers(1, 7), budget=st.integers(10, 150)),
        st.builds(hybrid, st.integers(10, 90), groups=st.integers(1, 6)),
    )
    pages = draw(st.one_of(st.integers(max(need), max(need) + 4), st.just(sum(need))))
    return replace(draw(schedules), pages=pages, seqs=seqs)


# Not shrunk: a failing example would be run through the engine for minutes.
@settings(max_examples=40, deadline=None, phases=[Phase.reuse, Phase.generate])
@given(situation=situations(most=6, tokens=50), num_layers=st.sampled_from(DRAWN_LAYERS))
def test_counts_of_random_workloads(situation: tuple[list[Ask], Rules], num_layers: int) -> None:
    """Random workloads, schedules and limits are served and counted as DESIGN.md says."""
    asks, rules = situation
    check_drawn(asks, rules, num_layers=num_layers)


# Plans alone, without an engine: many more workloads in the same time.


class Blind:
    """An executor that computes nothing."""

    def start_arm(
        self, script: Mapping[int, Sequence[int]] | None, *, pinned: bool = False
    ) -> None:
        """Do nothing."""

    def execute(self, plan: IterationPlan, meanwhile: object = None) -> Execution:
        """Return no tokens and no experts."""
        del plan, meanwhile
        return Execution(tokens={}, routed=Routed(touched=np.zeros((0, 1, 0), bool), prompts=()))

    def release(self, request: int) -> None:
        """Do nothing."""

    def now_ns(self) -> int:
        """Return a clock that stands."""
        return 0

    def wait_until_ns(self, until_ns: int) -> None:
        """Nobody arrives by seconds."""


def planned(asks: Sequence[Ask], rules: Rules, *, num_layers: int) -> list[Step]:
    """Return every iteration of an arm that is only planned."""
    policy, requests = parse_schedule(rules.schedule), as_requests(asks)
    policy.refuse(requests, max_num_seqs=rules.seqs)
    limits = Limits(num_kv_pages=rules.pages, max_num_seqs=rules.seqs)
    return list(run_arm(policy, requests, Blind(), num_layers=num_layers, limits=limits))


def planned_rows(
    asks: Sequence[Ask], steps: Sequence[Step], *, num_layers: int
) -> list[list[list[Row]]]:
    """Return the rows of every iteration by layer, from the plans."""
    known = [ask.context + ask.prompt for ask in asks]
    offset = [ask.context for ask in asks]
    found = []
    for step in steps:
        for request in step.preempted:
            offset[request] = 0
        decodes: list[Row] = [(request, known[request] - 1, False) for request in step.plan.decodes]
        rows = [list(decodes) for _ in range(num_layers)]
        for part in step.plan.prefill:
            tokens, layers = part.tile.tokens, part.tile.layers
            for layer in range(layers.start, layers.stop):
                rows[layer] += [
                    (part.request, offset[part.request] + token, True)
                    for token in range(tokens.start, tokens.stop)
                ]
        found.append(rows)
        for request in step.settled.sampled:
            known[request] += 1
    return found


@settings(max_examples=300, deadline=None)
@given(situation=situations(most=10, tokens=80), num_layers=st.integers(1, 7))
def test_rows_of_random_workloads(situation: tuple[list[Ask], Rules], num_layers: int) -> None:
    """Every iteration carries the rows, in order, that DESIGN.md's rules give."""
    asks, rules = situation
    passes = simulate(asks, rules, num_layers=num_layers)
    steps = planned(asks, rules, num_layers=num_layers)
    assert [one.iteration for one in passes] == [step.iteration for step in steps]
    assert [one.groups for one in passes] == [step.plan.num_groups for step in steps]
    assert [one.preempted for one in passes] == [list(step.preempted) for step in steps]
    assert [one.rows for one in passes] == planned_rows(asks, steps, num_layers=num_layers)


@pytest.mark.parametrize("cap", CEILINGS)
def test_step_table_at_its_edges(cap: int) -> None:
    """Batches at and just above each of the authors' steps are cut into their number of groups."""
    sizes = (512, 513, 1024, 1025, 2048, 2049, 4096, 4097)
    asks = [Ask(prompt=size, output=1, arrival=30 * at) for at, size in enumerate(sizes)]
    passes = simulate(asks, table(cap), num_layers=25)
    expected = [one.groups for one in passes]
    one, two, four, eight, more = CEILINGS[cap]
    assert [one, two, two, four, four, eight, eight, more] == [
        opened.groups for opened in passes if opened.opens_batch
    ]
    assert expected == [step.plan.num_groups for step in planned(asks, table(cap), num_layers=25)]


def test_a_preempted_request_has_no_row_in_that_iteration() -> None:
    """Where two are preempted at once, the room the second leaves is not given to the first."""
    asks = [
        Ask(prompt=15, output=9),
        Ask(prompt=7, output=11, arrival=1),
        Ask(prompt=7, output=11, arrival=1),
        Ask(prompt=1, output=3, arrival=1),
        Ask(prompt=55, output=11, arrival=1),
    ]
    steps = planned(asks, replace(fixed(2), pages=8), num_layers=2)
    both = [
        (step.iteration, request)
        for step in steps
        for request in step.preempted
        if request in (*step.plan.decodes, *[part.request for part in step.plan.prefill])
    ]
    assert not both, "(iteration, request)"
