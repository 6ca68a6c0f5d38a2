import json
from pathlib import Path

import pytest

from lpbench.errors import InputError
from lpbench.shape.catalogue import find_shape, model_names
from lpbench.shape.model import ModelShape

NAMES = (
    "builtin-moe",
    "deepseek-v3",
    "gpt-oss-120b",
    "gpt-oss-20b",
    "mixtral-8x7b",
    "olmoe-1b-7b",
    "qwen3-235b-a22b",
    "qwen3-30b-a3b",
)


def test_the_catalogue_is_sorted_and_holds_the_papers_models() -> None:
    """The built-in model, the two that the paper runs and those that are modelled are there."""
    assert sorted(model_names()) == list(model_names())
    assert set(NAMES) <= set(model_names())


@pytest.mark.parametrize("name", NAMES)
def test_a_catalogue_name_gives_a_geometry_without_a_folder(name: str) -> None:
    """There are no weights behind a catalogue name."""
    shape, folder = find_shape(name)
    assert (name, None) == (shape.name, folder)


def write_config(folder: Path) -> dict[str, object]:
    """Write the built-in model's config into a folder, with three layers, and return it."""
    shipped = Path(__file__).parents[2] / "workloads" / "models" / "builtin-moe.json"
    config: dict[str, object] = json.loads(shipped.read_text()) | {"num_hidden_layers": 3}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    return config


def test_a_folder_gives_its_geometry_and_itself(tmp_path: Path) -> None:
    """A checkpoint folder is called by its own name."""
    config = write_config(tmp_path / "mine")
    expected = ModelShape.from_config(config, name="mine"), tmp_path / "mine"
    assert expected == find_shape(str(tmp_path / "mine"))


def test_a_relative_folder_needs_no_slash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain name that is no catalogue name is a folder where there is one."""
    write_config(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    shape, folder = find_shape("mine")
    assert ("mine", 3, Path("mine")) == (shape.name, shape.num_layers, folder)


def test_a_catalogue_name_comes_before_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder called as a catalogue model is meant by a path, not by the bare name."""
    write_config(tmp_path / "builtin-moe")
    monkeypatch.chdir(tmp_path)
    assert [16, 3] == [find_shape(name)[0].num_layers for name in ("builtin-moe", "./builtin-moe")]


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    """A bare name is taken for a misspelt catalogue name."""
    with pytest.raises(InputError) as caught:
        find_shape("gpt-oss-20")
    expected = (
        "unknown model 'gpt-oss-20' (did you mean 'gpt-oss-20b'?); "
        f"known: {', '.join(model_names())}; or give a folder"
    )
    assert expected == str(caught.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A path is taken for a folder."""
    folder = tmp_path / "nowhere"
    with pytest.raises(InputError) as caught:
        find_shape(str(folder))
    expected = f"model folder '{folder}' does not exist; give a Hugging Face checkpoint"
    assert expected == str(caught.value)


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    """A folder must hold a config.json."""
    with pytest.raises(InputError, match=r"has no config\.json"):
        find_shape(str(tmp_path))


@pytest.mark.parametrize("name", ["x" * 5000, "nul\0"])
def test_a_name_that_no_folder_can_have_is_refused(name: str) -> None:
    """The system's own refusal of a path does not reach the user."""
    with pytest.raises(InputError, match="unknown model"):
        find_shape(name)
