"""`lpbench plan`: what a schedule does with one prompt, on paper."""

from pathlib import Path
from typing import Annotated

import typer

SHOWN_ITERATIONS = 24


def plan(
    *,
    schedule: Annotated[str, typer.Option(help="NAME[:key=value,...].")] = "layered",
    prompt: Annotated[int, typer.Option(help="Prompt tokens.")] = 8192,
    model: Annotated[
        str, typer.Option(help="Catalogue name (lpbench list models) or a folder with config.json.")
    ] = "qwen3-30b-a3b",
    decodes: Annotated[int, typer.Option(help="Requests that decode all along.")] = 0,
    dtype: Annotated[str, typer.Option(help="float32 | bfloat16 | mxfp4.")] = "bfloat16",
    predict_by: Annotated[
        str | None,
        typer.Option(
            help="Device, by name or file, whose times the schedule adaptive plans by.",
            show_default="h100-sxm",
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(help="Write it to this file as JSON; - for stdout.", show_default=False),
    ] = None,
) -> None:
    """Draw the tiles of a schedule and sum its expert bytes in closed form; nothing runs.

    The bytes are modelled: uniform routing, E (1 - (1 - k/E)^rows) distinct experts a layer.

    Dense layers have none; shared experts, which every row passes, are summed apart.
    """
    from lpbench.bench.preview import preview, preview_predictor
    from lpbench.cli.output import STDOUT, write_text
    from lpbench.cli.render import console, print_table
    from lpbench.record.store import check_writable
    from lpbench.report.preview import preview_json, preview_lines, preview_table
    from lpbench.shape.catalogue import find_shape
    from lpbench.shape.precision import find_precision

    if json and json != STDOUT:
        check_writable(Path(json))
    shape, _ = find_shape(model)
    precision = find_precision(dtype)
    predictor, planned_by = preview_predictor(schedule, shape, predict_by=predict_by, dtype=dtype)
    steps = preview(
        schedule,
        shape,
        prompt_tokens=prompt,
        num_decodes=decodes,
        precision=precision,
        predictor=predictor,
    )
    if json:
        text = preview_json(steps, shape, schedule=schedule, dtype=dtype, planned_by=planned_by)
        write_text(json, text)
        if json == STDOUT:
            return
    for line in preview_lines(steps, shape, schedule=schedule, dtype=dtype, planned_by=planned_by):
        console().print(line)
    print_table(preview_table(steps, most=SHOWN_ITERATIONS))
