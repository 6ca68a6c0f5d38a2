from lpbench.plan.grid import Span, Tile
from lpbench.report.tiles import draw_tiles


def tiles(*edges: tuple[int, int, int, int]) -> list[tuple[int, Tile]]:
    """Return one tile an iteration, from token and layer edges."""
    return [(at, Tile(Span(a, b), Span(c, d))) for at, (a, b, c, d) in enumerate(edges)]


def test_a_small_hybrid_is_drawn_character_by_character() -> None:
    """Two chunks of two tokens, each through layers 0 to 2 and then layer 2 to 3."""
    hybrid = tiles((0, 2, 0, 2), (0, 2, 2, 3), (2, 4, 0, 2), (2, 4, 2, 3))
    expected = """\
       3 |2244|
         |1133|
         |1133|
layers 0 +----+
          0tokens4"""
    assert expected == draw_tiles(hybrid, num_tokens=4, num_layers=3)


def test_layers_rise_upwards() -> None:
    """Ten tokens through four layers, one group of layers an iteration."""
    layered = tiles((0, 10, 0, 1), (0, 10, 1, 2), (0, 10, 2, 3), (0, 10, 3, 4))
    expected = """\
       4 |4444444444|
         |3333333333|
         |2222222222|
         |1111111111|
layers 0 +----------+
          0 tokens 10"""
    assert expected == draw_tiles(layered, num_tokens=10, num_layers=4)


def test_a_large_prefill_is_drawn_to_scale() -> None:
    """Sixteen chunks of 8192 tokens through 48 layers take 4 of 64 columns, in 16 rows."""
    chunked = tiles(*((at * 512, at * 512 + 512, 0, 48) for at in range(16)))
    picture = draw_tiles(chunked, num_tokens=8192, num_layers=48).splitlines()
    row = "".join(mark * 4 for mark in "123456789abcdefg")
    assert [f"      48 |{row}|"] + [f"         |{row}|"] * 15 == picture[:16]
    assert "layers 0 +" + "-" * 64 + "+" == picture[16]
    assert "          0" + "tokens".center(62) + "8192" == picture[17]


def test_a_character_stands_for_the_tile_at_its_middle() -> None:
    """Of 128 tokens in 64 columns the second of each two is shown."""
    picture = draw_tiles(
        tiles((0, 1, 0, 1), (1, 127, 0, 1), (127, 128, 0, 1)), num_tokens=128, num_layers=1
    )
    assert "       1 |" + "2" * 63 + "3|" == picture.splitlines()[0]


def test_marks_begin_again_after_61_iterations() -> None:
    """1 to 9, a to z, A to Z, then 1."""
    singles = tiles(*((at, at + 1, 0, 1) for at in range(63)))
    picture = draw_tiles(singles, num_tokens=63, num_layers=1).splitlines()
    letters = "abcdefghijklmnopqrstuvwxyz"
    assert f"       1 |123456789{letters}{letters.upper()}12|" == picture[0]


def test_what_no_tile_covers_is_marked() -> None:
    """A gap is seen."""
    picture = draw_tiles(tiles((0, 2, 0, 1)), num_tokens=3, num_layers=1)
    assert "       1 |11?|" == picture.splitlines()[0]
