"""`lpbench list`: the catalogues."""

import pytest

from tests.cli.command import OK, CommandLine


def words(lpbench: CommandLine, what: str) -> set[str]:
    """Return every word that `lpbench list WHAT` prints."""
    result = lpbench("list", what)
    assert (OK, "") == (result.code, result.err)
    return set(result.out.split())


def test_models(lpbench: CommandLine) -> None:
    """The built-in model and the two released geometries, with layers and experts."""
    found = words(lpbench, "models")
    assert {"builtin-moe", "qwen3-30b-a3b", "gpt-oss-20b"} <= found
    assert {"48", "128/8", "24", "32/4", "16", "64/8"} <= found
    assert "57.98" in found


def test_models_that_are_modelled_only_are_marked(lpbench: CommandLine) -> None:
    """A yes ends the row of every model whose family the engine does not compute."""
    lines = [line.split() for line in lpbench("list", "models").out.splitlines()]
    marked = {line[0] for line in lines if line and line[-1] == "yes"}
    assert {"deepseek-v3", "mixtral-8x7b", "olmoe-1b-7b"} == marked
    assert {"modelled", "only"} <= words(lpbench, "models")


def test_devices(lpbench: CommandLine) -> None:
    """The GPUs whose peaks are known."""
    found = words(lpbench, "devices")
    assert {"h100-sxm", "h200", "a100-80gb-sxm", "b200", "l40s", "rtx-4090"} <= found
    assert {"3.35", "TB/s", "700", "W"} <= found


def test_workloads(lpbench: CommandLine) -> None:
    """The built-in workload, with the number of its requests."""
    assert {"mixed", "13"} <= words(lpbench, "workloads")


def test_suites(lpbench: CommandLine) -> None:
    """The shipped suites, with the number of their cells."""
    assert {"load", "12"} <= words(lpbench, "suites")


def test_schedules(lpbench: CommandLine) -> None:
    """Every schedule, with its parameters and their defaults."""
    found = words(lpbench, "schedules")
    assert {"whole", "chunked", "layered", "hybrid"} <= found
    assert {
        "tokens_per_group=512",
        "max_num_batched_tokens=8192",
        "rule=ceil",
        "chunk=2048",
    } <= found


def test_meters(lpbench: CommandLine) -> None:
    """Every meter, with the method of its readings."""
    assert {"experts", "counted", "rapl", "measured"} <= words(lpbench, "meters")


@pytest.mark.parametrize(
    "what", ["models", "devices", "workloads", "suites", "schedules", "meters"]
)
def test_a_listing_fits_a_terminal(lpbench: CommandLine, what: str) -> None:
    """No line is wider than 80 columns, and none has escape codes."""
    out = lpbench("list", what).out
    assert 80 >= max(len(line) for line in out.splitlines())
    assert "\x1b" not in out
