import json

from lpbench.analysis.metrics import COMPARED
from lpbench.report.export import github_benchmark, vllm_results
from lpbench.testing.records import example_record

RECORD = example_record()


def test_figures_for_github_action_benchmark() -> None:
    """Name, unit and value of what is valid and smaller is better; nothing that is absent."""
    entries = {one["name"]: one for one in json.loads(github_benchmark(RECORD))}
    expected = {"unit": "B", "value": 1_200_000_000, "extra": "counted by router"}
    assert {"name": "layered expert_bytes"} | expected == entries["layered expert_bytes"]
    assert "layered dram_bytes_read" not in entries
    assert "layered ttft_ms_p99" not in entries
    assert {name.split(" ", 1)[1] for name in entries} <= set(COMPARED)


def test_figures_of_which_more_is_better_are_left_out() -> None:
    """The format knows smaller ones alone."""
    first, second = RECORD.arms
    rate = second.metrics["ttft_ms_mean"].model_copy(update={"unit": "1/s"})
    later = second.model_copy(update={"metrics": {**second.metrics, "goodput": rate}})
    entries = json.loads(github_benchmark(example_record(arms=(first, later))))
    assert "layered goodput" not in {one["name"] for one in entries}


def test_latencies_in_the_words_of_vllm() -> None:
    """A line a schedule: TBT is its ITL, and what there are too few samples for is left out."""
    first, second = map(json.loads, vllm_results(RECORD).splitlines())
    assert ("chunked", "layered") == (first["label"], second["label"])
    assert ("builtin-moe", 13) == (first["model_id"], first["num_prompts"])
    assert (400.0, 20.0, 24.0, 900.0) == tuple(
        first[f"mean_{name}_ms"] for name in ("ttft", "itl", "tpot", "e2el")
    )
    assert "p99_ttft_ms" not in first
