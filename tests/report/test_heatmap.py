"""The regime map as a picture: every field, legible, and nothing but the spots decides on it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

import pytest

from lpbench.analysis.regime import Best, Field
from lpbench.report.regime import Spot, gain_text, win_text

pytest.importorskip("altair", reason="the extra `report`")

from lpbench.report.heatmap import DRAWINGS, heatmap_svg

SVG = "{http://www.w3.org/2000/svg}"
GREY = "#bdbdbd"

TIMES: Mapping[str, Mapping[str, float]] = {
    "C 20": {"chunked": 100, "layered": 120, "adaptive": 80},
    "L 150": {"chunked": 250, "layered": 100, "adaptive": 125},
    "=": {"chunked": 100, "layered": 100.5},
    "C alone": {"chunked": 100, "adaptive": 100},
    "L alone": {"layered": 100, "adaptive": 100},
    "-": {"adaptive": 100},
}
"""Mean TTFTs in ms of those that keep the budget, by what the map says of chunked and layered."""


def spot(
    times: Mapping[str, float],
    *,
    machine: str = "m",
    prompt_len: int = 512,
    budget_ms: int = 50,
    void: frozenset[str] = frozenset(),
) -> Spot:
    """Return a field beside eight decodes in which the schedules have these times."""
    best = {name: Best(name, ttft) for name, ttft in times.items()}
    field = Field(budget_ms=budget_ms, best=best, void=void)
    return Spot(machine=machine, decodes=8, prompt_len=prompt_len, prompts=1, field=field)


SPOTS = (
    *(spot(times, prompt_len=place) for place, times in enumerate(TIMES.values())),
    spot({}, prompt_len=6, void=frozenset({"chunked", "adaptive"})),
    spot({}, prompt_len=7),
)


def marks(svg: str, kind: str) -> list[ET.Element]:
    """Return what is drawn in the cells, those of the keys included: kind is rect or text."""
    root = ET.fromstring(svg)  # noqa: S314 - our own document
    groups = (
        one
        for one in root.iter(f"{SVG}g")
        if one.get("class", "").startswith(f"mark-{kind} role-mark")
    )
    return [one for group in groups for one in group]


def cells(svg: str) -> list[tuple[str, str, str]]:
    """Return by cell its text, the colour of that, and the colour of the ground."""
    grounds, texts = marks(svg, "rect"), marks(svg, "text")
    return [
        (text.text or "", text.get("fill", ""), ground.get("fill", ""))
        for ground, text in zip(grounds, texts, strict=True)
    ]


def test_every_field_is_drawn_with_its_text() -> None:
    """As the tables have it, once in each block; the rest are the examples of the keys."""
    expected = Counter(text for drawing in DRAWINGS for text, _, _ in drawing.key)
    expected += Counter(win_text(one.field) for one in SPOTS)
    expected += Counter(gain_text(one.field) for one in SPOTS)
    drawn = Counter(text for text, _, _ in cells(heatmap_svg(SPOTS)))
    assert expected == drawn
    assert {*TIMES, "?", "+25", "-20", "over", "alone"} <= set(drawn)


def test_every_text_is_explained() -> None:
    """The keys have an example of whatever a field may say, figures aside."""
    explained = [{re.sub(r"\d+", "", text) for text, _, _ in drawing.key} for drawing in DRAWINGS]
    wins = {re.sub(r"\d+", "", win_text(one.field)) for one in SPOTS}
    gains = {re.sub(r"\d+", "", gain_text(one.field)) for one in SPOTS}
    assert explained == [wins, gains]


@pytest.mark.parametrize(
    ("text", "ground"),
    [
        ("C alone", "rgb(8, 69, 148)"),
        ("=", "rgb(247, 247, 247)"),
        ("L 150", "rgb(140, 45, 4)"),
        ("L alone", "rgb(140, 45, 4)"),
        ("over", "rgb(91, 26, 110)"),
        ("alone", "rgb(0, 85, 31)"),
        ("-", GREY),
        ("?", GREY),
    ],
)
def test_colours(text: str, ground: str) -> None:
    """Full where one is alone or takes half the time, next to white in a tie, grey for nobody."""
    assert {ground} == {under for found, _, under in cells(heatmap_svg(SPOTS)) if found == text}


def test_what_is_written_can_be_read() -> None:
    """At least 4.5 to 1 between text and ground, from one end of both scales to the other."""
    percents = range(-110, 111, 5)
    spots = [
        spot(
            {
                "chunked": 100 + max(0, one),
                "layered": 100 + max(0, -one),
                "adaptive": 100 / max(0.01, 1 + one / 100),
            },
            prompt_len=place,
        )
        for place, one in enumerate(percents)
    ]
    found = cells(heatmap_svg([*spots, *SPOTS[-2:]]))
    assert {"black", "white"} == {ink for _, ink, _ in found}
    assert [] == [one for one in found if contrast(*one[1:]) < 4.5]


def contrast(one: str, other: str) -> float:
    """Return the ratio of two colours' luminances as WCAG 2 defines it, from 1 to 21."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour, from 0 to 1."""
    known = {"black": (0, 0, 0), "white": (255, 255, 255), GREY: (189, 189, 189)}
    parts = known.get(colour) or tuple(map(int, re.findall(r"\d+", colour)))
    shares = [part / 255 for part in parts]
    red, green, blue = (
        one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_same_spots_are_the_same_bytes() -> None:
    """Nothing is counted on from one picture to the next."""
    assert heatmap_svg(SPOTS) == heatmap_svg(SPOTS)


def test_a_hostile_label_is_text() -> None:
    """It becomes no element, and what XML cannot carry becomes a question mark."""
    root = ET.fromstring(  # noqa: S314 - our own document
        heatmap_svg([spot(TIMES["="], machine="<script>alert('&')</script>\x07\udc80")])
    )
    assert not list(root.iter(f"{SVG}script"))
    titles = [text.text for text in root.iter(f"{SVG}text")]
    assert 2 == titles.count("<script>alert('&')</script>??")


def test_it_refers_to_nothing_outside() -> None:
    """It is shown whole without a network."""
    svg = heatmap_svg(SPOTS)
    names = {f'xmlns="{SVG[1:-1]}"', 'xmlns:xlink="http://www.w3.org/1999/xlink"'}
    assert names == set(re.findall(r'xmlns[:\w]*="[^"]*"', svg))
    assert len(names) == svg.count("://")
    assert not re.search(r"href|url\(|<image|<style|<script", svg)


@pytest.mark.parametrize(("lengths", "budgets"), [(8, 4), (8, 6), (3, 20), (33, 2)], ids=str)
def test_panels_fit_a_screen(lengths: int, budgets: int) -> None:
    """Those that would stand beyond 1200 pixels stand below."""
    spots = [
        spot(TIMES["="], prompt_len=length, budget_ms=budget)
        for length in range(lengths)
        for budget in range(budgets)
    ]
    root = ET.fromstring(heatmap_svg(spots))  # noqa: S314 - our own document
    assert 1200 >= int(root.get("width", ""))


def test_a_panel_says_its_machine_and_budget() -> None:
    """In ascending order, whichever field is first; the title says what the figures are."""
    texts = words([spot(TIMES["="], budget_ms=budget, prompt_len=budget) for budget in (100, 25)])
    assert texts.index("TBT 25 ms") < texts.index("TBT 100 ms")
    assert 2 == texts.count("m")
    said = " ".join(texts)
    for part in ("least mean TTFT where the p99 TBT keeps the budget", "modelled", "best param"):
        assert part in said


def words(spots: Sequence[Spot]) -> list[str]:
    """Return every text of the picture."""
    root = ET.fromstring(heatmap_svg(spots))  # noqa: S314 - our own document
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
