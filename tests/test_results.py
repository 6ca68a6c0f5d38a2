"""What is committed under results/."""

from pathlib import Path

from lpbench.record.store import read_record

RESULTS = Path(__file__).parents[1] / "results"


def test_the_example_counts_what_the_baseline_does() -> None:
    """The pictures of README are of the run that this code makes."""
    example = read_record(RESULTS / "examples" / "builtin")
    baseline = read_record(RESULTS / "baselines" / "cpu-builtin.json")
    assert baseline.spec_hash == example.spec_hash
    for theirs, ours in zip(baseline.arms, example.arms, strict=True):
        assert theirs.plan_hash == ours.plan_hash
        assert theirs.metrics["expert_bytes"].value == ours.metrics["expert_bytes"].value
