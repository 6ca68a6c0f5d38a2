"""The schedule `adaptive` on the command line: whose times it plans by."""

import json
from pathlib import Path

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
