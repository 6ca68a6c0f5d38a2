"""A real run's routing kept, and given to the model of a device: bytes are the counted ones."""

from pathlib import Path

import numpy as np
import pytest

from lpbench.analysis.metrics import METRICS
from lpbench.record.store import read_runs
from tests.cli.command import (
    BAD_INPUT,
    OK,
    CommandLine,
    Lines,
    contents,
    one_line,
    write_lines,
)

COUNTED = tuple(name for name, metric in METRICS.items() if metric.exact)
SCHEDULES = (
    *("--schedule", "chunked:max_num_batched_tokens=24"),
    *("--schedule", "layered:tokens_per_group=16,max_num_batched_tokens=64"),
    *("--schedule", "hybrid:chunk=32,num_groups=3"),
)
CROWDED = (
    {"prompt_tokens": 60, "output_tokens": 12},
    {"prompt_tokens": 70, "output_tokens": 9, "arrival_iteration": 2},
    {"prompt_tokens": 30, "output_tokens": 9, "arrival_iteration": 3},
)
STANDING = (
    {"prompt_tokens": 1, "output_tokens": 20, "context_tokens": 40},
    {"prompt_tokens": 1, "output_tokens": 16, "context_tokens": 9},
    {"prompt_tokens": 90, "output_tokens": 4, "arrival_iteration": 3},
)


def recorded(
    lpbench: CommandLine, folder: Path, model: Path, *options: str | Path
) -> tuple[Path, Path]:
    """Run the engine and return its record and its routing."""
    record, routing = folder / "real.json", folder / "routing.npz"
    kept = ("--record-routing", routing, "--json", record, "--device", "cpu", "--quiet")
    result = lpbench("traffic", "--model", model, *options, *kept)
    assert OK == result.code, result.err
    return record, routing


@pytest.mark.parametrize("routing", ["calibrated", "model"])
@pytest.mark.parametrize("work", [(CROWDED, "11"), (STANDING, "40")], ids=["crowded", "standing"])
def test_modelled_counts_are_the_counted_ones(
    lpbench: CommandLine,
    qwen: Path,
    tmp_path: Path,
    work: tuple[Lines, str],
    routing: str,
) -> None:
    """Every counted metric of every schedule, to the last byte; preempted requests among them."""
    lines, pages = work
    requests = write_lines(tmp_path / "requests.jsonl", *lines)
    options = ("--requests", requests, "--num-kv-pages", pages, *SCHEDULES)
    record, trace = recorded(lpbench, tmp_path, qwen, *options, "--routing", routing)
    modelled = tmp_path / "modelled.json"
    device = ("--executor", "roofline", "--dtype", "float32", "--routing", trace)
    result = lpbench("traffic", "--model", qwen, *options, *device, "--json", modelled)
    assert OK == result.code, result.err
    (real,), (found,) = read_runs(record), read_runs(modelled)
    assert "recorded" == found.spec["routing"]
    assert trace.name not in found.to_json()
    for one, other in zip(real.arms, found.arms, strict=True):
        assert one.plan_hash == other.plan_hash
        expected = {name: one.metrics[name].value for name in COUNTED}
        assert expected == {name: other.metrics[name].value for name in COUNTED}
    crowded = sum(arm.metrics["preemptions"].value or 0 for arm in real.arms)
    assert (lines is CROWDED) == (crowded > 0)


def test_the_same_lengths_at_other_times(lpbench: CommandLine, qwen: Path, tmp_path: Path) -> None:
    """Routing is by request and position, so that a load may be offered anew; or a part of it."""
    lengths = ("--input-len", "20", "--output-len", "4")
    _, trace = recorded(lpbench, tmp_path, qwen, *lengths, "--num-prompts", "3")
    with np.load(trace) as file:
        assert (3 * 23, 4, 2) == file["experts"].shape
        assert '"workload_hash"' in str(file["about"])
    load = ("--model", qwen, "--executor", "roofline", "--routing", trace, "--request-rate", "9")
    result = lpbench("latency", *load, *lengths, "--num-prompts", "2")
    assert OK == result.code, result.err
    assert "recorded routing" in " ".join(result.out.split())
    other = lpbench("latency", *load, "--input-len", "21", "--output-len", "4")
    assert BAD_INPUT == other.code
    assert "routing.npz is of another workload: request 0 has" in one_line(other.err)
    baseline = tmp_path / "baseline.json"
    assert OK == lpbench("latency", *load, *lengths, "--num-prompts", "2", "--json", baseline).code
    result = lpbench("check", "--baseline", baseline)
    assert BAD_INPUT == result.code
    assert "routing is that of a file; run it yourself" in one_line(result.err)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--routing", "gone.npz"), "needs --executor roofline"),
        (("--executor", "roofline", "--routing", "gone.npz"), "gone.npz does not exist"),
        (("--executor", "roofline", "--routing", "gone.npy"), "unknown routing 'gone.npy'"),
        (("--record-routing", "routing"), "accepted: a file name that ends in .npz"),
        (("--record-routing", "gone/routing.npz"), "gone"),
        (("--executor", "roofline", "--record-routing", "r.npz"), "nothing is routed"),
    ],
)
def test_bad_files(
    lpbench: CommandLine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    says: str,
) -> None:
    """One line, before anything runs or is written."""
    monkeypatch.chdir(tmp_path)
    result = lpbench("traffic", *options)
    assert (BAD_INPUT, "") == (result.code, result.out)
    assert says in one_line(result.err)
    assert {} == contents(tmp_path)
