"""The counter pass of `lpbench traffic`, with an instrument that reads what the engine counted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lpbench.bench import dram
from lpbench.bench.campaign import Campaign
from lpbench.bench.energy import run_energy
from lpbench.bench.spec import RunSpec
from lpbench.bench.traffic import Counters, run_traffic
from lpbench.errors import InputError, UnavailableError
from lpbench.executors.executor import Execution
from lpbench.executors.torch_engine.executor import TorchExecutor
from lpbench.meters.clocks import HostClock
from lpbench.meters.cupti.fault import SamplerError
from lpbench.meters.meter import Capability, Measurement
from lpbench.plan.iteration import IterationPlan
from lpbench.record.schema import Reading, Record
from lpbench.record.store import RunStore
from lpbench.testing.meters import FakeMeter
from tests.arms import single_thread
from tests.bench.fakes import Quiet
from tests.bench.tiny import tiny_spec

EXPERT_BYTES = 4 * 3 * 32 * 32
"""Of `tiny_spec`: three float32 matrices of 32 x 32."""

REST = 1000
"""Bytes that every pass reads besides."""


class EngineMeter:
    """Reads the expert bytes of the engine's passes, and the rest of them."""

    name = "engine"
    available = True

    def __init__(self) -> None:
        """Count nothing yet."""
        self.bytes = 0
        self.closed = False

    def probe(self) -> Capability:
        """Return whether it is there."""
        if self.available:
            return Capability(meter=self.name, available=True)
        return Capability(
            meter=self.name,
            available=False,
            code="permission_denied",
            reason="not for you",
            fix="be root",
        )

    def start(self) -> None:
        """Begin at nothing."""
        self.bytes = 0

    def stop(self) -> Measurement:
        """Return the bytes since; as many are said to be written."""
        reading = Reading(
            value=self.bytes,
            unit="B",
            method="measured",
            source=self.name,
            pass_="",
            uncertainty=0,
        )
        return Measurement(
            start_ns=0,
            stop_ns=1,
            readings={"dram_bytes_read": reading, "dram_bytes_written": reading},
        )

    def close(self) -> None:
        """Take note of it."""
        self.closed = True


@pytest.fixture
def meter(monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineMeter]:
    """Return the meter, fed by the engine."""
    found = EngineMeter()
    execute = TorchExecutor.execute

    def metered(self: TorchExecutor, plan: IterationPlan) -> Execution:
        done = execute(self, plan)
        experts = int(done.routed.touched.any(axis=1).sum())
        found.bytes += experts * EXPERT_BYTES + REST
        return done

    monkeypatch.setattr(TorchExecutor, "execute", metered)
    monkeypatch.setattr(dram, "WINDOW_S", 0.01)
    with single_thread():
        yield found


def run(folder: Path, meter: EngineMeter, *, required: bool = False) -> Record:
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
    return run_traffic(
        spec,
        lambda: RunStore(output=None, json=None),
        Quiet(),
        Counters(find=lambda _: meter, required=required),
    )


def test_measured_expert_bytes_are_the_counted_ones(tmp_path: Path, meter: EngineMeter) -> None:
    """The control takes everything else away, contexts too; what the meter saw is what ran."""
    record = run(tmp_path, meter)
    assert "complete" == record.status
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
    assert meter.closed


def test_a_model_in_the_cache_has_no_measured_expert_bytes(
    tmp_path: Path, meter: EngineMeter
) -> None:
    """Layers of 98 kB stay in any cache: the value is kept, marked, and out of the ledger."""
    for arm in run(tmp_path, meter).arms:
        measured = arm.metrics["expert_bytes_measured"]
        assert ("invalid", ("fits_in_cache",)) == (measured.validity, measured.reasons)
        assert arm.ledger.measured_bytes is None


def test_counters_that_are_denied_are_absent_with_the_code(
    tmp_path: Path, meter: EngineMeter
) -> None:
    """Nobody asked for them: the run goes on, the three readings say why they are not there."""
    meter.available = False
    for arm in run(tmp_path, meter).arms:
        for name in ("dram_bytes_read", "dram_bytes_written", "expert_bytes_measured"):
            reading = arm.metrics[name]
            assert (None, ("permission_denied",)) == (reading.value, reading.reasons)


def test_required_counters_that_are_denied_end_the_run(tmp_path: Path, meter: EngineMeter) -> None:
    """Asked for: one line with the reason and the fix, before anything runs."""
    meter.available = False
    with pytest.raises(UnavailableError, match="--require-counters: not for you; fix: be root"):
        run(tmp_path, meter, required=True)


def test_a_cpu_has_no_counters(tmp_path: Path) -> None:
    """Without a meter for the device, requiring one is refused as well."""
    with pytest.raises(UnavailableError, match="no DRAM counters are read on cpu"):
        run_traffic(
            tiny_spec(tmp_path),
            lambda: RunStore(output=None, json=None),
            Quiet(),
            Counters(required=True),
        )


def test_counters_that_are_lost_in_the_pass_cost_their_bytes_alone(
    tmp_path: Path, meter: EngineMeter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was counted stands, the audit is made, and the code says what happened."""

    def lose() -> None:
        raise SamplerError("hardware_busy", "another profiler has the counters")

    monkeypatch.setattr(meter, "start", lose)
    record = run(tmp_path, meter)
    assert ("complete", True) == (record.status, record.audit is not None)
    for arm in record.arms:
        assert ("hardware_busy",) == arm.metrics["dram_bytes_read"].reasons
        assert "valid" == arm.metrics["expert_bytes"].validity


def test_a_context_that_is_lost_has_no_place_in_a_window(
    tmp_path: Path, meter: EngineMeter
) -> None:
    """Its prefill would be read as the run's: no bytes then, and no energy either."""
    spec = scarce_spec(tmp_path)
    record = run_traffic(
        spec,
        lambda: RunStore(output=None, json=None),
        Quiet(),
        Counters(find=lambda _: meter),
    )
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
