"""The audit: did all arms compute the same thing.

Owns: which tokens are sampled, and the comparison of two arms' evidence.
Must not know: torch, how the evidence was taken.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lpbench.errors import RunError
from lpbench.executors.executor import Evidence
from lpbench.plan.request import Request
from lpbench.record.schema import ArmAudit, Audit

SAMPLED_TOKENS = 64
"""Generated tokens whose logits are compared, spread evenly over the workload."""

TOP_LOGITS = 64
"""Logits compared per sampled token: the baseline's largest."""

NEAR_TIE = 1e-3
"""A router margin below this is a near tie (DESIGN.md, "Same tokens")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnessed:
    """One arm of the audit pass: its label, its own greedy tokens, what the probe saw."""

    label: str
    tokens: Mapping[int, Sequence[int]]
    evidence: Evidence


def sampled_tokens(requests: Sequence[Request]) -> tuple[tuple[int, int], ...]:
    """Return (request, n-th generated token) pairs, evenly spread, at most SAMPLED_TOKENS."""
    every = [(request.index, nth) for request in requests for nth in range(request.output_tokens)]
    count = min(SAMPLED_TOKENS, len(every))
    return tuple(every[at * len(every) // count] for at in range(count))


def audit(arms: Sequence[Witnessed], *, dtype: str) -> Audit:
    """Compare every arm with the first.

    Raises:
        RunError: a logit is not a finite number: the weights are broken.
    """
    for arm in arms:
        if not all(np.isfinite(logits).all() for logits in arm.evidence.logits.values()):
            msg = (
                f"schedule {arm.label!r}: the model's logits are not finite numbers; its weights "
                "are broken"
            )
            raise RunError(msg)
    found = tuple(_compare(arms[0], arm) for arm in arms)
    return Audit(
        tokens_equal=all(one.tokens_equal for one in found),
        max_abs_logit_diff=max(one.max_abs_logit_diff for one in found),
        routing_agreement=min(one.routing_agreement for one in found),
        near_ties=sum(one.near_ties for one in found),
        far_disagreements=sum(one.far_disagreements for one in found),
        near_tie_margin=NEAR_TIE,
        dtype=dtype,
        sampled_tokens=len(arms[0].evidence.logits),
        arms=found,
    )


def _compare(first: Witnessed, other: Witnessed) -> ArmAudit:
    pairs = agreeing = near = 0
    for request, experts in first.evidence.experts.items():
        theirs = other.evidence.experts[request]
        routed = (experts[..., 0] >= 0) & (theirs[..., 0] >= 0)
        same = (experts == theirs).all(axis=-1)
        tied = np.minimum(first.evidence.margins[request], other.evidence.margins[request])
        pairs += int(routed.sum())
        agreeing += int((routed & same).sum())
        near += int((routed & ~same & (tied < NEAR_TIE)).sum())
    return ArmAudit(
        label=other.label,
        tokens_equal=first.tokens == other.tokens,
        max_abs_logit_diff=max(
            _logit_difference(logits, other.evidence.logits[token])
            for token, logits in first.evidence.logits.items()
        ),
        routing_agreement=agreeing / pairs,
        near_ties=near,
        far_disagreements=pairs - agreeing - near,
    )


def _logit_difference(first: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference of the top logits and of the log-sum-exp."""
    top = np.argsort(first)[-TOP_LOGITS:]
    difference = np.abs(first[top].astype(np.float64) - other[top]).max()
    return float(max(difference, abs(_log_sum_exp(first) - _log_sum_exp(other))))


def _log_sum_exp(logits: np.ndarray) -> float:
    wide = logits.astype(np.float64)
    peak = wide.max()
    return float(peak + np.log(np.exp(wide - peak).sum()))
