import subprocess
from pathlib import Path

import pytest

SCRIPTS = sorted(Path(__file__).parents[2].glob("tools/gpu/*.sh"))


def test_there_is_a_script_a_block() -> None:
    """What CONTRIBUTING names is there, and what is there is named."""
    text = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    names = {path.name for path in SCRIPTS} - {"environment.sh"}
    assert names == {name for name in names if f"tools/gpu/{name}" in text}
    assert len(names) == text.count("`tools/gpu/") - 1  # the folder itself is named once


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_valid(script: Path) -> None:
    """The shell parses it."""
    found = subprocess.run(["bash", "-n", str(script)], check=False, capture_output=True, text=True)
    assert (0, "") == (found.returncode, found.stderr)


def test_a_cell_needs_its_decodes() -> None:
    """Without them the headline's scripts say so, and run nothing."""
    for script in SCRIPTS:
        if script.name.startswith("3-"):
            text = script.read_text(encoding="utf-8")
            assert "${1:?DECODES}" in text
            assert "decodes-$decodes" in text
