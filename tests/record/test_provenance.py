"""Digests that depend on what is said alone, and facts of the machine without its names."""

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from lpbench.record import provenance
from lpbench.record.provenance import digest, environment

TEXT = st.text('ab"\\\n\u00fc\U0001f4be', max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=8,
)  # fmt: skip

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def test_a_digest_is_that_of_the_canonical_text() -> None:
    """SHA-256 over JSON with sorted keys and no blanks."""
    expected = hashlib.sha256(b'{"a":[1,2.5,null],"b":"\\u00fc"}').hexdigest()
    assert expected == digest({"b": "ü", "a": [1, 2.5, None]})


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(TEXT, JSON))
def test_a_digest_knows_no_order_of_keys(value: dict[str, JsonValue]) -> None:
    """The same object, its keys put in another order, has the same digest, as has its JSON."""
    turned = dict(reversed(value.items()))
    assert digest(value) == digest(turned) == digest(json.loads(json.dumps(value)))


@pytest.mark.parametrize("other", [[1, 2, 3], [3, 2], {"0": 2, "1": 3}, "[2,3]", [2, "3"]], ids=str)
def test_a_digest_tells_values_apart(other: JsonValue) -> None:
    """Order in a list, types and lengths count."""
    assert digest([2, 3]) != digest(other)


def test_a_digest_takes_finite_numbers_alone() -> None:
    """What is no JSON has no digest."""
    with pytest.raises(ValueError, match="JSON"):
        digest(float("nan"))


def test_the_environment_says_what_ran() -> None:
    """Python, system, packages, and the executor's own facts."""
    found = environment({"device": "cpu", "torch_threads": 2})
    assert {"python", "system", "cpu", "packages", "revision", "device"} <= set(found)
    assert ("cpu", 2) == (found["device"], found["torch_threads"])
    packages = found["packages"]
    assert isinstance(packages, dict)
    assert set(packages) <= set(provenance.PACKAGES)
    assert "pydantic" in packages
    assert json.dumps(found)


def test_the_environment_names_no_one() -> None:
    """Neither the machine's name nor a path of it stands there."""
    text = json.dumps(environment({}))
    assert os.uname().nodename not in text.replace('"', " ").split()
    assert str(Path.cwd()) not in text
    assert str(Path.home()) + "/" not in text


def test_a_processor_is_named_where_linux_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc/cpuinfo the standard library is asked; it may not know either."""
    read_text = Path.read_text

    def missing(path: Path, encoding: str | None = None) -> str:
        if path == Path("/proc/cpuinfo"):
            raise FileNotFoundError
        return read_text(path, encoding=encoding)

    monkeypatch.setattr(Path, "read_text", missing)
    for known, expected in (("arm", "arm"), ("", None)):
        monkeypatch.setattr("platform.processor", lambda known=known: known)
        assert expected == environment({})["cpu"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have the package lie in another folder, three levels down."""
    module = tmp_path / "harness" / "lpbench" / "record" / "provenance.py"
    monkeypatch.setattr(provenance, "__file__", str(module))
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    return tmp_path


def revision() -> JsonValue:
    """Return the revision that a record would name."""
    return environment({})["revision"]


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder of the test's own."""
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=0")
    command = ("git", *who, "-C", str(folder), *arguments)
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.usefixtures("checkout")
def test_a_wheel_has_no_revision() -> None:
    """Outside a checkout there is none to name."""
    assert None is revision()


@needs_git
def test_a_checkout_has_its_commit(checkout: Path) -> None:
    """The commit is named, and that there is more than it."""
    git(checkout, "init", "--quiet")
    (checkout / "file").write_text("one")
    git(checkout, "add", "file")
    git(checkout, "commit", "--quiet", "-m", "one")
    head = git(checkout, "rev-parse", "HEAD")
    assert head == revision()
    (checkout / "file").write_text("two")
    assert f"{head}+dirty" == revision()


@needs_git
def test_a_checkout_without_a_commit_has_no_revision(checkout: Path) -> None:
    """What git cannot say is left out."""
    git(checkout, "init", "--quiet")
    assert None is revision()


def test_a_machine_without_git_has_no_revision(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout that was copied to where there is no git."""
    (checkout / ".git").mkdir()
    monkeypatch.setenv("PATH", str(checkout))
    assert None is revision()


def test_a_package_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is there has a version."""
    monkeypatch.setattr(provenance, "PACKAGES", ("pydantic", "no-such-package"))
    assert ["pydantic"] == list(dict(environment({})["packages"]))  # type: ignore[arg-type]
