"""What `lpbench traffic` says: the table, the finding, what it rests on.

Owns: the words and the rounding.
Must not know: how a number was taken.
"""

from lpbench.analysis.comparable import is_modelled
from lpbench.record.schema import Arm, Audit, Reading, Record
from lpbench.report.table import Table
from lpbench.units import format_bytes

ABSENT = "-"
SMALLEST_SHARE = 0.0005
"""Below this a difference is called none."""


def traffic_table(record: Record) -> Table:
    """Return one row per arm; where a cell has two lines, they are mean and max."""
    return Table(
        title=run_title(record),
        columns=(
            "schedule",
            "iter.",
            "expert\nGB",
            "by pre-\nfill GB",
            "reload\nfactor",
            "cover-\nage",
            "TTFT\nms",
            "TBT\nms",
            "same\ntokens",
        ),
        rows=tuple(_row(arm, record.audit) for arm in record.arms),
    )


def run_title(record: Record) -> str:
    """Return what ran and where."""
    spec = record.spec
    ranks = spec.get("tensor_parallel_size", 1)
    device = spec["device"] if ranks == 1 else f"{ranks} x {spec['device']}"
    return (
        f"{spec['model']}, workload {spec['workload']}, {spec['routing']} routing, "
        f"{spec['dtype']} on {device}"
    )


def _row(arm: Arm, audit: Audit | None) -> tuple[str, ...]:
    same = {one.label: one.tokens_equal for one in audit.arms} if audit else {}
    return (
        arm.label,
        _show(arm.metrics["iterations"], "{:.0f}"),
        _show(arm.metrics["expert_bytes"], "{:.2f}", scale=1e-9),
        _show(arm.metrics["expert_bytes_prefill_marginal"], "{:.2f}", scale=1e-9),
        _show(arm.metrics["reload_factor"], "{:.2f}"),
        _show(arm.metrics["expert_coverage"], "{:.1f}%", scale=100),
        _pair(arm, "ttft"),
        _pair(arm, "tbt"),
        {True: "yes", False: "NO", None: ABSENT}[same.get(arm.label)],
    )


def _show(reading: Reading, form: str, *, scale: float = 1) -> str:
    return ABSENT if reading.value is None else form.format(reading.value * scale)


def _pair(arm: Arm, name: str) -> str:
    mean = _show(arm.metrics[f"{name}_ms_mean"], "{:.0f}")
    return mean + "\n" + _show(arm.metrics[f"{name}_ms_max"], "{:.0f}")


def finding(record: Record) -> str:
    """Return the sentence that says what was found and on what it rests."""
    first = record.arms[0]
    base = first.metrics["expert_bytes"].value
    if len(record.arms) == 1 or not base:
        alone = format_bytes(base or 0)
        return f"{first.label} reads {alone} of expert weights; {_grounds(record)}"
    return "; ".join(_against(arm, first, base) for arm in record.arms[1:]) + (
        f"; {_grounds(record)}"
    )


def _against(arm: Arm, first: Arm, base: float) -> str:
    value = arm.metrics["expert_bytes"].value or 0
    share = value / base - 1
    if abs(share) < SMALLEST_SHARE:
        return f"{arm.label} reads as many expert bytes as {first.label} ({format_bytes(value)})"
    word = "fewer" if share < 0 else "more"
    return (
        f"{arm.label} reads {abs(share):.1%} {word} expert bytes than {first.label} "
        f"({format_bytes(value)} against {format_bytes(base)})"
    )


def _grounds(record: Record) -> str:
    if is_modelled(record):
        return f"{modelled_by(record)}."
    routing = record.spec["routing"]
    drawn = "the model's own router" if routing == "model" else f"the router ({routing} draws)"
    return (
        f"counted from {drawn}, in one engine. Times are {str(record.spec['device']).upper()} "
        "times of this machine, one run, no interval."
    )


def modelled_by(record: Record) -> str:
    """Return what the figures of a run follow from in which nothing ran."""
    source = record.arms[0].metrics["expert_bytes"].source
    return f"modelled by {source}, {record.spec['routing']} routing"


def clock_note(record: Record) -> str:
    """Return what arrivals are in, and what follows from it."""
    if record.protocol.get("arrivals") == "seconds":
        return (
            "Requests arrive in seconds of the virtual clock: all arms are offered the same load."
        )
    return (
        "Requests arrive by iteration: an arm with longer iterations is offered its load more "
        "slowly."
    )


def notes(record: Record) -> tuple[str, ...]:
    """Return what a reader must know besides: the clock, the sameness, the warnings."""
    said = [
        (
            "Two lines in a cell are mean and max. 'by prefill' is what prefill rows added to "
            "what the decodes read anyway; reload factor 1 is ideal."
        ),
        clock_note(record),
    ]
    if record.audit is not None:
        said.append(sameness(record.audit))
    seen = dict.fromkeys(one.message for arm in record.arms for one in arm.warnings)
    return (*said, *(f"Warning: {message}" for message in seen))


def sameness(audit: Audit) -> str:
    """Return what the audit of a run found."""
    equal = "All schedules computed the same tokens"
    if not audit.tokens_equal:
        equal = "THE SCHEDULES DID NOT COMPUTE THE SAME TOKENS"
    text = (
        f"{equal} (audit in {audit.dtype}: largest logit difference "
        f"{audit.max_abs_logit_diff:.1e} over {audit.sampled_tokens} tokens, routing agreement "
        f"{audit.routing_agreement:.4%}, near ties {audit.near_ties})."
    )
    if audit.far_disagreements:
        text += f" ERROR: {audit.far_disagreements} routing decisions differ without a near tie."
    return text
