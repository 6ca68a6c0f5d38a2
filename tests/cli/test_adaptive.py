"""The schedule `adaptive` on the command line: whose times it plans by."""

import json
from pathlib import Path

import pytest

from tests.cli.command import BAD_INPUT, OK, CommandLine, one_line

REQUESTS = (
    '{"prompt_tokens": 40, "output_tokens": 4}\n'
    '{"prompt_tokens": 60, "output_tokens": 2, "arrival_iteration": 2}\n'
)


def test_on_torch_it_must_be_told_a_device(lpbench: CommandLine) -> None:
    """One line names the option."""
    result = lpbench("traffic", "--schedule", "adaptive", "--device", "cpu")
    assert BAD_INPUT == result.code
    assert "--predict-by says whose" in one_line(result.err)


def test_an_unknown_device_is_refused(lpbench: CommandLine) -> None:
    """With the known ones."""
    result = lpbench("plan", "--schedule", "adaptive", "--predict-by", "h300")
    assert BAD_INPUT == result.code
    assert "unknown device 'h300'" in one_line(result.err)


def test_it_computes_what_the_others_do(lpbench: CommandLine, qwen: Path, tmp_path: Path) -> None:
    """Real passes, planned by a GPU's times: the same tokens, and the record says by whose."""
    (tmp_path / "r.jsonl").write_text(REQUESTS, encoding="utf-8")
    result = lpbench(
        *("traffic", "--model", qwen, "--requests", tmp_path / "r.jsonl", "--device", "cpu"),
        *("--schedule", "chunked", "--schedule", "adaptive", "--predict-by", "h200"),
        *("--json", "-"),
    )
    assert OK == result.code, result.err
    record = json.loads(result.out)
    assert record["audit"]["tokens_equal"]
    assert "h200" == record["spec"]["predicted_by"]["device"]
    assert {"tbt_budget_ms": 50} == record["arms"][1]["schedule"]["params"]


def test_a_modelled_baseline_of_it_is_checked_again(lpbench: CommandLine, tmp_path: Path) -> None:
    """The same plans, whosever times they were planned by."""
    path = tmp_path / "b.json"
    result = lpbench(
        *("traffic", "--executor", "roofline", "--model", "gpt-oss-20b", "--workload", "decodes-8"),
        *("--schedule", "chunked", "--schedule", "adaptive:tbt_budget_ms=20"),
        *("--predict-by", "b200", "--json", path),
    )
    assert OK == result.code, result.err
    assert OK == lpbench("check", "--baseline", path).code


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("traffic", "--schedule", "chunked"), "--predict-by h200 goes with schedule adaptive"),
        (("plan", "--schedule", "layered"), "--predict-by h200 goes with schedule adaptive"),
        (("traffic", "--tensor-parallel-size", "2"), "--predict-by h200 goes with"),
    ],
)
def test_what_nobody_predicts_by_is_refused(
    lpbench: CommandLine, options: tuple[str, ...], says: str
) -> None:
    """An option that would do nothing is no option."""
    result = lpbench(*options, "--predict-by", "h200")
    assert BAD_INPUT == result.code
    assert says in one_line(result.err)


def test_an_empty_device_is_none_of_the_catalogue(lpbench: CommandLine) -> None:
    """It does not stand for a default."""
    result = lpbench("traffic", "--schedule", "adaptive", "--predict-by", "")
    assert BAD_INPUT == result.code
    assert "unknown device ''" in one_line(result.err)


def test_a_preview_says_by_whose_times_it_was_planned(lpbench: CommandLine) -> None:
    """Device, precision and the context that decodes are taken to have."""
    options = ("plan", "--schedule", "adaptive", "--decodes", "4", "--predict-by", "b200")
    said = " ".join(lpbench(*options).out.split())
    assert "kernels coefficients on b200, bfloat16, every decode at 2048 tokens" in said
    by = json.loads(lpbench(*options, "--dtype", "float32", "--json", "-").out)["predicted_by"]
    assert ("b200", "float32") == (by["device"], by["dtype"])
