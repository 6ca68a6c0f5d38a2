"""Records that were damaged at random: whatever reads them says so in one line, or copes.

`python -m tests.fuzzed 10000` damages so many and prints what became of them; with a run's folder
behind it, copies of that run, for `lpbench trace`; with `report` behind it, the example run, for
`lpbench report`.
"""

import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.testing.records import example_record
from tests.cli.command import BAD_INPUT, OK, REGRESSION, call, contents

VALUES: tuple[object, ...] = (
    None, True, -1, 0, 1, 1e308, -1e308, 1e-320, 10**400, "", "x" * 10_000, "\ud800", "nan",
    [], {}, [[]], {"value": None}, float("nan"), float("inf"), "\"><script>alert('&')</script>",
)  # fmt: skip
"""What is put in the place of something."""

INCONCLUSIVE, INVALID = 4, 5
ENDINGS = {OK, BAD_INPUT, REGRESSION, INCONCLUSIVE, INVALID}

MOST_OF_A_PAGE = 5_000_000
"""Characters."""

RUNS = 6
"""As many a side are judged over processes."""


def damaged(record: Record, drawn: random.Random) -> bytes:
    """Return the record with a few things replaced, removed, repeated or cut off."""
    document = json.loads(record.to_json())
    for _ in range(drawn.choice((1, 1, 1, 2, 5))):
        _damage(document, drawn)
    text = json.dumps(document).encode(errors="surrogatepass")
    if drawn.random() < 0.1:
        return text[: drawn.randrange(len(text))]
    if drawn.random() < 0.1:
        at = drawn.randrange(len(text))
        return text[:at] + drawn.randbytes(3) + text[at + 3 :]
    return text


def _damage(document: Any, drawn: random.Random) -> None:  # noqa: ANN401 - JSON of any shape
    """Change one place, as likely deep down as at the top."""
    place, key = drawn.choice(list(_places(document)) or [(None, None)])
    if place is None:
        return
    kind = drawn.random()
    if kind < 0.6:
        place[key] = drawn.choice(VALUES)
    elif kind < 0.8 or not isinstance(place, list):
        del place[key]
    else:
        place.append(place[key])


def _places(value: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 - JSON of any shape
    """Yield every (container, key)."""
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    for key in keys:
        yield value, key
        yield from _places(value[key])


def fuzz(count: int, folder: Path, *, seed: int = 0) -> Counter[str]:
    """Put damaged records, alone and among runs, through both commands; return their endings.

    Raises:
        AssertionError: a command ended otherwise than it may, said more than a line, or left a
            file.
    """
    drawn = random.Random(seed)
    whole, bad, runs, damaged_runs = (
        folder / name for name in ("whole.json", "bad.json", "runs", "damaged")
    )
    whole.write_text(example_record().to_json(), encoding="utf-8")
    for at in range(RUNS):
        for side in (runs, damaged_runs):
            (side / str(at)).mkdir(parents=True)
            (side / str(at) / "run.json").write_bytes(whole.read_bytes())
    endings: Counter[str] = Counter()
    for number in range(count):
        bad.write_bytes(damaged(example_record(), drawn))
        (damaged_runs / "0" / "run.json").write_bytes(bad.read_bytes())
        before = contents(folder)
        sides = drawn.choice(((whole, bad), (bad, whole), (bad, bad)))
        for arguments in (
            ("compare", *sides),
            ("compare", bad),
            ("check", "--baseline", sides[0], sides[1]),
            ("compare", runs, damaged_runs),
            ("check", "--baseline", damaged_runs, runs),
        ):
            result = call(*arguments)
            assert result.code in ENDINGS, (number, arguments, result)
            is_error = result.code in (BAD_INPUT, INVALID)
            assert is_error == len(result.err.splitlines()), (number, arguments, result)
            endings[f"{arguments[0]} {result.code}"] += 1
        assert before == contents(folder)
    return endings


def fuzz_trace(count: int, run: Path, folder: Path, *, seed: int = 0) -> Counter[str]:
    """Put damaged copies of a run through `lpbench trace`; return their endings.

    Raises:
        AssertionError: it ended otherwise than it may, said more than a line, left a file, or left
            a trace that cannot be read back.
    """
    from tests.traced import read_trace

    drawn = random.Random(seed)
    record = Record.model_validate_json((run / "run.json").read_bytes())
    files = {str(one.relative_to(run)): one.read_bytes() for one in run.rglob("*.jsonl")}
    copy, path = folder / "run", folder / "one.pftrace"
    shutil.copytree(run, copy)
    endings: Counter[str] = Counter()
    for number in range(count):
        hurt = drawn.choice(("run.json", *files))
        before = (copy / hurt).read_bytes()
        is_record = hurt == "run.json"
        after = damaged(record, drawn) if is_record else _damaged_lines(before, drawn)
        (copy / hurt).write_bytes(after)
        result = call("trace", copy, "--output", path, "--most-iterations", drawn.choice("159"))
        assert result.code in (OK, BAD_INPUT), (number, hurt, result)
        assert (result.code == BAD_INPUT) == len(result.err.splitlines()), (number, hurt, result)
        assert (result.code == OK) == path.exists(), (number, hurt, result)
        if path.exists():
            read_trace(path)
            path.unlink()
        (copy / hurt).write_bytes(before)
        endings[f"trace {result.code}"] += 1
        assert ["run"] == [one.name for one in folder.iterdir()]
    return endings


RENDERED = 10
"""Of so many damaged runs one has its pictures drawn; of the others they are made, not drawn."""


def fuzz_report(count: int, folder: Path, *, seed: int = 0) -> Counter[str]:
    """Make pages of damaged runs: sections and HTML of all, pictures of some; return the endings.

    Raises:
        AssertionError: something in a page could run, or it refers to what is not in it.
    """
    from lpbench.report.page.picture import Picture
    from tests.paged import EXAMPLE, harmless, to_page, write_run

    drawn = random.Random(seed)
    run = write_run(folder / "run")
    write_run(folder / "whole")
    files = {one.name: one.read_bytes() for one in run.iterdir()}
    endings: Counter[str] = Counter()
    for number in range(count):
        for name in drawn.sample(sorted(files), drawn.choice((1, 1, 2, 3))):
            is_record = name == "run.json"
            after = damaged(EXAMPLE, drawn) if is_record else _damaged_lines(files[name], drawn)
            (run / name).write_bytes(after)
        is_rendered = not number % RENDERED
        with pytest.MonkeyPatch.context() as patch:
            if not is_rendered:
                patch.setattr(Picture, "svg", lambda picture: f"<svg><!--{picture.name}--></svg>")
            try:
                page = to_page(*drawn.choice(((run,), (folder,))))
            except InputError as error:
                endings["refused" if "\n" not in str(error) else "refused in several lines"] += 1
            else:
                seen = harmless(page)
                assert seen.tags.count("section"), number
                assert len(page) < MOST_OF_A_PAGE, number
                endings["drawn" if is_rendered else "made"] += 1
        for name, text in files.items():
            (run / name).write_bytes(text)
    return endings


def _damaged_lines(text: bytes, drawn: random.Random) -> bytes:
    """Return lines with a few of them damaged, or bytes of them cut out or overwritten."""
    if drawn.random() < 0.2:
        at = drawn.randrange(len(text))
        return text[:at] + drawn.choice((b"", drawn.randbytes(3) + text[at + drawn.randrange(9) :]))
    lines = text.splitlines()
    for _ in range(drawn.choice((1, 1, 5))):
        at = drawn.randrange(len(lines))
        document = json.loads(lines[at])
        _damage(document, drawn)
        lines[at] = json.dumps(document).encode(errors="surrogatepass")
    return b"\n".join(lines)


def main() -> None:
    """Damage as many as the first argument says, for what the next one says; a seed may follow."""
    count, what, seed = [*sys.argv[1:], *("", "0")[len(sys.argv) - 2 :]]
    with tempfile.TemporaryDirectory() as folder:
        if what == "report":
            found = fuzz_report(int(count), Path(folder), seed=int(seed))
        elif what:
            found = fuzz_trace(int(count), Path(what), Path(folder), seed=int(seed))
        else:
            found = fuzz(int(count), Path(folder))
    for name, times in sorted(found.items()):
        sys.stdout.write(f"{name:12} {times:7}\n")


if __name__ == "__main__":
    main()
