import pytest

from lpbench.meters.nvml.absent import MissingError
from lpbench.meters.nvml.visible import pick_gpu, visible_gpus

UUIDS = ("GPU-aa11", "GPU-aa22", "GPU-bb33")
ALIKE = ("H100",) * 3


def pick(
    wanted: int | str,
    *,
    listed: str | None = None,
    names: tuple[str, ...] = ALIKE,
    order: str | None = None,
) -> int:
    """Return NVML's index of the GPU that is wanted among three."""
    return pick_gpu(wanted, uuids=UUIDS, names=names, listed=listed, order=order)


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (None, (0, 1, 2)),
        ("", ()),
        ("2,0", (2, 0)),
        (" 1 , 2 ", (1, 2)),
        ("GPU-bb33,GPU-aa11", (2, 0)),
        ("GPU-bb", (2,)),
        ("GPU-aa,0", ()),
        ("1,7,0", (1,)),
        ("1,-1,0", (1,)),
    ],
)
def test_visible_devices_follow_cudas_rules(listed: str | None, expected: tuple[int, ...]) -> None:
    """Order counts, UUIDs may be cut short if unambiguous, an unknown entry ends the list."""
    assert expected == visible_gpus(UUIDS, listed)


def test_a_gpu_is_picked_by_its_visible_number_or_uuid() -> None:
    """cuda:0 is the first that is visible; a UUID is looked up among all."""
    assert 2 == pick(0, listed="2,1")
    assert 0 == pick("GPU-aa11", listed="2,1")


@pytest.mark.parametrize(
    ("wanted", "listed", "code"),
    [
        (3, None, "no_device"),
        (1, "0", "no_device"),
        ("GPU-aa", None, "no_device"),
        (0, "MIG-1234", "mig"),
    ],
)
def test_what_is_not_there_says_so(wanted: int | str, listed: str | None, code: str) -> None:
    """A number beyond the visible ones, an ambiguous UUID, a partition: each with its code."""
    with pytest.raises(MissingError) as caught:
        pick(wanted, listed=listed)
    assert code == caught.value.code


def test_unlike_gpus_need_an_order() -> None:
    """CUDA numbers by speed unless told otherwise, NVML by bus: a number alone is ambiguous."""
    mixed = ("H100", "L4", "L4")
    with pytest.raises(MissingError, match="CUDA_DEVICE_ORDER=PCI_BUS_ID"):
        pick(0, names=mixed)
    assert 0 == pick(0, names=mixed, order="PCI_BUS_ID")
    assert 2 == pick(0, names=mixed, listed="GPU-bb33")
