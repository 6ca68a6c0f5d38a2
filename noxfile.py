"""Every check of the project, one session each; CONTRIBUTING.md says when to run which."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "venv"
nox.options.error_on_external_run = True
nox.options.reuse_venv = "yes"
nox.options.sessions = ("lint", "types", "imports", "tests")

CONSTRAINTS = Path("constraints.txt").absolute()
PROJECT = nox.project.load_toml("pyproject.toml")
COVERED = ("plan/*", "record/*", "meters/experts*")  # a mistake there would pass for a result
TORCH_FREE = ("plan", "shape", "workload", "record", "meters", "analysis", "report")


def install(
    session: nox.Session, group: str | None, *arguments: str, constraints: Path = CONSTRAINTS
) -> None:
    """Install the tested versions of a dependency group, and whatever else is named."""
    wanted = nox.project.dependency_groups(PROJECT, group) if group else ()
    session.install("-c", str(constraints), *arguments, *wanted)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting; `-- --fix` mends what can be mended."""
    install(session, "lint")
    session.run("ruff", "check", *session.posargs)
    session.run("ruff", "format", *([] if "--fix" in session.posargs else ["--check"]))
    workflows = sorted(map(str, Path(".github/workflows").glob("*.yml")))
    session.run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *workflows)


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, strictly."""
    install(session, "types", "--no-compile", "-e", ".")
    session.run("mypy", *session.posargs)


@nox.session
def imports(session: nox.Session) -> None:
    """Check that folders import each other along the allowed arrows only."""
    install(session, "imports")
    session.run("lint-imports", "--no-cache", env={"PYTHONPATH": "harness"})


@nox.session
def tests(session: nox.Session) -> None:
    """Run all tests, the critical parts at 95 % coverage; with arguments, those tests alone."""
    install(session, "tests", "-e", ".")
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    session.run("pytest", "--cov", "--cov-report=")
    for part in COVERED:
        session.run("coverage", "report", f"--include=harness/lpbench/{part}", "--fail-under=95")


@nox.session
@nox.parametrize("triton", ["3.6.0", "3.7.1"])
def kernels(session: nox.Session, triton: str) -> None:
    """Run the kernels in Triton's interpreter, and compile them for GPUs, on any machine."""
    # The interpreter wants an older numpy than constraints.txt holds; the group says which, and
    # pip would find no version that both allow.
    lines = CONSTRAINTS.read_text(encoding="utf-8").splitlines(keepends=True)
    held = Path(session.create_tmp(), CONSTRAINTS.name)
    held.write_text("".join(one for one in lines if not one.startswith("numpy==")), "utf-8")
    install(session, "kernels", "-e", ".", constraints=held)
    session.install("--no-deps", f"triton=={triton}")  # a CUDA build of torch wants its own one
    if session.posargs:
        session.run("pytest", *session.posargs)
        return
    compiled = "tests/kernels/test_compiled.py"
    session.run("pytest", "tests/kernels", f"--ignore={compiled}", env={"TRITON_INTERPRET": "1"})
    session.run("pytest", compiled)


@nox.session(venv_backend="none")
def tests_gpu(session: nox.Session) -> None:
    """Run the tests that need a GPU on the torch that is there; records go to $LPBENCH_RESULTS."""
    paths = (str(Path("harness").absolute()), os.environ.get("PYTHONPATH"))
    session.run(
        *(sys.executable, "-m", "pytest", "-rA", "-W", "default", "tests/gpu", *session.posargs),
        env={"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        external=True,
    )


@nox.session
def browser(session: nox.Session) -> None:
    """Open reports in the machine's own Chromium: requests, widths, keyboard, axe, print."""
    install(session, "browser", "-e", ".")
    session.run("pytest", "tests/browser", *session.posargs)


@nox.session(python="3.12")
def tests_light(session: nox.Session) -> None:
    """Run the tests of the parts that never import torch, without torch, on a second Python."""
    light = [name for name in PROJECT["project"]["dependencies"] if not name.startswith("torch")]
    install(session, "tests-light", *light)
    session.install("--no-deps", "-e", ".")
    session.run("pytest", *(f"tests/{part}" for part in TORCH_FREE if Path("tests", part).is_dir()))


@nox.session
def examples(session: nox.Session) -> None:
    """Run the commands that README.md shows, in an empty folder."""
    install(session, None, "-e", ".[text]")
    session.run("python", "tests/examples/run_readme.py", "README.md")


@nox.session
def wheelhouse(session: nox.Session) -> None:
    """Gather wheels for a node without a network: `-- --python 3.12 --without torch,numpy`."""
    install(session, "build")
    session.run("python", "tools/wheelhouse.py", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """Build sdist and wheel; the wheel, alone outside the checkout, must do the main job."""
    install(session, "build")
    shutil.rmtree("dist", ignore_errors=True)
    session.run("python", "-m", "build")
    (wheel,) = Path("dist").absolute().glob("*.whl")
    with tempfile.TemporaryDirectory() as folder, session.chdir(folder):
        session.run("python", "-m", "venv", "venv")
        pip = ("venv/bin/pip", "install", "--quiet", "-c", str(CONSTRAINTS), str(wheel))
        session.run(*pip, external=True)
        session.run("venv/bin/lpbench", "traffic", external=True)
