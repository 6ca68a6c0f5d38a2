from lpbench.meters.catalogue import METERS
from lpbench.plan.schedules import SCHEDULES
from lpbench.report.catalogue import (
    devices_table,
    meters_table,
    models_table,
    schedules_table,
    workloads_table,
)
from lpbench.report.table import Table
from lpbench.shape.catalogue import model_names
from lpbench.shape.device import device_names
from lpbench.workload.catalogue import workload_names


def by_name(table: Table) -> dict[str, tuple[str, ...]]:
    """Return the rows by their first cell, after checking that all are as wide as the heading."""
    assert {len(table.columns)} == {len(row) for row in table.rows}
    return {row[0]: row[1:] for row in table.rows}


def test_models_are_listed_with_their_bytes() -> None:
    """Family, layers, experts, bytes in bfloat16 of the experts and of all, whether computed."""
    rows = by_name(models_table())
    assert model_names() == tuple(rows)
    assert ("qwen3_moe", "48", "128/8", "57.98 GB", "61.06 GB", "") == rows["qwen3-30b-a3b"]
    assert ("gpt_oss", "24", "32/4", "38.23 GB", "41.83 GB", "") == rows["gpt-oss-20b"]
    assert ("qwen3_moe", "16", "64/8", "201.33 MB", "212.36 MB", "") == rows["builtin-moe"]
    assert ("deepseek_v3", "61", "256/8", "1.31 TB", "1.34 TB", "yes") == rows["deepseek-v3"]


def test_workloads_are_listed_with_what_they_are() -> None:
    """How many requests, and the description."""
    rows = by_name(workloads_table())
    assert workload_names() == tuple(rows)
    expected = ("13", "6 chats decode while 7 prompts of 300 to 2048 tokens arrive")
    assert expected == rows["mixed"]


def test_schedules_are_listed_with_parameters_and_rule() -> None:
    """Each parameter with its default on a line of its own, and the rule in one sentence."""
    rows = by_name(schedules_table())
    assert SCHEDULES.names() == tuple(rows)
    assert "max_num_batched_tokens=8192" == rows["whole"][0]
    assert "max_num_batched_tokens=512" == rows["chunked"][0]
    assert "chunk=2048\nnum_groups=4" == rows["hybrid"][0]
    assert [
        "tokens_per_group=512",
        "max_num_batched_tokens=8192",
        "rule=ceil",
        "max_groups=16",
    ] == (rows["layered"][0].splitlines()[:4])
    assert all(rule.endswith(".") and "\n" not in rule for _, rule in rows.values())


def test_devices_are_listed_with_their_peaks() -> None:
    """Memory, bandwidth, cache, dense bfloat16 and power, with units."""
    rows = by_name(devices_table())
    assert device_names() == tuple(rows)
    expected = ("141.00 GB", "4.80 TB/s", "62.91 MB", "989.4 TFLOP/s", "700 W")
    assert expected == rows["h200"]


def test_meters_are_listed_with_their_method() -> None:
    """Whether it counts or measures, and what."""
    rows = by_name(meters_table())
    assert METERS.names() == tuple(rows)
    assert ("counted", "expert weights, from the router's decisions") == rows["experts"]
