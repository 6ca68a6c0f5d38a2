"""`lpbench compare`: verdicts on two experiments, or on the arms of one."""

from pathlib import Path
from typing import Annotated

import typer


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
    one experiment (traffic, energy) are shown side by side instead. Counts are
    exact; what was measured is judged over processes, 6 runs a side at least.

    Exit codes: 0 compared, 2 not readable or not comparable.
    """
    from lpbench.analysis.comparable import MACHINE
    from lpbench.analysis.joined import join_passes
    from lpbench.analysis.verdict import Side, Verdicts
    from lpbench.analysis.versus import compare_arms_of, compare_runs
    from lpbench.cli.output import STDOUT, write_text
    from lpbench.cli.render import console, print_table
    from lpbench.errors import InputError
    from lpbench.record.store import check_writable, read_runs
    from lpbench.registry import unknown
    from lpbench.report.compare import joined_table, verdict_notes, verdict_table

    if not 0 < delta < 1:
        raise InputError(f"--delta {delta} is out of range; accepted: above 0, below 1")
    if json and json != STDOUT:
        check_writable(Path(json))
    before = read_runs(first)
    after = read_runs(second) if second is not None else ()
    if after and before[0].command != after[0].command:
        if before[0].spec_hash == after[0].spec_hash:
            if json:
                raise InputError("--json holds verdicts; passes side by side are a table alone")
            print_table(joined_table(join_passes([*before, *after])))
            return
        passes = f"{before[0].command!r} and {after[0].command!r}"
        raise InputError(f"not comparable: the passes are {passes}")
    known = {*MACHINE, *(key for run in (*before[:1], *after[:1]) for key in run.spec)}
    if wrong := next((key for key in allow or () if key not in known), None):
        raise InputError(unknown("key", wrong, known=sorted(known)))
    verdicts = (
        compare_runs(before, after, delta=delta, allowed=allow or ())
        if after
        else compare_arms_of(before, delta=delta)
    )
    if json:
        sides = tuple(Side.of(runs) for runs in (before, after) if runs)
        found = Verdicts(delta=delta, allowed=tuple(allow or ()), sides=sides, verdicts=verdicts)
        write_text(json, found.to_json())
    if json != STDOUT:
        print_table(verdict_table(verdicts))
        for line in verdict_notes(verdicts, delta=delta):
            console().print(line)
