"""Commands that need no tensors start without loading the library that brings them."""

from pathlib import Path

import pytest

from lpbench import __version__
from lpbench.testing.records import example_record
from tests.cli.command import OK, CommandLine, finish, run, start

COMMANDS = (
    "traffic",
    "energy",
    "latency",
    "bench-engine",
    "tune",
    "sweep",
    "trace",
    "plan",
    "compare",
    "check",
    "doctor",
    "list",
)
HEAVY = {
    "altair",
    "google",
    "pandas",
    "perfetto",
    "safetensors",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
    "vl_convert",
}

SCRIPT = """
import sys
from lpbench.cli.app import main
try:
    main()
finally:
    sys.stderr.write(" ".join(name for name in sys.modules if "." not in name))
"""


def imported(*arguments: str | Path) -> set[str]:
    """Return the packages that a command has imported when it ends well."""
    result = finish(start(*arguments, program=("-c", SCRIPT)))
    assert OK == result.code, result.err
    return set(result.err.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        *((name, "--help") for name in COMMANDS),
        ("plan", "--json", "-"),
        *(("list", what) for what in ("models", "devices", "workloads", "schedules", "meters")),
        ("list", "suites"),
    ],
    ids=" ".join,
)
def test_no_tensors_no_torch(arguments: tuple[str, ...]) -> None:
    """Neither torch nor anything of its size, NumPy included, is loaded."""
    found = imported(*arguments)
    assert "lpbench" in found
    assert not found & {*HEAVY, "numpy"}


def test_help_needs_no_validation() -> None:
    """Pydantic alone would take a third of the 0.4 s in which help must be there."""
    assert "pydantic" not in imported("--help")


def test_comparing_two_files_needs_no_torch(tmp_path: Path) -> None:
    """A gate over two records runs where there is no torch."""
    for name in ("baseline.json", "record.json"):
        (tmp_path / name).write_text(example_record().to_json())
    files = (tmp_path / "baseline.json", tmp_path / "record.json")
    assert not imported("check", "--baseline", *files) & HEAVY
    assert not imported("compare", *files) & {*HEAVY, "numpy"}


@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(lpbench: CommandLine, command: str, option: str) -> None:
    """Every command says on stdout what it does and which options it takes."""
    result = lpbench(*filter(None, (command, option)))
    assert (OK, "") == (result.code, result.err)
    assert "Usage:" in result.out
    assert "--help" in result.out


def test_help_names_the_commands(lpbench: CommandLine) -> None:
    """The main help lists them all."""
    assert set(COMMANDS) <= set(lpbench("--help").out.split())


def test_help_of_traffic_names_the_exit_codes(lpbench: CommandLine) -> None:
    """A script's author finds them without the source."""
    out = lpbench("traffic", "--help").out
    assert all(code in out for code in ("5 ", "77 ", "130 "))


def test_no_command_shows_the_help(lpbench: CommandLine) -> None:
    """A newcomer who types the name alone sees what there is."""
    result = lpbench()
    assert set(COMMANDS) <= set(result.out.split())
    assert "lpbench: \n" != result.err, "an error line that says nothing"


def test_version(lpbench: CommandLine) -> None:
    """The version alone, on stdout."""
    result = lpbench("--version")
    assert (OK, f"{__version__}\n", "") == (result.code, result.out, result.err)


def test_as_a_module() -> None:
    """`python -m lpbench` is the same program."""
    assert (OK, f"{__version__}\n") == ((result := run("--version")).code, result.out)
