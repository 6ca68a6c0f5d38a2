from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lpbench.executors.torch_engine.kernels import decode
from lpbench.executors.torch_engine.kernels.decode import attend_decodes, num_splits
from tests.kernels.sequences import Heads, attend_to, fill_pages

LENGTHS = [100, 1, 15, 0, 16, 17, 48]
"""The fourth row is left alone."""

UNTOUCHED = 7.0
"""What the output holds before."""


def attend(
    heads: Heads,
    lengths: list[int],
    *,
    window: int = 0,
    with_sinks: bool = False,
    dtype: torch.dtype = torch.float32,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the reference's output and the kernel's, of one row more than there are decodes."""
    generator = torch.Generator().manual_seed(sum(lengths))
    # One seat more than decodes, and the decodes in another order than the seats.
    pages = fill_pages(heads, [3, *reversed(lengths)], generator, dtype=dtype)
    seats = torch.arange(len(lengths), 0, -1, dtype=torch.int32)
    qkv, sinks = heads.draw(len(lengths) + 1, generator, dtype=dtype)
    outs = torch.full((2, len(qkv), heads.heads * heads.head_dim), UNTOUCHED, dtype=dtype)
    keywords: dict[str, Any] = {
        "seats": seats,
        "lengths": torch.tensor(lengths, dtype=torch.int32),
        "window": window,
        "sinks": sinks if with_sinks else None,
    }
    heads.reference().attend_decodes(qkv, pages, **keywords, out=outs[0])
    attend_decodes(qkv=qkv, pages=pages, **keywords, out=outs[1])
    return outs[0], outs[1]


@pytest.fixture
def splits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Split keys into that many, of a tile of 16 keys at least."""
    monkeypatch.setattr(decode, "num_splits", lambda **_: request.param)
    monkeypatch.setattr(decode, "TILE", 16)
    monkeypatch.setattr(decode, "FEWEST_KEYS", 16)
    return int(request.param)


@pytest.mark.parametrize("with_sinks", [False, True], ids=["plain", "sinks"])
@pytest.mark.parametrize("window", [0, 8, 40])
@pytest.mark.parametrize(
    "heads", [Heads(1), Heads(3, head_dim=32), Heads(6, kv_heads=1), Heads(8, head_dim=32)], ids=str
)
def test_decodes_attend_to_all_their_keys(heads: Heads, window: int, *, with_sinks: bool) -> None:
    """Any group, window and sinks: what the reference gives; other rows stay as they are."""
    expected, out = attend(heads, LENGTHS, window=window, with_sinks=with_sinks)
    torch.testing.assert_close(expected, out)
    assert [3, len(LENGTHS)] == (out == UNTOUCHED).all(1).nonzero()[:, 0].tolist()


@pytest.mark.parametrize("splits", range(1, 9), indirect=True)
@pytest.mark.parametrize(("window", "with_sinks"), [(0, False), (0, True), (40, True)])
def test_however_many_splits_give_the_same(splits: int, window: int, *, with_sinks: bool) -> None:
    """More splits than tiles leave some without keys, which count for nothing."""
    expected, out = attend(Heads(3), LENGTHS, window=window, with_sinks=with_sinks)
    torch.testing.assert_close(expected, out)
    assert [3, len(LENGTHS)] == (out == UNTOUCHED).all(1).nonzero()[:, 0].tolist(), splits


@pytest.mark.parametrize("splits", [1, 3], indirect=True)
def test_attention_is_the_softmax_over_keys_and_sink(splits: int) -> None:
    """One decode of 20 keys, a window of 18 and sinks, number by number."""
    heads, generator = Heads(2), torch.Generator().manual_seed(splits)
    pages = fill_pages(heads, [20], generator)
    qkv, sinks = heads.draw(1, generator)
    out = torch.empty(1, heads.heads * heads.head_dim)
    attend_decodes(
        qkv=qkv,
        pages=pages,
        seats=torch.tensor([0], dtype=torch.int32),
        lengths=torch.tensor([20], dtype=torch.int32),
        window=18,
        sinks=sinks,
        out=out,
    )
    expected = attend_to(heads, qkv[0], pages, seat=0, position=19, window=18, sinks=sinks)
    torch.testing.assert_close(expected, out[0])


def test_half_precision_is_rounded_where_it_is_stored() -> None:
    """Two bytes an element: as near to the reference as it is rounded."""
    expected, out = attend(Heads(8), LENGTHS, with_sinks=True, dtype=torch.float16)
    torch.testing.assert_close(expected, out, atol=2e-3, rtol=2e-3)


@pytest.mark.parametrize("splits", [1, 4], indirect=True)
@pytest.mark.parametrize("sink", [-300.0, 300.0])
def test_a_sink_of_any_size_gives_numbers(splits: int, sink: float) -> None:
    """A low sink takes nothing; a high one takes all there is, and leaves nothing."""
    heads, generator = Heads(2), torch.Generator().manual_seed(splits)
    pages = fill_pages(heads, [70], generator)
    qkv, _ = heads.draw(1, generator)
    outs = {}
    for sinks in (None, torch.full((heads.heads,), sink)):
        outs[sinks is None] = out = torch.empty(1, heads.heads * heads.head_dim)
        attend_decodes(
            qkv=qkv,
            pages=pages,
            seats=torch.tensor([0], dtype=torch.int32),
            lengths=torch.tensor([70], dtype=torch.int32),
            window=0,
            sinks=sinks,
            out=out,
        )
    torch.testing.assert_close(
        outs[True] if sink < 0 else torch.zeros_like(outs[True]), outs[False]
    )


def test_no_decodes_are_no_work() -> None:
    """A pass without decodes launches nothing."""
    heads, generator = Heads(2), torch.Generator()
    none = torch.empty(0, dtype=torch.int32)
    qkv, _ = heads.draw(1, generator)
    attend_decodes(
        qkv=qkv,
        pages=fill_pages(heads, [], generator),
        seats=none,
        lengths=none,
        window=0,
        sinks=None,
        out=torch.empty(1, heads.heads * heads.head_dim),
    )


@pytest.mark.parametrize(
    ("expected", "decodes", "kv_heads", "keys"),
    [
        pytest.param(64, 1, 4, 40960, id="one decode: as many as are put together at once"),
        pytest.param(16, 1, 4, 2048, id="one decode of a short table: 128 keys each"),
        pytest.param(7, 32, 4, 40960, id="32 decodes: two rounds of programs and more"),
        pytest.param(4, 256, 4, 40960, id="256 decodes: the room may hold few"),
        pytest.param(1, 1, 8, 128, id="a window of 128 keys"),
        pytest.param(1, 1, 8, 8, id="a table shorter than a split"),
    ],
)
def test_keys_are_split_where_programs_lack(
    expected: int, decodes: int, kv_heads: int, keys: int
) -> None:
    """Few decodes are split into many programs, many into few, short ones never."""
    assert expected == num_splits(decodes=decodes, kv_heads=kv_heads, keys=keys)


@given(st.integers(1, 512), st.integers(1, 64), st.integers(1, 2**20))
def test_splits_are_never_too_short(decodes: int, kv_heads: int, keys: int) -> None:
    """Any shapes: one split, or such that each has the fewest keys when the table is full."""
    splits = num_splits(decodes=decodes, kv_heads=kv_heads, keys=keys)
    assert splits == 1 or splits * decode.FEWEST_KEYS <= keys
    assert 1 <= splits <= decode.MOST_SPLITS
