"""The ledger of an arm: what was counted, modelled and measured, and the named residuals.

Owns: the columns of the ledger and what their differences are called.
Must not know: how a column came about, how it is shown.

The routing that happened is known to the last bit, so the modelled pass takes its expert term from
the distinct experts that each iteration logged, and not from an expectation: what is left between
the modelled pass and the measured bytes then says nothing about routing, only about kernels and
caches. How far the router is from uniform is a residual of its own, `routing_skew`.
"""

from collections.abc import Mapping

from lpbench.record.schema import Ledger, LedgerTerm, Reading
from lpbench.shape.passes import PassBytes
from lpbench.units import RATIO


def build_ledger(
    *, counted: float, uniform: float, modelled: PassBytes, dram: Reading, experts: Reading
) -> Ledger:
    """Return an arm's ledger.

    Args:
        counted: expert bytes from the router's decisions.
        uniform: expert bytes in closed form under uniform routing.
        modelled: the arm's passes in closed form, experts as the iterations logged them.
        dram: DRAM bytes of the same passes, read and written.
        experts: expert bytes of the same passes, by the control pass.
    """
    residual = [
        LedgerTerm(name="routing_skew", bytes=counted - uniform),
        LedgerTerm(name="iteration_log", bytes=counted - modelled.experts),
    ]
    if dram.validity == "valid" and dram.value is not None:
        residual.append(LedgerTerm(name="unmodelled_dram", bytes=dram.value - modelled.total))
    return Ledger(
        counted_bytes=counted,
        modelled_bytes=uniform,
        measured_bytes=experts.value if experts.validity == "valid" else None,
        modelled=tuple(
            LedgerTerm(name=name, bytes=value) for name, value in modelled.terms.items()
        ),
        dram_bytes=dram,
        reread_factor=_reread_factor(experts, counted),
        residual=tuple(residual),
    )


def _reread_factor(experts: Reading, counted: float) -> Reading:
    """Return measured over counted expert bytes, as valid as the measured ones."""
    changes: Mapping[str, object] = {
        "value": None,
        "validity": "absent",
        "reasons": experts.reasons or ("nothing_counted",),
        "uncertainty": None,
        "samples": (),
    }
    if experts.value is not None and counted:
        changes = {
            "value": experts.value / counted,
            "uncertainty": None if experts.uncertainty is None else experts.uncertainty / counted,
            "samples": tuple(sample / counted for sample in experts.samples),
        }
    source = f"{experts.source} over router"
    return experts.model_copy(update={**changes, "unit": RATIO, "source": source})
