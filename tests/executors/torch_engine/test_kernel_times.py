"""What torch's profiler says of a stretch of work."""

import pytest
import torch

from lpbench.executors.torch_engine.kernel_times import kernel_times


def test_operators_with_their_own_times(capfd: pytest.CaptureFixture[str]) -> None:
    """Each as often as it ran, the longest first, and nothing on stderr."""
    matrix = torch.ones(256, 256)

    def work() -> None:
        for _ in range(3):
            (matrix @ matrix).add_(1)

    found = kernel_times(work, "cpu")
    calls = {one.name: one.calls for one in found}
    assert (3, 3) == (calls["aten::mm"], calls["aten::add_"])
    assert sorted((one.ms for one in found), reverse=True) == [one.ms for one in found]
    assert all(one.ms > 0 for one in found)
    assert ("", "") == capfd.readouterr()
