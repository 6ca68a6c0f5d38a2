"""How long a pass takes and what it draws, from bytes and FLOPs.

Owns: the roofline of one operator, their sum over layers, segments and the iteration; energy.
Must not know: which experts are touched, queues, schedules.
"""

import math

from lpbench.executors.executor import Cost
from lpbench.executors.roofline.coefficients import Coefficients
from lpbench.shape.device import Device
from lpbench.shape.model import ModelShape
from lpbench.shape.operators import LayerKind, Operator, Operators, Rows
from lpbench.shape.precision import Precision


class Roofline:
    """The times of one model on one device, or on several of them by tensor parallelism.

    Every rank has an equal part of each weight, head and expert, so bytes and FLOPs of a rank are
    the model's over their number; two all-reduces a layer join the rows, each moving 2 (n - 1)/n of
    them over a rank's link (a ring's lower bound).
    """

    def __init__(
        self,
        shape: ModelShape,
        precision: Precision,
        device: Device,
        coefficients: Coefficients,
        *,
        tensor_parallel: int = 1,
    ) -> None:
        """Work out the rates; the device states a link where there is more than one of it.

        Raises:
            InputError: the device does not state the rate of this precision.
        """
        self.operators = Operators(shape, precision)
        self._coefficients = coefficients
        self._tensor_parallel = tensor_parallel
        bandwidth = tensor_parallel * device.memory_bandwidth
        flops = device.flops(precision.computed_in)
        rate = tensor_parallel * flops
        self._per_byte = {kind: 1 / (bandwidth * s) for kind, s in coefficients.memory.items()}
        self._per_flop = {kind: 1 / (rate * s) for kind, s in coefficients.compute.items()}
        self._row_reduced_s = 0.0
        self._reduced_s = 0.0
        if tensor_parallel > 1:
            assert device.link_bandwidth is not None, device.name
            row = precision.value_bytes * shape.hidden_size
            moved = 2 * (tensor_parallel - 1) / tensor_parallel * row
            self._row_reduced_s = 2 * moved / (device.link_bandwidth * coefficients.link)
            self._reduced_s = 2 * coefficients.all_reduce_s
        watts = math.nan if device.tdp_w is None else device.tdp_w  # no joules follow from it
        self._idle_w = tensor_parallel * coefficients.idle_power * watts
        self._joules_per_byte = coefficients.memory_power * watts / device.memory_bandwidth
        self._joules_per_flop = coefficients.compute_power * watts / flops

    def add_layers(self, cost: Cost, kind: LayerKind, rows: Rows, *, layers: int) -> None:
        """Add the operators of so many layers of one kind."""
        count = rows.count
        seconds = self._coefficients.layer_s + self._reduced_s
        seconds += count * (self._coefficients.row_s + self._row_reduced_s)
        moved = computed = 0.0
        for operator in self.operators.of_layer(kind, rows):
            seconds += self.seconds(operator)
            moved += operator.bytes
            computed += operator.flops
        cost.seconds += layers * seconds
        cost.bytes += layers * moved
        cost.flops += layers * computed

    def add_head(self, cost: Cost, sampled: int) -> None:
        """Add the output head for as many rows, at least 1."""
        head = self.operators.head(sampled)
        cost.seconds += self.seconds(head)
        cost.bytes += head.bytes
        cost.flops += head.flops

    def finish(self, cost: Cost) -> None:
        """Add what the iteration takes as a whole: the host's time, and the energy."""
        cost.seconds += self._coefficients.host_s
        cost.joules = (
            self._idle_w * cost.seconds
            + self._joules_per_byte * cost.bytes
            + self._joules_per_flop * cost.flops
        )

    def idle_joules(self, seconds: float) -> float:
        """Return the energy of a time in which nothing runs."""
        return self._idle_w * seconds

    def seconds(self, operator: Operator) -> float:
        """Return how long one operator takes."""
        memory = operator.bytes * self._per_byte[operator.kind]
        compute = operator.flops * self._per_flop[operator.kind]
        if memory < compute:
            memory, compute = compute, memory
        if not compute or math.isinf(self._coefficients.ridge):
            return memory
        p = self._coefficients.ridge
        return memory * float((1.0 + (compute / memory) ** p) ** (1 / p))
