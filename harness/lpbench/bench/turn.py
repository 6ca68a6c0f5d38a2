"""One arm of an energy campaign: what it is called, its windows, its part of the record.

Owns: the label and the role of a turn, its metrics and warnings.
Must not know: how a window is opened, how long a campaign lasts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lpbench.bench.arm import ArmLog
from lpbench.bench.experiment import ArmSpec
from lpbench.bench.joules import Metered, Work, energy_readings, valid_blocks
from lpbench.meters.meter import Measurement
from lpbench.record.schema import Arm, Caution, Comparison


@dataclass(slots=True, kw_only=True)
class Turn:
    """One arm and what it has done so far.

    Attributes:
        label: the arm's; the A/A turn's is its schedule's with the next free number.
        arm: what it runs.
        role: arm, or aa for the first one against itself.
        log: of the rehearsal, in which it was counted.
        iterations: passes of the model in a run.
        seconds: a run takes about so long.
        windows: measured, in order.
    """

    label: str
    arm: ArmSpec
    role: Literal["arm", "aa"]
    log: ArmLog
    iterations: int
    seconds: float
    windows: list[Metered] = field(default_factory=list)

    def again(self, arms: Sequence[ArmSpec]) -> "Turn":
        """Return the A/A turn of this one, among these arms."""
        same = sum(arm.typed == self.arm.typed for arm in arms)
        return Turn(
            label=f"{self.label}#{same + 1}",
            arm=self.arm,
            role="aa",
            log=self.log,
            iterations=self.iterations,
            seconds=self.seconds,
        )

    def to_record(
        self, work: Work, *, idle: Sequence[Measurement], cautions: Sequence[Caution]
    ) -> Arm:
        """Return its part of the record.

        Args:
            work: what one run amounts to.
            idle: the windows without work.
            cautions: what to know before trusting any arm of the run.
        """
        counted = self.log.to_record()
        kept = {
            name: reading
            for name, reading in counted.metrics.items()
            if reading.method != "measured"
        }
        changes: Mapping[str, object] = {
            "label": self.label,
            "role": self.role,
            "metrics": {**kept, **energy_readings(self.windows, work, idle=idle)},
            "windows": tuple(one.to_record() for one in self.windows),
            "warnings": (*counted.warnings, *cautions, *self._void()),
        }
        return counted.model_copy(update=changes)

    def _void(self) -> list[Caution]:
        """Return what was wrong with its windows."""
        void = [one for one in self.windows if one.reading.validity != "valid"]
        if not void:
            return []
        codes = ", ".join(dict.fromkeys(code for one in void for code in one.reading.reasons))
        blocks = len({one.block for one in self.windows}) - len(valid_blocks(self.windows))
        message = (
            f"{self.label}: {len(void)} of {len(self.windows)} windows are void ({codes}); "
            f"{blocks} blocks do not count"
        )
        return [Caution(code="void_windows", message=message)]


def noise_cautions(turn: Turn, compared: Sequence[Comparison]) -> list[Caution]:
    """Return whether the A/A turn differs from the first arm, which is itself."""
    if turn.role != "aa":
        return []
    found = next((one for one in compared if one.candidate == turn.label), None)
    if found is None or found.interval is None or found.interval[0] <= 1 <= found.interval[1]:
        return []
    low, high = (edge - 1 for edge in found.interval)
    message = (
        f"the first schedule differs from itself (A/A {low:+.2%}..{high:+.2%}): something other "
        "than the schedule moved, and no effect of this campaign can be trusted"
    )
    return [Caution(code="aa_not_null", message=message)]
