import json

import pytest

from lpbench.bench.preview import PreviewStep, preview
from lpbench.report.preview import preview_json, preview_lines, preview_table
from lpbench.shape.catalogue import find_shape
from lpbench.shape.precision import PRECISIONS

SHAPE, _ = find_shape("builtin-moe")
HYBRID = "hybrid:chunk=4,num_groups=2"
PICTURE = "\n".join(
    [
        "      16 |22224444|",
        *["         |22224444|"] * 7,
        *["         |11113333|"] * 8,
        "layers 0 +--------+",
        "          0tokens8",
    ]
)
TOTAL = 847.5 * 196_608
"""Four rows touch 64 (1 - (7/8)^4) = 26.484375 experts: 32 times that, of 196,608 bytes each."""


def steps(schedule: str = HYBRID, *, prompt: int = 8, decodes: int = 0) -> tuple[PreviewStep, ...]:
    """Return the iterations of one prompt through the built-in model in bfloat16."""
    return preview(
        schedule, SHAPE, prompt_tokens=prompt, num_decodes=decodes, precision=PRECISIONS["bfloat16"]
    )


def test_the_lines_are_heading_picture_and_sum() -> None:
    """Everything that is said about eight tokens in two chunks of two groups."""
    expected = (
        (
            "hybrid:chunk=4,num_groups=2: 8 prompt tokens through 16 layers of builtin-moe, "
            "0 decodes in flight"
        ),
        "",
        PICTURE,
        "",
        (
            "Expert bytes in 4 iterations: 166.63 MB, of which prefill adds 166.63 MB; all experts "
            "once are 201.33 MB (bfloat16)."
        ),
        "Modelled: closed form, uniform routing. Marks are iterations: 1 to 9, a to z, A to Z.",
    )
    assert expected == preview_lines(steps(), SHAPE, schedule=HYBRID, dtype="bfloat16")


def test_dense_layers_and_shared_experts_are_said() -> None:
    """Two lines below the sum, of a model that has them."""
    shape, _ = find_shape("deepseek-v3")
    found = preview(
        "whole", shape, prompt_tokens=8, num_decodes=0, precision=PRECISIONS["bfloat16"]
    )
    lines = preview_lines(found, shape, schedule="whole", dtype="bfloat16")
    assert (
        "The first 3 layers are dense: they have no experts.",
        "Shared experts, read in every pass through an MoE layer, come on top: 5.11 GB.",
    ) == lines[5:7]


def test_the_table_has_a_row_per_iteration() -> None:
    """Tokens, layers, segments with their rows, and GB to two digits."""
    expected = (
        ("1", "0-4", "0-8", "0-8: 4", "0.04"),
        ("2", "0-4", "8-16", "8-16: 4", "0.04"),
        ("3", "4-8", "0-8", "0-8: 4", "0.04"),
        ("4", "4-8", "8-16", "8-16: 4", "0.04"),
    )
    assert expected == preview_table(steps(), most=4).rows
    assert 5 == len(preview_table(steps(), most=4).columns)


def test_decodes_make_segments_of_their_own() -> None:
    """Two decodes pass through all layers, the prompt beside them through half."""
    expected = ("0-8: 6, 8-16: 2", "0-8: 2, 8-16: 6")
    assert expected == tuple(row[3] for row in preview_table(steps(decodes=2), most=9).rows[:2])


def test_the_middle_of_a_long_table_is_left_out() -> None:
    """Of four rows past two, the first and the last stay."""
    rows = preview_table(steps(), most=2).rows
    assert ["1", "...", "4"] == [row[0] for row in rows]
    assert ("...",) * 5 == rows[1]


def test_the_json_says_how_the_bytes_were_had() -> None:
    """Value, unit, method and source, and every iteration with its segments."""
    found = json.loads(preview_json(steps(), SHAPE, schedule=HYBRID, dtype="bfloat16"))
    modelled = {"unit": "B", "method": "modelled", "source": "closed form, uniform routing"}
    iterations = found.pop("iterations")
    expected = {
        "schedule": HYBRID,
        "model": "builtin-moe",
        "num_layers": 16,
        "dense_layers": 0,
        "prompt_tokens": 8,
        "decodes": 0,
        "dtype": "bfloat16",
        "expert_bytes": {"value": TOTAL, **modelled},
        "expert_bytes_prefill_marginal": {"value": TOTAL, **modelled},
        "shared_expert_bytes": {
            "value": 0,
            "unit": "B",
            "method": "modelled",
            "source": "geometry: read in every pass through an MoE layer",
        },
    }
    assert expected == found
    assert 4 == len(iterations)
    assert {
        "tokens": [4, 8],
        "layers": [0, 8],
        "num_groups": 2,
        "segments": [{"layers": [0, 8], "prefill_rows": 4, "decode_rows": 0}],
        "expert_bytes": TOTAL / 4,
        "shared_expert_bytes": 0,
    } == iterations[2]


SCHEDULES = (
    "whole",
    "chunked:max_num_batched_tokens=8",
    "layered:tokens_per_group=3",
    "hybrid:chunk=2,num_groups=4",
    "layered:max_num_batched_tokens=1,num_groups=16",
)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("decodes", [0, 1, 3])
def test_the_picture_has_no_gap(schedule: str, decodes: int) -> None:
    """Whatever the schedule and the decodes, every token of the prompt is in the picture."""
    found = steps(schedule, decodes=decodes)
    picture = preview_lines(found, SHAPE, schedule=schedule, dtype="bfloat16")[2]
    assert "?" not in picture


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("decodes", [0, 1, 3])
def test_all_decodes_run_beside_every_tile(schedule: str, decodes: int) -> None:
    """The heading's number of decodes in flight holds from the first tile to the last."""
    found = {len(step.plan.decodes) for step in steps(schedule, decodes=decodes)}
    assert {decodes} == found
