"""What is drawn is what the record and its lines say."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("altair", reason="the extra `report`")

from lpbench.report.page import charts
from lpbench.report.page.charts import Point
from lpbench.report.page.log import Log, read_log
from lpbench.report.page.picture import Picture
from lpbench.testing.records import example_record
from tests.cli.command import write_lines
from tests.paged import EXPERTS, LAYERS, PROMPT, TILES, TOKEN_MS, Line, iteration, served, write_run
from tests.revalued import revalued

CHUNKED, LAYERED = example_record().arms


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    """Return the example's lines."""
    return read_log(write_run(tmp_path_factory.mktemp("charts") / "run"))


def logged(folder: Path, *iterations: Line, requests: Sequence[Line] = ()) -> Log:
    """Return these lines as they are read."""
    write_lines(folder / "iterations.jsonl", *iterations)
    write_lines(folder / "requests.jsonl", *requests)
    log = read_log(folder)
    assert () == log.notes
    return log


def data(found: Picture | None, *keys: str) -> list[tuple[Any, ...]]:
    """Return what a picture draws where its values have all of these keys."""
    assert found is not None
    rows: list[tuple[Any, ...]] = []

    def collect(node: object) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                if key == "values" and isinstance(value, list):
                    known = [one for one in value if isinstance(one, dict)]
                    rows.extend(
                        tuple(one[key] for key in keys) for one in known if set(keys) <= set(one)
                    )
                else:
                    collect(value)
        elif isinstance(node, list):
            for one in node:
                collect(one)

    spec = json.loads(found.spec)
    for named in spec.get("datasets", {}).values():
        collect({"values": named})
    collect(spec)
    return rows


def test_tiles_cover_the_prompt_once(log: Log) -> None:
    """Every token in every layer, each exactly once, by either schedule."""
    rows = data(
        charts.tiles(log, name="t", num_layers=LAYERS), "arm", "x", "x2", "y", "y2", "order"
    )
    for arm, tiles in TILES.items():
        own = [row[1:] for row in rows if row[0] == arm]
        assert [(*tokens, *layers, at + 1) for at, (tokens, layers) in enumerate(tiles)] == own
        area = sum((x2 - x) * (y2 - y) for x, x2, y, y2, _ in own)
        assert PROMPT * LAYERS == area
        points = {
            (token, layer)
            for x, x2, y, y2, _ in own
            for token in range(x, x2, 64)
            for layer in range(y, y2)
        }
        assert PROMPT // 64 * LAYERS == len(points)


def test_tiles_are_the_longest_prompts_and_end_somewhere(tmp_path: Path) -> None:
    """Of a prompt cut finer than can be drawn, so many tiles and no more."""
    from lpbench.report.page.charts.cut import MOST_TILES

    cut = [iteration("a", at, tiles=[((at, at + 1), (0, LAYERS))]) for at in range(MOST_TILES + 50)]
    found = charts.tiles(logged(tmp_path, *cut), name="t", num_layers=LAYERS)
    assert MOST_TILES == len(data(found, "arm", "x2"))
    assert charts.tiles(Log(), name="t", num_layers=LAYERS) is None


def test_iterations_without_the_prompt_are_not_numbered(tmp_path: Path) -> None:
    """Decodes, or another prompt, between its tiles: the numbers are of its own."""
    other = dict(iteration("a", 1))
    other["tiles"] = [{"request": 1, "tokens": (0, 8), "layers": (0, 16)}]
    log = logged(
        tmp_path,
        iteration("a", 0, tiles=[((0, 512), (0, 16))]),
        other,
        iteration("a", 2, decodes=1),
        iteration("a", 3, tiles=[((512, 1024), (0, 16))]),
    )
    found = charts.tiles(log, name="t", num_layers=LAYERS)
    assert [(512, 1), (1024, 2)] == data(found, "x2", "order")


def test_expert_bytes_add_up() -> None:
    """Both parts of a bar are all expert bytes; 1.5 of 2 GB were added by prefill."""
    rows = data(charts.experts(example_record(), name="e"), "arm", "part", "gb")
    assert [
        ("chunked", "read for decodes anyway", 0.5),
        ("chunked", "added by prefill", 1.5),
        ("layered", "read for decodes anyway", 0.5),
        ("layered", "added by prefill", 0.7),
    ] == [(arm, part, round(gb, 9)) for arm, part, gb in rows]


def test_nothing_invalid_is_drawn() -> None:
    """A schedule without a valid figure is left out, and without any there is no picture."""
    whole = LAYERED.metrics["expert_bytes"]
    doubted = whole.model_copy(update={"validity": "invalid", "reasons": ("r",)})
    invalid = LAYERED.model_copy(update={"metrics": LAYERED.metrics | {"expert_bytes": doubted}})
    for bare in (revalued(LAYERED, expert_bytes=None), invalid):
        rows = data(charts.experts(example_record(arms=(CHUNKED, bare)), name="e"), "arm", "part")
        assert {"chunked"} == {arm for arm, _ in rows}
        assert charts.experts(example_record(arms=(bare,)), name="e") is None
    assert charts.joules(example_record(), name="j") is None


def test_the_ledger_adds_up() -> None:
    """All terms of a schedule together, whatever stands apart."""
    found = charts.ledger(example_record(), name="l")
    sums: dict[str, float] = defaultdict(float)
    for arm, _, gb in data(found, "arm", "part", "gb"):
        sums[arm] += gb
    for arm in example_record().arms:
        whole = sum(float(term.bytes) for term in arm.ledger.modelled) / 1e9
        assert pytest.approx(whole) == sums[arm.label]
    counted = [("chunked", "experts, counted", 2.0), ("layered", "experts, counted", 1.2)]
    assert counted == data(found, "arm", "what", "gb")


def test_figures_stand_where_they_fit() -> None:
    """2 and 0.3 GB in their parts, nothing in 0.05 GB; terms of nothing are not there."""
    found = charts.ledger(example_record(), name="l")
    rows = data(found, "arm", "part", "text")
    assert {"experts", "attention weights", "kv read"} == {part for _, part, _ in rows}
    assert ["2", "0.3", ""] == [text for arm, _, text in rows if arm == "chunked"]


def test_samples_are_the_requests() -> None:
    """TTFT is the first token's time, TBT what lies between two."""
    log = Log(requests={})
    assert charts.distribution(log, "TTFT", name="d", clock="virtual") is None


def test_a_distribution_begins_at_0_and_ends_at_1(log: Log) -> None:
    """Steps at the samples: the gaps between tokens are 10 and 20 ms for one schedule."""
    found = charts.distribution(log, "TBT", name="d", clock="virtual")
    rows = data(found, "arm", "ms", "share")
    assert [(10.0, 0.0), (10.0, 0.5), (20.0, 1.0)] == [
        (ms, share) for arm, ms, share in rows if arm == "chunked"
    ]
    assert {"chunked", "layered"} == {arm for arm, *_ in rows}
    first = data(charts.distribution(log, "TTFT", name="d", clock="virtual"), "arm", "ms")
    assert {arm: times[0] for arm, times in TOKEN_MS.items()} == dict(first)
    assert found is not None
    assert "Samples: chunked 2, layered 2. Clock: virtual." == found.caption


def test_a_thinned_distribution_is_still_one(tmp_path: Path) -> None:
    """Of 1001 samples 200 steps: each share is that of the samples no longer than it."""
    requests = [served("a", float(at), request=at) for at in range(1001)]
    found = charts.distribution(
        logged(tmp_path, requests=requests), "TTFT", name="d", clock="monotonic"
    )
    rows = data(found, "ms", "share")
    assert 201 == len(rows)
    assert rows == sorted(rows)
    assert [(0, 0), (1000, 1)] == [rows[0], rows[-1]]
    for ms, share in rows[1:]:
        assert pytest.approx((ms + 1) / 1001) == share


def test_heat_is_the_mean_share(log: Log) -> None:
    """Tiles touch all experts, decodes 8 each of 64, in every layer."""
    found = charts.heat(log, name="h", num_experts=EXPERTS)
    rows = data(found, "arm", "x", "x2", "y", "y2", "share")
    own = [row[1:] for row in rows if row[0] == "layered"]
    shares = [1, 1, 1, 8 / 64, 16 / 64, 24 / 64]
    expected = [
        (x, x + 1, y, y + 1, share) for x, share in enumerate(shares) for y in range(LAYERS)
    ]
    assert expected == own


def test_many_iterations_are_averaged(tmp_path: Path) -> None:
    """Cells cover all of them once; the mean over the cells' areas is that of the counts."""
    lines = [iteration("a", at, decodes=1, experts=at % 64) for at in range(150)]
    rows = data(
        charts.heat(logged(tmp_path, *lines), name="h", num_experts=EXPERTS),
        *("x", "x2", "y", "y2", "share"),
    )
    assert 60 * LAYERS == len(rows)
    areas = [(x2 - x) * (y2 - y) for x, x2, y, y2, _ in rows]
    assert 150 * LAYERS == sum(areas)
    mean = sum(area * row[-1] for area, row in zip(areas, rows, strict=True)) / sum(areas)
    assert pytest.approx(sum(at % 64 for at in range(150)) / 150 / 64) == mean


def test_coverage_is_of_decodes_alone(log: Log) -> None:
    """Iterations with tiles are none of it."""
    rows = data(charts.coverage(log, name="c", num_experts=EXPERTS), "arm", "decodes", "share")
    assert [("chunked", count, count / 8) for count in (1, 2, 3)] == rows[:3]
    assert 6 == len(rows)


def test_decodes_are_whole(tmp_path: Path) -> None:
    """The axis has no half of one, and a handful of figures however many counts there are."""
    for most, expected in ((3, [1, 2, 3]), (30, [1, 6, 11, 16, 21, 26])):
        lines = [iteration("a", at, decodes=at, experts=8) for at in range(1, most + 1)]
        found = charts.coverage(logged(tmp_path, *lines), name="c", num_experts=EXPERTS)
        assert found is not None
        assert expected == json.loads(found.spec)["encoding"]["x"]["axis"]["values"]


def test_joules_have_the_interval_of_their_blocks() -> None:
    """The fake campaign's samples: median 8, lowest 1 and highest 15 of 15 lie beyond it."""
    samples = tuple(float(at) for at in range(1, 16))
    joules = CHUNKED.metrics["ttft_ms_mean"].model_copy(
        update={"unit": "J", "value": 8.0, "samples": samples}
    )
    arm = CHUNKED.model_copy(
        update={"metrics": CHUNKED.metrics | {"joules_per_total_token": joules}}
    )
    again = arm.model_copy(update={"label": "chunked#2", "role": "aa"})
    rows = data(
        charts.joules(example_record(arms=(arm, again)), name="j"), "arm", "j", "low", "high"
    )
    assert ["chunked", "chunked#2 (A/A)"] == [row[0] for row in rows]
    for _, value, low, high in rows:
        assert 1 < low < value < high < 15


def test_points_need_company() -> None:
    """One point or one rate shows nothing; two are drawn as they are."""
    one, two = (Point(label=f"l{at}", group=f"g{at}", x=float(at), y=0.5) for at in (1, 2))
    assert charts.pareto([one], name="p", caption="") is None
    assert charts.attainment([one, one], name="a") is None
    assert [(1, 0.5), (2, 0.5)] == data(charts.pareto([one, two], name="p", caption=""), "x", "y")
    assert [(1, 0.5), (2, 0.5)] == data(charts.attainment([two, one], name="a"), "rate", "share")


def test_alt_texts_hold_the_figures(log: Log) -> None:
    """Who does not see a picture reads what it shows."""
    record = example_record()
    expected = {
        "chunked: 2 tiles in 2 iterations": charts.tiles(log, name="t", num_layers=LAYERS),
        "layered 1.2 GB": charts.experts(record, name="e"),
        "chunked: experts 2 GB, attention weights 0.3 GB": charts.ledger(record, name="l"),
        "chunked: median 15 ms, largest 20 ms": charts.distribution(
            log, "TBT", name="d", clock="c"
        ),
    }
    for words, found in expected.items():
        assert found is not None
        assert words in found.alt


def test_warm_ups_are_in_no_distribution(tmp_path: Path) -> None:
    """The first to arrive, whatever their numbers, as in the record's figures."""
    lines = [
        {**served("chunked", ms, request=number), "arrival_ms": arrival}
        for number, arrival, ms in ((0, 5.0, 10.0), (1, 0.0, 900.0), (2, 9.0, 30.0))
    ]
    log = logged(tmp_path, requests=lines)
    found = charts.distribution(log, "TTFT", name="n", clock="c", num_warmups=1)
    assert found is not None
    assert "chunked: median 20 ms, largest 30 ms" in found.alt
    assert "Samples: chunked 2. Clock: c. Without the first 1 requests" in found.caption


def test_joules_without_blocks_have_no_interval() -> None:
    """Of a modelled run none is drawn or told."""
    arm = revalued(LAYERED)
    joule = arm.metrics["expert_bytes"].model_copy(
        update={"value": 0.5, "unit": "J", "method": "modelled", "samples": (0.5,)}
    )
    arm = arm.model_copy(update={"metrics": {"joules_per_total_token": joule}})
    found = charts.joules(example_record(arms=(arm,)), name="j")
    assert found is not None
    assert "modelled. layered: 0.5 J." in found.alt
    assert "interval" not in found.alt + found.caption
