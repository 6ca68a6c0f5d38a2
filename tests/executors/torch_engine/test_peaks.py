import torch

from lpbench.executors.torch_engine.device import DTYPES
from lpbench.executors.torch_engine.peaks import measure_peaks


def test_everything_is_measured() -> None:
    """Every rate is positive, in every dtype that the engine computes in; the buffer is as told."""
    peaks = measure_peaks(seconds=1e-4, most_bytes=1 << 16)
    assert set(DTYPES) == set(peaks.flops)
    assert all(rate > 0 for rate in (peaks.read, peaks.update, *peaks.flops.values()))
    assert 1 << 16 == peaks.buffer_bytes
    assert torch.get_num_threads() == peaks.threads
