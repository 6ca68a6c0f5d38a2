import pytest

from lpbench.analysis.joined import Joined, join_passes
from lpbench.bench.joules import ENERGY_PASS
from lpbench.errors import InputError
from lpbench.record.schema import Reading, Record
from lpbench.testing.records import example_record
from tests.revalued import example_with

JOULES = Reading(value=5.0, unit="J", method="measured", source="nvml: GPU", pass_=ENERGY_PASS)


def valued(milliseconds: float | None) -> Record:
    """Return the example record with this TTFT."""
    return example_with(ttft_ms_mean=milliseconds)


def test_passes_of_one_experiment_know_more_together() -> None:
    """Bytes of the one, joules of the other; where both have one, the first stands."""
    counts = example_record()
    first, second = counts.arms
    arms = [
        one.model_copy(
            update={
                "metrics": {
                    "joules_per_total_token": JOULES,
                    "expert_bytes": one.metrics["expert_bytes"].model_copy(update={"value": 1}),
                }
            }
        )
        for one in (first, first.model_copy(update={"label": "chunked#2", "role": "aa"}), second)
    ]
    found = join_passes([counts, example_record(command="energy", arms=arms)])
    assert ["chunked", "layered"] == list(found.arms)
    assert JOULES == found.arms["layered"]["joules_per_total_token"]
    assert 1_200_000_000 == found.arms["layered"]["expert_bytes"].value


def test_several_runs_of_a_pass_are_told_by_their_mean() -> None:
    """With a value a run as samples, and how many there were in the source."""
    found = join_passes([valued(300.0), valued(500.0), example_record(command="energy")])
    reading = found.arms["layered"]["ttft_ms_mean"]
    assert 400.0 == reading.value
    assert (300.0, 500.0) == reading.samples
    assert "monotonic clock, mean of 2 runs" == reading.source
    assert {"traffic": 2, "energy": 1} == found.runs
    assert found == Joined.model_validate_json(found.to_json())


def test_what_stands_against_one_run_stands_against_their_mean() -> None:
    """Absent in one, missing in one, or a count that is not one number: not valid, and why."""
    absent, missing = valued(None), example_record(arms=example_record().arms[:1])
    one = join_passes([valued(300.0), absent]).arms["layered"]["ttft_ms_mean"]
    assert ("invalid", ("no_such_rows",), 300.0) == (one.validity, one.reasons, one.value)
    none = join_passes([absent, absent]).arms["layered"]["ttft_ms_mean"]
    assert ("absent", ("no_such_rows",), None) == (none.validity, none.reasons, none.value)
    without = join_passes([valued(300.0), missing]).arms["layered"]["ttft_ms_mean"]
    assert ("not_recorded",) == without.reasons
    counts = [example_with(expert_bytes=value) for value in (1, 2)]
    unequal = join_passes(counts).arms["layered"]["expert_bytes"]
    assert ("not_deterministic",) == unequal.reasons


def test_passes_of_other_machines_are_refused() -> None:
    """Latency of one beside joules of another would be of no machine at all."""
    other = example_record(command="energy", environment={"cpu": "another"})
    with pytest.raises(InputError, match="not of one machine: the records' cpu differ"):
        join_passes([example_record(), other])


def test_passes_on_other_kernels_are_refused() -> None:
    """Bytes on torch's beside joules on ours would be of no engine."""
    counts = example_record()
    fused = counts.environment | {"kernels": {"layers": "triton"}}
    with pytest.raises(InputError, match=r"not of one engine: .* of torch and of triton"):
        join_passes([counts, example_record(command="energy", environment=fused)])


def test_other_experiments_and_failed_runs_are_refused() -> None:
    """In one line each."""
    with pytest.raises(InputError, match=r"spec_hash differ \(5bec and beef\)"):
        join_passes([example_record(), example_record(spec_hash="beef")])
    with pytest.raises(InputError, match=r"failed \(RunError\)"):
        join_passes([example_record(status="failed", failure="RunError")])
