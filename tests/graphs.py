"""What takes the place of CUDA graphs without a GPU."""

from dataclasses import dataclass

from lpbench.executors.torch_engine.graphs import Work


@dataclass
class RecordedWork:
    """Records work by keeping it: a replay does it again, on the same tensors, as a graph would.

    Attributes:
        captured: how much was recorded.
        replayed: how often any of it was replayed.
    """

    captured: int = 0
    replayed: int = 0

    def capture(self, work: Work) -> Work:
        """Do the work, then keep it."""
        work()
        self.captured += 1

        def replay() -> None:
            self.replayed += 1
            work()

        return replay
