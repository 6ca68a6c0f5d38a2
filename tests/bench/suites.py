"""Suites as the tests write them: small cells on the roofline."""

from pathlib import Path

from lpbench.bench.summary import SUMMARY, Row

BASE = """
[base]
executor = "roofline"
model = "qwen3-30b-a3b"
device = "h200"
workload = "sharegpt"
num_prompts = 4
"""

GRID = """
[grid]
schedule = ["chunked", "layered"]
request_rate = [1.0, 2, 4.5]
"""


def write_suite(folder: Path, text: str = BASE + GRID, *, name: str = "tiny.toml") -> Path:
    """Write a suite's file and return its path."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def read_rows(folder: Path) -> tuple[Row, ...]:
    """Return the rows of the summary that a sweep left in its folder."""
    lines = (folder / SUMMARY).read_text(encoding="utf-8").splitlines()
    return tuple(map(Row.model_validate_json, lines))
