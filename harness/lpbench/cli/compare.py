"""`lpbench compare`: verdicts on two experiments, or on the arms of one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from lpbench.record.schema import Record
    from lpbench.report.table import Table


def compare(
    first: Annotated[Path, typer.Argument(help="A record, a run's folder, or a folder of runs.")],
    second: Annotated[
        Path | None,
        typer.Argument(
            help="What is compared with it; absent: the arms of the first.", show_default=False
        ),
    ] = None,
    *,
    delta: Annotated[
        float, typer.Option(help="Figures within this share of each other are the same.")
    ] = 0.01,
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="KEY of the spec or the machine that may differ, repeatable.", show_default=False
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(help="Write the verdicts to this file; - for stdout.", show_default=False),
    ] = None,
) -> None:
    """Say of every metric whether it got better, worse, or stayed the same.

    Two experiments are compared arm by arm, one alone by its arms. Passes of
    one experiment (traffic, energy), given as two or in one folder, are shown
    side by side instead, several runs of a pass by their mean. Counts are exact;
    what was measured is judged over processes, 6 runs a side at least.

    Exit codes: 0 compared, 2 not readable or not comparable.
    """
    from lpbench.cli.output import STDOUT, write_text
    from lpbench.cli.render import console, print_table
    from lpbench.errors import InputError
    from lpbench.record.store import check_writable, read_runs

    if not 0 < delta < 1:
        raise InputError(f"--delta {delta} is out of range; accepted: above 0, below 1")
    if json and json != STDOUT:
        check_writable(Path(json))
    before = read_runs(first)
    after = read_runs(second) if second is not None else ()
    if _are_passes(before, after):
        from lpbench.analysis.joined import join_passes
        from lpbench.report.compare import joined_notes, joined_table

        found = join_passes([*before, *after])
        document, table, notes = found.to_json(), joined_table(found), joined_notes(found)
    else:
        document, table, notes = _verdicts(before, after, delta=delta, allowed=allow or ())
    if json:
        write_text(json, document)
    if json != STDOUT:
        print_table(table)
        for line in notes:
            console().print(line)


def _are_passes(before: "Sequence[Record]", after: "Sequence[Record]") -> bool:
    """Return whether these are passes of one experiment, which there is nothing to compare in."""
    commands = [{run.command for run in runs} for runs in (before, after)]
    if not after:
        return len(commands[0]) > 1
    is_one = before[0].spec_hash == after[0].spec_hash
    return is_one and all(len(one) == 1 for one in commands) and commands[0] != commands[1]


def _verdicts(
    before: "Sequence[Record]",
    after: "Sequence[Record]",
    *,
    delta: float,
    allowed: "Collection[str]",
) -> "tuple[str, Table, tuple[str, ...]]":
    """Return the verdicts as a document, as a table, and what they mean.

    Raises:
        InputError: not comparable, or a key that is none.
    """
    from lpbench.analysis.comparable import CONDITIONS
    from lpbench.analysis.verdict import Side, Verdicts
    from lpbench.analysis.versus import compare_arms_of, compare_runs
    from lpbench.errors import InputError
    from lpbench.registry import unknown
    from lpbench.report.compare import verdict_notes, verdict_table

    known = {*CONDITIONS, *(key for run in (*before[:1], *after[:1]) for key in run.spec)}
    if wrong := next((key for key in allowed if key not in known), None):
        raise InputError(unknown("key", wrong, known=sorted(known)))
    verdicts = (
        compare_runs(before, after, delta=delta, allowed=allowed)
        if after
        else compare_arms_of(before, delta=delta)
    )
    sides = tuple(Side.of(runs) for runs in (before, after) if runs)
    found = Verdicts(delta=delta, allowed=tuple(allowed), sides=sides, verdicts=verdicts)
    notes = verdict_notes(verdicts, delta=delta)
    return found.to_json(), verdict_table(verdicts), notes
