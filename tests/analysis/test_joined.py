import pytest

from lpbench.analysis.joined import join_passes
from lpbench.bench.joules import ENERGY_PASS
from lpbench.errors import InputError
from lpbench.record.schema import Reading
from lpbench.testing.records import example_record

JOULES = Reading(value=5.0, unit="J", method="measured", source="nvml: GPU", pass_=ENERGY_PASS)


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
    assert ["chunked", "layered"] == list(found)
    assert JOULES == found["layered"]["joules_per_total_token"]
    assert 1_200_000_000 == found["layered"]["expert_bytes"].value


def test_passes_of_other_machines_are_refused() -> None:
    """Latency of one beside joules of another would be of no machine at all."""
    other = example_record(command="energy", environment={"cpu": "another"})
    with pytest.raises(InputError, match="not of one machine: the records' cpu differ"):
        join_passes([example_record(), other])


def test_other_experiments_and_failed_runs_are_refused() -> None:
    """In one line each."""
    with pytest.raises(InputError, match=r"spec_hash differ \(5bec and beef\)"):
        join_passes([example_record(), example_record(spec_hash="beef")])
    with pytest.raises(InputError, match=r"failed \(RunError\)"):
        join_passes([example_record(status="failed", failure="RunError")])
