"""Reads power, counter and state at a steady rate, and finely where a tick is to be caught.

Owns: the rates, the log of what was read.
Must not know: what the log comes to.

One poll is one read; who calls it does not matter: a thread, or a virtual clock's `sleep`.
"""

from lpbench.meters.clocks import Clock
from lpbench.meters.nvml.absent import Absent, GpuLostError
from lpbench.meters.nvml.device import Gpu
from lpbench.meters.nvml.energy import Sample, Tick, tick_between
from lpbench.meters.nvml.source import Source
from lpbench.meters.nvml.state import State, read_state

POLL_S = 0.05
"""Between reads of counter and power."""
STATE_S = 0.4
"""Between reads of the state; with the polls' grain it is read at least twice a second."""
EDGE_S = 0.001
"""Between reads while a tick is awaited."""


class Sampler:
    """The log of one window.

    Attributes:
        samples: counter and power, in order of time.
        states: the state, in order of time.
        faults: gpu_lost, after which nothing is read; read_failed for a read without a counter.
    """

    def __init__(self, gpu: Gpu, *, source: Source, clock: Clock) -> None:
        """Read nothing yet."""
        self.samples: list[Sample] = []
        self.states: list[State] = []
        self.faults: set[str] = set()
        self._gpu = gpu
        self._source = source
        self._clock = clock

    def poll(self) -> None:
        """Read counter and power, and the state when it is due; never raises for the GPU."""
        self.sample()
        if not self.states or self._clock.now_ns() - self.states[-1].at_ns >= STATE_S * 1e9:
            self.observe()

    def sample(self) -> Sample | None:
        """Read counter and power; None where the counter could not be read."""
        if "gpu_lost" in self.faults:
            return None
        begin_ns = self._clock.now_ns()
        try:
            counter_mj, power_w = self._source.read(self._gpu)
        except GpuLostError:
            self.faults.add("gpu_lost")
            return None
        if isinstance(counter_mj, Absent):
            self.faults.add("read_failed")
            return None
        end_ns = self._clock.now_ns()
        found = Sample(begin_ns=begin_ns, end_ns=end_ns, counter_mj=counter_mj, power_w=power_w)
        self.samples.append(found)
        return found

    def observe(self) -> None:
        """Read the state."""
        if "gpu_lost" in self.faults:
            return
        try:
            self.states.append(read_state(self._gpu, at_ns=self._clock.now_ns()))
        except GpuLostError:
            self.faults.add("gpu_lost")

    def await_tick(self, *, timeout_s: float) -> Tick | None:
        """Read finely until the counter moves; the last sample is then the one that saw it.

        Returns:
            The tick; None when none came in `timeout_s` or the GPU is lost.
        """
        until_ns = self._clock.now_ns() + round(timeout_s * 1e9)
        before = self.sample()
        while "gpu_lost" not in self.faults and self._clock.now_ns() < until_ns:
            self._clock.sleep(EDGE_S)
            after = self.sample()
            if before and after and (tick := tick_between(before, after)):
                return tick
            before = after or before
        return None
