"""A headless browser of the machine, and pages to look at; without one these tests are skipped."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lpbench.testing.records import example_record
from tests.cli.command import OK, call
from tests.metered import energy_job
from tests.paged import (
    regime_rows,
    reproduction,
    to_page,
    write_reproduction,
    write_run,
    write_sweep,
)

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
"""What a browser does unasked is none of the page's."""

LATENCY = (
    *("latency", "--executor", "roofline", "--model", "gpt-oss-20b", "--device", "h100-sxm"),
    *("--num-prompts", "6", "--input-len", "3000", "--output-len", "8"),
    *("--goodput", "ttft:500", "--quiet"),
)


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """Return Chromium, or skip where there is none: none is ever downloaded."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=path, args=list(QUIET))
        yield found
        found.close()


def _run(folder: Path) -> list[Path]:
    """Write a run with lines of iterations and requests."""
    return [write_run(folder / "a run")]


def _latency(folder: Path) -> list[Path]:
    """Serve requests at two rates on a virtual clock."""
    for rate in ("2", "9"):
        result = call(*LATENCY, "--request-rate", rate, "--output", folder / rate)
        assert OK == result.code, result.err
    return [folder]


def _energy(folder: Path) -> list[Path]:
    """Measure a fake engine with a fake meter."""
    with pytest.MonkeyPatch.context() as patch:
        energy_job(folder, patch)()
    return [folder / "run"]


def _map(folder: Path) -> list[Path]:
    """Write a sweep that is a regime map."""
    return [write_sweep(folder / "map", list(regime_rows()))]


def _paper(folder: Path) -> list[Path]:
    """Write a reproduction."""
    return [write_reproduction(folder / "paper")]


def _many(folder: Path) -> list[Path]:
    """Write runs of two machines, a failed one, schedules with long names, and all other kinds."""
    for at in range(20):
        environment = {"cpu": f"CPU {at % 2}"}
        record = example_record(spec_hash=str(at), environment=environment)
        write_run(folder / "runs" / f"{at:02}", record, is_logged=at < 2)
    first, second = example_record().arms
    long = second.model_copy(update={"label": "layered:" + "num_groups=3," * 12})
    failed = example_record(
        status="failed", failure="interrupted", arms=(first, long), comparison=()
    )
    write_run(folder / "failed", failed)
    rule = {"rule": ["a-rule-without-a-single-space-" * 9]}
    paper = write_reproduction(folder / "paper", reproduction() | rule)
    return [folder / "failed", folder / "runs", *_map(folder), paper]


PAGES: dict[str, Callable[[Path], list[Path]]] = {
    "run": _run,
    "latency": _latency,
    "energy": _energy,
    "map": _map,
    "paper": _paper,
    "many": _many,
}


@pytest.fixture(scope="session", params=list(PAGES))
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page of each kind."""
    folder = tmp_path_factory.mktemp(request.param)
    page = folder / f"{request.param}.html"
    (folder / "from").mkdir()
    page.write_text(to_page(*PAGES[request.param](folder / "from")), encoding="utf-8")
    return page
