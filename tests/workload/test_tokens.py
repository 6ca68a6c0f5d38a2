import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.workload.tokens import draw_ids

MASK = (1 << 64) - 1
TOKEN_STREAM = 4


def reference_id(*coordinates: int, vocab_size: int) -> int:
    """Hash the coordinates one by one in Python integers."""
    word = 0
    for coordinate in coordinates:
        word = (word + (coordinate + 1) * 0x9E3779B97F4A7C15) & MASK
        word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & MASK
        word ^= word >> 31
    return word % vocab_size


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, MASK),
    request_index=st.integers(0, 10**6),
    vocab_size=st.integers(1, 2**31),
    count=st.integers(0, 20),
)
def test_ids_equal_a_scalar_reference(
    seed: int, request_index: int, vocab_size: int, count: int
) -> None:
    """Every id is the hash of seed, stream, request and position, whatever the machine."""
    expected = [
        reference_id(seed, TOKEN_STREAM, request_index, position, vocab_size=vocab_size)
        for position in range(count)
    ]
    assert expected == draw_ids(
        seed=seed, request=request_index, count=count, vocab_size=vocab_size
    )


def test_a_longer_prompt_begins_as_a_shorter_one() -> None:
    """An id depends on its position, not on how many are drawn."""
    short = draw_ids(seed=5, request=2, count=10, vocab_size=1000)
    assert short == draw_ids(seed=5, request=2, count=500, vocab_size=1000)[:10]


def test_seed_and_request_each_change_the_prompt() -> None:
    """No two of four prompts are the same."""
    prompts = {
        tuple(draw_ids(seed=seed, request=index, count=20, vocab_size=1000))
        for seed in (0, 1)
        for index in (0, 1)
    }
    assert 4 == len(prompts)


@pytest.mark.parametrize("vocab_size", [1, 2, 50])
def test_ids_use_the_whole_vocabulary(vocab_size: int) -> None:
    """A thousand ids reach each of a few words, and none beyond."""
    ids = draw_ids(seed=0, request=0, count=1000, vocab_size=vocab_size)
    assert set(range(vocab_size)) == set(ids)
    assert int is type(ids[0])
