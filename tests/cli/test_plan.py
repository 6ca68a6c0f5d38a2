"""`lpbench plan`: the picture, the segments and the closed-form bytes of one prompt."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import BAD_INPUT, OK, CommandLine, contents, one_line, read_json

QWEN_LAYERS = 48
QWEN_EXPERTS_ONCE = 48 * 128 * 3 * 2048 * 768 * 2
"""Bytes of all experts of Qwen3-30B-A3B in bfloat16: 57.98 GB."""


def plan_json(lpbench: CommandLine, *arguments: str) -> dict[str, Any]:
    """Return what `lpbench plan --json -` writes, which is one JSON document and no more."""
    result = lpbench("plan", *arguments, "--json", "-")
    assert (OK, "") == (result.code, result.err)
    document: dict[str, Any] = json.loads(result.out)
    return document


def cells(document: dict[str, Any]) -> list[tuple[int, int]]:
    """Return every (token, layer) that an iteration's tile covers, in order."""
    return [
        (token, layer)
        for step in document["iterations"]
        for layer in range(*step["layers"])
        for token in range(*step["tokens"])
    ]


@pytest.mark.parametrize(
    "schedule",
    ["whole", "chunked:max_num_batched_tokens=33", "layered:tokens_per_group=17",
     "layered:num_groups=7,max_num_batched_tokens=50", "layered:rule=table", "hybrid:chunk=40"],
)  # fmt: skip
def test_tiles_cover_the_rectangle_once(lpbench: CommandLine, schedule: str) -> None:
    """Each token passes each layer once, whatever the schedule."""
    options = ("--model", "builtin-moe", "--prompt", "101", "--decodes", "2")
    found = cells(plan_json(lpbench, "--schedule", schedule, *options))
    assert {(token, layer) for token in range(101) for layer in range(16)} == set(found)
    assert 101 * 16 == len(found)


def test_layered_reads_every_expert_once(lpbench: CommandLine) -> None:
    """8192 tokens climb 48 layers in 16 groups of 3, and read 57.98 GB: all experts once."""
    document = plan_json(lpbench, "--schedule", "layered", "--prompt", "8192")
    steps = document["iterations"]
    assert [[at, at + 3] for at in range(0, QWEN_LAYERS, 3)] == [step["layers"] for step in steps]
    assert [16] * 16 == [step["num_groups"] for step in steps]
    assert "57.98" == f"{document['expert_bytes']['value'] / 1e9:.2f}"
    assert QWEN_EXPERTS_ONCE == pytest.approx(document["expert_bytes"]["value"], rel=1e-9)


def test_chunked_reads_them_once_a_chunk(lpbench: CommandLine) -> None:
    """16 chunks of 512 tokens pass all layers each: 927.7 GB."""
    document = plan_json(lpbench, "--schedule", "chunked", "--prompt", "8192")
    steps = document["iterations"]
    assert [[at, at + 512] for at in range(0, 8192, 512)] == [step["tokens"] for step in steps]
    assert [[0, QWEN_LAYERS]] * 16 == [step["layers"] for step in steps]
    assert "927.7" == f"{document['expert_bytes']['value'] / 1e9:.1f}"


DEEPSEEK_EXPERT = 3 * 7168 * 2048 * 2
"""Bytes of one expert of DeepSeek-V3 in bfloat16; its layers 3 to 60 have 256, and a shared one."""


def test_layers_without_experts_read_none(lpbench: CommandLine) -> None:
    """4096 tokens climb 61 layers in 8 groups, the lowest of 8 with 3 dense ones: 1307.8 GB."""
    document = plan_json(lpbench, "--model", "deepseek-v3", "--prompt", "4096")
    moe = [5, 8, 8, 8, 8, 7, 7, 7]
    steps = document["iterations"]
    expected = [layers * 256 * DEEPSEEK_EXPERT for layers in moe]
    assert expected == pytest.approx([step["expert_bytes"] for step in steps])
    assert [layers * DEEPSEEK_EXPERT for layers in moe] == [
        step["shared_expert_bytes"] for step in steps
    ]
    assert (61, 3) == (document["num_layers"], document["dense_layers"])
    assert "1307.82" == f"{document['expert_bytes']['value'] / 1e9:.2f}"
    assert 58 * DEEPSEEK_EXPERT == document["shared_expert_bytes"]["value"]


def test_shared_experts_are_read_beside_every_tile(lpbench: CommandLine) -> None:
    """One decode passes all layers 8 times: 8 experts in each but where the prompt reads all 256.

    The prompt so adds 248 in 58 layers; the shared one is read in 58 layers 8 times.
    """
    document = plan_json(lpbench, "--model", "deepseek-v3", "--prompt", "4096", "--decodes", "1")
    routed = 58 * (256 + 7 * 8) * DEEPSEEK_EXPERT
    assert routed == pytest.approx(document["expert_bytes"]["value"])
    added = document["expert_bytes_prefill_marginal"]["value"]
    assert 58 * 248 * DEEPSEEK_EXPERT == pytest.approx(added)
    assert 8 * 58 * DEEPSEEK_EXPERT == document["shared_expert_bytes"]["value"]


def test_the_text_has_what_shared_experts_add(lpbench: CommandLine) -> None:
    """Routed experts in the sum and in the table, shared ones in a line of their own."""
    out = lpbench("plan", "--model", "deepseek-v3", "--prompt", "4096").out
    words = " ".join(out.split())
    assert "Expert bytes in 8 iterations: 1.31 TB, of which prefill adds 1.31 TB" in words
    assert "Shared experts, read in every pass through an MoE layer, come on top: 5.11 GB." in words
    assert "1 0-4096 0-8 0-8: 4096 112.74" in words
    assert "Shared" not in lpbench("plan", "--model", "mixtral-8x7b", "--prompt", "4096").out


@pytest.mark.parametrize(
    ("model", "experts_once"),
    [
        ("mixtral-8x7b", 32 * 8 * 3 * 4096 * 14_336),
        ("olmoe-1b-7b", 16 * 64 * 3 * 2048 * 1024),
        ("qwen3-235b-a22b", 94 * 128 * 3 * 4096 * 1536),
        ("gpt-oss-120b", 36 * 128 * (3 * 2880 * 2880 + 2 * 2880 + 2880)),
    ],
)
def test_models_without_dense_layers_read_every_expert(
    lpbench: CommandLine, model: str, experts_once: int
) -> None:
    """4096 tokens touch all of them, in bfloat16; none is shared."""
    document = plan_json(lpbench, "--model", model, "--prompt", "4096")
    assert 2 * experts_once == pytest.approx(document["expert_bytes"]["value"])
    assert (0, 0) == (document["dense_layers"], document["shared_expert_bytes"]["value"])


def test_json_says_what_it_is(lpbench: CommandLine) -> None:
    """Figures that were modelled are called so, with their unit, and add up."""
    document = plan_json(lpbench, "--schedule", "hybrid", "--prompt", "5000", "--decodes", "3")
    total = document["expert_bytes"]
    assert ("B", "modelled") == (total["unit"], total["method"])
    assert total["value"] == pytest.approx(
        sum(step["expert_bytes"] for step in document["iterations"])
    )
    assert total["value"] > document["expert_bytes_prefill_marginal"]["value"]
    assert ("qwen3-30b-a3b", "hybrid", 5000, 3, "bfloat16") == tuple(
        document[key] for key in ("model", "schedule", "prompt_tokens", "decodes", "dtype")
    )


def test_decodes_run_in_every_segment(lpbench: CommandLine) -> None:
    """Running decodes pass all layers in every iteration; the prompt's group alone has its rows."""
    document = plan_json(lpbench, "--prompt", "1024", "--decodes", "5", "--model", "gpt-oss-20b")
    lower, upper = document["iterations"]
    expected = [([0, 12], 1024, 5), ([12, 24], 0, 5)]
    assert expected == [segment_of(segment) for segment in lower["segments"]]
    assert [([0, 12], 0, 5), ([12, 24], 1024, 5)] == [segment_of(s) for s in upper["segments"]]


def segment_of(segment: dict[str, Any]) -> tuple[list[int], int, int]:
    """Return a segment's layers, prefill rows and decode rows."""
    return segment["layers"], segment["prefill_rows"], segment["decode_rows"]


def test_decodes_take_of_a_chunk_budget(lpbench: CommandLine) -> None:
    """With 12 of 512 tokens taken by decodes a chunk has 500."""
    document = plan_json(lpbench, "--schedule", "chunked", "--prompt", "1000", "--decodes", "12")
    assert [[0, 500], [500, 1000]] == [step["tokens"] for step in document["iterations"]]


def test_bytes_follow_the_dtype(lpbench: CommandLine) -> None:
    """In float32 every expert has twice the bytes."""
    wide = plan_json(lpbench, "--dtype", "float32")["expert_bytes"]["value"]
    assert wide == 2 * plan_json(lpbench, "--dtype", "bfloat16")["expert_bytes"]["value"]


def test_the_picture_and_the_sum_are_printed(lpbench: CommandLine) -> None:
    """Text shows one mark per iteration, each as wide and as high as its tile, and the bytes."""
    result = lpbench("plan", "--schedule", "hybrid:chunk=4096,num_groups=2", "--prompt", "8192")
    assert (OK, "") == (result.code, result.err)
    marks = [line.split("|")[1] for line in result.out.splitlines() if line.count("|") == 2]
    assert ["2" * 32 + "4" * 32] * 8 + ["1" * 32 + "3" * 32] * 8 == marks
    assert "115.96 GB" in result.out
    assert "odelled" in result.out


@pytest.mark.parametrize("prompt", [1, 2, 3])
def test_a_prompt_smaller_than_the_picture(lpbench: CommandLine, prompt: int) -> None:
    """Even a prompt of one token is drawn, with every cell covered."""
    result = lpbench("plan", "--prompt", str(prompt))
    assert OK == result.code
    assert "?" not in result.out


def test_many_iterations_are_shortened(lpbench: CommandLine) -> None:
    """A plan of 1024 iterations fits a screen or two; JSON has all of it."""
    options = ("--schedule", "chunked:max_num_batched_tokens=8")
    assert 80 >= len(lpbench("plan", *options).out.splitlines())
    assert 1024 == len(plan_json(lpbench, *options)["iterations"])


def test_json_goes_to_a_file_too(lpbench: CommandLine, tmp_path: Path) -> None:
    """The file holds what `-` would print, and the text is printed besides."""
    result = lpbench("plan", "--prompt", "100", "--json", tmp_path / "plan.json")
    assert OK == result.code
    assert result.out
    assert plan_json(lpbench, "--prompt", "100") == read_json(tmp_path / "plan.json")


def test_a_checkpoint_folder_is_a_model(lpbench: CommandLine, qwen: Path) -> None:
    """Only its config.json is read."""
    document = plan_json(lpbench, "--model", str(qwen), "--prompt", "8")
    assert ("tiny-qwen", 4) == (document["model"], document["num_layers"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--prompt", "0"), "--prompt 0"),
        (("--prompt", "-1"), "--prompt -1"),
        (("--prompt", "many"), "--prompt"),
        (("--decodes", "-1"), "--decodes -1"),
        (("--dtype", "float16"), "float32, bfloat16"),
        (("--model", "qwen3-30b"), "did you mean 'qwen3-30b-a3b'"),
        (("--model", "/nowhere"), "does not exist"),
        (("--schedule", "chunky"), "did you mean 'chunked'"),
        (("--schedule", "layered:num_groups=0"), "num_groups=0"),
        (("--schedule", "whole", "--prompt", "8193"), "8193"),
        (("--schedule", "chunked:max_num_batched_tokens=3", "--decodes", "3"), "starve"),
        (("--schedule",), "--schedule"),
        (("--json", "/dev/null/plan.json"), "plan.json"),
        (("--json", "/proc/plan.json"), "plan.json"),
        (("--json", "/tmp"), "/tmp"),  # noqa: S108 - not to be written
        (("8192",), "8192"),
    ],
    ids=str,
)
def test_bad_input(
    lpbench: CommandLine, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    """One line, exit code 2, nothing printed."""
    before = contents(tmp_path)
    result = lpbench("plan", *arguments)
    assert (BAD_INPUT, "") == (result.code, result.out), result.err
    assert says in one_line(result.err)
    assert before == contents(tmp_path)
