"""An arm under ncu: the real child on the CPU, under a double of ncu that starts it."""

import os
import sys
from pathlib import Path

import pytest

from lpbench.bench.engine import Engine
from lpbench.bench.experiment import resolve
from lpbench.bench.instruments import Instruments
from lpbench.bench.profiled import measure_kernels
from lpbench.bench.spec import RunSpec
from lpbench.bench.traffic import run_traffic
from lpbench.record.schema import Reading
from lpbench.record.store import RunStore
from tests.bench.fakes import Quiet
from tests.bench.tiny import tiny_spec

NCU = """#!{python}
import csv, subprocess, sys
arguments = sys.argv[1:]
log = arguments[arguments.index("--log-file") + 1]
names = arguments[arguments.index("--metrics") + 1].split(",")
within = arguments[arguments.index("--nvtx-include") + 1]
command = arguments[arguments.index({program!r}):]
status = subprocess.run(command).returncode
with open(log, "w", newline="") as file:
    out = csv.writer(file, quoting=csv.QUOTE_ALL)
    out.writerow(["ID", "Kernel Name", *names])
    out.writerow(["", "", "byte", "byte"])
    for read in {reads!r}:
        out.writerow(["0", within, read, "7"])
sys.exit(status)
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, *reads: str, before: str = "") -> None:
    """Put a double of ncu on PATH that runs the command and reports kernels that read so much."""
    text = NCU.format(python=sys.executable, program=sys.executable, reads=reads)
    (folder / "ncu").write_text(text.replace("arguments = ", f"{before}\narguments = ", 1))
    (folder / "ncu").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    paths = [path for path in sys.path if path]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))


@pytest.fixture
def spec(tmp_path: Path) -> RunSpec:
    """Return a small run of two schedules."""
    return tiny_spec(tmp_path, schedules=("whole", "layered:num_groups=2"))


def kernels(spec: RunSpec, *, plan_hash: str = "") -> Reading:
    """Return what the first arm's kernels read."""
    experiment = resolve(spec)
    return measure_kernels(
        spec,
        Engine(spec, experiment),
        experiment.arms[0],
        plan_hash=plan_hash,
        script=dict.fromkeys(range(3), (1, 2, 3, 4, 5)),
    )


def test_the_kernels_of_the_experts_are_summed(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child runs the arm that was counted, with its own script; writes do not count."""
    install(tmp_path, monkeypatch, "1,000", "234")
    store = lambda: RunStore(output=None, json=None)  # noqa: E731 - three words
    counted = run_traffic(spec, store, Quiet()).arms[0]
    found = kernels(spec, plan_hash=counted.plan_hash)
    assert (1234, "valid", "B", "counters") == (
        found.value,
        found.validity,
        found.unit,
        found.pass_,
    )
    assert "ncu, 2 kernels" == found.source


def test_other_plans_are_told(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the child did not run what was counted, its bytes prove nothing."""
    install(tmp_path, monkeypatch, "1")
    found = kernels(spec, plan_hash="another")
    assert ("invalid", ("other_plans",)) == (found.validity, found.reasons)


@pytest.mark.parametrize(
    ("reads", "before", "code"),
    [
        (("1", "n/a"), "", "ncu_incomplete"),
        ((), "", "ncu_failed"),
        (("1",), "sys.exit(3)", "ncu_failed"),
        (("1",), "os.unlink(sys.argv[-2])", "ncu_failed"),
    ],
    ids=["a kernel without bytes", "no kernel", "ncu fails", "the child fails"],
)
def test_what_fails_is_absent(
    tmp_path: Path,
    spec: RunSpec,
    monkeypatch: pytest.MonkeyPatch,
    *,
    reads: tuple[str, ...],
    before: str,
    code: str,
) -> None:
    """A reason's code, and never a number of the kernels that did report."""
    install(tmp_path, monkeypatch, *reads, before=f"import os; {before}")
    found = kernels(spec)
    assert (None, (code,)) == (found.value, found.reasons)


def test_without_ncu_there_is_no_number(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when the run began, and is not any more."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert ("no_ncu",) == kernels(spec).reasons


def test_a_run_lets_go_of_its_model_before(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every arm is profiled, with the model unloaded, and the audit loads it again."""
    install(tmp_path, monkeypatch, "500")
    seen: list[bool] = []

    def measured(spec: RunSpec, engine: Engine, *rest: object, **more: object) -> Reading:
        seen.append(engine._executor is None)
        return measure_kernels(spec, engine, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("lpbench.bench.traffic.measure_kernels", measured)
    monkeypatch.setattr(
        "lpbench.bench.traffic.find_instruments",
        lambda _, __: Instruments(by_kernel=True, facts={"ncu": {"version": "1"}}),
    )
    record = run_traffic(spec, lambda: RunStore(output=None, json=None), Quiet())
    assert [True, True] == seen
    assert record.audit is not None
    assert record.audit.is_sound
    assert [500, 500] == [arm.metrics["expert_kernel_bytes_read"].value for arm in record.arms]
    ratios = {one.metric: one.ratio for one in record.comparison}
    assert 1 == ratios["expert_kernel_bytes_read"]
