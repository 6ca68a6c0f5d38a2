"""What serves requests that arrive over time: torch on a device, or a model of one.

Owns: what a pass over them needs of either, and which of the two a run asks for.
Must not know: passes, records.
"""

from collections.abc import Mapping
from typing import Protocol

from pydantic import JsonValue

from lpbench.bench.cautions import run_cautions
from lpbench.bench.engine import Engine
from lpbench.bench.experiment import Experiment
from lpbench.bench.modelled import Modelled
from lpbench.bench.served import Clock
from lpbench.bench.spec import RunSpec
from lpbench.bench.virtual import VirtualMachine
from lpbench.executors.executor import Executor
from lpbench.record.schema import Caution


class Machine(Protocol):
    """What serves the requests: torch on a device, or a model of one."""

    @property
    def num_kv_pages(self) -> int:
        """Pages of its pool."""

    @property
    def clock(self) -> Clock:
        """What its times are of."""

    @property
    def spec(self) -> Mapping[str, JsonValue]:
        """Its part of the record's spec, the experiment's included."""

    @property
    def facts(self) -> Mapping[str, JsonValue]:
        """Its part of the environment."""

    def load(self) -> None:
        """Make ready."""

    def unload(self) -> None:
        """Let go of what was made ready."""

    def executor(self) -> Executor:
        """Return what carries plans out."""

    def sums(self) -> Modelled | None:
        """Return what adds up modelled costs; None where passes run."""

    def cautions(self) -> list[Caution]:
        """Return what to know before trusting a number."""

    @property
    def is_rehearsed(self) -> bool:
        """Whether every arm runs once before it counts."""


def open_machine(spec: RunSpec, experiment: Experiment) -> Machine:
    """Return what serves the requests of an experiment; it is not loaded yet.

    Raises:
        InputError: what the options name is not known, or the model does not fit.
        UnavailableError: the device is not there.
    """
    if spec.executor == "roofline":
        return ModelledMachine(spec, experiment)
    return RealMachine(spec, experiment)


class RealMachine:
    """torch on the device of the run."""

    def __init__(self, spec: RunSpec, experiment: Experiment) -> None:
        """Choose the device and check its memory.

        Raises:
            InputError: the model does not fit, or is not computed.
            UnavailableError: the device is not there.
        """
        self._experiment = experiment
        self._engine = Engine(spec, experiment)
        self.num_kv_pages = self._engine.num_kv_pages
        self.clock = Clock(method="measured", source="monotonic clock")
        self.spec = self._engine.spec

    @property
    def facts(self) -> Mapping[str, JsonValue]:
        """Its part of the environment; once it is loaded, the kernels too."""
        return self._engine.facts

    def load(self) -> None:
        """Load or draw the weights, and warm up."""
        self._engine.load()

    def unload(self) -> None:
        """Let go of the weights."""
        self._engine.unload()

    def executor(self) -> Executor:
        """Return what carries plans out."""
        return self._engine.executor

    def sums(self) -> None:
        """Return nothing: passes run."""

    def cautions(self) -> list[Caution]:
        """Return what to know before trusting a number."""
        return run_cautions(self._experiment, self._engine)

    @property
    def is_rehearsed(self) -> bool:
        """Whether every arm runs once before it counts: on a GPU, where shapes compile."""
        return self._engine.device != "cpu"


class ModelledMachine:
    """A model of a device."""

    def __init__(self, spec: RunSpec, experiment: Experiment) -> None:
        """Look the device up.

        Raises:
            InputError: what the options name is not known, or the model does not fit.
        """
        self._experiment = experiment
        self._machine = VirtualMachine(spec, experiment)
        self.num_kv_pages = self._machine.num_kv_pages
        self.clock = Clock(method="modelled", source=self._machine.source)
        self.spec = self._machine.spec
        self.facts = self._machine.facts

    def load(self) -> None:
        """Do nothing: there are no weights."""

    def unload(self) -> None:
        """Do nothing."""

    def executor(self) -> Executor:
        """Return what carries plans out, its clock at 0."""
        return self._machine.executor(self._experiment.prompts.requests)

    @property
    def has_joules(self) -> bool:
        """Whether the device states what its joules are shares of."""
        return self._machine.device.tdp_w is not None

    def sums(self) -> Modelled:
        """Return what adds up the costs of one arm."""
        return self._machine.sums()

    def cautions(self) -> list[Caution]:
        """Return that nothing ran."""
        message = (
            "nothing ran: times, bytes and joules follow from the model's and the device's sizes "
            "and from the coefficients, not from a measurement"
        )
        return [Caution(code="modelled", message=message)]

    @property
    def is_rehearsed(self) -> bool:
        """No arm needs to run twice."""
        return False
