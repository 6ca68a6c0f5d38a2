"""The HTML document.

Owns: the template, and what may stand in a page: no script, and nothing from elsewhere.
Must not know: what a section says.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from lpbench import __version__
from lpbench.report.page.section import Section

FOLDER = Path(__file__).parent

METHODS = {
    "counted": "from the router's own decisions, exactly",
    "measured": "by an instrument or a clock",
    "modelled": "in closed form; nothing ran",
    "reported": "what a paper says",
}


def to_html(sections: Sequence[Section], *, title: str) -> str:
    """Return the page; all text in it is escaped but for the pictures' SVG.

    What UTF-8 has no way to write, such as half a character in a folder's name, becomes "?".
    """
    page = _template().render(
        title=title,
        sections=sections,
        methods=METHODS,
        version=__version__,
        style=(FOLDER / "page.css").read_text(encoding="utf-8"),
    )
    return page.encode(errors="replace").decode()


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.jinja")
