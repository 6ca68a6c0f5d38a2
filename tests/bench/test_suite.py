"""Suites: cells are the product of the lists, and what is wrong with a file is said in a line."""

import json
import math
import pickle
import re
from dataclasses import fields
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpbench.bench.keys import ALIASES, keys_of
from lpbench.bench.spec import Load, RunSpec
from lpbench.bench.suite import MOST_CELLS, Suite, find_suite, read_suite, suite_names
from lpbench.errors import InputError
from tests.bench.suites import BASE, GRID, write_suite


def said_of(folder: Path, text: str) -> str:
    """Return the line with which a suite's text is refused."""
    with pytest.raises(InputError) as caught:
        read_suite(write_suite(folder, text))
    line = str(caught.value)
    assert "\n" not in line
    return line


def test_a_grid_in_order(tmp_path: Path) -> None:
    """The last key runs fastest; a whole number stands for the same number."""
    suite = read_suite(write_suite(tmp_path))
    assert ("tiny", "", "latency") == (suite.name, suite.description, suite.command)
    expected = list(product(["chunked", "layered"], [1.0, 2.0, 4.5]))
    assert expected == [tuple(cell.point.values()) for cell in suite.cells]
    assert [(name,) for name, _ in expected] == [cell.spec.schedules for cell in suite.cells]
    assert all(cell.spec.num_prompts == 4 for cell in suite.cells)
    assert "1-chunked-1.0-" == suite.cells[0].id[:-8]
    assert "6-layered-4.5-" == suite.cells[5].id[:-8]


def test_every_field_is_a_key() -> None:
    """What is added to RunSpec or Load is a key, under its own or a second name."""
    names = {one.name for one in (*fields(RunSpec), *fields(Load))} - {"load", "slo", "burst"}
    keys = keys_of("latency")
    assert {*(ALIASES.get(name, name) for name in names), "goodput"} == set(keys)
    assert not {"request_rate", "goodput"} & set(keys_of("traffic"))
    for key in keys.values():
        assert key.default == getattr(key.owner(), key.field)


def test_base_reaches_every_field(tmp_path: Path) -> None:
    """Texts, numbers, paths, lists of texts, an SLO: each as its field has it."""
    text = """
        name = "all"
        description = "several\\nlines"
        [base]
        requests = "r.jsonl"
        schedules = ["chunked", "layered"]
        gpu_memory_utilization = 1
        duration_s = 60
        request_rate = inf
        goodput = ["ttft:100", "tbt:20"]
    """
    (cell,) = (suite := read_suite(write_suite(tmp_path, text))).cells
    load = Load(request_rate=math.inf, duration_s=60.0, slo=(("ttft", 100.0), ("tbt", 20.0)))
    expected = RunSpec(
        requests=Path("r.jsonl"),
        schedules=("chunked", "layered"),
        gpu_memory_utilization=1.0,
        load=load,
    )
    assert expected == cell.spec
    assert ("all", "several lines") == (suite.name, suite.description)
    assert re.fullmatch("1-[0-9a-f]{8}", cell.id)


def test_traffic_has_no_load(tmp_path: Path) -> None:
    """Its requests arrive as the workload states it."""
    suite = read_suite(write_suite(tmp_path, 'command = "traffic"\n[grid]\nseed = [0, 1]'))
    assert [None, None] == [cell.spec.load for cell in suite.cells]


def test_a_cell_of_several_arms(tmp_path: Path) -> None:
    """A list in the list of schedules is one cell, whose record compares them."""
    suite = read_suite(
        write_suite(tmp_path, '[grid]\nschedule = [["chunked", "layered"], "whole"]')
    )
    assert [("chunked", "layered"), ("whole",)] == [cell.spec.schedules for cell in suite.cells]
    assert "1-chunked-layered-" == suite.cells[0].id[:-8]


def test_a_union_of_grids(tmp_path: Path) -> None:
    """The cells of the second grid follow; a key that a grid lacks has its default there."""
    text = """
        [[grid]]
        model = ["a"]
        seed = [1, 2]
        [[grid]]
        model = ["b"]
        tensor_parallel_size = [4]
    """
    expected = [("a", 1, 1), ("a", 2, 1), ("b", 0, 4)]
    cells = read_suite(write_suite(tmp_path, text)).cells
    assert ["model", "seed", "tensor_parallel_size"] == list(cells[0].point)
    assert expected == [tuple(cell.point.values()) for cell in cells]


def test_private_paths_are_not_shown(tmp_path: Path) -> None:
    """Of an absolute path a cell shows the name; its id keeps two of one name apart."""
    text = '[grid]\nmodel = ["/home/me/tiny", "/srv/tiny"]'
    cells = read_suite(write_suite(tmp_path, text)).cells
    assert [{"model": "tiny"}] * 2 == [cell.point for cell in cells]
    assert ["/home/me/tiny", "/srv/tiny"] == [cell.spec.model for cell in cells]
    assert cells[0].id != cells[1].id
    assert "home" not in cells[0].id


LISTS = st.dictionaries(
    st.sampled_from(["seed", "num_prompts", "request_rate", "model", "workload"]),
    st.lists(st.integers(1, 10**6), min_size=1, max_size=4, unique=True),
    max_size=3,
)


@settings(deadline=None, max_examples=40)
@given(LISTS)
def test_cells_are_the_product(
    tmp_path_factory: pytest.TempPathFactory, lists: dict[str, list[int]]
) -> None:
    """As many as the product has, in its order, each with an id of its own that a file may have."""
    texts = {"model", "workload"}
    grid = {key: [str(n) if key in texts else n for n in lists[key]] for key in lists}
    text = "[grid]\n" + "".join(f"{key} = {json.dumps(grid[key])}\n" for key in grid)
    path = write_suite(tmp_path_factory.getbasetemp(), text)
    suite = read_suite(path)
    expected = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
    assert expected == [dict(cell.point) for cell in suite.cells]
    ids = [cell.id for cell in suite.cells]
    assert len(expected) == len(set(ids))
    assert ids == sorted(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9.-]{1,90}", name) for name in ids)
    assert suite.hash == read_suite(path).hash
    assert suite == pickle.loads(pickle.dumps(suite))  # noqa: S301 - our own value


def test_what_the_hash_is_of(tmp_path: Path) -> None:
    """What runs and its order; not what the suite is called."""

    def of(text: str) -> str:
        return read_suite(write_suite(tmp_path, text)).hash

    first = of(BASE + GRID)
    assert first == of('description = "other words"\nname = "other"\n' + BASE + GRID)
    assert first != of(BASE + GRID.replace("4.5", "4.6"))
    assert first != of(BASE + GRID.replace("1.0, 2", "2, 1.0"))
    assert first != of(BASE.replace("= 4", "= 5") + GRID)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("= 1", "suite file"),
        ("nam = 'x'", "unknown key 'nam' (did you mean 'name'?)"),
        ("name = 1", "name = 1; accepted: a text"),
        ("command = 'trafic'", "unknown command 'trafic' (did you mean 'traffic'?)"),
        ("command = ['traffic']", "command = ['traffic']; accepted: a text"),
        ("base = 3", "base = 3; accepted: a table"),
        ("grid = 3", "grid = 3; accepted: a table"),
        ("grid = []", "grid = []; accepted: a table"),
        ("grid = [3]", "grid 1 = 3; accepted: a table"),
        ("[base]\nmodle = 'x'", "base: unknown key 'modle' (did you mean 'model'?)"),
        ("[grid]\nrequest_rat = [1]", "(did you mean 'request_rate'?)"),
        ("[base]\nslo = 'x'", "base: unknown key 'slo'"),
        ("[base]\nload = 'x'", "base: unknown key 'load'"),
        ("[base]\nnum_prompts = 1.5", "base: num_prompts = 1.5; accepted: a whole number"),
        ("[base]\nnum_prompts = true", "num_prompts = True; accepted: a whole number"),
        ("[base]\nrequest_rate = 'fast'", "request_rate = 'fast'; accepted: a number"),
        ("[base]\nmodel = 2024-01-01", "accepted: a text"),
        ("[base]\nrequests = 1", "requests = 1; accepted: a text"),
        ("[base]\nfind_rate = 1", "find_rate = 1; accepted: true or false"),
        ("[base]\nschedule = [1]", "schedule = [1]; accepted: a text or a list of texts"),
        ("[base]\nschedule = []", "base: schedule is an empty list"),
        ("[base]\nmodel = ['a']", "base: model = ['a']; accepted: a text"),
        ("[base]\ngoodput = ['itl:5']", "base: goodput: --goodput: unknown metric 'itl'"),
        ("[base]\nschedule = 'a'\nschedules = ['a']", "schedule and schedules are the same"),
        ("[grid]\nseed = 1", "grid: seed = 1; accepted: a list, a cell for every value"),
        ("[grid]\nseed = []", "grid: seed is an empty list"),
        ("[grid]\nseed = [0, 'x']", "grid: seed = 'x'; accepted: a whole number"),
        ("[grid]\nschedule = [[]]", "grid: schedule is an empty list"),
        ("[base]\nseed = 1\n[grid]\nseed = [1, 2]", "seed is given in base and in grid"),
        ("[grid]\nseed = [3, 4, 3]", "cells 1 and 3 are the same run (seed=3)"),
        ("[grid]\nrequest_rate = [1, 1.0]", "are the same run (request_rate=1.0)"),
        ("[[grid]]\nseed = [0]\n[[grid]]\nmax_num_seqs = [256]", "cells 1 and 2 are the same run"),
        ("command = 'traffic'\n[grid]\nduration = [1]", 'duration goes with command = "latency"'),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """One line that names the key, the value and what is accepted."""
    line = said_of(tmp_path, text)
    assert says in line
    assert line.startswith("suite ")


def test_too_many_cells(tmp_path: Path) -> None:
    """The product is counted before it is made."""
    lists = "\n".join(
        f"{key} = {list(range(1000))}" for key in ("seed", "num_prompts", "max_num_seqs")
    )
    line = said_of(tmp_path, f"[grid]\n{lists}")
    assert f"the grid has 1000000000 cells; accepted: {MOST_CELLS} at most" in line


def test_files_that_are_no_suites(tmp_path: Path) -> None:
    """Not there, a folder, not a text; and a name that no suite has."""
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "folder.toml").mkdir()
    for name, says in (
        ("none.toml", "does not exist"),
        ("bytes.toml", "cannot be read"),
        ("folder.toml", "cannot be read"),
    ):
        with pytest.raises(InputError, match=says):
            find_suite(str(tmp_path / name))
    with pytest.raises(InputError, match=r"unknown suite 'lod' \(did you mean 'load'\?\)"):
        find_suite("lod")
    with pytest.raises(InputError, match="unknown suite"):
        find_suite("a\0b")


@pytest.mark.parametrize("name", suite_names())
def test_the_shipped_suites(name: str) -> None:
    """Each is called as its file and says what it is."""
    suite = find_suite(name)
    assert isinstance(suite, Suite)
    assert name == suite.name
    assert suite.description
    assert len(suite.cells) > 1
