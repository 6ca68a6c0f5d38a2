import pytest

from lpbench.errors import InputError
from lpbench.meters.catalogue import METERS, build_meter, probe_meter

MEASURING = [name for name in METERS.names() if METERS.get(name).factory]


@pytest.mark.parametrize("name", MEASURING)
def test_a_meter_bears_its_name(name: str) -> None:
    """What the catalogue calls it, the meter calls itself; building it needs no hardware."""
    assert name == build_meter(name).name


@pytest.mark.parametrize("name", METERS.names())
def test_a_probe_answers_for_its_meter(name: str) -> None:
    """On any machine, without raising."""
    assert name == probe_meter(name).meter


def test_counting_is_available_anywhere() -> None:
    """The engine feeds it, so nothing can be missing."""
    assert probe_meter("experts").available


def test_the_counting_meter_cannot_be_built() -> None:
    """It opens no windows."""
    with pytest.raises(InputError, match="'experts' is part of every run"):
        build_meter("experts")


def test_an_unknown_meter_gets_the_nearest_name() -> None:
    """A slip of the finger is answered with a guess."""
    with pytest.raises(InputError, match="did you mean 'rapl'"):
        build_meter("rap")
