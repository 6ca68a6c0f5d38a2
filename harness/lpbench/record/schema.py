"""The record of a run, validated when written and when read.

Owns: the shape of run.json. Raw values stand in it; statistics are recomputed from them.
Must not know: how a value came about, how it is shown.

Schema versions:
    1 (2026-11): the first.
"""

from typing import Annotated, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    model_validator,
)

SCHEMA_VERSION: Literal[1] = 1

LARGEST = 2**63 - 1
"""No count is larger; what is could not be divided."""

Number = Annotated[int, Field(ge=-LARGEST, le=LARGEST)] | FiniteFloat

Code = Annotated[str, Field(min_length=1)]
"""A reason."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Reading(_Part):
    """One number with everything needed to trust it.

    Attributes:
        value: the number; null exactly where it is absent.
        unit: B, ms, 1, ratio, J.
        method: counted from decisions, measured by an instrument, or modelled in closed form.
        source: the instrument, or the model.
        validity: valid, invalid (the value stands, with reasons against it) or absent.
        reasons: codes that say why it is not valid.
        pass_: which pass of the run it was taken in ("pass" in JSON).
        uncertainty: half the width, in the value's unit, of what its method cannot resolve (a
            tick, a sampling interval); null where the method is exact or it is not known.
        samples: one raw value a block.
    """

    value: Number | None
    unit: str
    method: Literal["counted", "measured", "modelled"]
    source: str
    validity: Literal["valid", "invalid", "absent"] = "valid"
    reasons: tuple[Code, ...] = ()
    pass_: Annotated[str, Field(alias="pass")]
    uncertainty: Number | None = None
    samples: tuple[Number, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "Reading":
        if (self.value is None) != (self.validity == "absent"):
            msg = "value is null exactly where validity is absent"
            raise ValueError(msg)
        if (self.validity == "valid") == bool(self.reasons):
            msg = "reasons are given exactly where a value is not valid"
            raise ValueError(msg)
        return self

    @property
    def valid_value(self) -> Number | None:
        """The value, where nothing stands against it."""
        return self.value if self.validity == "valid" else None

    @property
    def instrument(self) -> str:
        """What it is from, without what changes from run to run."""
        return self.source.partition(", ")[0]


class Schedule(_Part):
    """A schedule and the parameters in force."""

    name: str
    params: dict[str, int | str]


class Window(_Part):
    """A stretch of the run that metrics refer to.

    Attributes:
        name: what it is.
        pass_: which pass of the run it belongs to ("pass" in JSON).
        iterations: passes of the model in it.
        start_ms: its first edge, from the start of the pass; null where that is not kept.
        duration_ms: between its edges.
        runs: how often the workload was run in it.
        block: which block of the campaign it belongs to, from 0; null outside of one.
        readings: what a meter found over it; a void window keeps them, with their reasons.
    """

    name: str
    pass_: Annotated[str, Field(alias="pass")]
    iterations: int
    start_ms: FiniteFloat | None = None
    duration_ms: FiniteFloat
    runs: int = 1
    block: int | None = None
    readings: dict[str, Reading] = {}


class LedgerTerm(_Part):
    """A named part of a column of the ledger, or of the difference between two."""

    name: str
    bytes: Number


class Ledger(_Part):
    """Bytes counted, modelled and measured, side by side, with the residuals named.

    Attributes:
        counted_bytes: expert bytes, from the router's decisions.
        modelled_bytes: expert bytes, in closed form under uniform routing.
        measured_bytes: expert bytes, by the control pass; null where not measured or not valid.
        modelled: the arm's passes in closed form, term by term; `experts` among them is taken
            from the distinct experts that each iteration logged: modelled for the routing that
            happened. Where nothing ran, the experts that were expected, and all other reads.
        dram_bytes: DRAM bytes measured, read and written; absent with its reason where they
            could not be had.
        reread_factor: `measured_bytes` over `counted_bytes`: how often the kernel fetched an
            expert that a pass needs once.
        residual: differences between columns, by name: `routing_skew` is counted - modelled
            under uniform routing, `iteration_log` is counted - `experts` of `modelled` and zero
            unless the log lost something, `unmodelled_dram` (only where measured) is `dram_bytes`
            - all of `modelled`.
    """

    counted_bytes: Number | None
    modelled_bytes: Number | None
    measured_bytes: Number | None = None
    modelled: tuple[LedgerTerm, ...] = ()
    dram_bytes: Reading | None = None
    reread_factor: Reading | None = None
    residual: tuple[LedgerTerm, ...] = ()


class Caution(_Part):
    """Something a reader must know before trusting a number."""

    code: str
    message: str


class Arm(_Part):
    """One schedule's part of the run.

    Attributes:
        label: the schedule as typed, "#2" when repeated.
        role: arm, or aa for a repetition that shows the noise.
        schedule: name and parameters in force.
        plan_hash: digest of all its iteration plans.
        effective_groups: how many prefill batches were cut into how many layer groups.
        metrics: readings by metric name.
        windows: stretches of the run the metrics refer to.
        ledger: the three ways to know the bytes.
        warnings: what to know before trusting a number.
    """

    label: str
    role: Literal["arm", "aa"] = "arm"
    schedule: Schedule
    plan_hash: str
    effective_groups: dict[int, int] = {}
    metrics: dict[str, Reading]
    windows: tuple[Window, ...] = ()
    ledger: Ledger
    warnings: tuple[Caution, ...] = ()


class ArmAudit(_Part):
    """One arm's computation against the first arm's."""

    label: str
    tokens_equal: bool
    max_abs_logit_diff: FiniteFloat
    routing_agreement: FiniteFloat
    near_ties: int
    far_disagreements: int


class Audit(_Part):
    """Did all arms compute the same thing.

    Attributes:
        tokens_equal: every arm's own greedy tokens equal the first arm's.
        max_abs_logit_diff: over the first arm's top-64 logits of the sampled tokens, and their
            log-sum-exp.
        routing_agreement: share of (row, layer) pairs with the same expert set.
        near_ties: disagreeing pairs whose router margin is below `near_tie_margin`.
        far_disagreements: disagreeing pairs that are no near ties: an error.
        dtype: what the audit pass computed in.
        sampled_tokens: generated tokens whose logits were compared.
        arms: the same, arm by arm.
    """

    tokens_equal: bool
    max_abs_logit_diff: FiniteFloat
    routing_agreement: FiniteFloat
    near_ties: int
    far_disagreements: int
    near_tie_margin: FiniteFloat
    dtype: str
    sampled_tokens: int
    arms: tuple[ArmAudit, ...]

    @property
    def is_sound(self) -> bool:
        """Whether the arms' figures may be compared.

        No disagreement but near ties, and in float32 equal tokens.
        """
        return not self.far_disagreements and (self.tokens_equal or self.dtype != "float32")


class Comparison(_Part):
    """A candidate arm's metric over the baseline arm's.

    Attributes:
        metric: its name.
        baseline: label of the baseline arm.
        candidate: label of the other arm.
        ratio: candidate over baseline; the median over blocks where there are several.
        interval: low and high of the median; null for one value, or too few.
        coverage: probability that such an interval holds the median.
        samples: one ratio a block.
        reasons: codes that say why there is no ratio, or no interval.
    """

    metric: str
    baseline: str
    candidate: str
    ratio: FiniteFloat | None
    interval: tuple[FiniteFloat, FiniteFloat] | None = None
    coverage: FiniteFloat | None = None
    samples: tuple[Annotated[FiniteFloat, Field(gt=0)], ...] = ()
    reasons: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "Comparison":
        if self.interval is not None and not 0 < self.interval[0] <= self.interval[1]:
            msg = "an interval of a ratio is above zero, its low edge first"
            raise ValueError(msg)
        return self


class Record(_Part):
    """One run.

    Attributes:
        spec: what was run, and nothing of how it was measured: passes join by its hash.
        protocol: how a measured pass was taken: windows, blocks, the meters and what they found.
        started_at: when, by the wall clock, in UTC; null where it is not kept.
        windows: stretches that belong to no arm: without work, before and after.
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    lpbench_version: str
    status: Literal["complete", "failed"]
    failure: str | None = None
    command: str
    started_at: AwareDatetime | None = None
    spec: dict[str, JsonValue]
    spec_hash: str
    environment: dict[str, JsonValue]
    protocol: dict[str, JsonValue] = {}
    windows: tuple[Window, ...] = ()
    arms: tuple[Arm, ...] = ()
    audit: Audit | None = None
    comparison: tuple[Comparison, ...] = ()

    @property
    def own_arms(self) -> tuple[Arm, ...]:
        """The arms that are no repetition."""
        return tuple(one for one in self.arms if one.role == "arm")

    def arm(self, label: str) -> Arm | None:
        """Return the arm of this label that is no repetition; None without one."""
        return next((one for one in self.own_arms if one.label == label), None)

    def to_json(self) -> str:
        """Return the record as indented JSON with a final newline."""
        return self.model_dump_json(by_alias=True, indent=1) + "\n"
