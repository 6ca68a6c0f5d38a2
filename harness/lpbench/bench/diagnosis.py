"""What `lpbench doctor` found, validated when written.

Owns: the shape of its JSON.
Must not know: how a finding came about, how it is shown.

No host name, no serial number and no path of the machine goes in.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue, NonNegativeInt

SCHEMA_VERSION: Literal[1] = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Gpu(_Part):
    """A CUDA device as `--device` takes it."""

    device: str
    name: str
    total_bytes: NonNegativeInt
    free_bytes: NonNegativeInt


class Machine(_Part):
    """The machine.

    Attributes:
        cores: logical cores that this process may use.
        driver: the NVIDIA kernel driver's version; null where none is loaded.
        cuda: the CUDA version torch was built for; null where torch was not asked or has none.
        gpus: what torch sees.
        no_gpu: why there is none; null where there is one.
        no_gpu_fix: what would mend that.
    """

    python: str
    system: str
    cpu: str | None
    cores: int
    memory_total_bytes: NonNegativeInt
    memory_free_bytes: NonNegativeInt
    driver: str | None
    cuda: str | None
    gpus: tuple[Gpu, ...]
    no_gpu: str | None
    no_gpu_fix: str | None


class Package(_Part):
    """A package lpbench can use, and what for; either its version, or how to get it."""

    name: str
    version: str | None
    serves: str
    fix: str | None


class CounterPermission(_Part):
    """Whether this process may read the GPU's hardware counters."""

    status: Literal["allowed", "denied", "unknown"]
    reason: str
    fix: str | None


class MeterStatus(_Part):
    """A meter: available, or the reason and the fix."""

    name: str
    method: Literal["counted", "measured"]
    reads: str
    available: bool
    code: str | None
    reason: str | None
    fix: str | None
    facts: dict[str, JsonValue]


class Room(_Part):
    """What a device has to give to a run, and whether the model fits there."""

    device: str
    has_bytes: NonNegativeInt
    fits: bool


class ModelMemory(_Part):
    """The memory a model of the catalogue needs, for a prompt of so many tokens in one pass.

    Attributes:
        computed: whether the engine computes the model; otherwise it is modelled only.
        rooms: the devices that could run it: none where it is modelled only.
    """

    model: str
    computed: bool
    dtype: str
    prompt_tokens: int
    needs_bytes: NonNegativeInt
    rooms: tuple[Room, ...]


class Diagnosis(_Part):
    """What can be measured here, and for what cannot, why and the fix."""

    schema_version: Literal[1] = SCHEMA_VERSION
    lpbench_version: str
    machine: Machine
    packages: tuple[Package, ...]
    counter_permission: CounterPermission
    meters: tuple[MeterStatus, ...]
    models: tuple[ModelMemory, ...]

    def to_json(self) -> str:
        """Return it as indented JSON with a final newline."""
        return self.model_dump_json(indent=1) + "\n"
