from dataclasses import fields
from pathlib import Path

import pytest

from lpbench.errors import InputError
from lpbench.shape.device import Device, device_names, find_device, match

NAMES = ("a100-80gb-sxm", "b200", "gh200-96gb", "h100-sxm", "h200", "l40s", "rtx-4090")
FIGURES = {field.name for field in fields(Device)} - {"name", "cuda_names", "sources"}
OPTIONAL = {"link_bandwidth", "fp8_flops", "fp4_flops", "idle_w"}
CPU = """
memory_bandwidth = 4.1e10
memory_bytes = 25_000_000_000
bf16_flops = 2.2e11
fp32_flops = 105e9

[sources]
memory_bandwidth = "measured"
"""
"""The least that a device of its own file states, and what float32 needs."""


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


@pytest.mark.parametrize(
    ("name", "cores", "boost_mhz"),
    [
        ("a100-80gb-sxm", 6912, 1410),
        ("gh200-96gb", 16896, 1980),
        ("h100-sxm", 16896, 1980),
        ("h200", 16896, 1980),
        ("l40s", 18176, 2520),
        ("rtx-4090", 16384, 2520),
        ("b200", 148 * 128, 1980),
    ],
)
def test_float32_is_that_of_the_cores(name: str, cores: int, boost_mhz: float) -> None:
    """Two FLOPs per FP32 core and clock at boost, within 1 %: no tensor core, no TF32."""
    assert pytest.approx(2 * cores * boost_mhz * 1e6, rel=0.01) == find_device(name).fp32_flops


def test_the_rate_goes_by_the_dtype() -> None:
    """float32 at its own rate, everything else at bfloat16's."""
    device = find_device("h100-sxm")
    assert (66.9e12, 989.4e12) == (device.flops("float32"), device.flops("bfloat16"))


@pytest.mark.parametrize("name", NAMES)
def test_an_idle_device_draws_less_than_a_quarter_of_its_limit(name: str) -> None:
    """A typical reading, not one under load."""
    device = find_device(name)
    assert device.idle_w is not None
    assert device.tdp_w is not None
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


def device_file(folder: Path, text: str = CPU, *, name: str = "mine.toml") -> str:
    """Return the path of a device's own file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_a_file_is_a_device(tmp_path: Path) -> None:
    """Called as its file is; what it does not state is not known."""
    device = find_device(device_file(tmp_path))
    assert ("mine", ()) == (device.name, device.cuda_names)
    assert (4.1e10, 25 * 10**9) == (device.memory_bandwidth, device.memory_bytes)
    assert (105e9, 2.2e11) == (device.flops("float32"), device.flops("bfloat16"))
    assert (None, None, None) == (device.tdp_w, device.cache_bytes, device.link_bandwidth)


def test_an_unknown_rate_is_refused(tmp_path: Path) -> None:
    """Never a guess from another dtype's."""
    text = CPU.replace("fp32_flops = 105e9", "")
    with pytest.raises(InputError, match=r"device 'mine' states no fp32_flops, which float32"):
        find_device(device_file(tmp_path, text)).flops("float32")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("memory_bandwidth = 4.1e10", "", "device 'mine': has no memory_bandwidth"),
        ("bf16_flops", "bf16_flop", "unknown key 'bf16_flop' (did you mean 'bf16_flops'?)"),
        ("4.1e10", "-1", "memory_bandwidth is -1; accepted: a number, 1e+06 to 1e+21"),
        ("4.1e10", "nan", "memory_bandwidth is nan; accepted: a number, 1e+06 to 1e+21"),
        ("4.1e10", "inf", "memory_bandwidth is inf; accepted: a number, 1e+06 to 1e+21"),
        ("4.1e10", "true", "memory_bandwidth is True; accepted: a number, 1e+06 to 1e+21"),
        ("25_000_000_000", "2.5e10", "memory_bytes is 25000000000.0; accepted: a whole number"),
        ("[sources]", "[source]", "unknown key 'source'"),
        ("[sources]\nmemory_bandwidth =", "cuda_names =", "device 'mine': has no [sources]"),
        ("[sources]", "cuda_names = 7\n[sources]", "cuda_names is 7; accepted: a list"),
        ("bf16_flops = 2.2e11", "bf16_flops", "cannot be read"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    """One line with the key, the value and what is accepted."""
    assert old in CPU
    with pytest.raises(InputError) as caught:
        find_device(device_file(tmp_path, CPU.replace(old, new)))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_or_borrows_a_name_is_refused(tmp_path: Path) -> None:
    """A record that says h200 must mean the catalogue's."""
    with pytest.raises(InputError, match=r"none\.toml does not exist"):
        find_device(str(tmp_path / "none.toml"))
    with pytest.raises(InputError, match="is named as a device of the catalogue"):
        find_device(device_file(tmp_path, name="h200.toml"))
