import pytest

from lpbench.analysis.ledger import build_ledger
from lpbench.bench.dram import EXPERTS, unmeasured_dram
from lpbench.record.schema import Ledger, Reading
from lpbench.shape.passes import PassBytes

ABSENT = unmeasured_dram({"cupti": "no_device"})[EXPERTS]


def measured(value: float, **changes: object) -> Reading:
    """Return measured bytes."""
    fields: dict[str, object] = {
        "value": value,
        "unit": "B",
        "method": "measured",
        "source": "cupti",
        "pass": "counters",
        **changes,
    }
    return Reading.model_validate(fields)


def ledger(
    *, logged: int = 80, dram: Reading = ABSENT, experts: Reading = ABSENT, counted: int = 80
) -> Ledger:
    """Return a ledger: 80 bytes of experts counted, 100 under uniform routing, 120 in all."""
    return build_ledger(
        counted=counted,
        uniform=100.0,
        modelled=PassBytes(experts=logged, kv_read=40),
        dram=dram,
        experts=experts,
    )


def residual(found: Ledger) -> dict[str, float]:
    """Return the residuals by name."""
    return {term.name: term.bytes for term in found.residual}


def test_unmeasured_is_absent_and_never_zero() -> None:
    """Without an instrument there is no residual to it either."""
    found = ledger()
    assert {"routing_skew": -20, "iteration_log": 0} == residual(found)
    assert None is found.measured_bytes
    assert None is not found.dram_bytes
    assert (None, "absent", ("no_device",)) == (
        found.dram_bytes.value,
        found.dram_bytes.validity,
        found.dram_bytes.reasons,
    )


def test_a_log_that_lost_an_iteration_is_seen() -> None:
    """The residual between the metric and the iterations' sum is not always zero."""
    assert 15 == residual(ledger(logged=65))["iteration_log"]


def test_measured_bytes_are_set_against_the_whole_pass() -> None:
    """200 bytes of DRAM over 120 modelled leave 80; 100 bytes of experts over 80 are 1.25."""
    experts = measured(100, uncertainty=4, samples=[96, 104])
    found = ledger(dram=measured(200), experts=experts)
    assert 80 == residual(found)["unmodelled_dram"]
    assert 100 == found.measured_bytes
    factor = found.reread_factor
    assert factor is not None
    assert (1.25, "ratio", "measured", "valid") == (
        factor.value,
        factor.unit,
        factor.method,
        factor.validity,
    )
    assert (0.05, (1.2, 1.3)) == (factor.uncertainty, factor.samples)
    assert factor == Reading.model_validate(factor.model_dump(by_alias=True))


def test_invalid_measurements_make_no_residual() -> None:
    """An invalid figure is kept with its reason and is not reckoned with."""
    wrong = measured(200, validity="invalid", reasons=["throttled"])
    found = ledger(dram=wrong, experts=wrong)
    assert "unmodelled_dram" not in residual(found)
    assert None is found.measured_bytes
    assert found.reread_factor is not None
    assert ("invalid", ("throttled",)) == (
        found.reread_factor.validity,
        found.reread_factor.reasons,
    )


@pytest.mark.parametrize(
    ("experts", "counted", "reason"),
    [(ABSENT, 80, "no_device"), (ABSENT, 0, "no_device"), (measured(5), 0, "nothing_counted")],
)
def test_a_factor_that_cannot_be_had(experts: Reading, counted: int, reason: str) -> None:
    """It is absent with the reason, in a form that the record takes."""
    factor = ledger(experts=experts, counted=counted).reread_factor
    assert factor is not None
    assert (None, "absent", (reason,)) == (factor.value, factor.validity, factor.reasons)
    assert factor == Reading.model_validate(factor.model_dump(by_alias=True))
