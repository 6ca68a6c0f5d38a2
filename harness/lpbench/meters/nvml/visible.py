"""Which GPU "cuda:N" is: CUDA's numbering, from NVML's and CUDA_VISIBLE_DEVICES.

Owns: the rules of CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER (CUDA C++ Programming Guide,
"CUDA Environment Variables").
Must not know: pynvml, the environment.
"""

from collections.abc import Sequence

from lpbench.meters.nvml.absent import MissingError


def visible_gpus(uuids: Sequence[str], listed: str | None) -> tuple[int, ...]:
    """Return NVML's indices in CUDA's order.

    Args:
        uuids: all GPUs, in NVML's order, which is that of the PCI bus.
        listed: CUDA_VISIBLE_DEVICES: indices, or UUIDs that may be cut short; None when unset.
            An entry that names no GPU, and all that follow it, are ignored, as CUDA does.
    """
    if listed is None:
        return tuple(range(len(uuids)))
    found: list[int] = []
    for entry in listed.split(","):
        index = _find(entry.strip(), uuids)
        if index is None:
            break
        found.append(index)
    return tuple(found)


def _find(entry: str, uuids: Sequence[str]) -> int | None:
    if entry.isdecimal():
        return int(entry) if int(entry) < len(uuids) else None
    matching = [at for at, uuid in enumerate(uuids) if entry and uuid.startswith(entry)]
    return matching[0] if len(matching) == 1 else None


def pick_gpu(
    wanted: int | str,
    *,
    uuids: Sequence[str],
    names: Sequence[str],
    listed: str | None,
    order: str | None,
) -> int:
    """Return NVML's index of the GPU that is wanted.

    Args:
        wanted: N of "cuda:N", or a UUID, which may be cut short.
        uuids: as `visible_gpus` takes them.
        names: the GPUs' product names; by default CUDA numbers unlike GPUs by speed.
        listed: CUDA_VISIBLE_DEVICES.
        order: CUDA_DEVICE_ORDER.

    Raises:
        MissingError: there is no such GPU, it is a MIG partition, or which one it is cannot be
            known.
    """
    if isinstance(wanted, str):
        index = _find(wanted, uuids)
        if index is None:
            raise _no_device(f"no GPU has the UUID {wanted}", "nvidia-smi -L lists them")
        return index
    visible = visible_gpus(uuids, listed)
    if wanted >= len(visible):
        if "MIG-" in (listed or ""):
            raise MissingError(
                code="mig",
                reason="CUDA_VISIBLE_DEVICES names a MIG partition, whose energy is not metered",
                fix="measure on a whole GPU",
            )
        reason = f"GPU {wanted} is not among the {len(visible)} that are visible"
        raise _no_device(reason, "choose another, or see CUDA_VISIBLE_DEVICES")
    by_index = listed is None or listed.strip()[:1].isdecimal()
    if by_index and len(set(names)) > 1 and order != "PCI_BUS_ID":
        raise MissingError(
            code="device_order",
            reason=f"the GPUs here are not alike, so CUDA's number {wanted} need not be NVML's",
            fix="set CUDA_DEVICE_ORDER=PCI_BUS_ID, or UUIDs in CUDA_VISIBLE_DEVICES",
        )
    return visible[wanted]


def _no_device(reason: str, fix: str) -> MissingError:
    return MissingError(code="no_device", reason=reason, fix=fix)
