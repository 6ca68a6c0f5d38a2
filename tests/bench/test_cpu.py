"""This CPU as a device: what was measured is what the file says, and nothing is made up."""

from pathlib import Path

import pytest

from lpbench.bench.cpu import cpu_device, device_toml
from lpbench.executors.torch_engine.peaks import Peaks
from lpbench.shape.device import Device, find_device


def measured(**changes: object) -> Device:
    """Return a device of made-up rates."""
    values: dict[str, object] = {
        "threads": 3,
        "buffer_bytes": 2**28,
        "cache_bytes": 2**25,
        "read": 31.4159e9,
        "update": 48.21e9,
        "flops": {"float32": 170.123e9, "bfloat16": 400e9},
    }
    peaks = Peaks(**(values | changes))  # type: ignore[arg-type]
    return cpu_device(peaks, name="mine", memory_bytes=25 * 10**9)


def test_the_file_is_read_back_whole(tmp_path: Path) -> None:
    """Every figure and every source."""
    device = measured()
    path = tmp_path / "mine.toml"
    path.write_text(device_toml(device), encoding="utf-8")
    assert device == find_device(str(path))


def test_bandwidth_is_the_best_that_was_seen() -> None:
    """Reading or updating, to four digits; both stand in the source."""
    device = measured()
    assert 48.21e9 == device.memory_bandwidth
    assert 50e9 == measured(read=50e9).memory_bandwidth
    assert (170.1e9, 400e9) == (device.fp32_flops, device.bf16_flops)
    said = device.sources["memory_bandwidth"]
    assert "31.42 GB/s" in said
    assert "48.21 GB/s" in said
    assert "threads: 3" in said


@pytest.mark.parametrize("figure", ["tdp_w", "idle_w", "link_bandwidth", "fp8_flops", "fp4_flops"])
def test_what_was_not_measured_is_not_known(figure: str) -> None:
    """No guess, in the file neither."""
    assert None is getattr(measured(), figure)
    assert figure not in device_toml(measured())


def test_an_unknown_cache_has_no_source() -> None:
    """As where Linux does not say."""
    device = measured(cache_bytes=None)
    assert None is device.cache_bytes
    assert "cache_bytes" not in device.sources
