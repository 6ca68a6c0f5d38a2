"""The roofline's rates by precision, and what a device does not state."""

import math
from dataclasses import replace

import pytest

from lpbench.errors import InputError
from lpbench.executors.executor import Cost
from lpbench.executors.roofline.coefficients import IDEAL, find_coefficients
from lpbench.executors.roofline.cost import Roofline
from lpbench.shape.catalogue import find_shape
from lpbench.shape.device import Device, find_device
from lpbench.shape.operators import Operator
from lpbench.shape.precision import PRECISIONS

SHAPE, _ = find_shape("gpt-oss-20b")
H100 = find_device("h100-sxm")


def roofline(precision: str, device: Device = H100) -> Roofline:
    """Return the bound itself."""
    return Roofline(SHAPE, PRECISIONS[precision], device, IDEAL)


@pytest.mark.parametrize(
    ("precision", "rate"), [("float32", 66.9e12), ("bfloat16", 989.4e12), ("mxfp4", 989.4e12)]
)
def test_flops_run_at_the_rate_of_their_dtype(precision: str, rate: float) -> None:
    """float32 without tensor cores; mxfp4 is made bfloat16 before it is multiplied."""
    operator = Operator("experts", bytes=1.0, flops=1e15)
    assert pytest.approx(1e15 / rate) == roofline(precision).seconds(operator)


def test_bytes_are_read_at_the_same_rate_in_every_precision() -> None:
    """A value of float32 has more of them, which the operators count."""
    operator = Operator("experts", bytes=1e12, flops=1.0)
    times = {roofline(name).seconds(operator) for name in PRECISIONS}
    assert pytest.approx([1e12 / 3.35e12]) == list(times)


def test_a_rate_that_is_not_stated_is_refused() -> None:
    """One line; the other precisions go on."""
    device = replace(H100, fp32_flops=None)
    with pytest.raises(InputError, match=r"'h100-sxm' states no fp32_flops"):
        roofline("float32", device)
    roofline("bfloat16", device)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_second_at_full_rate_draws_its_share_of_the_design_power(precision: str) -> None:
    """Whatever the dtype: idle and compute power, for as many FLOPs as it does in a second."""
    kernels = find_coefficients("kernels")
    made = Roofline(SHAPE, PRECISIONS[precision], H100, replace(kernels, host_s=0.0))
    cost = Cost(seconds=1.0, flops=H100.flops(PRECISIONS[precision].computed_in))
    made.finish(cost)
    assert pytest.approx(700 * (kernels.idle_power + kernels.compute_power)) == cost.joules


def test_without_design_power_there_are_no_joules() -> None:
    """Not a number, never zero: they are shares of what is not known."""
    made = Roofline(
        SHAPE,
        PRECISIONS["bfloat16"],
        replace(H100, tdp_w=None),
        find_coefficients("kernels"),
    )
    cost = Cost(seconds=1.0, bytes=1e9, flops=1e9)
    made.finish(cost)
    assert math.isnan(cost.joules)
    assert math.isnan(made.idle_joules(1.0))
