"""`lpbench traffic` on tiny checkpoints: what it prints, what it writes, and that both agree."""

import getpass
import json
import os
import pty
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lpbench.analysis.metrics import METRICS
from lpbench.bench.audit import Witnessed, audit
from lpbench.record.schema import Arm, Audit, Record
from tests.cli.command import (
    OK,
    CommandLine,
    Result,
    contents,
    environment,
    read_lines,
    record_of,
    write_lines,
)

CPU = ("--device", "cpu")
SMALL = ("--input-len", "24", "--output-len", "4", "--num-prompts", "3", *CPU)
SCHEDULES = ("chunked:max_num_batched_tokens=9", "layered:num_groups=2", "whole")
EXACT = tuple(name for name, metric in METRICS.items() if metric.exact)

QWEN_EXPERT_VALUES = 3 * 32 * 32
GPT_OSS_EXPERT_VALUES = 3 * 32 * 32 + 2 * 32 + 32
"""Values of one expert: gate, up and down, for GPT-OSS with their biases."""

MIXED = (
    {"prompt_tokens": 30, "output_tokens": 9, "context_tokens": 21},
    {"prompt_tokens": 50, "output_tokens": 3, "arrival_iteration": 4},
    {"prompt_token_ids": [5, 9, 63, 0], "output_tokens": 1, "arrival_iteration": 4},
    {"prompt_tokens": 17, "output_tokens": 5, "arrival_iteration": 100},
)
"""Requests that overlap, one that comes long after the others, one of a single token."""


def schedules(*names: str) -> Iterator[str]:
    """Return the options that choose these schedules."""
    for name in names:
        yield from ("--schedule", name)


def counted(arm: Arm) -> dict[str, float | None]:
    """Return an arm's deterministic figures."""
    return {name: arm.metrics[name].value for name in EXACT}


class Run:
    """A finished run: what it printed, its record and its lines."""

    def __init__(self, result: Result, folder: Path) -> None:
        """Read what the run left in its folder."""
        assert OK == result.code, result.err
        self.result = result
        self.folder = folder
        self.text = (folder / "run.json").read_text(encoding="utf-8")
        self.record: Record = record_of(self.text)
        self.iterations = read_lines(folder / "iterations.jsonl")
        self.requests = read_lines(folder / "requests.jsonl")

    def of(self, lines: list[dict[str, Any]], arm: Arm) -> list[dict[str, Any]]:
        """Return the lines of one arm."""
        return [line for line in lines if line["arm"] == arm.label]


@pytest.fixture(scope="module")
def mixed(lpbench: CommandLine, tmp_path_factory: pytest.TempPathFactory, qwen: Path) -> Run:
    """Return a run of `MIXED` under three schedules."""
    folder = tmp_path_factory.mktemp("mixed")
    file = write_lines(folder / "mixed.jsonl", *MIXED)
    arguments = ("--model", qwen, "--requests", file, *schedules(*SCHEDULES), *CPU)
    return Run(lpbench("traffic", *arguments, "--output", folder / "run"), folder / "run")


def test_json_on_stdout_is_the_record_alone(lpbench: CommandLine, qwen: Path) -> None:
    """`--json -` prints one JSON document, a complete record, and nothing else."""
    before = datetime.now(UTC)
    result = lpbench("traffic", "--model", qwen, *SMALL, "--json", "-")
    assert (OK, "") == (result.code, result.err)
    record = record_of(result.out)
    assert json.loads(result.out) == json.loads(record.to_json())
    assert ("complete", None, "traffic") == (record.status, record.failure, record.command)
    assert record.started_at is not None
    assert before <= record.started_at <= datetime.now(UTC)
    assert record.audit is not None
    assert record.audit.is_sound


def test_every_place_holds_the_same_record(
    lpbench: CommandLine, tmp_path: Path, qwen: Path
) -> None:
    """--json FILE and --output DIR are given the same bytes, and nothing else is left."""
    places = ("--output", tmp_path / "run", "--json", tmp_path / "record.json")
    assert OK == lpbench("traffic", "--model", qwen, *SMALL, *places).code
    found = contents(tmp_path)
    assert found["record.json"] == found["run/run.json"]
    expected = ["record.json", "run", "run/iterations.jsonl", "run/requests.jsonl", "run/run.json"]
    assert expected == list(found)


def test_an_old_json_file_is_replaced(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """--json writes over what was there."""
    (tmp_path / "record.json").write_text("old")
    file = tmp_path / "record.json"
    assert OK == lpbench("traffic", "--model", qwen, *SMALL, "--json", file).code
    assert "complete" == record_of(file.read_text()).status


@pytest.mark.parametrize("family", ["qwen", "gpt_oss"])
def test_both_families(
    lpbench: CommandLine, tmp_path: Path, family: str, request: pytest.FixtureRequest
) -> None:
    """A checkpoint of either family runs, and an expert has the bytes of its own parameters."""
    model = request.getfixturevalue(family)
    values = {"qwen": QWEN_EXPERT_VALUES, "gpt_oss": GPT_OSS_EXPERT_VALUES}[family]
    run = Run(
        lpbench("traffic", "--model", model, *SMALL, "--output", tmp_path / "run"), tmp_path / "run"
    )
    for arm in run.record.arms:
        loads = arm.metrics["distinct_expert_loads"].value
        assert loads
        assert 4 * values * loads == arm.metrics["expert_bytes"].value


def test_iterations_sum_to_the_record(mixed: Run) -> None:
    """The lines of iterations.jsonl add up to the arm's metrics, layer by layer."""
    for arm in mixed.record.arms:
        lines = mixed.of(mixed.iterations, arm)
        figures = counted(arm)
        assert figures["iterations"] == len(lines)
        assert figures["expert_bytes"] == sum(line["expert_bytes"] for line in lines)
        assert figures["decode_rows"] == sum(len(line["decodes"]) for line in lines)
        assert figures["distinct_expert_loads"] == sum(
            sum(line["distinct_experts"]) for line in lines
        )
        for line in lines:
            assert 4 == len(line["distinct_experts"])
            loads = sum(line["distinct_experts"])
            assert 4 * QWEN_EXPERT_VALUES * loads == line["expert_bytes"]


def test_prefill_and_decode_experts_bound_the_distinct_ones(mixed: Run) -> None:
    """In each layer |D| lies between the larger of |P| and |E_d| and their sum."""
    for line in mixed.iterations:
        parts = zip(
            line["distinct_experts"],
            line["distinct_experts_prefill"],
            line["distinct_experts_decode"],
            strict=True,
        )
        assert all(max(p, d) <= both <= p + d for both, p, d in parts)
        assert bool(line["tiles"]) == any(line["distinct_experts_prefill"])
        assert bool(line["decodes"]) == any(line["distinct_experts_decode"])


def test_context_is_not_counted(mixed: Run) -> None:
    """Prefill rows are the prompts' tokens: what stood in the cache before costs nothing."""
    for arm in mixed.record.arms:
        figures = counted(arm)
        assert 30 + 50 + 4 + 17 == figures["prefill_rows"]
        assert (9 + 3 + 1 + 5) - 4 == figures["decode_rows"]
        assert 0 == figures["preemptions"]
    first = mixed.requests[0]
    assert (21, 30, 9) == tuple(
        first[key] for key in ("context_tokens", "prompt_tokens", "output_tokens")
    )


def test_requests_arrive_by_iteration(mixed: Run) -> None:
    """The lines of requests.jsonl name when each came; idle iterations are jumped over."""
    for arm in mixed.record.arms:
        lines = mixed.of(mixed.requests, arm)
        assert [0, 4, 4, 100] == [line["arrival_iteration"] for line in lines]
        assert all(line["arrival_iteration"] <= line["scheduled_iteration"] for line in lines)
        numbers = [line["iteration"] for line in mixed.of(mixed.iterations, arm)]
        assert all(before < after for before, after in pairwise(numbers))
        assert 100 in numbers
        assert len(numbers) < 100


def test_requests_get_their_tokens(mixed: Run) -> None:
    """Each request gets exactly its output tokens, at rising times, from the vocabulary."""
    assert len(SCHEDULES) * len(MIXED) == len(mixed.requests)
    for line in mixed.requests:
        stamps = ("tokens", "token_iterations", "token_ms")
        assert [line["output_tokens"]] * 3 == [len(line[key]) for key in stamps]
        assert all(0 <= token < 64 for token in line["tokens"])
        assert sorted(line["token_ms"]) == line["token_ms"]
        assert 0 <= line["queue_ms"] <= line["token_ms"][0]
        steps = [after - before for before, after in pairwise(line["token_iterations"])]
        assert [1] * len(steps) == steps


def test_schedules_compute_the_same_tokens(mixed: Run) -> None:
    """The tokens of every arm are the first arm's, and the audit says so in float32."""
    first, *others = (
        [line["tokens"] for line in mixed.of(mixed.requests, arm)] for arm in arms(mixed)
    )
    assert [first] * 2 == others
    audit = mixed.record.audit
    assert audit is not None
    assert (True, "float32", 0) == (audit.tokens_equal, audit.dtype, audit.far_disagreements)
    assert list(SCHEDULES) == [one.label for one in audit.arms]


def arms(run: Run) -> tuple[Arm, ...]:
    """Return the arms of a run."""
    return run.record.arms


def test_every_reading_says_where_it_comes_from(mixed: Run) -> None:
    """Counted, measured and modelled figures are told apart, with unit and source."""
    for arm in arms(mixed):
        metrics = arm.metrics
        assert set(METRICS) >= set(metrics)
        assert all(METRICS[name].unit == one.unit for name, one in metrics.items())
        assert ("counted", "router") == (
            metrics["expert_bytes"].method,
            metrics["expert_bytes"].source,
        )
        assert "modelled" == metrics["expert_bytes_modelled"].method
        assert "measured" == metrics["ttft_ms_mean"].method
        assert ("absent", ("too_few_samples",)) == (
            metrics["ttft_ms_p99"].validity,
            metrics["ttft_ms_p99"].reasons,
        )


def test_the_ledger_adds_up(mixed: Run) -> None:
    """Counted bytes are the modelled ones and the named residual, and what was logged exactly."""
    for arm in arms(mixed):
        ledger = arm.ledger
        assert ledger.counted_bytes == arm.metrics["expert_bytes"].value
        assert ledger.modelled_bytes is not None
        terms = sum(term.bytes for term in ledger.residual)
        assert ledger.counted_bytes == pytest.approx(ledger.modelled_bytes + terms)
        assert ledger.measured_bytes is None
        modelled = {term.name: term.bytes for term in ledger.modelled}
        lines = mixed.of(mixed.iterations, arm)
        assert sum(line["expert_bytes"] for line in lines) == modelled["experts"]
        assert 0 == {term.name: term.bytes for term in ledger.residual}["iteration_log"]
        assert None is not ledger.dram_bytes
        assert (None, "absent", ("no_device",)) == (
            ledger.dram_bytes.value,
            ledger.dram_bytes.validity,
            ledger.dram_bytes.reasons,
        )


def test_a_window_covers_the_arm(mixed: Run) -> None:
    """The arm's window has its iterations and is at least as long as they were."""
    for arm in arms(mixed):
        (window,) = arm.windows
        lines = mixed.of(mixed.iterations, arm)
        assert len(lines) == window.iterations
        assert sum(line["duration_ms"] for line in lines) <= window.duration_ms + 1e-3


def test_comparison_divides_by_the_first_arm(mixed: Run) -> None:
    """Each ratio is the candidate's value over the baseline's."""
    values = {arm.label: arm.metrics for arm in arms(mixed)}
    assert mixed.record.comparison
    for one in mixed.record.comparison:
        assert SCHEDULES[0] == one.baseline
        before = values[one.baseline][one.metric].value
        after = values[one.candidate][one.metric].value
        if one.ratio is not None:
            assert before
            assert after is not None
            assert one.ratio == pytest.approx(after / before)
        else:
            assert one.reasons


def test_a_repeated_schedule_is_numbered_and_equal(
    lpbench: CommandLine, tmp_path: Path, qwen: Path
) -> None:
    """The same schedule again is an arm of its own, "#2" and "#3", with the same counts."""
    three = schedules("layered", "layered", "layered")
    arguments = ("--model", qwen, *SMALL, *three, "--output", tmp_path / "run")
    run = Run(lpbench("traffic", *arguments), tmp_path / "run")
    assert ["layered", "layered#2", "layered#3"] == [arm.label for arm in arms(run)]
    assert 1 == len({arm.plan_hash for arm in arms(run)})
    assert [counted(arms(run)[0])] * 3 == [counted(arm) for arm in arms(run)]


def test_the_record_names_the_parameters_in_force(
    lpbench: CommandLine, tmp_path: Path, qwen: Path
) -> None:
    """A label is the schedule as typed; its parameters, defaults included, stand beside it."""
    typed = ("layered", "hybrid: chunk = 7 , num_groups=9", "layered:rule=table,max_groups=4")
    arguments = ("--model", qwen, *SMALL, *schedules(*typed), "--output", tmp_path / "run")
    run = Run(lpbench("traffic", *arguments), tmp_path / "run")
    assert list(typed) == [arm.label for arm in arms(run)]
    expected = [
        {"rule": "ceil", "tokens_per_group": 512, "max_num_batched_tokens": 8192},
        {"num_groups": 9, "max_num_batched_tokens": 7},
        {"rule": "table", "max_groups": 4, "max_num_batched_tokens": 8192},
    ]
    assert expected == [arm.schedule.params for arm in arms(run)]
    assert [{1: 1}, {4: 11}, {1: 1}] == [arm.effective_groups for arm in arms(run)]


def test_routing_is_the_model_s_for_a_checkpoint(lpbench: CommandLine, qwen: Path) -> None:
    """Real weights have a router of their own, drawn ones are given calibrated draws."""
    model = ("traffic", "--model", qwen, *SMALL, "--json", "-")
    own = record_of(lpbench(*model).out).spec
    dummy = record_of(lpbench(*model, "--load-format", "dummy").out).spec
    assert ("model", "calibrated") == (own["routing"], dummy["routing"])
    assert "dummy" == dummy["weights"] != own["weights"]
    uniform = record_of(lpbench(*model, "--routing", "uniform").out).spec
    assert "uniform" == uniform["routing"]


def test_drawn_routing_agrees_exactly(lpbench: CommandLine, qwen: Path) -> None:
    """With calibrated routing every schedule meets the same experts."""
    options = (*SMALL, "--routing", "calibrated", *schedules(*SCHEDULES), "--json", "-")
    audit = record_of(lpbench("traffic", "--model", qwen, *options).out).audit
    assert audit is not None
    assert (1.0, 0, 0) == (audit.routing_agreement, audit.near_ties, audit.far_disagreements)


def test_the_same_seed_gives_the_same_counts(
    lpbench: CommandLine, tmp_path: Path, qwen: Path
) -> None:
    """Counts, plans, tokens and the spec's hash are those of the first run; times may differ."""
    first, again = (
        Run(
            lpbench("traffic", "--model", qwen, *SMALL, "--output", tmp_path / name),
            tmp_path / name,
        )
        for name in ("first", "again")
    )
    assert first.record.spec_hash == again.record.spec_hash
    assert first.record.spec == again.record.spec
    for one, other in zip(arms(first), arms(again), strict=True):
        assert one.plan_hash == other.plan_hash
        assert counted(one) == counted(other)
    tokens = [[line["tokens"] for line in run.requests] for run in (first, again)]
    assert tokens[0] == tokens[1]


def test_another_seed_is_another_experiment(lpbench: CommandLine, qwen: Path) -> None:
    """The seed decides the prompts, so the hash of the spec differs."""
    model = ("traffic", "--model", qwen, *SMALL, "--json", "-", "--seed")
    first, other = (record_of(lpbench(*model, seed).out) for seed in ("0", "1"))
    assert first.spec_hash != other.spec_hash
    assert first.spec["workload_hash"] != other.spec["workload_hash"]
    assert first.spec["weights"] == other.spec["weights"]


def test_prompt_texts(lpbench: CommandLine, tmp_path: Path, speaking: Path) -> None:
    """A checkpoint's tokenizer turns texts into ids: two words and an unknown one."""
    texts = ("layered prefill", "chunked", "prefill " * 40)
    file = write_lines(
        tmp_path / "texts.jsonl", *({"prompt": text, "output_tokens": 2} for text in texts)
    )
    arguments = ("--model", speaking, "--requests", file, *CPU, "--output", tmp_path / "run")
    run = Run(lpbench("traffic", *arguments), tmp_path / "run")
    assert "texts" == run.record.spec["prompt_source"]
    assert [2, 1, 40] * 2 == [line["prompt_tokens"] for line in run.requests]
    ids = write_lines(
        tmp_path / "ids.jsonl",
        *({"prompt_token_ids": ids, "output_tokens": 2} for ids in ([1, 2], [0], [2] * 40)),
    )
    arguments = ("--model", speaking, "--requests", ids, *CPU, "--output", tmp_path / "ids")
    same = Run(lpbench("traffic", *arguments), tmp_path / "ids")
    assert run.record.spec["workload_hash"] == same.record.spec["workload_hash"]
    assert [line["tokens"] for line in run.requests] == [line["tokens"] for line in same.requests]


def test_random_prompts_are_marked(lpbench: CommandLine, qwen: Path) -> None:
    """Random ids misroute a trained model, so the record warns of them."""
    record = record_of(lpbench("traffic", "--model", qwen, *SMALL, "--json", "-").out)
    assert "random ids" == record.spec["prompt_source"]
    assert all(arm.warnings for arm in record.arms)


def test_bfloat16(lpbench: CommandLine, qwen: Path) -> None:
    """A bfloat16 run counts half the bytes for a load, and its audit is taken in float32."""
    options = (*SMALL, "--dtype", "bfloat16", "--json", "-")
    record = record_of(lpbench("traffic", "--model", qwen, *options).out)
    assert "bfloat16" == record.spec["dtype"]
    assert record.audit is not None
    assert ("float32", True) == (record.audit.dtype, record.audit.tokens_equal)
    for arm in record.arms:
        loads = arm.metrics["distinct_expert_loads"].value or 0
        assert 2 * QWEN_EXPERT_VALUES * loads == arm.metrics["expert_bytes"].value


def test_preemption_is_told(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """A pool too small for all costs preemptions, which add prefill rows; tokens stay."""
    lengths = ("--input-len", "15", "--output-len", "20", "--num-prompts", "3", *CPU)
    model = ("traffic", "--model", qwen, *lengths, *schedules("chunked:max_num_batched_tokens=8"))
    wide = Run(lpbench(*model, "--output", tmp_path / "wide"), tmp_path / "wide")
    tight = Run(
        lpbench(*model, "--num-kv-pages", "4", "--output", tmp_path / "tight"), tmp_path / "tight"
    )
    before, after = counted(arms(wide)[0]), counted(arms(tight)[0])
    assert 0 == before["preemptions"]
    preempted = sum(line["preemptions"] for line in tight.requests)
    assert preempted == after["preemptions"]
    assert preempted > 0
    assert (after["prefill_rows"] or 0) > (before["prefill_rows"] or 0)
    assert [line["tokens"] for line in wide.requests] == [line["tokens"] for line in tight.requests]


def test_one_request_of_one_token(lpbench: CommandLine, tmp_path: Path, qwen: Path) -> None:
    """The smallest run there is: figures that have no sample are absent with a reason."""
    file = write_lines(tmp_path / "one.jsonl", {"prompt_tokens": 1, "output_tokens": 1})
    arguments = ("traffic", "--model", qwen, "--requests", file, *CPU, "--json", "-")
    record = record_of(lpbench(*arguments).out)
    for arm in record.arms:
        assert (None, ("no_samples",)) == (
            arm.metrics["tbt_ms_mean"].value,
            arm.metrics["tbt_ms_mean"].reasons,
        )
        assert None is arm.metrics["expert_coverage_decode_iterations"].value
        assert (1, 1, 0) == tuple(
            arm.metrics[name].value for name in ("iterations", "prefill_rows", "decode_rows")
        )
    assert OK == lpbench(*arguments[:-2]).code


def test_the_table_names_every_arm_and_its_bytes(lpbench: CommandLine, qwen: Path) -> None:
    """Without --json the table, the finding and what it rests on are printed."""
    result = lpbench("traffic", "--model", qwen, *SMALL, *schedules("whole", "hybrid"))
    assert (OK, "") == (result.code, result.err)
    out = " ".join(result.out.split())
    assert all(word in out for word in ("whole", "hybrid", "counted from", "same tokens"))


def test_quiet_prints_the_table_alone(lpbench: CommandLine, qwen: Path) -> None:
    """--quiet leaves out the sentences, keeps the table and is silent on stderr."""
    model = ("traffic", "--model", qwen, *SMALL, *schedules("whole", "hybrid"))
    loud, quiet = lpbench(*model), lpbench(*model, "--quiet")
    assert (OK, "") == (quiet.code, quiet.err)
    assert all(word in quiet.out for word in ("whole", "hybrid"))
    assert "counted from" not in " ".join(quiet.out.split())
    assert len(quiet.out.splitlines()) < len(loud.out.splitlines())


def test_the_ledger_is_shown_when_asked(lpbench: CommandLine, qwen: Path) -> None:
    """--ledger adds every term after the table, in 80 columns; without it nothing changes."""
    model = ("traffic", "--model", qwen, *SMALL, "--quiet")
    plain, asked = lpbench(*model), lpbench(*model, "--ledger")
    assert (OK, "") == (asked.code, asked.err)
    for word in ("ledger:", "counted", "modelled", "measured", "residual", "no_device"):
        assert word in asked.out
        assert word not in plain.out
    assert 80 >= max(len(line) for line in asked.out.splitlines())


def test_the_ledger_is_no_part_of_json(lpbench: CommandLine, qwen: Path) -> None:
    """With `--json -` stdout stays the record alone."""
    result = lpbench("traffic", "--model", qwen, *SMALL, "--ledger", "--json", "-")
    assert "complete" == record_of(result.out).status


def test_no_escape_codes_without_a_terminal(lpbench: CommandLine, qwen: Path) -> None:
    """A pipe or a file gets plain text, 80 columns wide."""
    result = lpbench("traffic", "--model", qwen, *SMALL)
    assert "\x1b" not in result.out + result.err
    assert 80 >= max(len(line) for line in result.out.splitlines())


def in_terminal(*arguments: str | Path, **variables: str) -> str:
    """Return what a command prints when its stdout is a terminal."""
    terminal, stdout = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lpbench", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**environment(), "TERM": "xterm-256color", **variables},
    )
    os.close(stdout)
    printed = b""
    with process, suppress(OSError):  # EIO: the other side is closed
        while part := os.read(terminal, 65536):
            printed += part
    os.close(terminal)
    assert OK == process.returncode
    return printed.decode()


def test_no_colour_in_a_terminal_that_asks_for_none() -> None:
    """NO_COLOR turns colours off where there could be some."""
    printed = in_terminal("list", "models", NO_COLOR="1")
    assert "builtin-moe" in printed
    assert not re.findall(r"\x1b\[[0-9;]*(?:3|4|9|10)[0-8][;m]", printed)


def test_nothing_of_the_machine_s_owner_is_written(
    lpbench: CommandLine, tmp_path: Path, speaking: Path
) -> None:
    """No host name, user name or absolute path stands in what a run writes."""
    file = write_lines(tmp_path / "mine.jsonl", {"prompt": "prefill", "output_tokens": 2})
    workload = tmp_path / "mine.toml"
    workload.write_text("[[requests]]\nprompt_tokens = 8\noutput_tokens = 2\n")
    for at, source in enumerate([("--requests", file), ("--workload", workload)]):
        places = ("--output", tmp_path / f"run{at}", "--json", tmp_path / f"{at}.json")
        assert OK == lpbench("traffic", "--model", speaking, *source, *CPU, *places).code
        assert_anonymous(tmp_path / f"run{at}", tmp_path)


def assert_anonymous(folder: Path, *private: Path) -> None:
    """Search all files of a folder for names of this machine and for these paths."""
    names = (socket.gethostname(), f"/{getpass.getuser()}", f"{getpass.getuser()}@")
    paths = (str(Path.home()), str(Path.cwd()), sys.prefix, *map(str, private))
    for file in filter(Path.is_file, folder.rglob("*")):
        text = file.read_text(encoding="utf-8")
        words = re.split(r"[^\w.-]+", text)
        assert names[0] not in words
        assert not [name for name in (*names[1:], *paths) if name in text]


def test_a_relative_folder_is_a_model(
    lpbench: CommandLine, qwen: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record names the folder, however it was typed."""
    monkeypatch.chdir(qwen)
    for typed in (".", "../tiny-qwen", str(qwen)):
        result = lpbench("traffic", "--model", typed, *SMALL, "--json", "-")
        assert OK == result.code, result.err
        assert "tiny-qwen" == record_of(result.out).spec["model"]


def test_shards_are_one_model(lpbench: CommandLine, qwen: Path, sharded: Path) -> None:
    """The same weights in several files give the same counts."""
    first, other = (
        record_of(lpbench("traffic", "--model", model, *SMALL, "--json", "-").out)
        for model in (qwen, sharded)
    )
    assert [counted(arm) for arm in first.arms] == [counted(arm) for arm in other.arms]


@pytest.mark.parametrize(
    "change", [{"tokens_equal": False}, {"far_disagreements": 2}], ids=["tokens", "routing"]
)
def test_schedules_that_differ_are_told_loudly(
    lpbench: CommandLine, qwen: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    """An audit that fails exits 5, with the table and in capitals, or with the record."""

    def unsound(arms: Sequence[Witnessed], *, dtype: str) -> Audit:
        found = audit(arms, dtype=dtype)
        last = found.arms[-1].model_copy(update=change)
        return found.model_copy(update={**change, "arms": (*found.arms[:-1], last)})

    monkeypatch.setattr("lpbench.bench.traffic.audit", unsound)
    said = lpbench("traffic", "--model", qwen, *SMALL)
    assert 5 == said.code
    assert re.search(r"\b(NOT|ERROR)\b", said.out)
    written = lpbench("traffic", "--model", qwen, *SMALL, "--json", "-")
    assert 5 == written.code
    record = record_of(written.out)
    assert record.audit is not None
    assert not record.audit.is_sound
