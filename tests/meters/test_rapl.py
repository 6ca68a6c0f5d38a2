"""CPU package energy over a powercap tree of the test's own, where every joule is known."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.errors import UnavailableError
from lpbench.meters.rapl import MOST_WATTS, POWERCAP, RaplMeter, Zone, package_zones
from lpbench.record.schema import Reading
from lpbench.testing.clocks import VirtualClock

RANGE_UJ = 262_143_328_850
"""The largest value of a real package's counter: 2**32 - 1 units of 2**-14 J."""

METRIC = "total_cpu_package_energy_j"


@dataclass
class Steps:
    """A clock that stands still until it is told to go on."""

    ns: int = 0
    slept: list[float] = field(default_factory=list)

    def now_ns(self) -> int:
        """Return the time it was set to."""
        return self.ns

    def sleep(self, seconds: float) -> None:
        """Go on."""
        self.ns += round(seconds * 1e9)


def write_zone(root: Path, at: str, name: str, *, energy_uj: int, range_uj: int = RANGE_UJ) -> Path:
    """Lay a zone as powercap does; subzones stand in the same folder, as its links do."""
    folder = root / f"intel-rapl:{at}"
    folder.mkdir(parents=True, exist_ok=True)
    values: Mapping[str, object] = {
        "name": name,
        "energy_uj": energy_uj,
        "max_energy_range_uj": range_uj,
    }
    for file, value in values.items():
        (folder / file).write_text(f"{value}\n")
    return folder


def measured(root: Path, *, seconds: float, then: Callable[[], object]) -> Reading:
    """Return the energy of a window of so long, in which `then` happens."""
    clock = Steps()
    meter = RaplMeter(root=root, clock=clock)
    meter.start()
    then()
    clock.sleep(seconds)
    found = meter.stop()
    assert (0, round(seconds * 1e9)) == (found.start_ns, found.stop_ns)
    return found.readings[METRIC]


def one_package(root: Path, *, first: int, last: int, seconds: float = 10) -> Reading:
    """Return the reading of a window in which one package's counter goes from `first` to `last`."""
    write_zone(root, "0", "package-0", energy_uj=first)
    return measured(
        root,
        seconds=seconds,
        then=lambda: write_zone(root, "0", "package-0", energy_uj=last),
    )


def test_packages_are_summed_and_parts_are_not(tmp_path: Path) -> None:
    """Two packages use 30 J and 50 J; cores, DRAM and psys, which are part of it, add nothing."""

    def lay(used: int) -> None:
        write_zone(tmp_path, "0", "package-0", energy_uj=7_000_000 + 30_000_000 * used)
        write_zone(tmp_path, "0:0", "core", energy_uj=1_000_000 + 20_000_000 * used)
        write_zone(tmp_path, "0:1", "dram", energy_uj=1_000_000 + 5_000_000 * used)
        write_zone(tmp_path, "1", "package-1", energy_uj=9_000_000 + 50_000_000 * used)
        write_zone(tmp_path, "2", "psys", energy_uj=1_000_000 + 90_000_000 * used)

    lay(0)
    found = measured(tmp_path, seconds=10, then=lambda: lay(1))
    assert 80 == pytest.approx(found.value)
    assert ("J", "measured", "valid") == (found.unit, found.method, found.validity)
    assert "rapl: package-0+1" == found.source
    assert 80 / 10 * 1e-3 == pytest.approx(found.uncertainty), "one update of the counter"


def test_a_wrap_is_undone(tmp_path: Path) -> None:
    """A counter 10 J below its range that reads 5 J at the end has used 15 J."""
    found = one_package(tmp_path, first=RANGE_UJ - 10_000_000, last=5_000_000)
    assert 15 == pytest.approx(found.value)
    assert "valid" == found.validity


@given(
    first=st.integers(0, RANGE_UJ - 1),
    used=st.integers(0, RANGE_UJ - 1),
)
def test_any_use_below_the_range_is_found(first: int, used: int) -> None:
    """Whatever the counter starts at, a use of less than its range comes out to the microjoule."""
    zone = Zone(name="package-0", folder=Path(), range_uj=RANGE_UJ)
    assert used == zone.between_uj(first, (first + used) % RANGE_UJ)


@pytest.mark.parametrize(
    ("first", "last", "seconds", "reasons"),
    [
        (0, 10_000_000, 131.0, ()),
        (0, 10_000_000, 131.1, ("may_have_wrapped_twice",)),
        (5, 5, 10, ("counter_stuck",)),
        (50_000_000, 1_000_000, 10, ("implausible_power",)),  # a reset looks like a wrap
        (0, 20_000_000_000, 10, ()),
        (0, 20_000_100_000, 10, ("implausible_power",)),
    ],
)
def test_a_number_in_doubt_is_never_valid(
    tmp_path: Path, first: int, last: int, seconds: float, reasons: tuple[str, ...]
) -> None:
    """The value stands with its codes; 262,143 J at 2000 W pass in 131.07 s."""
    found = one_package(tmp_path, first=first, last=last, seconds=seconds)
    assert (reasons, not reasons) == (found.reasons, found.validity == "valid")
    assert None is not found.value


def test_a_long_window_is_read_on_the_way(tmp_path: Path) -> None:
    """200 s at 1310 W wrap a counter of 262 kJ: no stretch between two reads could hide a wrap."""
    clock = VirtualClock()
    write_zone(tmp_path, "0", "package-0", energy_uj=0)
    meter = RaplMeter(root=tmp_path, clock=clock, driver=clock)
    meter.start()
    for second in range(1, 201):
        clock.sleep(1)
        write_zone(tmp_path, "0", "package-0", energy_uj=second * 1310 * 10**6 % RANGE_UJ)
    found = meter.stop()
    # Reads come a second's write late, the last one does not.
    assert 200 * 1310 == pytest.approx(found.readings[METRIC].value)
    assert "valid" == found.readings[METRIC].validity
    assert 1 + 20 + 1 == len(found.series["rapl"])


def test_the_package_with_the_smaller_range_bounds_the_window(tmp_path: Path) -> None:
    """One of two packages may wrap sooner."""

    def lay(energy_uj: int) -> None:
        write_zone(tmp_path, "0", "package-0", energy_uj=energy_uj)
        write_zone(tmp_path, "1", "package-1", energy_uj=energy_uj, range_uj=MOST_WATTS * 10**6)

    lay(0)
    found = measured(tmp_path, seconds=1.5, then=lambda: lay(10_000_000))
    assert ("may_have_wrapped_twice",) == found.reasons


def test_a_counter_that_goes_away_leaves_no_number(tmp_path: Path) -> None:
    """The reading is absent with its code, and the window still closes."""
    folder = write_zone(tmp_path, "0", "package-0", energy_uj=1)
    found = measured(tmp_path, seconds=10, then=(folder / "energy_uj").unlink)
    expected = (None, "absent", ("counter_unreadable",))
    assert expected == (found.value, found.validity, found.reasons)


def test_the_series_has_what_was_read(tmp_path: Path) -> None:
    """A row for each edge: the time, then the counter of each package."""
    clock = Steps(ns=5)
    meter = RaplMeter(root=tmp_path, clock=clock)
    write_zone(tmp_path, "0", "package-0", energy_uj=100)
    write_zone(tmp_path, "1", "package-1", energy_uj=200)
    meter.start()
    clock.sleep(1)
    assert [(5, 100, 200), (1_000_000_005, 100, 200)] == meter.stop().series["rapl"]


def test_available_where_every_package_can_be_read(tmp_path: Path) -> None:
    """The probe names the packages and opens no window."""
    write_zone(tmp_path, "1", "package-1", energy_uj=2)
    write_zone(tmp_path, "0", "package-0", energy_uj=1)
    found = RaplMeter(root=tmp_path).probe()
    assert found.available
    assert {"packages": ["package-0", "package-1"]} == found.facts


@pytest.mark.parametrize("there", [False, True])
def test_no_package_is_said_so(tmp_path: Path, *, there: bool) -> None:
    """A container has no tree, or one without a package; starting says the same in one line."""
    if there:
        write_zone(tmp_path, "0", "psys", energy_uj=1)
    meter = RaplMeter(root=tmp_path if there else tmp_path / "nothing")
    found = meter.probe()
    assert (False, "no_powercap") == (found.available, found.code)
    assert "containers" in (found.reason or "")
    with pytest.raises(UnavailableError, match=r"rapl.*containers.*modprobe"):
        meter.start()


def test_a_counter_for_root_alone_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since CVE-2020-8694 the file is root's; the fix is a line to type."""
    write_zone(tmp_path, "0", "package-0", energy_uj=1)

    def refused(zone: Zone) -> int:
        raise PermissionError(zone.name)

    monkeypatch.setattr(Zone, "read_uj", refused)
    found = RaplMeter(root=tmp_path).probe()
    assert "not_readable" == found.code
    assert "CVE-2020-8694" in (found.reason or "")
    assert "chmod a+r" in (found.fix or "")


@pytest.mark.parametrize("file", ["energy_uj", "max_energy_range_uj"])
def test_a_counter_without_a_number_is_said_so(tmp_path: Path, file: str) -> None:
    """What is no number is no energy."""
    (write_zone(tmp_path, "0", "package-0", energy_uj=1) / file).write_text("\n")
    assert "counter_unreadable" == RaplMeter(root=tmp_path).probe().code


def test_this_machine_is_probed_without_an_error() -> None:
    """Whatever powercap holds here, the answer is a capability."""
    found = RaplMeter().probe()
    assert "rapl" == found.meter
    assert found.available == (found.code is None)


def test_the_kernel_names_packages_as_the_meter_expects() -> None:
    """Where this machine has a package that can be read, its counter lies within its range."""
    if not RaplMeter().probe().available:
        pytest.skip("no readable powercap tree")
    assert all(0 <= zone.read_uj() <= zone.range_uj for zone in package_zones(POWERCAP))
