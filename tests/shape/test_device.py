from dataclasses import fields

import pytest

from lpbench.errors import InputError
from lpbench.shape.device import Device, device_names, find_device, match

NAMES = ("a100-80gb-sxm", "b200", "gh200-96gb", "h100-sxm", "h200", "l40s", "rtx-4090")
FIGURES = {field.name for field in fields(Device)} - {"name", "cuda_names", "sources"}
OPTIONAL = {"link_bandwidth", "fp8_flops", "fp4_flops", "idle_w"}


def test_the_catalogue_is_sorted() -> None:
    """The devices that are known."""
    assert NAMES == device_names()


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_has_a_source(name: str) -> None:
    """Each is positive, and the file says where it is from; some need not be known."""
    device = find_device(name)
    given = {figure for figure in FIGURES if getattr(device, figure) is not None}
    assert name == device.name
    assert given == set(device.sources)
    assert FIGURES - OPTIONAL <= given
    assert all(getattr(device, figure) > 0 for figure in given)


@pytest.mark.parametrize(
    ("name", "bandwidth", "dense_tflops", "watts"),
    [
        ("a100-80gb-sxm", 2.039e12, 312, 400),
        ("b200", 8e12, 2250, 1000),
        ("gh200-96gb", 4e12, 989.4, 1000),
        ("h100-sxm", 3.35e12, 989.4, 700),
        ("h200", 4.8e12, 989.4, 700),
        ("l40s", 0.864e12, 362.05, 350),
        ("rtx-4090", 1.008e12, 165.2, 450),
    ],
)
def test_peaks_are_the_datasheets(
    name: str, bandwidth: float, dense_tflops: float, watts: float
) -> None:
    """B/s, and bfloat16 TFLOP/s without the doubling by sparsity that datasheets lead with."""
    device = find_device(name)
    assert (bandwidth, dense_tflops * 1e12, watts) == (
        device.memory_bandwidth,
        device.bf16_flops,
        device.tdp_w,
    )


@pytest.mark.parametrize(
    ("name", "link", "fp8", "fp4"),
    [
        ("a100-80gb-sxm", 300e9, None, None),
        ("b200", 900e9, 4.5e15, 9e15),
        ("gh200-96gb", 450e9, 1.979e15, None),
        ("h100-sxm", 450e9, 1.979e15, None),
        ("h200", 450e9, 1.979e15, None),
        ("l40s", 32e9, 733e12, None),
        ("rtx-4090", 32e9, 330.3e12, None),
    ],
)
def test_links_are_one_way_and_narrow_products_dense(
    name: str, link: float, fp8: float | None, fp4: float | None
) -> None:
    """Half of what datasheets lead with: both directions, and twice as much by sparsity."""
    device = find_device(name)
    assert (link, fp8, fp4) == (device.link_bandwidth, device.fp8_flops, device.fp4_flops)


@pytest.mark.parametrize("name", NAMES)
def test_an_idle_device_draws_less_than_a_quarter_of_its_limit(name: str) -> None:
    """A typical reading, not one under load."""
    device = find_device(name)
    assert device.idle_w is not None
    assert 0 < device.idle_w < device.tdp_w / 4


@pytest.mark.parametrize(
    ("name", "bits_per_pin", "pins"),
    [
        ("a100-80gb-sxm", 3.186e9, 5120),
        ("h100-sxm", 5.238e9, 5120),
        ("l40s", 18e9, 384),
        ("rtx-4090", 21e9, 384),
    ],
)
def test_bandwidth_is_the_bus_times_its_rate(name: str, bits_per_pin: float, pins: int) -> None:
    """Twice the memory clock that NVML reports, over the width of the bus, within 0.1 %."""
    expected = pytest.approx(bits_per_pin * pins / 8, rel=1e-3)
    assert expected == find_device(name).memory_bandwidth


@pytest.mark.parametrize(
    ("cuda_name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb-sxm"),
        ("A100-SXM4-80GB", "a100-80gb-sxm"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA GH200 480GB", "gh200-96gb"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
    ],
)
def test_the_drivers_name_finds_the_device(cuda_name: str, expected: str) -> None:
    """What CUDA and NVML call it, older drivers too."""
    found = match(cuda_name)
    assert found is not None
    assert expected == found.name


@pytest.mark.parametrize(
    "cuda_name",
    [
        "NVIDIA H100 PCIe",
        "NVIDIA H100 NVL",
        "NVIDIA H200 NVL",
        "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
        "NVIDIA A100-SXM4-40GB",
        "NVIDIA GeForce RTX 4090 D",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA L40",
        "NVIDIA GH200 144G HBM3e",
        "h200",
        "",
    ],
)
def test_a_sibling_is_not_taken_for_it(cuda_name: str) -> None:
    """Another board, a slice or a name of our own has no entry: no guess."""
    assert None is match(cuda_name)


def test_no_name_is_claimed_twice() -> None:
    """A driver's name leads to one entry."""
    claimed = [name for one in map(find_device, device_names()) for name in one.cuda_names]
    assert len(claimed) == len(set(claimed))


def test_an_unknown_device_is_refused_with_the_nearest() -> None:
    """One line with the near and the known names."""
    with pytest.raises(InputError) as caught:
        find_device("h100-smx")
    expected = "unknown device 'h100-smx' (did you mean 'h100-sxm'?); known: " + ", ".join(NAMES)
    assert expected == str(caught.value)
