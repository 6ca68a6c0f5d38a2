"""How many requests per second a schedule serves well: `lpbench latency --find-rate`.

Owns: what is offered at a rate, which rates are tried, and what the record says of them.
Must not know: how a run is shown, what a schedule does.

Every schedule is asked for its own rate. At each rate tried it serves the same lengths, with gaps
of the same shape stretched to the rate, so that attainment depends on the rate alone.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar

from pydantic import JsonValue

from lpbench.analysis.metrics import AT_SLO, LOAD_METRICS, P90_SAMPLES, Metric
from lpbench.bench.experiment import ArmSpec, Experiment, resolve
from lpbench.bench.late import LateTokens
from lpbench.bench.listener import Listener
from lpbench.bench.machine import Machine, open_machine
from lpbench.bench.offered import refuse_duration
from lpbench.bench.rate import WIDTH, Bracket, find_rate
from lpbench.bench.served import ServedLog
from lpbench.bench.service import Script, Service
from lpbench.bench.spec import RunSpec
from lpbench.errors import InputError
from lpbench.executors.executor import Executor
from lpbench.record.schema import Arm, Caution, Reading, Record
from lpbench.record.store import RunStore
from lpbench.workload.arrivals import LEAST_RATE
from lpbench.workload.lengths import length_names
from lpbench.workload.workload import MOST_REQUESTS

TARGET = 0.9
"""Share of the requests that must meet the SLO, as the paper has it (PAPER.md 2)."""

DEFAULT_START = 1.0
"""Requests per second that a search begins with, where none are given."""

HIGHEST_START = 1e9
"""One request a nanosecond, the clock's tick."""


def run_search(spec: RunSpec, open_store: Callable[[], RunStore], listener: Listener) -> Record:
    """Find every schedule's highest rate and return the record, which is also stored.

    An arm's figures are those of one more pass, at the rate that was found.

    Args:
        spec: what was asked for; its load has an SLO and a rate to start from.
        open_store: claims the places the record goes to, once the input is known to be good.
        listener: hears which rate is tried.

    Raises:
        InputError: the input cannot run.
        UnavailableError: the device is not there.
        RunError: a schedule broke a rule, or the disk is full.
    """
    first = at_rate(spec, _start(spec))
    experiment = resolve(first)
    _refuse_few(len(experiment.prompts.requests) - (spec.load.num_warmups if spec.load else 0))
    machine = open_machine(first, experiment)
    with open_store() as store:
        return _Search(spec, experiment, machine, store=store, listener=listener).to_its_end()


def at_rate(spec: RunSpec, rate: float) -> RunSpec:
    """Return the run at one rate: with a duration, of the requests that arrive in it.

    So few as would say nothing of a share of 90 % are never offered; the run then takes longer.
    """
    load = spec.load
    assert load is not None
    count = spec.num_prompts
    if load.duration_s is not None:
        count = max(P90_SAMPLES + load.num_warmups, round(rate * load.duration_s))
    at = replace(load, request_rate=rate, duration_s=None, find_rate=False)
    return replace(spec, num_prompts=count, load=at)


def _start(spec: RunSpec) -> float:
    """Return the rate that the search begins with.

    Raises:
        InputError: there is no SLO, no such rate or duration, a duration of a workload that has an
            end, or one in which too many requests arrive.
    """
    load = spec.load
    assert load is not None
    start = DEFAULT_START if load.request_rate is None else load.request_rate
    if not load.slo:
        msg = "--find-rate needs an SLO; give --goodput ttft:MS, tbt:MS or both"
        raise InputError(msg)
    if not LEAST_RATE <= start <= HIGHEST_START:
        msg = (
            f"--request-rate {start} is no rate that --find-rate can start from; accepted: "
            f"{LEAST_RATE:g} to {HIGHEST_START:g} requests per second"
        )
        raise InputError(msg)
    if load.duration_s is not None:
        _refuse_duration(spec, load.duration_s, start=start)
    return start


def _refuse_duration(spec: RunSpec, seconds: float, *, start: float) -> None:
    """Refuse a duration that says nothing of how many requests a rate offers, or says too many."""
    refuse_duration(seconds)
    lengths = spec.input_len is not None or spec.output_len is not None
    if not lengths and spec.workload not in length_names():
        msg = (
            f"--find-rate with --duration {seconds:g} draws as many requests as arrive in "
            f"it; accepted: --workload {' or '.join(length_names())}, or --input-len; for other "
            "workloads leave out --duration"
        )
        raise InputError(msg)
    if start * seconds > MOST_REQUESTS:
        msg = (
            f"--duration {seconds:g} holds more than {MOST_REQUESTS} requests at {start:g} a "
            f"second; accepted: {MOST_REQUESTS / start:g} seconds at most, or a lower "
            "--request-rate"
        )
        raise InputError(msg)


def _refuse_few(measured: int) -> None:
    if measured < P90_SAMPLES:
        msg = (
            f"--find-rate of {measured} measured requests: {TARGET:.0%} of so few says nothing; "
            f"accepted: {P90_SAMPLES} or more, by --num-prompts or --duration"
        )
        raise InputError(msg)


class _Search(Service):
    """Looks, arm by arm, for the highest rate at which enough requests meet their SLO."""

    compared: ClassVar[Mapping[str, Metric]] = {AT_SLO: LOAD_METRICS[AT_SLO]}

    def __init__(
        self,
        asked: RunSpec,
        experiment: Experiment,
        machine: Machine,
        *,
        store: RunStore,
        listener: Listener,
    ) -> None:
        assert asked.load is not None
        super().__init__("latency", asked.load, experiment, machine, store=store, listener=listener)
        self._asked = asked
        self._start = _start(asked)
        self._slo = dict(asked.load.slo)
        self._spec |= {"request_rate": str(self._start), "slo_target": TARGET, "rate_width": WIDTH}
        self._script: Script | None = None

    def _serve_arms(self, executor: Executor) -> None:
        self._executor = executor
        for at in range(len(self._experiment.arms)):
            self._arms.append(self._search(at))

    def _search(self, at: int) -> Arm:
        found = find_rate(
            lambda rate: self._try(at, rate),
            start=self._start,
            lowest=LEAST_RATE,
            highest=self._most(),
        )
        arm = self._offer(at, found.edge)
        log = self._serve(arm, self._executor, self._known_script())
        record = log.to_record(cautions=(*self._machine.cautions(), *_cautions(found, log)))
        return record.model_copy(
            update={"metrics": {**record.metrics, AT_SLO: self._reading(found)}}
        )

    def _most(self) -> float:
        """Return the rate above which a duration holds more requests than a run may have."""
        duration = self._asked.load.duration_s if self._asked.load else None
        return math.inf if duration is None else MOST_REQUESTS / duration

    def _try(self, at: int, rate: float) -> bool:
        """Return whether enough requests meet the SLO at a rate; where not, stop once it is sure.

        A pass at twice what an arm can serve would go on for twice its arrivals' time.
        """
        arm = self._offer(at, rate)
        log = self._begin(arm, self._executor, self._known_script())
        late = LateTokens(
            self._experiment.prompts.requests,
            log.measured,
            slo=self._slo,
            target=TARGET,
            origin_ns=log.origin_ns,
        )
        is_lost = False
        for step in self._steps(arm, self._executor, log):
            log.observe(step)
            if is_lost := late.is_lost(step):
                break
        if not is_lost:
            self._script = self._script or log.tokens
        attainment = None if is_lost else log.attainment
        is_met = attainment is not None and attainment >= TARGET
        line: dict[str, JsonValue] = {
            "arm": log.label,
            "request_rate": rate,
            "num_prompts": len(self._experiment.prompts.requests),
            "slo_attainment": attainment,  # null where the pass was given up
            "meets_target": is_met,
        }
        self._store.lines("rates.jsonl").append((line,))
        return is_met

    def _known_script(self) -> Script | None:
        """Return what a pass fed that has all requests on offer; None before there is one."""
        count = len(self._experiment.prompts.requests)
        return self._script if self._script is not None and count <= len(self._script) else None

    def _offer(self, at: int, rate: float) -> ArmSpec:
        """Have the requests arrive at a rate; another number of them is another machine's."""
        spec = at_rate(self._asked, rate)
        before = len(self._experiment.prompts.requests)
        self._experiment = resolve(spec)
        if len(self._experiment.prompts.requests) != before:
            self._machine.unload()
            self._machine = open_machine(spec, self._experiment)
            self._machine.load()
            self._executor = self._rehearsed()
        arm = self._experiment.arms[at]
        self._listener.stage(f"{arm.label} at {rate:g} requests/s", self._work())
        return arm

    def _reading(self, found: Bracket) -> Reading:
        reason = found.reason
        width = 0.0 if found.met is None or found.missed is None else found.missed - found.met
        return Reading(
            value=None if reason else found.met,
            unit=LOAD_METRICS[AT_SLO].unit,
            method=self._machine.clock.method,
            source=self._machine.clock.source,
            validity="absent" if reason else "valid",
            reasons=(reason,) if reason else (),
            pass_="latency",  # noqa: S106 - a pass over the workload, no password
            uncertainty=None if reason else width / 2,
        )


def _cautions(found: Bracket, log: ServedLog) -> list[Caution]:
    """Return what to know of the rate that an arm's figures are at."""
    if found.met is None:
        said = f"even at {found.edge:g} requests/s fewer than {TARGET:.0%} met the SLO"
    elif found.missed is None:
        said = f"at {found.edge:g} requests/s, the highest tried, still {TARGET:.0%} met the SLO"
    elif log.attainment < TARGET:
        said = (
            f"{found.edge:g} requests/s is not confirmed: when served once more, "
            f"{log.attainment:.1%} met the SLO"
        )
    else:
        return []
    code = found.reason or "rate_not_confirmed"
    return [Caution(code=code, message=f"{log.label}: {said}; its figures are at that rate")]
