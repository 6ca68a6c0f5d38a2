"""CPU package energy from the processor's own counters (RAPL), through Linux powercap.

Owns: the package zones, their wrap-around, and when a difference of two reads can be trusted.
Must not know: passes, what the CPU does meanwhile.

Each zone `intel-rapl:N` (AMD's too) has `energy_uj`, which rises by microjoules and starts again
at 0 past `max_energy_range_uj`. Zones below a package (core, uncore, dram) and `psys` are part of
it or hold it, so packages alone are summed. A counter that wrapped twice looks as if it had
wrapped once; so it is read often enough that no package could wrap twice between two reads.

Reason codes: `may_have_wrapped_twice` (two reads are further apart than the range at `MOST_WATTS`),
`counter_stuck` (a package used nothing), `implausible_power` (more than `MOST_WATTS`: the counter
was reset), `counter_unreadable` (it could not be read at the window's end; the value is absent).
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from lpbench.errors import UnavailableError
from lpbench.meters.clocks import Clock, HostClock
from lpbench.meters.meter import Capability, Measurement
from lpbench.meters.poll import Driver, ThreadDriver
from lpbench.record.schema import Reading

POWERCAP = Path("/sys/class/powercap")

METRIC = "total_cpu_package_energy_j"

MOST_WATTS = 2000
"""More than any package draws; the largest sold are near 500 W."""

READ_S = 10.0
"""Between two reads. The smallest ranges known, 65.5 kJ, pass in 32 s at `MOST_WATTS`."""

UPDATE_S = 1e-3
"""Time between two updates of the counter (Intel SDM, volume 3B, "RAPL Interfaces": ~1 ms)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A package and its counter.

    Attributes:
        name: as powercap has it, such as "package-0".
        folder: where the counter lies.
        range_uj: the counter's largest value, in microjoules.
    """

    name: str
    folder: Path
    range_uj: int

    def read_uj(self) -> int:
        """Return the counter, in microjoules.

        Raises:
            OSError: it cannot be read.
            ValueError: it holds no number.
        """
        return int((self.folder / "energy_uj").read_text(encoding="ascii"))

    def between_uj(self, first: int, last: int) -> int:
        """Return the microjoules from one read to a later one, at most one wrap between them."""
        return last - first if last >= first else last - first + self.range_uj


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """All counters read once: microjoules by zone, and the monotonic clock before and after."""

    before_ns: int
    after_ns: int
    energy_uj: tuple[int, ...]

    @property
    def seconds(self) -> float:
        """How long the reading took."""
        return (self.after_ns - self.before_ns) / 1e9


class RaplMeter:
    """Measures the energy of all CPU packages over a window."""

    name = "rapl"

    def __init__(
        self, *, root: Path = POWERCAP, clock: Clock | None = None, driver: Driver | None = None
    ) -> None:
        """Touch nothing yet.

        Args:
            root: the powercap tree.
            clock: what dates the reads; by default the host's.
            driver: what calls for them during the window; by default a thread.
        """
        self._root = root
        self._clock = clock or HostClock()
        self._driver = driver or ThreadDriver()
        self._zones: tuple[Zone, ...] = ()
        self._edges: list[Edge] = []
        self._end: Callable[[], None] | None = None

    def probe(self) -> Capability:
        """Return whether every package's counter can be read here."""
        try:
            zones = package_zones(self._root)
            for zone in zones:
                zone.read_uj()
        except PermissionError:
            return self._absent(
                code="not_readable",
                reason="only root may read the counters (since CVE-2020-8694)",
                fix="run as root, or: sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj",
            )
        except (OSError, ValueError):
            return self._absent(
                code="counter_unreadable",
                reason="a package's counter is there but gives no number",
                fix="none known: the kernel's powercap driver does not serve this processor",
            )
        if not zones:
            return self._absent(
                code="no_powercap",
                reason="no CPU package in /sys/class/powercap, as in most containers and VMs",
                fix="measure on the host (modprobe intel_rapl_common), or give the container "
                "its /sys/class/powercap",
            )
        return Capability(
            meter=self.name, available=True, facts={"packages": [zone.name for zone in zones]}
        )

    def close(self) -> None:
        """End a window that is still open."""
        end, self._end = self._end, None
        if end is not None:
            end()

    def start(self) -> None:
        """Read the counters once and open a window.

        Raises:
            UnavailableError: a counter cannot be read.
        """
        found = self.probe()
        if not found.available:
            raise UnavailableError(f"meter 'rapl': {found.reason}; {found.fix}")
        self._zones = package_zones(self._root)
        self._edges = [self._read()]
        self._end = self._driver.drive(self._poll, every_s=READ_S)

    def stop(self) -> Measurement:
        """Read the counters again and return the joules since the window was opened.

        The series `rapl` has a row for each read: nanoseconds on the monotonic clock after it,
        then each package's counter in microjoules.
        """
        assert self._end is not None, "no window is open"
        self.close()
        edges, first = self._edges, self._edges[0]
        stop_ns = self._clock.now_ns()
        try:
            edges.append(self._read())
        except (OSError, ValueError):
            reading = self._reading(None, reasons=("counter_unreadable",))
        else:
            reading, stop_ns = self._sum(edges), edges[-1].after_ns
        return Measurement(
            start_ns=first.before_ns,
            stop_ns=stop_ns,
            readings={METRIC: reading},
            series={"rapl": [(edge.after_ns, *edge.energy_uj) for edge in edges]},
        )

    def _poll(self) -> None:
        """Read in mid-window; a read that fails leaves a longer stretch for the next one."""
        with suppress(OSError, ValueError):
            self._edges.append(self._read())

    def _sum(self, edges: Sequence[Edge]) -> Reading:
        first, last = edges[0], edges[-1]
        seconds = (last.after_ns - first.before_ns) / 1e9
        used = [
            sum(
                zone.between_uj(before.energy_uj[at], after.energy_uj[at])
                for before, after in pairwise(edges)
            )
            / 1e6
            for at, zone in enumerate(self._zones)
        ]
        longest = max(after.after_ns - before.before_ns for before, after in pairwise(edges)) / 1e9
        doubts = {
            "may_have_wrapped_twice": any(
                longest > zone.range_uj / 1e6 / MOST_WATTS for zone in self._zones
            ),
            "counter_stuck": 0 in used,
            "implausible_power": max(used) > MOST_WATTS * seconds,
        }
        joules = sum(used)
        # Each edge lies somewhere within one update and one read of the counters.
        unresolved = UPDATE_S + first.seconds + last.seconds
        return self._reading(
            joules,
            uncertainty=joules / seconds * unresolved,
            reasons=tuple(code for code, holds in doubts.items() if holds),
        )

    def _reading(
        self, joules: float | None, *, reasons: tuple[str, ...], uncertainty: float | None = None
    ) -> Reading:
        numbers = "+".join(zone.name.removeprefix("package-") for zone in self._zones)
        validity = "absent" if joules is None else "invalid" if reasons else "valid"
        return Reading(
            value=joules,
            unit="J",
            method="measured",
            source=f"rapl: package-{numbers}",
            validity=validity,
            reasons=reasons,
            pass_="energy",  # noqa: S106 - a pass of the run, no password
            uncertainty=uncertainty,
        )

    def _read(self) -> Edge:
        before = self._clock.now_ns()
        energy = tuple(zone.read_uj() for zone in self._zones)
        return Edge(before_ns=before, after_ns=self._clock.now_ns(), energy_uj=energy)

    def _absent(self, *, code: str, reason: str, fix: str) -> Capability:
        return Capability(meter=self.name, available=False, code=code, reason=reason, fix=fix)


def package_zones(root: Path) -> tuple[Zone, ...]:
    """Return the CPU packages of a powercap tree, in the order of their names.

    Raises:
        OSError: a zone's name or range cannot be read.
        ValueError: a range is no number.
    """
    zones = []
    for folder in root.glob("intel-rapl:*"):
        if not re.fullmatch(r"intel-rapl:\d+", folder.name):
            continue
        name = (folder / "name").read_text(encoding="ascii").strip()
        if name.startswith("package-"):
            most = int((folder / "max_energy_range_uj").read_text(encoding="ascii"))
            zones.append(Zone(name=name, folder=folder, range_uj=most))
    return tuple(sorted(zones, key=lambda zone: zone.name))
