"""Which passes are asked for: what is refused, and that they run in the pages they are given."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lpbench.bench.sizes import choose_sizes, output_tokens, sized_spec, sizes_workload
from lpbench.bench.spec import SIZES_ON_CPU, RunSpec, Sizes
from lpbench.errors import InputError
from lpbench.executors.torch_engine.page_pool import PagePool
from lpbench.plan.request import pages_for
from lpbench.shape.catalogue import find_shape

BUILTIN, _ = find_shape("builtin-moe")
TINY = replace(BUILTIN, num_layers=1, windows=(0,), num_kv_heads=1, head_dim=1)
SIZES = Sizes(batches=(4, 9), context_len=33, prompts=(100, 7), repeats=20)


def chosen(
    batch: str | None = None,
    context_len: int | None = None,
    prompt: str | None = None,
    repeats: int | None = None,
) -> Sizes:
    """Return the sizes on a CPU."""
    return choose_sizes("cpu", batch=batch, context_len=context_len, prompt=prompt, repeats=repeats)


def test_what_is_not_given_is_the_devices_default() -> None:
    """A number that is given twice counts once, in the order given."""
    assert SIZES_ON_CPU == chosen()
    expected = Sizes(batches=(8, 1), context_len=5, prompts=(64,), repeats=2)
    assert expected == chosen(" 8, 1,8", 5, "64", 2)


@pytest.mark.parametrize("text", ["x", "", "1,", "1.5", "1 2", "²", "9" * 5000, "1,,2"])
def test_what_is_no_list_of_numbers(text: str) -> None:
    """One line with what is accepted, however long what was typed."""
    with pytest.raises(InputError, match="accepted: whole numbers such as") as caught:
        chosen(batch=text)
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("value", ["0", "-1", "1,0", "4097", "9" * 18])
def test_a_batch_out_of_range(value: str) -> None:
    """The number is named, and the range."""
    with pytest.raises(InputError, match="is out of range; accepted: 1 to 4096"):
        chosen(batch=value)


def test_other_numbers_out_of_range() -> None:
    """Each by its option."""
    for option, given in (
        ("--context-len 0", {"context_len": 0}),
        ("--prompt 0", {"prompt": "0"}),
        ("--repeats 0", {"repeats": 0}),
    ):
        with pytest.raises(InputError, match=f"{option} is out of range"):
            chosen(**given)


def test_a_model_is_no_longer_than_it_is() -> None:
    """The last position may be used, by a prompt and by what decodes generate."""
    most = BUILTIN.max_positions
    sizes_workload(replace(SIZES, prompts=(most,)), BUILTIN)
    with pytest.raises(InputError, match=f"--prompt {most + 1}: .* accepted: 1 to {most}"):
        sizes_workload(replace(SIZES, prompts=(most + 1,)), BUILTIN)
    last = most - output_tokens(SIZES) + 1
    sizes_workload(replace(SIZES, context_len=last), BUILTIN)
    with pytest.raises(InputError, match=f"--context-len {last + 1} with 24 decodes"):
        sizes_workload(replace(SIZES, context_len=last + 1), BUILTIN)


@pytest.mark.parametrize("context_len", [1, 2, 16, 17, 33, 100])
@pytest.mark.parametrize("repeats", [1, 12, 40])
def test_the_pool_of_tritons_kernels_holds_every_size(context_len: int, repeats: int) -> None:
    """The largest batch at its longest beside all contexts, then the longest prompt."""
    sizes = replace(SIZES, context_len=context_len, repeats=repeats)
    spec = sized_spec(RunSpec(kernels="triton"), sizes)
    assert spec.num_kv_pages is not None
    lines = sizes_workload(sizes, BUILTIN).lines
    contexts = np.array([line.context_tokens for line in lines])
    pool = PagePool(
        TINY,
        num_pages=spec.num_kv_pages + sum(map(pages_for, contexts.tolist())),
        num_seats=len(lines),
        most_tokens=200,
        dtype=torch.float32,
        device=torch.device("cpu"),
    )
    decodes, prompts = np.arange(9), np.arange(9, 11)
    pool.reserve(decodes, contexts[:9])
    pool.reserve(decodes, np.full(9, context_len + output_tokens(sizes) - 1))
    for seat in decodes.tolist():
        pool.release(seat, keep_tokens=context_len - 1)
    pool.reserve(prompts, np.array(sizes.prompts))
    assert 0 <= pool._num_free
