import pytest
import torch

from lpbench.executors.torch_engine.device import (
    available_bytes,
    compute_on,
    pick_device,
    reserved_bytes,
)

GB = 1 << 30
FREE, TOTAL = 60 * GB, 100 * GB


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Return a GPU of a hundred GiB, 40 of them in use."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: None)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda _: (FREE, TOTAL))
    return pick_device("cuda:1")


def test_a_gpu_has_its_number(gpu: torch.device) -> None:
    """The plain name is the first, also where another becomes the current one."""
    assert torch.device("cuda", 1) == gpu
    assert torch.device("cuda", 0) == pick_device("cuda") == pick_device(None)


@pytest.mark.parametrize(("utilization", "usable"), [(1.0, 58), (0.75, 35), (0.25, -15)])
def test_a_run_may_use_its_share_of_all_less_what_others_use(
    gpu: torch.device, utilization: float, usable: int
) -> None:
    """Of 100 GiB, 40 in use, a share of s leaves 100 s - 40, but 2 GiB are always left alone."""
    reserved = reserved_bytes(gpu, gpu_memory_utilization=utilization)
    assert reserved is not None
    assert usable * GB == available_bytes(gpu) - reserved


def test_the_share_means_nothing_on_a_cpu() -> None:
    """There the plan's own headroom holds."""
    assert reserved_bytes(torch.device("cpu"), gpu_memory_utilization=0.5) is None


def test_float32_is_float32_whatever_was_set() -> None:
    """TF32 is switched off where the environment had switched it on."""
    torch.set_float32_matmul_precision("high")
    compute_on(torch.device("cpu"))
    assert "highest" == torch.get_float32_matmul_precision()


def test_attention_never_plans_in_the_midst_of_a_pass() -> None:
    """The kernel of cuDNN, which would for every new length, is not taken."""
    torch.backends.cuda.enable_cudnn_sdp(True)
    compute_on(torch.device("cpu"))
    assert not torch.backends.cuda.cudnn_sdp_enabled()
