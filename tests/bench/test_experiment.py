"""From options to an experiment: names, lengths, labels, memory needs, and what identifies it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lpbench.bench.experiment import MAX_SEED, fingerprint, resolve
from lpbench.bench.offered import DEFAULT_INPUT_LEN, DEFAULT_OUTPUT_LEN, DEFAULT_PROMPTS
from lpbench.bench.spec import RunSpec
from lpbench.errors import InputError
from tests.bench.tiny import CONFIG, tiny_spec

LENGTHS = {"num_prompts": None, "input_len": None, "output_len": None}


def write_requests(folder: Path, *lines: dict[str, object]) -> Path:
    """Write a requests file."""
    file = folder / "requests.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_the_defaults_are_the_built_in_run() -> None:
    """Without options: the built-in model and workload, chunked against layered."""
    found = resolve(RunSpec())
    assert ("builtin-moe", None, "calibrated") == (found.shape.name, found.folder, found.routing)
    assert ["chunked", "layered"] == [arm.label for arm in found.arms]
    assert 13 == len(found.prompts.requests)
    assert ("builtin-moe", "mixed", "dummy", 13) == tuple(
        found.identity[key] for key in ("model", "workload", "weights", "num_prompts")
    )


def test_the_built_in_model_is_large_enough_to_show_the_effect() -> None:
    """At least 12 layers and 64 experts, top-8."""
    shape = resolve(RunSpec()).shape
    assert shape.num_layers >= 12
    assert (64, 8) == (shape.num_experts, shape.top_k)


@pytest.mark.parametrize(
    ("load_format", "routing", "expected"),
    [
        ("auto", None, "model"),
        ("dummy", None, "calibrated"),
        ("auto", "uniform", "uniform"),
        ("dummy", "model", "model"),
    ],
)
def test_the_routing_depends_on_the_weights(
    tmp_path: Path, load_format: str, routing: str | None, expected: str
) -> None:
    """A checkpoint routes for itself, drawn weights are given draws, unless told otherwise."""
    spec = tiny_spec(tmp_path, load_format=load_format, routing=routing)
    found = resolve(spec)
    assert expected == found.routing
    assert (None if load_format == "dummy" else tmp_path) == found.folder


def test_repeated_schedules_are_numbered(tmp_path: Path) -> None:
    """A label is what was typed; the second and third of the same text get a number."""
    typed = ("layered", "chunked", "layered", "layered:num_groups=2", "layered")
    found = resolve(tiny_spec(tmp_path, schedules=typed)).arms
    expected = ["layered", "chunked", "layered#2", "layered:num_groups=2", "layered#3"]
    assert expected == [arm.label for arm in found]
    assert list(typed) == [arm.typed for arm in found]
    assert len(typed) == len({arm.label for arm in found})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"input_len": 7}, (DEFAULT_PROMPTS, 7, DEFAULT_OUTPUT_LEN)),
        ({"output_len": 3}, (DEFAULT_PROMPTS, DEFAULT_INPUT_LEN, 3)),
        ({"input_len": 7, "output_len": 3, "num_prompts": 2}, (2, 7, 3)),
    ],
    ids=str,
)
def test_lengths_make_equal_requests(
    options: dict[str, int], expected: tuple[int, int, int]
) -> None:
    """What is not given of the number and the two lengths has a default."""
    found = resolve(RunSpec(**options)).prompts.requests  # type: ignore[arg-type]
    lengths = {(one.prompt_tokens, one.output_tokens, one.arrival) for one in found}
    assert expected[0] == len(found)
    assert {(*expected[1:], 0)} == lengths


def test_num_prompts_takes_the_first() -> None:
    """Of a workload, the first so many requests run."""
    every, some = (resolve(RunSpec(num_prompts=number)).prompts for number in (None, 8))
    assert every.requests[:8] == some.requests
    assert every.ids[7] == some.ids[7]


def test_a_drawn_workload_follows_seed_and_number() -> None:
    """The spec's seed reaches the lengths, and so the digest; more requests begin as fewer."""
    few, more, other = (
        resolve(RunSpec(workload="sharegpt", num_prompts=number, seed=seed)).prompts
        for number, seed in ((3, 5), (4, 5), (3, 6))
    )
    assert more.requests[:3] == few.requests
    assert few.requests != other.requests


def test_a_workload_file_and_a_requests_file(tmp_path: Path) -> None:
    """Either is named by its file, without its folder."""
    file = write_requests(tmp_path, {"prompt_tokens": 5, "output_tokens": 2, "arrival_s": 0})
    spec = tiny_spec(tmp_path, **LENGTHS, requests=file)
    assert "requests.jsonl" == resolve(spec).identity["workload"]
    toml = tmp_path / "w.toml"
    toml.write_text("[[requests]]\ncount = 2\nevery = 3\nprompt_tokens = 5\noutput_tokens = 2\n")
    found = resolve(replace(spec, requests=None, workload=str(toml)))
    assert "w.toml" == found.identity["workload"]
    assert [0, 3] == [one.arrival for one in found.prompts.requests]


def test_prompts_of_every_kind(tmp_path: Path) -> None:
    """Given ids are taken, others drawn, contexts always drawn; the record says which."""
    file = write_requests(
        tmp_path,
        {"prompt_token_ids": [5, 6], "output_tokens": 1, "context_tokens": 3},
        {"prompt_tokens": 4, "output_tokens": 1, "context_tokens": 2, "arrival_iteration": 9},
    )
    prompts = resolve(tiny_spec(tmp_path, **LENGTHS, requests=file)).prompts
    assert [(3, 2, 0), (2, 4, 9)] == [
        (one.context_tokens, one.prompt_tokens, one.arrival) for one in prompts.requests
    ]
    assert [5, 6] == list(prompts.ids[0][3:])
    assert [5, 6] == [len(prompts.ids[index]) for index in (0, 1)]
    assert all(0 <= token < CONFIG_VOCABULARY for ids in prompts.ids.values() for token in ids)
    assert "random ids and token ids" == prompts.source


CONFIG_VOCABULARY = 64


def test_drawn_ids_follow_the_seed_and_the_line(tmp_path: Path) -> None:
    """The same seed draws the same prompts, another seed or another line others."""
    first, again, other = (
        resolve(tiny_spec(tmp_path, seed=seed)).prompts for seed in (0, 0, MAX_SEED)
    )
    assert first.ids == again.ids
    assert first.digest == again.digest != other.digest
    assert first.ids[0] != first.ids[1] != other.ids[1]


def test_the_digest_covers_lengths_arrivals_and_ids(tmp_path: Path) -> None:
    """Two workloads that differ in anything that arrives have different digests."""
    base: dict[str, object] = {"prompt_token_ids": [1, 2], "output_tokens": 2}
    changes: list[dict[str, object]] = [
        {},
        {"output_tokens": 3},
        {"arrival_iteration": 1},
        {"context_tokens": 1},
        {"prompt_token_ids": [2, 1]},
    ]
    digests = set()
    for change in changes:
        file = write_requests(tmp_path, base | change)
        digests.add(resolve(tiny_spec(tmp_path, **LENGTHS, requests=file)).prompts.digest)
    assert len(changes) == len(digests)


def test_the_identity_names_no_path(tmp_path: Path) -> None:
    """What identifies an experiment is the same wherever its files lie."""
    text = json.dumps(dict(resolve(tiny_spec(tmp_path, load_format="auto")).identity))
    assert str(tmp_path.parent) not in text
    assert tmp_path.name in text


def test_the_needs_of_the_largest_pass(tmp_path: Path) -> None:
    """Rows: the largest prefill of any arm and every decode; pages: of all and of the largest."""
    schedules = ("chunked:max_num_batched_tokens=9", "layered:max_num_batched_tokens=31")
    found = resolve(tiny_spec(tmp_path, schedules=schedules, max_num_seqs=2))
    needs = found.needs(7)
    assert 31 + 2 == needs.most_rows
    assert (3 * 2, 2, 7) == (needs.all_pages, needs.least_pages, needs.num_kv_pages)
    assert 3 * 24 * 4 * 2 * 2 == needs.draws
    assert 0 == resolve(tiny_spec(tmp_path, routing="model")).needs(None).draws


def test_a_pass_has_no_more_rows_than_there_are_tokens(tmp_path: Path) -> None:
    """A budget of 8192 tokens needs no memory for more than requests can ever bring back."""
    assert 3 * 24 + 3 == resolve(tiny_spec(tmp_path)).needs(None).most_rows


def test_a_context_is_filled_in_a_pass_of_its_own(tmp_path: Path) -> None:
    """A context longer than every budget decides how many rows there are."""
    file = write_requests(tmp_path, {"context_tokens": 100, "prompt_tokens": 3, "output_tokens": 2})
    schedules = ("chunked:max_num_batched_tokens=9",)
    found = resolve(
        tiny_spec(tmp_path, **LENGTHS, requests=file, schedules=schedules, max_num_seqs=2)
    )
    assert 100 + 1 == found.needs(None).most_rows


def test_slabs_are_held_by_every_context_and_by_those_in_flight(tmp_path: Path) -> None:
    """Contexts are there before the run; of the others as many as may be in flight, largest first.

    Pages of 16: contexts take 7, the others 1, 2 and 4.
    """
    file = write_requests(
        tmp_path,
        {"context_tokens": 100, "prompt_tokens": 3, "output_tokens": 2},
        {"prompt_tokens": 16, "output_tokens": 1},
        {"prompt_tokens": 32, "output_tokens": 1},
        {"prompt_tokens": 64, "output_tokens": 1},
    )
    found = resolve(tiny_spec(tmp_path, **LENGTHS, requests=file, max_num_seqs=2))
    assert 7 + 2 + 4 == found.needs(None, cache="slabs").held_pages
    assert 0 == found.needs(None).held_pages
    assert 0 == found.needs(None, cache="slabs").beside_pages


def test_a_pool_of_pages_has_those_of_contexts_beside_it(tmp_path: Path) -> None:
    """Contexts stay from arm to arm, whoever is in flight: 100 tokens take 7 pages of 16."""
    file = write_requests(
        tmp_path,
        {"context_tokens": 100, "prompt_tokens": 3, "output_tokens": 2},
        {"prompt_tokens": 64, "output_tokens": 1},
    )
    found = resolve(tiny_spec(tmp_path, **LENGTHS, requests=file))
    needs = found.needs(None, cache="pages")
    assert (7, 0) == (needs.beside_pages, needs.held_pages)


def test_limits(tmp_path: Path) -> None:
    """Admission is bounded by the pages found and the sequences asked for."""
    limits = resolve(tiny_spec(tmp_path, max_num_seqs=5)).limits(11)
    assert (11, 5) == (limits.num_kv_pages, limits.max_num_seqs)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"schedules": ("chunked:max_num_batched_tokens=2",)}, "starve"),
        ({"schedules": ("whole:max_num_batched_tokens=19",)}, "19"),
        ({"schedules": ("layered", "nope")}, "nope"),
        ({"input_len": 253}, "256 positions"),
        ({"seed": MAX_SEED + 1}, "--seed"),
        ({"workload": "mixed"}, "exclude each other"),
    ],
    ids=str,
)
def test_what_cannot_run_is_refused(tmp_path: Path, changes: dict[str, object], says: str) -> None:
    """Any of the schedules, any of the lengths: one line."""
    with pytest.raises(InputError, match=says):
        resolve(tiny_spec(tmp_path, **changes))


def test_what_just_fits_is_taken(tmp_path: Path) -> None:
    """252 + 5 tokens fit 256 positions: the last token is never fed."""
    found = resolve(tiny_spec(tmp_path, input_len=252, seed=MAX_SEED))
    assert {256} == {one.kv_tokens for one in found.prompts.requests}


def test_a_fingerprint_is_of_the_files_alone(tmp_path: Path) -> None:
    """A copy has the same one; a changed byte at either end, or a new file, another."""
    folder, size = tmp_path / "one", 3 << 20
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model.safetensors").write_bytes(bytes(size))
    first = fingerprint(folder)
    assert first == fingerprint(Path(shutil.copytree(folder, tmp_path / "copy")))
    found = {first}
    for at in (0, size - 1):
        content = bytearray(size)
        content[at] = 1
        (folder / "model.safetensors").write_bytes(content)
        found.add(fingerprint(folder))
    (folder / "other.safetensors").write_bytes(b"")
    found.add(fingerprint(folder))
    (folder / "config.json").write_text("{}")
    found.add(fingerprint(folder))
    assert 5 == len(found)


def test_a_fingerprint_ignores_what_is_not_the_model(tmp_path: Path) -> None:
    """A readme beside the weights changes nothing."""
    (tmp_path / "config.json").write_text("{}")
    before = fingerprint(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    assert before == fingerprint(tmp_path)
