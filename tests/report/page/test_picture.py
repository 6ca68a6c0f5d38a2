"""Pictures as they stand in a page: whole, in its colours, beside others."""

import re

import pytest

pytest.importorskip("altair", reason="the extra `report`")

import altair as alt

from lpbench.report.page.picture import DARK, INK, LINE, PAPER, SERIES, Picture, drawable, picture
from tests.paged import harmless

HOSTILE = "\"><script>alert('&')</script>"


def drawn(name: str, label: str = "a") -> Picture:
    """Return a picture of a label, clipped, with a gradient: both are referred to by id."""
    values = [{"x": 1, "label": label}, {"x": 2, "label": "b"}]
    chart = (
        alt.Chart(alt.InlineData(values=values))
        .mark_bar(clip=True)
        .encode(alt.X("x:Q"), alt.Y("label:N"), alt.Color("x:Q"))
    )
    return picture(chart, name=name, title="t", alt_text=f"of {label}", caption="c")


def test_two_pictures_share_no_id() -> None:
    """What one refers to is its own."""
    page = drawn("one").svg() + drawn("two").svg()
    seen = harmless(page)
    assert {"one-", "two-"} == {one[:4] for one in seen.ids}
    assert 2 <= page.count("url(#one-")


def test_the_same_picture_is_the_same_text() -> None:
    """Nothing is counted on from one to the next."""
    assert drawn("one").svg() == drawn("one").svg()


def test_colours_are_the_pages() -> None:
    """None of the stand-ins is left: ink is the text's, lines and paper are variables."""
    svg = drawn("one").svg()
    assert not [one for one in (INK, LINE, PAPER) if one in svg]
    assert {"currentColor", "var(--line)", "var(--paper)"} <= set(re.findall(r'"([^"]*)"', svg))


def test_it_has_one_role_and_its_alt_text() -> None:
    """A screen reader meets one picture, not its bars; hostile text is escaped."""
    seen = harmless(drawn("one", HOSTILE).svg())
    assert [("svg", "role", "img")] == [one for one in seen.attributes if one[1] == "role"]
    assert ("svg", "aria-label", f"of {HOSTILE}") in seen.attributes
    assert HOSTILE[:20] in seen.words


def test_a_png_is_one_on_white() -> None:
    """With the colours of paper, not the stand-ins."""
    png = drawn("one").png()
    assert b"\x89PNG\r\n\x1a\n" == png[:8]
    assert 540 <= int.from_bytes(png[16:20], "big")


def test_labels_that_xml_cannot_carry() -> None:
    """Become question marks; all others stay."""
    assert "a?b?é" == drawable("a\x07b\udc80é")


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour as WCAG 2 defines it, from 0 to 1."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the ratio of two colours' luminances, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colour", SERIES)
def test_colours_are_seen_and_what_stands_on_them_is_read(colour: str) -> None:
    """3 to 1 on white and on the page in the dark; 4.5 to 1 for white or black text on them."""
    assert 3 <= min(contrast(colour, "#ffffff"), contrast(colour, "#161718"))
    assert 4.5 <= contrast(colour, "#ffffff" if colour in DARK else "#000000")
