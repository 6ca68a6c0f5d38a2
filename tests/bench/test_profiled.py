"""An arm under ncu: the real child on the CPU, under a double of ncu that starts it."""

import os
import sys
from pathlib import Path

import pytest

from lpbench.bench.engine import Engine
from lpbench.bench.experiment import resolve
from lpbench.bench.instruments import Instruments
from lpbench.bench.profiled import _from_json, _to_json, measure_kernels
from lpbench.bench.spec import RunSpec
from lpbench.bench.traffic import run_traffic
from lpbench.errors import RunError, UnavailableError
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
    assert "ncu, kernels: 2" == found.source


def test_other_plans_are_told(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the child did not run what was counted, its bytes prove nothing."""
    install(tmp_path, monkeypatch, "1")
    found = kernels(spec, plan_hash="another")
    assert ("invalid", ("other_plans",)) == (found.validity, found.reasons)


def test_a_kernel_without_bytes_leaves_no_sum(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a number of the kernels that did report."""
    install(tmp_path, monkeypatch, "1", "n/a")
    found = kernels(spec)
    assert (None, ("ncu_incomplete",)) == (found.value, found.reasons)


@pytest.mark.parametrize(
    ("reads", "before", "message"),
    [
        ((), "", "saw no kernel in the range 'lpbench-experts'"),
        (("1",), "sys.exit(3)", "ncu ended with status 3: no message"),
        (("1",), "os.unlink(sys.argv[-2])", "ncu ended with status 1: .*No such file"),
        (("1",), "sys.argv[-1:] = ['/nowhere/done']", "ncu ended with status 1: .*No such file"),
    ],
    ids=["no kernel", "ncu fails", "the job is gone", "nowhere to say what ran"],
)
def test_what_fails_is_told(
    tmp_path: Path,
    spec: RunSpec,
    monkeypatch: pytest.MonkeyPatch,
    *,
    reads: tuple[str, ...],
    before: str,
    message: str,
) -> None:
    """In one line, with the last words of whoever failed."""
    install(tmp_path, monkeypatch, *reads, before=f"import os; {before}")
    with pytest.raises(RunError, match=message):
        kernels(spec)


def test_a_refusal_in_the_child_is_no_traceback(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the program could not run is told in its own line."""
    install(tmp_path, monkeypatch, "1")
    (tmp_path / "config.json").unlink()
    experiment = resolve(tiny_spec(tmp_path, schedules=("whole",)))
    engine = Engine(spec, experiment)
    (tmp_path / "config.json").unlink()
    with pytest.raises(RunError, match=r"ncu ended with status 1: (?!Traceback)\S.*config.json"):
        measure_kernels(spec, engine, experiment.arms[0], plan_hash="", script={})


def test_options_survive_the_way_to_the_child(tmp_path: Path) -> None:
    """Paths that are no text, the largest seed, requests by number."""
    path = Path(os.fsdecode(b"/requests/\xff.jsonl"))
    spec = tiny_spec(tmp_path, seed=2**64 - 1, requests=path, model=os.fsdecode(b"/m/\xfe"))
    assert (spec, {3: [1, 2]}) == _from_json(_to_json(spec, {3: (1, 2)}))


def test_without_ncu_there_is_no_number(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was there when the run began, and is not any more."""
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UnavailableError, match="ncu is not on PATH"):
        kernels(spec)


def test_a_run_lets_go_of_its_model_before(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every arm is profiled, with the model unloaded, and the audit loads it again."""
    install(tmp_path, monkeypatch, "500")
    seen: list[bool] = []

    def measured(spec: RunSpec, engine: Engine, *rest: object, **more: object) -> Reading:
        seen.append(engine._executor is None)
        return measure_kernels(spec, engine, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("lpbench.bench.counters.measure_kernels", measured)
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


def test_an_ncu_that_fails_costs_its_own_bytes_alone(
    tmp_path: Path, spec: RunSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is complete, the audit made, and the warning says what ncu said."""
    install(tmp_path, monkeypatch, before="sys.stderr.write('out of luck'); sys.exit(3)")
    monkeypatch.setattr(
        "lpbench.bench.traffic.find_instruments", lambda _, __: Instruments(by_kernel=True)
    )
    record = run_traffic(spec, lambda: RunStore(output=None, json=None), Quiet())
    assert ("complete", True) == (record.status, record.audit is not None)
    for arm in record.arms:
        assert ("ncu_failed",) == arm.metrics["expert_kernel_bytes_read"].reasons
        said = [one.message for one in arm.warnings if one.code == "no_counters"]
        assert ["no DRAM bytes by ncu: ncu ended with status 3: out of luck"] == said
