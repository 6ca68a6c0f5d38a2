"""Requests that arrive over time, under every schedule: TTFT, TBT, SLO attainment.

Owns: how `lpbench latency` begins, and other commands where nothing runs.
Must not know: how a run is shown, what a schedule does.

    resolve -> machine, real or modelled -> load -> the pass, arm by arm -> record
"""

from collections.abc import Callable

from lpbench.bench.capacity import run_search
from lpbench.bench.experiment import resolve
from lpbench.bench.listener import Listener
from lpbench.bench.machine import ModelledMachine, open_machine
from lpbench.bench.service import Service
from lpbench.bench.spec import RunSpec
from lpbench.errors import InputError
from lpbench.record.schema import Record
from lpbench.record.store import RunStore


def run_latency(spec: RunSpec, open_store: Callable[[], RunStore], listener: Listener) -> Record:
    """Run the job and return its record, which is also stored.

    Args:
        spec: what was asked for; it has a load.
        open_store: claims the places the record goes to, once the input is known to be good.
        listener: hears how far the run is.

    Raises:
        InputError: the input cannot run.
        UnavailableError: the device is not there.
        RunError: a schedule broke a rule, or the disk is full.
    """
    assert spec.load is not None
    if spec.load.find_rate:
        return run_search(spec, open_store, listener)
    experiment = resolve(spec)
    machine = open_machine(spec, experiment)
    with open_store() as store:
        run = Service("latency", spec.load, experiment, machine, store=store, listener=listener)
        return run.to_its_end()


def run_modelled(
    command: str, spec: RunSpec, open_store: Callable[[], RunStore], listener: Listener
) -> Record:
    """Run the job of another command where nothing runs: bytes, times and joules are modelled.

    Args:
        command: traffic or energy.
        spec: what was asked for, of the roofline. Its requests arrive as they state it.
        open_store: claims the places the record goes to, once the input is known to be good.
        listener: hears how far the run is.

    Raises:
        InputError: the input cannot run, or the device has no joules.
        RunError: a schedule broke a rule, or the disk is full.
    """
    experiment = resolve(spec)
    machine = ModelledMachine(spec, experiment)
    if command == "energy" and not machine.has_joules:
        msg = f"device {machine.spec['device']!r} states no tdp_w, which joules are shares of"
        raise InputError(msg)
    with open_store() as store:
        run = Service(command, None, experiment, machine, store=store, listener=listener)
        return run.to_its_end()
