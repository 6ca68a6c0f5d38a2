import pytest

from lpbench.analysis.gate import Figure, check_exact, gate
from lpbench.analysis.metrics import METRICS
from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.testing.records import example_record
from tests.revalued import example_with, without

BASELINE = example_record()
FIGURES = sum(metric.exact for metric in METRICS.values())


def respecified(**changes: object) -> Record:
    """Return the example record with keys of its spec set."""
    return example_record(spec=BASELINE.spec | changes)


def refusal(baseline: Record, candidate: Record) -> str:
    """Return the one line with which two records are not compared."""
    with pytest.raises(InputError) as caught:
        gate(baseline, candidate)
    assert 1 == len(str(caught.value).splitlines())
    return str(caught.value)


def test_equal_records_differ_in_nothing() -> None:
    """Every exact figure of both arms is compared."""
    found = gate(BASELINE, example_record())
    assert (2, 2 * FIGURES, ()) == (found.arms, len(found.figures), found.differences)


def test_times_may_differ() -> None:
    """What depends on the machine is no exact figure, nor are environment and version."""
    changed = example_with(ttft_ms_mean=1.0, tbt_ms_max=None)
    other = changed.model_copy(update={"environment": {}, "lpbench_version": "9"})
    assert () == gate(BASELINE, other).differences


def test_where_nothing_ran_times_may_not() -> None:
    """Every figure is deterministic then, but for the last digits that a library may round."""
    spec = BASELINE.spec | {"executor": "roofline"}
    before = example_record(spec=spec)
    for factor, expected in ((1, ()), (1 + 1e-12, ()), (1 + 1e-6, ("ttft_ms_mean",))):
        changed = example_with(ttft_ms_mean=400 * factor).model_copy(update={"spec": spec})
        found = gate(before, changed)
        assert expected == tuple(one.metric for one in found.differences)
        assert all(one.is_exact for one in found.figures)
        assert len(found.figures) > 2 * FIGURES


def test_plans_that_followed_the_clock_are_not_exact() -> None:
    """Requests in seconds, real passes: another run plans otherwise; a modelled one does not."""
    said = refusal(example_record(command="latency"), BASELINE)
    assert "the plans followed the machine's speed" in said
    assert "--executor roofline" in said
    modelled = example_record(command="latency", spec=BASELINE.spec | {"executor": "roofline"})
    check_exact(modelled, name="baseline")


def test_a_figure_that_differs_is_named() -> None:
    """Arm, metric and both values, for however small a difference."""
    expected = (
        Figure(arm="layered", metric="preemptions", baseline=0, candidate=1),
        Figure(
            arm="layered", metric="expert_bytes", baseline=1_200_000_000, candidate=1_200_000_001
        ),
    )
    changed = example_with(expert_bytes=1_200_000_001, preemptions=1)
    assert expected == gate(BASELINE, changed).differences


@pytest.mark.parametrize("swapped", [False, True])
def test_a_figure_that_only_one_record_has_differs(swapped: bool) -> None:  # noqa: FBT001
    """Absent and missing are not equal to a value."""
    first, second = BASELINE.arms
    for poorer in (
        example_with(reload_factor=None),
        example_record(arms=(first, without(second, "reload_factor"))),
    ):
        pair = (poorer, BASELINE) if swapped else (BASELINE, poorer)
        (found,) = gate(*pair).differences
        expected = (None, 1.0) if swapped else (1.0, None)
        assert expected == (found.baseline, found.candidate)


def test_a_figure_that_neither_record_has_is_not_counted_as_compared() -> None:
    """The verdict names how many figures are equal, and nothing equals nothing."""
    first, second = BASELINE.arms
    poorer = example_record(arms=(first, without(second, "reload_factor", "expert_coverage")))
    found = gate(poorer, poorer)
    assert (2 * FIGURES - 2, ()) == (len(found.figures), found.differences)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seed", 1, "not comparable: seed is 1, in the baseline 0"),
        ("dtype", "bfloat16", "not comparable: dtype is 'bfloat16', in the baseline 'float32'"),
        ("routing", "model", "not comparable: routing is 'model', in the baseline 'calibrated'"),
        ("extra", 5, "not comparable: extra is 5, in the baseline None"),
        (
            "schedules",
            ["chunked"],
            "not comparable: schedules is ['chunked'], in the baseline ['chunked', 'layered']",
        ),
    ],
)
def test_records_of_different_experiments_are_refused(
    key: str, value: object, expected: str
) -> None:
    """The first key of the spec that differs is named, with both values."""
    assert expected == refusal(BASELINE, respecified(**{key: value}))


def test_a_key_that_the_record_lacks_is_named() -> None:
    """A spec of an older version may be shorter."""
    spec = {key: value for key, value in BASELINE.spec.items() if key != "seed"}
    expected = "not comparable: seed is None, in the baseline 0"
    assert expected == refusal(BASELINE, example_record(spec=spec))


@pytest.mark.parametrize(("name", "failed"), [("baseline", 0), ("record", 1)])
def test_a_failed_run_is_refused(name: str, failed: int) -> None:
    """The message says which of the two it is and why it failed."""
    records = [BASELINE, BASELINE]
    records[failed] = example_record(status="failed", failure="interrupted")
    expected = f"the {name} is of a run that failed (interrupted); it cannot be compared"
    assert expected == refusal(*records)


def test_the_models_own_router_is_refused() -> None:
    """Its choices follow float rounding, so figures are not exact."""
    record = respecified(routing="model")
    expected = "routing=model follows float rounding; an exact gate needs calibrated or uniform"
    assert expected == refusal(record, record)


def test_records_with_other_arms_are_refused() -> None:
    """A complete record that lacks an arm its spec names cannot be compared."""
    shorter = example_record(arms=BASELINE.arms[:1])
    expected = "not comparable: the arms are ['chunked'], in the baseline ['chunked', 'layered']"
    assert expected == refusal(BASELINE, shorter)


def test_a_record_is_exact_or_refused() -> None:
    """A baseline can be judged before anything is run to compare with it."""
    check_exact(BASELINE, name="baseline")
    with pytest.raises(InputError, match="the baseline is of a run that failed"):
        check_exact(example_record(status="failed", failure="interrupted"), name="baseline")
    with pytest.raises(InputError, match="routing=model"):
        check_exact(respecified(routing="model"), name="baseline")


def measured(value: float, *, machine: str = "GPU", **changes: object) -> Record:
    """Return the example record with DRAM bytes read of its second arm."""
    first, second = BASELINE.arms
    reading = second.metrics["dram_bytes_read"].model_copy(
        update={"value": value, "validity": "valid", "reasons": (), "source": "cupti"} | changes
    )
    second = second.model_copy(update={"metrics": {**second.metrics, "dram_bytes_read": reading}})
    return example_record(arms=(first, second), environment={"cpu": machine})


@pytest.mark.parametrize(
    ("value", "differs"), [(1000, False), (1020, False), (1021, True), (980, False), (979, True)]
)
def test_measured_bytes_may_differ_by_two_per_cent(value: float, *, differs: bool) -> None:
    """Either way: fewer bytes than the baseline's call for a new one."""
    found = gate(measured(1000), measured(value))
    assert differs == bool(found.differences)
    assert 2 * FIGURES + 1 == len(found.figures)


@pytest.mark.parametrize(
    "other",
    [measured(5000, machine="another"), measured(5000, source="gpm")],
    ids=["another machine", "another instrument"],
)
def test_bytes_that_are_not_alike_are_not_gated(other: Record) -> None:
    """Nor on a machine that the baseline does not name; counts are all the same."""
    found = gate(measured(1000), other)
    assert 2 * FIGURES == len(found.figures)
    assert 1 == len(found.skipped)


def test_bytes_that_were_measured_in_vain_prove_nothing() -> None:
    """The baseline has them, the record has codes: named, and no difference."""
    failed = measured(1000, validity="invalid", reasons=("overflow",))
    found = gate(measured(1000), failed)
    assert ((("layered", "dram_bytes_read", "overflow"),), ()) == (found.void, found.differences)
    assert () == gate(failed, measured(1000)).void
