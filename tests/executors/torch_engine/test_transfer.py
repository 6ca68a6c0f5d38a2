from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lpbench.executors.torch_engine.transfer import put, to_device, to_host

CPU = torch.device("cpu")


def test_what_is_sent_comes_back() -> None:
    """Values, dimensions and types survive the way there and back, empty ones too."""
    sent: tuple[NDArray[Any], ...] = (
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.zeros((0, 4), dtype=np.int16),
    )
    back = to_host(*(to_device(values, CPU) for values in sent))
    for values, returned in zip(sent, back, strict=True):
        assert values.dtype == returned.dtype
        assert np.array_equal(values, returned)


def test_what_is_put_somewhere_stands_there() -> None:
    """And nothing beside it changes."""
    where = torch.zeros(5, dtype=torch.int32)
    put(np.array([7, 8], np.int32), where[2:4])
    assert [0, 0, 7, 8, 0] == where.tolist()
