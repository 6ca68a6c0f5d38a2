"""What a schedule predicts by: the roofline of the run's device, or of another.

Owns: the roofline that the options name, and which policies are given one.
Must not know: passes, records, memory.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pydantic import JsonValue

from lpbench.bench.spec import DEFAULT_DEVICE, DEFAULT_MODELLED_DTYPE, RunSpec
from lpbench.errors import InputError, MisfitError
from lpbench.plan.policy import Policy, Predictive
from lpbench.plan.predictor import Predictor
from lpbench.record.provenance import digest
from lpbench.shape.device import Device, find_device
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import PRECISIONS, Precision

if TYPE_CHECKING:
    from lpbench.executors.roofline.coefficients import Coefficients
    from lpbench.executors.roofline.cost import Roofline

PARALLEL = (1, 2, 4, 8, 16, 32)
"""Tensor-parallel sizes that a refusal proposes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Modelling:
    """A device, what separates its kernels from the peaks, and the roofline of both."""

    device: Device
    precision: Precision
    coefficients: "Coefficients"
    roofline: "Roofline"
    tensor_parallel: int

    @property
    def source(self) -> str:
        """Where what follows from it is from."""
        ranks = f"{self.tensor_parallel} x " if self.tensor_parallel > 1 else ""
        return f"roofline: {self.coefficients.name} coefficients on {ranks}{self.device.name}"

    @property
    def figures(self) -> dict[str, JsonValue]:
        """Every figure that it rests on."""
        return {
            "device_name": self.device.name,
            "device_figures": asdict(self.device) | {"cuda_names": list(self.device.cuda_names)},
            "coefficients": asdict(self.coefficients) | {"ridge": str(self.coefficients.ridge)},
        }

    @property
    def spec(self) -> dict[str, JsonValue]:
        """What names it, and digests of its figures."""
        figures = self.figures
        return {
            "device": self.device.name,
            "device_hash": digest(figures["device_figures"]),
            "tensor_parallel_size": self.tensor_parallel,
            "dtype": self.precision.name,
            "coefficients": self.coefficients.name,
            "coefficients_hash": digest(figures["coefficients"]),
        }


def model_device(spec: RunSpec, shape: ModelShape, *, device: str | None) -> Modelling:
    """Return the roofline of a model on a device, by name or file.

    Beside a run on torch, whose own dtype is the machine's affair, a GPU is taken to compute in
    bfloat16 and a CPU in float32.

    Raises:
        InputError: an unknown device, precision or set of coefficients.
        MisfitError: the model cannot be shared by so many devices.
    """
    # NumPy and the coefficients' file, which the catalogues do without.
    from lpbench.executors.roofline.coefficients import find_coefficients
    from lpbench.executors.roofline.cost import Roofline

    found = find_device(DEFAULT_DEVICE if device is None else device)
    dtype = spec.dtype or DEFAULT_MODELLED_DTYPE
    if spec.executor != "roofline":
        dtype = DEFAULT_MODELLED_DTYPE if found.cuda_names else "float32"
    precision = PRECISIONS[dtype]
    _check_ranks(spec.tensor_parallel_size, shape, found)
    coefficients = find_coefficients(spec.coefficients)
    return Modelling(
        device=found,
        precision=precision,
        coefficients=coefficients,
        roofline=Roofline(
            shape, precision, found, coefficients, tensor_parallel=spec.tensor_parallel_size
        ),
        tensor_parallel=spec.tensor_parallel_size,
    )


def predicting(policy: Policy, predictor: Predictor | None) -> Policy:
    """Return a policy, with what it predicts by if it does."""
    if not isinstance(policy, Predictive):
        return policy
    assert predictor is not None, policy.name
    return policy.predicting(predictor)


def predictor_of(
    policies: Iterable[Policy], spec: RunSpec, shape: ModelShape, *, routing: str
) -> tuple[Predictor | None, dict[str, JsonValue]]:
    """Return what these policies predict by, and its part of the record's spec.

    None where none of them predicts.

    Raises:
        InputError: nothing says whose times to predict.
        MisfitError: as `model_device`.
    """
    names = [policy.name for policy in policies if isinstance(policy, Predictive)]
    if not names and spec.predict_by is not None:
        msg = f"--predict-by {spec.predict_by} goes with schedule adaptive: no other predicts"
        raise InputError(msg)
    if not names:
        return None, {}
    from lpbench.executors.roofline.predictor import RooflinePredictor
    from lpbench.workload.coverage import find_coverage

    device = spec.device if spec.predict_by is None else spec.predict_by
    if spec.predict_by is None and spec.executor != "roofline":
        msg = (
            f"schedule {names[0]!r} plans by predicted times: --predict-by says whose, a device of "
            "lpbench list devices or a file"
        )
        raise InputError(msg)
    modelling = model_device(spec, shape, device=device)
    coverage = find_coverage(
        "uniform" if routing == "uniform" else "calibrated",
        num_experts=shape.num_experts,
        top_k=shape.top_k,
    )
    predictor = RooflinePredictor(modelling.roofline, coverage, num_layers=shape.num_layers)
    return predictor, {"predicted_by": modelling.spec}


def _check_ranks(ranks: int, shape: ModelShape, device: Device) -> None:
    heads = shape.num_heads
    if not 1 <= ranks <= heads or heads % ranks:
        accepted = ", ".join(str(size) for size in PARALLEL if not heads % size)
        msg = f"--tensor-parallel-size {ranks}: accepted: {accepted}"
        raise MisfitError(f"{msg}, divisors of the model's {heads} query heads")
    if ranks > 1 and device.link_bandwidth is None:
        msg = f"--tensor-parallel-size {ranks}: device {device.name!r} has no link"
        raise MisfitError(msg)
