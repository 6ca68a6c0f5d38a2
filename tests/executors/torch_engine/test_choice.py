from dataclasses import replace

import pytest
import torch

from lpbench.executors.torch_engine import grouped
from lpbench.executors.torch_engine.choice import Kernels, pick_kernels
from lpbench.executors.torch_engine.device import compute_on
from lpbench.shape.catalogue import find_shape

SHAPE, _ = find_shape("qwen3-30b-a3b")
CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.mark.parametrize(
    ("major", "dtype", "experts", "attention"),
    [
        (9, torch.bfloat16, "torch grouped_mm", "sdpa"),
        (10, torch.bfloat16, "torch grouped_mm", "sdpa"),
        (8, torch.bfloat16, "torch bmm by blocks", "sdpa"),
        (12, torch.bfloat16, "torch bmm by blocks", "sdpa"),
        (9, torch.float32, "torch bmm by blocks", "sdpa by query blocks"),
    ],
)
def test_a_gpu_gets_kernels_that_read_nothing_on_the_host(
    monkeypatch: pytest.MonkeyPatch,
    major: int,
    dtype: torch.dtype,
    experts: str,
    attention: str,
) -> None:
    """In bfloat16 torch's grouped_mm, on the GPUs for which it is one kernel."""
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (major, 0))
    compute_on(CPU)  # sets what holds on every device
    expected = Kernels(experts=experts, attention=attention, tf32=False, cudnn_attention=False)
    assert expected == pick_kernels(SHAPE, device=CUDA, dtype=dtype)


@pytest.mark.parametrize(("hidden_size", "expert_size"), [(2044, 768), (2048, 772)])
def test_rows_that_torch_cannot_align_go_by_blocks(
    monkeypatch: pytest.MonkeyPatch, hidden_size: int, expert_size: int
) -> None:
    """Its grouped_mm takes rows of whole 16 bytes alone."""
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda _: (9, 0))
    shape = replace(SHAPE, hidden_size=hidden_size, expert_size=expert_size)
    assert "torch bmm by blocks" == pick_kernels(shape, device=CUDA, dtype=torch.bfloat16).experts


@pytest.mark.parametrize(
    ("mkl", "dtype", "experts"),
    [
        (True, torch.float32, "mkl sgemm batch"),
        (False, torch.float32, "torch grouped_mm"),
        (True, torch.bfloat16, "torch grouped_mm"),
    ],
)
def test_a_cpu_gets_mkl_in_float32_where_torch_carries_it(
    monkeypatch: pytest.MonkeyPatch, *, mkl: bool, dtype: torch.dtype, experts: str
) -> None:
    """Elsewhere torch's own."""
    monkeypatch.setattr(grouped, "_BATCH", (lambda: None) if mkl else None)
    expected = Kernels(experts=experts, attention="sdpa", tf32=False, cudnn_attention=False)
    assert expected == pick_kernels(SHAPE, device=CPU, dtype=dtype)


def test_tf32_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch would do with float32 is asked, not assumed."""
    monkeypatch.setattr("torch.get_float32_matmul_precision", lambda: "high")
    assert pick_kernels(SHAPE, device=CPU, dtype=torch.float32).tf32
