"""The report in a real browser: alone, readable at any width, by keyboard, in the dark, on paper.

Pictures of every page go to $LPBENCH_SCREENSHOTS, where it is set, for people to look at.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="needs Playwright: nox -s browser")
pytest.importorskip("axe_playwright_python", reason="needs axe: nox -s browser")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

PHONE, DESK = 390, 1280
"""Pixels across."""

PAPER = 718
"""Pixels across that A4 leaves between margins of 1 cm, at 96 an inch."""

SERIOUS = {"serious", "critical"}

CUT = """() => [...document.querySelectorAll('.pictures .scroll')]
    .filter(one => one.scrollWidth > one.clientWidth + 1).map(one => one.ariaLabel)"""
"""Charts whose right end is hidden, but for the map, which no phone is wide enough for."""

OUTSIDE = """() => [...document.querySelectorAll('figure svg, table, pre')]
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
    .map(one => one.outerHTML.slice(0, 200))"""
"""What reaches beyond the page, on paper, where nothing scrolls."""

TABBED = """() => {
    const seen = [...document.querySelectorAll('.scroll, summary, nav a')]
        .filter(one => one.checkVisibility());
    return [seen.indexOf(document.activeElement), seen.length];
}"""
"""Which of what can be reached has the focus, and how many there are."""


class Watched:
    """A page that was opened, and all that it said and asked for."""

    def __init__(self, page: Page) -> None:
        """Listen to a page that is still blank."""
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("request", lambda request: self.asked.append(request.url))


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Callable[..., Watched]]:
    """Return what opens the page at a width, in light or dark."""
    contexts = []

    def load(*, width: int = DESK, scheme: str = "light") -> Watched:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme="dark" if scheme == "dark" else "light",
        )
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.page.goto(report.as_uri())
        return watched

    yield load
    for one in contexts:
        one.close()


def keep(page: Page, name: str) -> None:
    """Leave a picture for people, where they asked for one."""
    if folder := os.environ.get("LPBENCH_SCREENSHOTS"):
        page.screenshot(path=Path(folder, f"{name}.png"), full_page=True)


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_it_is_quiet_alone_and_fits(
    opened: Callable[..., Watched], report: Path, width: int
) -> None:
    """No message, no request but for the file, nothing beyond the edge; all folds open too."""
    found = opened(width=width)
    page = found.page
    keep(page, f"{report.stem}-{width}")
    for fold in page.locator("summary").all():
        fold.click()
    keep(page, f"{report.stem}-{width}-open")
    assert width == page.evaluate("document.documentElement.scrollWidth")
    assert [] == page.evaluate(CUT)
    assert ([], [report.as_uri()]) == (found.said, found.asked)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    opened: Callable[..., Watched], report: Path, scheme: str
) -> None:
    """Contrast, names, roles, keyboard: by the checker's rules, folds open."""
    page = opened(scheme=scheme).page
    page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    keep(page, f"{report.stem}-{scheme}")
    found = Axe().run(page).response["violations"]
    assert [] == [
        (one["id"], one["impact"], len(one["nodes"]), one["nodes"][0]["html"][:200])
        for one in found
        if one["impact"] in SERIOUS
    ]


def test_the_keyboard_reaches_everything(opened: Callable[..., Watched]) -> None:
    """Tab goes through links, folds and all that scrolls, in order; Enter opens a fold."""
    page = opened(width=PHONE).page
    _, count = page.evaluate(TABBED)
    reached = []
    for _ in range(count):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(TABBED)[0])
    assert list(range(count)) == reached
    for fold in page.locator("details").all():
        fold.locator("summary").focus()
        page.keyboard.press("Enter")
        assert fold.evaluate("one => one.open")
        page.keyboard.press("Tab")
        assert fold.evaluate("one => one.contains(document.activeElement)")


def test_a_link_of_the_contents_leads_there(opened: Callable[..., Watched]) -> None:
    """Within the page, every one of them."""
    page = opened().page
    for link in page.locator("nav a").all():
        link.click()
        assert page.evaluate("document.querySelector(':target') !== null")


def test_pictures_follow_the_scheme(opened: Callable[..., Watched]) -> None:
    """In the dark their text is light on dark, on paper dark on white."""
    page = opened(scheme="dark").page
    ink = "() => getComputedStyle(document.querySelector('main p, main td')).color"
    dark = page.evaluate(ink)
    page.emulate_media(media="print")
    assert "rgb(0, 0, 0)" == page.evaluate(ink)
    assert dark != page.evaluate(ink)


def test_print(opened: Callable[..., Watched], report: Path, tmp_path: Path) -> None:
    """A PDF is made, and on A4 nothing is cut off at the right."""
    page = opened(width=PAPER).page
    page.emulate_media(media="print")
    keep(page, f"{report.stem}-print")
    assert [] == page.evaluate(OUTSIDE)
    folder = Path(os.environ.get("LPBENCH_SCREENSHOTS", tmp_path))
    pdf = page.pdf(format="A4", path=folder / f"{report.stem}.pdf")
    assert b"%PDF" == pdf[:4]
