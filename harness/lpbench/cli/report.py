"""`lpbench report`: runs, sweeps and reproductions as one page."""

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lpbench.cli.options import NoProgress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lpbench.report.page.section import Section

PAGE = "report.html"

GENERATOR = b'<meta name="generator" content="lpbench report">'
"""What a page of ours is known by."""

_PICTURES = re.compile(r"((run|sweep|reproduction)-\d+-[a-z]+|pareto|attainment)\.png")
"""What pictures beside it are called."""


def report(
    *,
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Runs' folders or run.json files, folders of runs, of a sweep, of reproduce.",
            metavar="RUN...",
        ),
    ],
    output: Annotated[
        Path, typer.Option(help="Folder for report.html and the pictures: new, or of a report.")
    ] = Path("report"),
    no_progress: NoProgress = False,
) -> None:
    """Make one HTML page of runs, and its pictures as PNG.

    The page needs a browser and nothing else: no network, no script. It
    shows who wins, by how much and how sure that is, how each figure is
    known, the tiles, the experts, the bytes, latencies and joules, as far as
    the records have them; of a sweep the regime map, of reproduce the
    paper's tables. Needs the extra `report`.

    Exit codes: 0 ok, 1 the disk is full, 2 bad input, 77 the extra is not
    installed, 130 interrupted.
    """
    from lpbench.cli.render import console, progress_bar
    from lpbench.report.page.run import find_sources

    sources = find_sources(runs)
    folder = _claim(output)
    from lpbench.report.heatmap import heatmap_svg
    from lpbench.report.page.page import to_html
    from lpbench.report.page.sections import sections

    title = f"lpbench: {sources[0].name}" + (f" and {len(sources) - 1} more" * (len(sources) > 1))
    made: list[Section] = []
    with progress_bar(shown=not no_progress) as bar:
        bar.stage("report", len(sources) + 1)
        for one in sections(sources, heatmap=heatmap_svg):
            made.append(one)
            bar.advance(1)
        page = to_html(made, title=title)
        pictures = _write(folder, page, made)
    size = len(page.encode())
    console().print(
        f"{folder / PAGE}: {size / 1e6:.2f} MB, {len(made)} sections; {pictures} pictures as PNG "
        "beside it."
    )


def _claim(folder: Path) -> Path:
    """Return the folder, made, where a report may be put.

    Raises:
        InputError: it holds something else, or cannot be made.
        UnavailableError: the extra is not installed.
    """
    from importlib.util import find_spec

    from lpbench.errors import InputError, UnavailableError
    from lpbench.record.store import check_writable

    if any(find_spec(name) is None for name in ("altair", "jinja2", "vl_convert")):
        raise UnavailableError("lpbench report needs its extra: pip install 'lpbench[report]'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        is_free = not any(folder.iterdir()) or GENERATOR in (folder / PAGE).read_bytes()
    except FileNotFoundError:
        is_free = False
    except OSError as error:
        raise InputError(f"--output {folder} cannot be used: {error.strerror}") from None
    if not is_free:
        raise InputError(f"--output {folder} holds other things; name a new folder")
    check_writable(folder / PAGE)
    return folder


def _write(folder: Path, page: str, sections: "Sequence[Section]") -> int:
    """Write the page and every picture; return how many there are."""
    from lpbench.record.store import write_atomically
    from lpbench.report.page.picture import svg_to_png

    write_atomically(folder / PAGE, page)  # first: the folder is then known as a report's
    names = set()
    for section in sections:
        for block in section.blocks:
            drawn = {one.name: one.png for one in block.pictures}
            if block.svg:
                drawn[f"{section.id}-map"] = partial(svg_to_png, block.svg[0])
            for name, draw in drawn.items():
                names.add(f"{name}.png")
                write_atomically(folder / f"{name}.png", draw())
    for path in folder.iterdir():  # a report that was here before may have had more
        if _PICTURES.fullmatch(path.name) and path.name not in names:
            path.unlink()
    return len(names)
