from dataclasses import replace

import pytest

from lpbench.errors import InputError
from lpbench.shape.catalogue import find_shape
from lpbench.shape.memory import HEADROOM, Memory, Needs, plan_memory
from lpbench.shape.precision import PRECISIONS

BF16, FP32 = PRECISIONS["bfloat16"], PRECISIONS["float32"]
SHAPE, _ = find_shape("builtin-moe")
NEEDS = Needs(most_rows=100, all_pages=50, least_pages=5, num_kv_pages=None, draws=1000)
PAGE = 16 * 16_384
"""Bytes of a page in float32: 16 tokens of twice the 8192 bytes that bfloat16 takes."""

WEIGHTS = 106_178_816 * 4
ROWS = 100 * (12 * SHAPE.hidden_size + 3 * 8 * SHAPE.expert_size) * 4


def just_enough(pages: int) -> int:
    """Return the free bytes of which the share to plan with holds so many pages."""
    return -(-(WEIGHTS + ROWS + 1000 + pages * PAGE) * 10 // 9)


def planned(needs: Needs, available: int) -> Memory:
    """Plan in float32."""
    return plan_memory(SHAPE, needs, precision=FP32, available=available)


def test_memory_is_weights_pages_rows_and_draws() -> None:
    """Every part by its formula, and their sum."""
    expected = Memory(weights=WEIGHTS, page=PAGE, num_kv_pages=50, rows=ROWS, draws=1000)
    found = planned(NEEDS, 10**12)
    assert expected == found
    assert WEIGHTS + 50 * PAGE + ROWS + 1000 == found.total


def test_bfloat16_takes_half() -> None:
    """Weights, pages and rows halve; what was drawn stays."""
    whole = planned(NEEDS, 10**12)
    half = plan_memory(SHAPE, NEEDS, precision=BF16, available=10**12)
    assert (whole.weights // 2, whole.page // 2, whole.rows // 2, 1000) == (
        half.weights,
        half.page,
        half.rows,
        half.draws,
    )


def test_packed_experts_leave_pages_and_rows_in_bfloat16() -> None:
    """GPT-OSS-20B: weights of 13.76 GB, keys, values and hidden states as ever."""
    shape, _ = find_shape("gpt-oss-20b")
    plain, packed = (
        plan_memory(shape, NEEDS, precision=one, available=10**12)
        for one in (BF16, PRECISIONS["mxfp4"])
    )
    assert 13.76 == round(packed.weights / 1e9, 2)
    assert replace(plain, weights=packed.weights) == packed


def test_a_tenth_of_the_memory_stays_free() -> None:
    """A run plans with nine tenths of what is free."""
    assert 0.9 == HEADROOM


@pytest.mark.parametrize(("expected", "fits"), [(50, 1000), (50, 50), (49, 49), (5, 5)])
def test_the_pool_is_what_fits_up_to_all_that_is_ever_used(expected: int, fits: int) -> None:
    """Where pages are not asked for, memory decides, but no page is planned that nobody takes."""
    assert expected == planned(NEEDS, just_enough(fits)).num_kv_pages


def test_less_than_the_largest_request_is_refused() -> None:
    """The message says what is needed for what, what there is, and what to do."""
    with pytest.raises(InputError) as caught:
        planned(NEEDS, just_enough(5) - 10_000)
    total = WEIGHTS + 5 * PAGE + ROWS + 1000
    expected = (
        f"model 'builtin-moe' in float32 needs {total / 1e6:.2f} MB (weights "
        f"{WEIGHTS / 1e6:.2f} MB, KV {5 * PAGE / 1e6:.2f} MB, rows {(ROWS + 1000) / 1e6:.2f} MB), "
        f"this machine has {int((just_enough(5) - 10_000) * 0.9) / 1e6:.2f} MB to give; use a "
        "smaller model, --dtype bfloat16 or a smaller workload"
    )
    assert expected == str(caught.value)


def test_bfloat16_is_not_advised_where_it_is_chosen() -> None:
    """The advice is to make something smaller that is not small yet."""
    with pytest.raises(InputError) as caught:
        plan_memory(SHAPE, NEEDS, precision=BF16, available=1)
    assert str(caught.value).endswith("use a smaller model or a smaller workload")


@pytest.mark.parametrize("pages", [7, 50])
def test_pages_asked_for_are_given(pages: int) -> None:
    """A pool that was asked for is neither raised nor lowered."""
    asked = replace(NEEDS, num_kv_pages=pages)
    assert pages == planned(asked, just_enough(50)).num_kv_pages


def test_pages_asked_for_that_do_not_fit_are_refused() -> None:
    """A pool that was asked for is not silently cut."""
    with pytest.raises(InputError, match="this machine has"):
        planned(replace(NEEDS, num_kv_pages=50), just_enough(49))


def test_pages_that_nobody_ever_takes_need_no_memory() -> None:
    """A pool larger than all requests together is given where what is used of it fits."""
    asked = replace(NEEDS, num_kv_pages=10**9)
    assert 10**9 == planned(asked, just_enough(50)).num_kv_pages


def test_scores_beside_sinks_are_planned() -> None:
    """Heads with sinks hold 18 bytes for each of 128 queries and every key: 16 x 5 of them."""
    shape, _ = find_shape("gpt-oss-20b")
    needs = replace(NEEDS, most_rows=300)
    memory = plan_memory(shape, needs, precision=BF16, available=10**12)
    rows = 300 * (12 * shape.hidden_size + shape.top_k * 8 * shape.expert_size) * 2
    assert rows + shape.num_heads * 128 * 80 * 18 == memory.rows


@pytest.mark.parametrize(("dense_size", "width"), [(1000, 9 * 2048), (30_000, 30_000)])
def test_a_row_needs_room_for_the_widest_mlp(dense_size: int, width: int) -> None:
    """It passes 8 routed experts and the shared one, or a dense layer's MLP."""
    shape = replace(find_shape("deepseek-v3")[0], dense_size=dense_size)
    memory = plan_memory(shape, NEEDS, precision=BF16, available=10**13)
    assert 100 * (12 * 7168 + 3 * width) * 2 == memory.rows


def test_slabs_that_are_held_whole_need_their_memory() -> None:
    """A pool of 5 pages is no use where the slabs of those in flight take 30."""
    held = replace(NEEDS, num_kv_pages=5, held_pages=30)
    memory = planned(held, just_enough(30))
    assert (5, 30 * PAGE) == (memory.num_kv_pages, memory.kv)
    with pytest.raises(InputError, match=r"--dtype bfloat16, a smaller --max-num-seqs or a"):
        planned(held, just_enough(29))


@pytest.mark.parametrize(("reserved", "expected"), [(0, 7), (2 * PAGE, 5), (2 * PAGE - 1, 5)])
def test_what_is_reserved_takes_the_place_of_the_tenth(reserved: int, expected: int) -> None:
    """Where bytes to leave alone are given, all others are planned with."""
    available = WEIGHTS + ROWS + 1000 + 7 * PAGE
    memory = plan_memory(SHAPE, NEEDS, precision=FP32, available=available, reserved=reserved)
    assert expected == memory.num_kv_pages


def test_more_reserved_than_free_is_refused() -> None:
    """Where others hold the share already, nothing is left to give."""
    with pytest.raises(InputError, match=r"this machine has 0 .* to give"):
        plan_memory(SHAPE, NEEDS, precision=FP32, available=10**9, reserved=10**10)


def test_memory_prints_on_one_line() -> None:
    """Draws count as rows in words."""
    memory = Memory(weights=2 * 10**9, page=1000, num_kv_pages=3000, rows=10**6, draws=10**6)
    assert "2.00 GB (weights 2.00 GB, KV 3.00 MB, rows 2.00 MB)" == str(memory)


def test_pages_beside_the_pool_are_needed_too() -> None:
    """A pool is what fits beside the pages of contexts."""
    needs = replace(NEEDS, beside_pages=20)
    found = planned(needs, just_enough(50))
    assert 30 == found.num_kv_pages
    assert WEIGHTS + 50 * PAGE + ROWS + 1000 == found.total
