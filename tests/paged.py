"""Runs, sweeps and reproductions in folders, to make pages of: small, and known by hand.

Two schedules serve a prompt of 1024 tokens on the built-in model, then 1, 2 and 3 decodes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TypeAlias

from lpbench.bench.summary import Row, to_lines
from lpbench.record.schema import Reading, Record
from lpbench.report.page.run import find_sources
from lpbench.testing.records import example_record
from tests.cli.command import write_lines

Line: TypeAlias = Mapping[str, object]

LAYERS, EXPERTS, PROMPT = 16, 64, 1024
"""Of the built-in model, and of the prompt."""

TILES = {
    "chunked": [((0, 512), (0, 16)), ((512, 1024), (0, 16))],
    "layered": [((0, 1024), (0, 6)), ((0, 1024), (6, 11)), ((0, 1024), (11, 16))],
}
"""Tokens and layers that an iteration computes of the prompt, by schedule."""

EXAMPLE = example_record()

TOKEN_MS = {"chunked": (30.0, 40.0, 60.0), "layered": (20.0, 40.0, 50.0)}
"""From the arrival of the request, its three tokens."""


def iteration(
    arm: str,
    number: int,
    *,
    tiles: Sequence[tuple[tuple[int, int], tuple[int, int]]] = (),
    decodes: int = 0,
    experts: int | None = None,
) -> Line:
    """Return a line of iterations.jsonl: tiles of request 0, experts touched in every layer."""
    return {
        "arm": arm,
        "iteration": number,
        "start_ms": 10.0 * number,
        "duration_ms": 10.0,
        "decodes": list(range(decodes)),
        "tiles": [{"request": 0, "tokens": tokens, "layers": layers} for tokens, layers in tiles],
        "preempted": [],
        "distinct_experts": None if experts is None else [experts] * LAYERS,
    }


def served(arm: str, *token_ms: float, request: int = 0) -> Line:
    """Return a line of requests.jsonl."""
    return {
        "arm": arm,
        "request": request,
        "context_tokens": 0,
        "prompt_tokens": PROMPT,
        "output_tokens": len(token_ms),
        "arrival_ms": 0.0,
        "queue_ms": 0.0,
        "token_ms": token_ms,
    }


def iterations() -> Iterator[Line]:
    """Yield the example's: tiles touch all experts, so many decodes 8 each."""
    for arm, tiles in TILES.items():
        for number, tile in enumerate(tiles):
            yield iteration(arm, number, tiles=[tile], experts=EXPERTS)
        for count in (1, 2, 3):
            yield iteration(arm, len(tiles) + count, decodes=count, experts=8 * count)


def write_run(folder: Path, record: Record | None = None, *, is_logged: bool = True) -> Path:
    """Write a run's folder; without a record the example's, whose lines these are."""
    folder.mkdir(parents=True)
    (folder / "run.json").write_text((record or EXAMPLE).to_json(), encoding="utf-8")
    if is_logged:
        write_lines(folder / "iterations.jsonl", *iterations())
        write_lines(
            folder / "requests.jsonl", *(served(arm, *times) for arm, times in TOKEN_MS.items())
        )
    return folder


def row(schedule: str, ttft: float, tbt: float, **point: object) -> Row:
    """Return the row of one schedule in a point of a regime map."""
    place = {
        "model": "m",
        "device": "d",
        "tensor_parallel_size": 1,
        "dtype": None,
        "num_decodes": 8,
        "prompt_len": 512,
        "prompts": 1,
    }
    values = {"ttft_ms_mean": ttft, "tbt_ms_p99": tbt}
    return Row.model_validate(
        {
            "cell": "-".join(map(str, point.values())) or "1",
            "status": "complete",
            "point": {**place, **point, "schedule": schedule},
            "metrics": {name: reading(value) for name, value in values.items()},
        }
    )


def reading(value: float, **changes: object) -> Reading:
    """Return a modelled time."""
    known = {"unit": "ms", "method": "modelled", "source": "closed form", "pass": "latency"}
    return Reading.model_validate({"value": value, **known, **changes})


def regime_rows() -> Iterator[Row]:
    """Yield a map of two prompts and two numbers of decodes: each schedule wins somewhere."""
    for decodes in (8, 64):
        for prompt_len in (512, 4096):
            place = {"num_decodes": decodes, "prompt_len": prompt_len}
            yield row("chunked:max_num_batched_tokens=520", 100 + decodes, 40, **place)
            yield row("layered:num_groups=2", 130, 40, **place)
            yield row("adaptive:tbt_budget_ms=50", 90, 45, **place)


def write_sweep(folder: Path, rows: Sequence[Row]) -> Path:
    """Write what `sweep` leaves, as far as a page reads it."""
    folder.mkdir(parents=True)
    (folder / "summary.jsonl").write_text(to_lines(rows), encoding="utf-8")
    return folder


def reproduction(title: str = "Table 1") -> dict[str, Any]:
    """Return a document of `reproduce` with a claim and a cell that is off."""
    cell = {
        "row": "512",
        "column": "load",
        "reported": {"value": 764.1},
        "ours": {"value": 1528.2},
        "unit": "GB",
        "ratio": 2.0,
        "is_off": True,
    }
    claim = {"says": "layered loads less", "reported": 2.0, "ours": 1.9, "status": "follows"}
    table = {
        "name": "table-1",
        "title": title,
        "verdict": "follows in part",
        "why": "Bytes alone.",
        "cells": [cell],
        "claims": [claim],
    }
    return {"rule": ["OFF: more than 25 % apart."], "tables": [table]}


def write_reproduction(folder: Path, document: object = None) -> Path:
    """Write what `reproduce` leaves, as far as a page reads it."""
    folder.mkdir(parents=True)
    text = json.dumps(reproduction() if document is None else document)
    (folder / "reproduce.json").write_text(text, encoding="utf-8")
    return folder


class Seen(HTMLParser):
    """A page as a browser takes it: elements, attributes, ids, text.

    Attributes:
        tags: names of its elements.
        attributes: every (element, name, value).
        ids: of its elements, in order.
        words: its text, but for that of its style sheet.
    """

    def __init__(self, page: str) -> None:
        """Read a page."""
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self._words: list[str] = []
        self.feed(page)
        self.close()
        self.ids = [value for _, name, value in self.attributes if name == "id"]
        self.words = " ".join(" ".join(self._words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep an element."""
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Keep text."""
        if self.tags[-1:] != ["style"]:
            self._words.append(data)


_DOCUMENT = (
    "html head meta title style body header h1 p span nav ol li a main section h2 div table thead "
    "tbody tr th td caption br figure figcaption details summary pre strong footer"
)
_DRAWN = "svg g path rect line text tspan defs clippath lineargradient stop"

ELEMENTS = frozenset(f"{_DOCUMENT} {_DRAWN}".split())
"""What a page is made of; none of them runs or fetches anything, but for an anchor."""


def harmless(page: str) -> Seen:
    """Return the page read back.

    Raises:
        AssertionError: something in it could run, or refers to what is not in it.
    """
    seen = Seen(page)
    assert set(seen.tags) <= ELEMENTS, set(seen.tags) - ELEMENTS
    for tag, name, value in seen.attributes:
        assert not name.startswith("on"), (tag, name, value)
        if name in ("href", "xlink:href", "src", "action", "srcset", "data"):
            assert value.startswith("#"), (tag, name, value)
            assert value[1:] in seen.ids, (tag, name, value)
        if name.startswith("xmlns"):
            assert value.startswith("http://www.w3.org/"), (tag, name, value)
        if "url(" in value and name not in ("aria-label", "title"):
            assert value.startswith("url(#"), (tag, name, value)
            assert value[5:-1] in seen.ids, (tag, name, value)
    assert len(seen.ids) == len(set(seen.ids)), "an id stands twice"
    return seen


def to_page(*paths: Path) -> str:
    """Return the page of what lies there."""
    from lpbench.report.heatmap import heatmap_svg
    from lpbench.report.page.page import to_html
    from lpbench.report.page.sections import sections

    return to_html(list(sections(find_sources(paths), heatmap=heatmap_svg)), title=paths[0].name)
