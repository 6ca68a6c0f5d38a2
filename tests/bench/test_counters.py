"""The counter pass of `lpbench traffic`, with an instrument that reads what the engine counted."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
from pydantic import JsonValue

from lpbench.bench import dram, traffic
from lpbench.bench.campaign import Campaign
from lpbench.bench.energy import run_energy
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import Experiment
from lpbench.bench.instruments import Counters, Instruments, find_instruments
from lpbench.bench.spec import RunSpec
from lpbench.bench.traffic import run_traffic
from lpbench.errors import InputError, UnavailableError
from lpbench.executors.executor import Execution
from lpbench.executors.torch_engine.executor import TorchExecutor
from lpbench.meters.clocks import HostClock
from lpbench.meters.cupti.fault import SamplerError
from lpbench.meters.meter import Capability, Measurement
from lpbench.plan.iteration import IterationPlan
from lpbench.record.schema import Reading, Record
from lpbench.record.store import RunStore, read_record
from lpbench.testing.meters import FakeMeter
from tests.arms import single_thread
from tests.bench.fakes import Quiet
from tests.bench.tiny import tiny_spec
from tests.cli.command import read_lines

EXPERT_BYTES = 4 * 3 * 32 * 32
"""Of `tiny_spec`: three float32 matrices of 32 x 32."""

REST = 1000
"""Bytes that every pass reads besides."""


class EngineMeter:
    """Reads the expert bytes of the engine's passes, and the rest of them."""

    def __init__(self, name: str, engine: list[int], *, reads: Sequence[str]) -> None:
        """Read what `engine` has counted; `reads` are the readings it gives."""
        self.name = name
        self.available = True
        self.facts: dict[str, JsonValue] = {"chip": "none"}
        self.windows = 0
        self.closed = 0
        self._engine = engine
        self._reads = reads
        self._before = 0

    def probe(self) -> Capability:
        """Return whether it is there."""
        if self.available:
            return Capability(meter=self.name, available=True, facts=self.facts)
        return Capability(
            meter=self.name,
            available=False,
            code="permission_denied",
            reason="not for you",
            fix="be root",
        )

    def start(self) -> None:
        """Begin at nothing."""
        self._before = self._engine[0]

    def stop(self) -> Measurement:
        """Return the bytes since; as many are said to be written."""
        self.windows += 1
        reading = Reading(
            value=self._engine[0] - self._before,
            unit="B",
            method="measured",
            source=self.name,
            pass_="",
            uncertainty=0,
        )
        return Measurement(
            start_ns=0,
            stop_ns=1,
            readings=dict.fromkeys(self._reads, reading),
            series={self.name: [[self.windows, reading.value or 0]]},
        )

    def close(self) -> None:
        """Take note of it."""
        self.closed += 1


class Guests:
    """Who else is on the device: nobody, until one comes at a look."""

    def __init__(self) -> None:
        """Look at nothing yet."""
        self.looks = 0
        self.comes_at = 10**6
        self.closed = 0
        self.most: int | None = 1

        self.leaves_at = 10**6

    def look(self) -> Sequence[str]:
        """Return whether somebody is there."""
        self.looks += 1
        is_there = self.comes_at < self.looks <= self.leaves_at
        return ("foreign_process",) if is_there else ()

    def close(self) -> None:
        """Take note of it."""
        self.closed += 1


class Bench:
    """The meters of a device that is no CPU, as far as the run knows."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        """Have all instruments there."""
        self._patch = patch
        self.engine = [0]
        self.cupti = EngineMeter(
            "cupti", self.engine, reads=("dram_bytes_read", "dram_bytes_written")
        )
        self.gpm = EngineMeter("gpm", self.engine, reads=("dram_bytes_gpm",))
        self.ncu = EngineMeter("ncu", self.engine, reads=())
        self.guests = Guests()

    def beyond_cache(self) -> None:
        """Have the layers' weights be far more than the cache."""
        self._patch.setattr("lpbench.bench.counters.cached", lambda readings, **_: readings)

    def counters(self, *names: str, required: bool = False) -> Counters:
        """Return them as the job takes them."""
        meters = {one.name: one for one in (self.cupti, self.gpm, self.ncu)}
        return Counters(
            build=lambda name, _: meters[name],
            probe=lambda name: meters[name].probe(),
            company=lambda _: self.guests,
            names=names,
            required=required,
        )


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Return the meters, fed by the engine, which computes on the CPU and says it does not."""
    found = Bench(monkeypatch)
    execute = TorchExecutor.execute

    def metered(
        self: TorchExecutor, plan: IterationPlan, meanwhile: Callable[[], None] | None = None
    ) -> Execution:
        done = execute(self, plan, meanwhile)
        experts = int(done.drawn.touched.any(axis=1).sum())
        found.engine[0] += experts * EXPERT_BYTES + REST
        return done

    monkeypatch.setattr(TorchExecutor, "execute", metered)
    monkeypatch.setattr(dram, "WINDOW_S", 0.01)
    monkeypatch.setattr(traffic, "find_instruments", as_if_on_a_gpu)
    with single_thread():
        yield found


def as_if_on_a_gpu(counters: Counters | None, device: str) -> Instruments:
    """Look for instruments as on a GPU."""
    assert "cpu" == device
    return find_instruments(counters, "cuda:0")


def run(folder: Path, counters: Counters, store: RunStore | None = None) -> Record:
    """Run two schedules on requests of which one has a context."""
    requests = folder / "requests.jsonl"
    requests.write_text(
        '{"prompt_tokens": 20, "output_tokens": 5, "context_tokens": 40}\n'
        '{"prompt_tokens": 30, "output_tokens": 4}\n'
    )
    lengths = {"num_prompts": None, "input_len": None, "output_len": None}
    spec = tiny_spec(
        folder,
        requests=requests,
        schedules=("chunked:max_num_batched_tokens=16", "layered:num_groups=2"),
        **lengths,
    )
    return run_traffic(spec, lambda: store or RunStore(output=None, json=None), Quiet(), counters)


def test_measured_expert_bytes_are_the_counted_ones(tmp_path: Path, bench: Bench) -> None:
    """The control takes everything else away, contexts too; what the meter saw is what ran."""
    record = run(tmp_path, bench.counters())
    assert "complete" == record.status
    assert {"meters": {"cupti": {"chip": "none"}}} == record.protocol
    for arm in record.arms:
        counted = arm.metrics["expert_bytes"].value
        iterations = arm.metrics["iterations"].value
        measured = arm.metrics["expert_bytes_measured"]
        assert counted is not None
        assert iterations is not None
        assert counted == measured.value
        assert counted + REST * iterations == arm.metrics["dram_bytes_read"].value
        assert ("counters", 3) == (measured.pass_, len(measured.samples))
        assert arm.ledger.dram_bytes is not None
        assert 2 * (counted + REST * iterations) == arm.ledger.dram_bytes.value
        assert "dram_bytes_gpm" not in arm.metrics
    assert (0, bench.guests.closed) == (bench.gpm.windows, bench.cupti.closed)


def test_a_model_in_the_cache_has_no_measured_expert_bytes(tmp_path: Path, bench: Bench) -> None:
    """Layers of 98 kB stay in any cache: the value is kept, marked, and out of the ledger."""
    for arm in run(tmp_path, bench.counters()).arms:
        measured = arm.metrics["expert_bytes_measured"]
        assert ("invalid", ("fits_in_cache",)) == (measured.validity, measured.reasons)
        assert arm.ledger.measured_bytes is None


def test_raw_samples_are_kept_by_window(tmp_path: Path, bench: Bench) -> None:
    """Each line says which arm, window and block it is of: 12 windows an arm, a sample each."""
    run(tmp_path, bench.counters(), RunStore(output=tmp_path / "run", json=None))
    lines = read_lines(tmp_path / "run" / "samples" / "cupti.jsonl")
    assert {"arm", "window", "block", "runs", "sample"} == set(lines[0])
    for label in ("chunked:max_num_batched_tokens=16", "layered:num_groups=2"):
        mine = [(one["window"], one["block"]) for one in lines if one["arm"] == label]
        assert [
            (name, b) for b in range(3) for name in ("measured", "control") for _ in "12"
        ] == mine


def test_gpm_serves_where_cupti_may_not(tmp_path: Path, bench: Bench) -> None:
    """Reads and writes together are enough for the experts; why cupti is absent stays told."""
    bench.cupti.available = False
    record = run(tmp_path, bench.counters())
    assert ["gpm"] == list(cast("dict[str, object]", record.protocol["meters"]))
    for arm in record.arms:
        assert ("permission_denied",) == arm.metrics["dram_bytes_read"].reasons
        measured = arm.metrics["expert_bytes_measured"]
        assert ("gpm", arm.metrics["expert_bytes"].value) == (measured.source, measured.value)
        assert arm.ledger.dram_bytes == arm.metrics["dram_bytes_gpm"].model_copy(
            update={"samples": ()}
        )


def test_meters_that_are_named_all_measure(tmp_path: Path, bench: Bench) -> None:
    """One after the other, in windows of its own; the experts' bytes are the first one's."""
    record = run(tmp_path, bench.counters("gpm", "cupti"))
    assert [24, 24] == [bench.gpm.windows, bench.cupti.windows]
    for arm in record.arms:
        assert arm.metrics["dram_bytes_gpm"].value == arm.metrics["dram_bytes_read"].value
        assert 1 + 24 == len(arm.windows)  # the first one is the counting pass
        # Invalid (the model fits in the cache) from both: the first one's stands.
        assert "gpm" == arm.metrics["expert_bytes_measured"].source


def test_a_guest_voids_the_windows_it_was_there_in(tmp_path: Path, bench: Bench) -> None:
    """Somebody comes in the last window of the first arm: two of three slopes are left there."""
    bench.guests.comes_at = 2 * 12 - 1
    first, second = run(tmp_path, bench.counters()).arms
    marked = [
        one.readings["dram_bytes_read"].reasons for one in first.windows if one.name == "control"
    ]
    assert [(), (), (), (), (), ("foreign_process",)] == marked
    assert ("valid", 3) == (
        first.metrics["dram_bytes_read"].validity,
        len(first.metrics["dram_bytes_read"].samples),
    )
    assert 2 == len(first.metrics["expert_bytes_measured"].samples)
    assert ("foreign_process",) == second.metrics["dram_bytes_read"].reasons
    for arm in (first, second):
        assert "void_windows" in [one.code for one in arm.warnings]


def test_arms_are_compared_by_one_instrument(tmp_path: Path, bench: Bench) -> None:
    """Void in one arm, the first meter gives way in both: no ratio mixes instruments."""
    bench.guests.comes_at = 2 * 12  # somebody is there in the second arm's windows of cupti
    bench.guests.leaves_at = 2 * 24
    bench.beyond_cache()
    record = run(tmp_path, bench.counters("cupti", "gpm"))
    assert [True, False] == [
        "valid" == arm.metrics["dram_bytes_read"].validity for arm in record.arms
    ]
    for arm in record.arms:
        experts = arm.metrics["expert_bytes_measured"]
        assert ("gpm", "valid") == (experts.source, experts.validity)
    # The ledger's bytes are of the best instrument of its arm.
    sources = [arm.ledger.dram_bytes.source for arm in record.arms if arm.ledger.dram_bytes]
    assert ["cupti", "gpm"] == sources


@pytest.mark.parametrize(
    ("most", "context", "expected"), [(1, "none", 0), (2, "none", 1), (2, "own", 0), (3, "own", 1)]
)
def test_others_on_the_gpu_throughout_are_told(
    tmp_path: Path, bench: Bench, *, most: int, context: str, expected: int
) -> None:
    """They void no window, but the bytes are theirs too; the sampler's own context is ours."""
    bench.guests.most = most
    bench.cupti.facts = {"context": context}
    for arm in run(tmp_path, bench.counters()).arms:
        said = [one.message for one in arm.warnings if one.code == "shared_gpu"]
        assert expected == len(said)
        assert not said or said[0].startswith("1 other process on the GPU throughout")


def test_an_interrupted_pass_keeps_its_windows(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the sixth window: five are in the record, with the bytes that were counted."""
    stop = bench.cupti.stop

    def interrupted() -> Measurement:
        if bench.cupti.windows == 5:
            raise KeyboardInterrupt
        return stop()

    monkeypatch.setattr(bench.cupti, "stop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, bench.counters(), RunStore(output=tmp_path / "run", json=None))
    record = read_record(tmp_path / "run")
    assert ("failed", "interrupted") == (record.status, record.failure)
    first, second = record.arms
    assert (1 + 5, 1) == (len(first.windows), len(second.windows))
    assert ("not_measured",) == first.metrics["dram_bytes_read"].reasons
    assert "valid" == second.metrics["expert_bytes"].validity


def test_counters_that_are_denied_are_absent_with_the_code(tmp_path: Path, bench: Bench) -> None:
    """Nobody asked for them: the run goes on, every reading says why it is not there."""
    bench.cupti.available = bench.gpm.available = False
    for arm in run(tmp_path, bench.counters()).arms:
        for name in (
            "dram_bytes_read",
            "dram_bytes_written",
            "dram_bytes_gpm",
            "expert_bytes_measured",
        ):
            reading = arm.metrics[name]
            assert (None, ("permission_denied",)) == (reading.value, reading.reasons)


def test_required_counters_that_are_denied_end_the_run(tmp_path: Path, bench: Bench) -> None:
    """Asked for: one line with the reason and the fix, before anything runs; GPM is no stand-in."""
    bench.cupti.available = False
    message = "--require-counters: cupti: not for you; fix: be root"
    with pytest.raises(UnavailableError, match=message):
        run(tmp_path, bench.counters(required=True))


def test_a_cpu_has_no_counters(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a device for them, requiring them is refused as well; asked for, they are absent."""
    monkeypatch.setattr(traffic, "find_instruments", find_instruments)
    with pytest.raises(UnavailableError, match="no DRAM counters are read on cpu"):
        run(tmp_path, bench.counters(required=True))
    for arm in run(tmp_path, bench.counters("gpm")).arms:
        for name in ("dram_bytes_read", "dram_bytes_gpm", "expert_bytes_measured"):
            assert ("no_device",) == arm.metrics[name].reasons
        (said,) = [one.message for one in arm.warnings if one.code == "no_counters"]
        assert "no DRAM bytes by gpm: no DRAM counters are read on cpu; fix: --device cuda" == said


def test_counters_that_are_lost_in_the_pass_cost_their_bytes_alone(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was counted stands, the audit is made, and the code says what happened."""

    def lose() -> None:
        raise SamplerError("hardware_busy", "another profiler has the counters")

    monkeypatch.setattr(bench.cupti, "start", lose)
    record = run(tmp_path, bench.counters())
    assert ("complete", True) == (record.status, record.audit is not None)
    for arm in record.arms:
        assert ("hardware_busy",) == arm.metrics["dram_bytes_read"].reasons
        (said,) = [one.message for one in arm.warnings if one.code == "no_counters"]
        assert "no DRAM bytes by cupti: cupti: another profiler has the counters" in said
        assert "valid" == arm.metrics["expert_bytes"].validity


def test_a_context_that_is_lost_has_no_place_in_a_window(tmp_path: Path, bench: Bench) -> None:
    """Its prefill would be read as the run's: no bytes then, and no energy either."""
    spec = scarce_spec(tmp_path)
    record = run_traffic(spec, lambda: RunStore(output=None, json=None), Quiet(), bench.counters())
    assert record.arms[0].metrics["preemptions"].value
    assert ("context_recomputed",) == record.arms[0].metrics["dram_bytes_read"].reasons
    with pytest.raises(InputError, match="preempts a request with context_tokens"):
        run_energy(
            spec,
            Campaign(),
            lambda _: FakeMeter(HostClock(), lambda _: 1),
            lambda: RunStore(output=None, json=None),
            Quiet(),
        )


def test_a_gpu_runs_every_arm_once_before_it_counts(
    tmp_path: Path, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the first arm would pay for kernels and memory is in no one's figures."""
    del bench

    class OnGpu(Engine):
        def __init__(self, spec: RunSpec, experiment: Experiment) -> None:
            super().__init__(spec, experiment)
            self.device = "cuda:0"

    listener = Quiet()
    monkeypatch.setattr(traffic, "Engine", OnGpu)
    monkeypatch.setattr(traffic, "find_instruments", lambda *_: Instruments())
    spec = tiny_spec(tmp_path, schedules=("whole", "layered:num_groups=2"))
    run_traffic(spec, lambda: RunStore(output=None, json=None), listener)
    stages = [name for name, _ in listener.stages]
    assert ["load weights", "warm up whole", "warm up layered:num_groups=2", "count whole"] == (
        stages[:4]
    )


def scarce_spec(folder: Path) -> RunSpec:
    """Return a run in which requests with contexts are preempted."""
    requests = folder / "requests.jsonl"
    line = '{"prompt_tokens": 14, "output_tokens": 30, "context_tokens": 32}'
    requests.write_text(f"{line}\n{line}\n")
    return tiny_spec(
        folder,
        requests=requests,
        num_kv_pages=8,
        num_prompts=None,
        input_len=None,
        output_len=None,
    )
