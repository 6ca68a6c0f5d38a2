"""Who else is on a GPU: the processes there, held to those of the first look.

Owns: the first look, and what a later one says against a measurement.
Must not know: what is measured, by what.

A counter of the whole device counts every process's traffic. In a container NVML shows the ids of
the host's processes, so ours cannot be told by its own: the sets are compared, not the ids.
"""

from lpbench.meters.nvml.absent import Absent, GpuLostError, MissingError
from lpbench.meters.nvml.device import Gpu, open_gpu
from lpbench.meters.nvml.validity import process_faults


class Company:
    """Watches one GPU, from the first look until it is closed.

    Attributes:
        most: the most processes at one look; None where none was had.
    """

    def __init__(self, *, gpu: int | str = 0) -> None:
        """Look at nothing yet; `gpu` is N of "cuda:N", or a UUID."""
        self.most: int | None = None
        self._wanted = gpu
        self._gpu: Gpu | None = None
        self._first: tuple[int, ...] | None = None

    def look(self) -> tuple[str, ...]:
        """Return the codes against what was measured since the last look; never raises.

        foreign_process: the processes are not those of the first look. processes_unknown: they
        cannot be read. gpu_lost, or why NVML does not serve.
        """
        try:
            if self._gpu is None:
                self._gpu = open_gpu(self._wanted)
            now = self._gpu.processes()
        except MissingError as missing:
            return (missing.code,)
        except GpuLostError:
            return ("gpu_lost",)
        if not isinstance(now, Absent):
            self._first = now if self._first is None else self._first
            self.most = max(self.most or 0, len(now))
        return tuple(process_faults([now] if self._first is None else [self._first, now]))

    def close(self) -> None:
        """Let go of the GPU and forget the first look."""
        gpu, self._gpu = self._gpu, None
        self._first = self.most = None
        if gpu is not None:
            gpu.close()
