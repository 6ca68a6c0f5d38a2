from pathlib import Path

import pytest

from lpbench.errors import InputError
from lpbench.workload.catalogue import find_workload, workload_names
from lpbench.workload.lengths import DEFAULT_PROMPTS, length_names

ENTRY = 'name = "mine"\n[[requests]]\nprompt_tokens = 5\noutput_tokens = 2\n'


def test_the_catalogue_is_sorted_and_every_workload_in_it_reads() -> None:
    """Each shipped file is called by its own name, says what it is, and uses the iteration clock.

    `lpbench traffic` runs them all, so none may arrive by seconds.
    """
    names = workload_names()
    assert sorted(names) == list(names)
    for name in names:
        found = find_workload(name)
        assert name == found.name
        assert found.description
        assert all(line.arrival_s is None for line in found.lines)


def test_the_built_in_workload_mixes_chats_and_prompts() -> None:
    """`mixed` is what its description says: 6 chats, then 7 prompts of 300 to 2048 tokens."""
    lines = find_workload("mixed").lines
    assert [48] * 6 == [line.prompt for line in lines[:6]]
    prompts = [line.prompt for line in lines[6:] if isinstance(line.prompt, int)]
    assert (7, 300, 2048) == (len(prompts), min(prompts), max(prompts))


def test_a_path_gives_the_workload_of_the_file(tmp_path: Path) -> None:
    """With or without the ending, what is there is read."""
    for name in ("mine.toml", "mine"):
        path = tmp_path / name
        path.write_text(ENTRY, encoding="utf-8")
        assert "mine" == find_workload(str(path)).name


def test_a_toml_file_that_is_not_there_is_refused_as_a_file(tmp_path: Path) -> None:
    """The ending says that a file was meant."""
    path = tmp_path / "nowhere.toml"
    with pytest.raises(InputError) as caught:
        find_workload(str(path))
    assert f"workload file {path} does not exist" == str(caught.value)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    """Without the ending a catalogue name was meant."""
    with pytest.raises(InputError) as caught:
        find_workload("mixd")
    expected = (
        f"unknown workload 'mixd' (did you mean 'mixed'?); known: {', '.join(workload_names())}"
    )
    assert expected == str(caught.value)


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    """The system's own refusal of a path does not reach the user."""
    with pytest.raises(InputError, match="unknown workload"):
        find_workload(name)


@pytest.mark.parametrize("decodes", [0, 8, 32])
def test_the_headline_cells(decodes: int) -> None:
    """A prompt of 8192 tokens meets decodes at context 2048, which outlast its 18 slices."""
    *decoding, prompt = find_workload(f"decodes-{decodes}").lines
    assert (8192, 1, 0) == (prompt.prompt, prompt.output_tokens, prompt.context_tokens)
    assert decodes == len(decoding)
    for line in decoding:
        assert (2048, 1) == (line.context_tokens, line.prompt)
        assert line.output_tokens > (prompt.arrival_iteration or 0) + 18


@pytest.mark.parametrize("name", length_names())
def test_a_drawn_workload_follows_number_and_seed(name: str) -> None:
    """By default a hundred requests; more begin as fewer; another seed draws others."""
    assert name in workload_names()
    found = find_workload(name)
    assert 100 == DEFAULT_PROMPTS == len(found.lines)
    assert found.lines == find_workload(name, num_prompts=150, seed=0).lines[:100]
    assert found.lines != find_workload(name, seed=1).lines


def test_the_first_requests_of_a_file_are_taken() -> None:
    """A file is the same under every seed, and has only so many requests."""
    every = find_workload("mixed")
    assert every.lines[:5] == find_workload("mixed", num_prompts=5, seed=9).lines
    with pytest.raises(InputError, match="--num-prompts 14 is more than the 13 requests"):
        find_workload("mixed", num_prompts=14)
