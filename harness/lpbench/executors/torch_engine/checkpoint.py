"""Hugging Face checkpoint folders, read tensor by tensor into the engine's layout.

Owns: the names and layouts of checkpoint tensors, per family, and which of them are packed.
Must not know: how weights are used, what the bits of a packed one mean.

To read: the table first (`_LAYOUTS`), then `load_weights`. Names and dimensions of all tensors
are checked against the table before any data is read.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open

from lpbench.errors import InputError, MisfitError
from lpbench.executors.torch_engine.computed import is_computed
from lpbench.executors.torch_engine.kernels.mxfp4 import GROUP, Mxfp4, dequantize_mxfp4
from lpbench.executors.torch_engine.weights import (
    EXPERT_MATRICES,
    LayerWeights,
    ModelWeights,
    empty_layer,
    layer_dims,
    model_dims,
)
from lpbench.shape.model import ModelShape, read_config

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_EMBEDDING, _HEAD = "model.embed_tokens.weight", "lm_head.weight"
_FLOATS = frozenset({"F64", "F32", "F16", "BF16"})
_BYTES = frozenset({"U8"})


# The table: which checkpoint tensors feed each field of LayerWeights.


def _as_it_is(part: torch.Tensor) -> torch.Tensor:
    return part


def _transposed(part: torch.Tensor) -> torch.Tensor:
    """See [E, out, in] as the checkpoint's [E, in, out]."""
    return part.transpose(1, 2)


def _interleaved(part: torch.Tensor) -> torch.Tensor:
    """See [E, I gate rows then I up rows, ..] as gate, up, gate, up, ..: [E, I, 2, ..]."""
    return part.view(len(part), 2, -1, *part.shape[2:]).transpose(1, 2)


def _interleaved_transposed(part: torch.Tensor) -> torch.Tensor:
    """See [E, I gate rows then I up rows, H] as columns gate, up, gate, up, ..: [E, H, I, 2]."""
    return _interleaved(part).movedim(3, 1)


@dataclass(frozen=True, slots=True)
class _Source:
    """A checkpoint tensor that feeds a field, or one of several.

    The sources of a field fill its rows one below the other; the matrices of experts, which are
    kept [E, in, out], count as [E, out, in] here. With `{expert}` in the name there is
    one such tensor per expert, and they fill the rows of that expert's slice of the field.

    Attributes:
        tensor: its name, below `model.layers.N.` where it belongs to a layer.
        dims: its dimensions, in the letters of `_sizes`.
        seen: the part of the field that it fills, seen in the checkpoint's order of values.
        packed: stored as mxfp4, in two tensors: NAME_blocks and NAME_scales.
    """

    tensor: str
    dims: str
    seen: Callable[[torch.Tensor], torch.Tensor] = _as_it_is
    packed: bool = False


_Layout = Mapping[str, Sequence[_Source]]


def _sizes(shape: ModelShape) -> Mapping[str, int]:
    """Return what the letters of the table stand for."""
    return {
        "V": shape.vocab_size,
        "H": shape.hidden_size,
        "Q": shape.num_heads * shape.head_dim,
        "K": shape.num_kv_heads * shape.head_dim,
        "D": shape.head_dim,
        "heads": shape.num_heads,
        "E": shape.num_experts,
        "I": shape.expert_size,
        "2I": 2 * shape.expert_size,
    }


_OUTSIDE: _Layout = {
    "embed": [_Source(_EMBEDDING, "V H")],
    "norm": [_Source("model.norm.weight", "H")],
    "head": [_Source(_HEAD, "V H")],
}

_ATTENTION: _Layout = {
    "input_norm": [_Source("input_layernorm.weight", "H")],
    "qkv": [
        _Source("self_attn.q_proj.weight", "Q H"),
        _Source("self_attn.k_proj.weight", "K H"),
        _Source("self_attn.v_proj.weight", "K H"),
    ],
    "qkv_bias": [
        _Source("self_attn.q_proj.bias", "Q"),
        _Source("self_attn.k_proj.bias", "K"),
        _Source("self_attn.v_proj.bias", "K"),
    ],
    "q_norm": [_Source("self_attn.q_norm.weight", "D")],
    "k_norm": [_Source("self_attn.k_norm.weight", "D")],
    "sinks": [_Source("self_attn.sinks", "heads")],
    "out": [_Source("self_attn.o_proj.weight", "H Q")],
    "out_bias": [_Source("self_attn.o_proj.bias", "H")],
    "post_norm": [_Source("post_attention_layernorm.weight", "H")],
}

_QWEN3_MOE: _Layout = {**_ATTENTION, "router": [_Source("mlp.gate.weight", "E H")]}

_GPT_OSS: _Layout = {
    **_ATTENTION,
    "router": [_Source("mlp.router.weight", "E H")],
    "router_bias": [_Source("mlp.router.bias", "E")],
    "gate_up_bias": [_Source("mlp.experts.gate_up_proj_bias", "E 2I", _interleaved)],
    "down_bias": [_Source("mlp.experts.down_proj_bias", "E H")],
}

_LAYOUTS: Mapping[str, Mapping[str, _Layout]] = {
    "qwen3_moe": {
        "one tensor per expert": {
            **_QWEN3_MOE,
            "gate_up": [
                _Source("mlp.experts.{expert}.gate_proj.weight", "I H"),
                _Source("mlp.experts.{expert}.up_proj.weight", "I H"),
            ],
            "down": [_Source("mlp.experts.{expert}.down_proj.weight", "H I")],
        },
        "experts stacked": {
            **_QWEN3_MOE,
            "gate_up": [_Source("mlp.experts.gate_up_proj", "E 2I H")],
            "down": [_Source("mlp.experts.down_proj", "E H I")],
        },
    },
    "gpt_oss": {
        "experts stacked": {
            **_GPT_OSS,
            "gate_up": [_Source("mlp.experts.gate_up_proj", "E H 2I", _interleaved_transposed)],
            "down": [_Source("mlp.experts.down_proj", "E I H", _transposed)],
        },
        "experts in mxfp4": {
            **_GPT_OSS,
            "gate_up": [_Source("mlp.experts.gate_up_proj", "E 2I H", _interleaved, packed=True)],
            "down": [_Source("mlp.experts.down_proj", "E H I", packed=True)],
        },
    },
}


def check_family(shape: ModelShape) -> None:
    """Hold a model to the families that the engine computes.

    Raises:
        MisfitError: only the geometry of its family is known.
    """
    if not is_computed(shape):
        msg = (
            f"model {shape.name!r}: family {shape.family} is modelled only; use --executor roofline"
        )
        raise MisfitError(msg)


def check_packed(shape: ModelShape) -> None:
    """Hold a model whose experts are to stay packed to a family that is released so.

    Raises:
        MisfitError: it is not, or the model's rows are no whole number of scales.
    """
    layouts = _LAYOUTS[shape.family].values()
    if not any(source.packed for layout in layouts for source in layout["down"]):
        raise MisfitError(
            f"model {shape.name!r}: no {shape.family} model is released in mxfp4; "
            "use --dtype bfloat16"
        )
    if shape.hidden_size % GROUP or shape.expert_size % GROUP:
        raise MisfitError(
            f"model {shape.name!r}: experts of {shape.hidden_size} x {shape.expert_size} cannot be "
            f"in mxfp4, which takes multiples of {GROUP}; use --dtype bfloat16"
        )


def check_checkpoint(folder: Path, shape: ModelShape, *, packed: bool = False) -> None:
    """Hold a checkpoint to a model's shape by its headers alone; no tensor is read.

    Raises:
        InputError: as `load_weights`.
    """
    _open_checkpoint(folder, shape, packed=packed)


def load_weights(
    folder: Path,
    shape: ModelShape,
    *,
    dtype: torch.dtype,
    device: torch.device | str,
    packed: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ModelWeights:
    """Read a checkpoint folder: `model.safetensors`, or shards and their index.

    Args:
        folder: a Hugging Face checkpoint, of which config.json is asked for quantisation only.
        shape: the model that the folder's config.json describes.
        dtype: of the weights returned; the checkpoint's may be any floating type, or mxfp4.
        device: where they stand. One tensor at a time is in memory beside them.
        packed: whether the experts' matrices stay in the checkpoint's mxfp4.
        progress: called after each tensor with the number read and their total; the two halves
            of a packed one count as one.

    Raises:
        InputError: no checkpoint, a broken file, a quantisation other than GPT-OSS's mxfp4, a
            tensor that is missing, unknown, or of other dimensions or type than the shape's, or
            none that could stay packed.
    """
    archive, plan = _open_checkpoint(folder, shape, packed=packed)
    outside, *layers = plan
    total = sum(len(parts) for parts in plan)
    numbers = count(1)

    def fill(parts: _Parts, fields: Mapping[str, torch.Tensor | Mxfp4]) -> None:
        for part in parts:
            part.fill(fields[part.field], archive)
            if progress is not None:
                progress(next(numbers), total)

    def layer(parts: _Parts) -> LayerWeights:
        made = empty_layer(shape, dtype=dtype, device=device, packed=packed)
        fill(parts, {name: getattr(made, name) for name in layer_dims(shape)})
        return made

    top = {
        name: torch.empty(dims, dtype=dtype, device=device)
        for name, dims in model_dims(shape).items()
    }
    fill(outside, top)
    return ModelWeights(
        embed=top["embed"],
        layers=tuple(map(layer, layers)),
        norm=top["norm"],
        head=top.get("head", top["embed"]),
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """A source resolved: one checkpoint tensor and the part of the field that it fills."""

    name: str
    dims: tuple[int, ...]
    source: _Source
    field: str
    index: tuple[int | slice, ...]

    def tensors(self) -> Mapping[str, tuple[tuple[int, ...], frozenset[str]]]:
        """Return name, dimensions and accepted types of what is stored; two tensors if packed."""
        if not self.source.packed:
            return {self.name: (self.dims, _FLOATS)}
        groups = (*self.dims[:-1], self.dims[-1] // GROUP)
        return {
            f"{self.name}_blocks": ((*groups, GROUP // 2), _BYTES),
            f"{self.name}_scales": (groups, _BYTES),
        }

    def fill(self, field: torch.Tensor | Mxfp4, archive: "_Archive") -> None:
        """Copy the checkpoint's values into their part of `field`, converting their type."""
        if isinstance(field, Mxfp4):
            for half, name in zip((field.blocks, field.scales), self.tensors(), strict=True):
                seen = self.source.seen(half[self.index])
                seen.copy_(archive.read(name).view(seen.shape))
            return
        rows = field.mT if self.field in EXPERT_MATRICES else field
        seen = self.source.seen(rows[self.index])
        stored = [archive.read(name).to(field.device) for name in self.tensors()]
        if not self.source.packed:
            seen.copy_(stored[0].view(seen.shape))
            return
        for expert, blocks, scales in zip(seen, *stored, strict=True):  # float32 is 8x the size
            expert.copy_(dequantize_mxfp4(blocks, scales).view(expert.shape))


_Parts = Sequence[_Part]


def _parts(
    layout: _Layout, shape: ModelShape, fields: Iterable[str], *, prefix: str = ""
) -> _Parts:
    """Return what feeds the fields that the model has, in their order."""
    sizes = _sizes(shape)

    def stacked(field: str, expert: int | None) -> Iterator[_Part]:
        start = 0
        for source in layout[field]:
            dims = tuple(sizes[letter] for letter in source.dims.split())
            rows = slice(start, start + dims[0])
            yield _Part(
                name=prefix + source.tensor.format(expert=expert),
                dims=dims,
                source=source,
                field=field,
                index=(rows,) if expert is None else (expert, rows),
            )
            start += dims[0]

    parts: list[_Part] = []
    for field in fields:
        per_expert = "{expert}" in layout[field][0].tensor
        for expert in range(shape.num_experts) if per_expert else (None,):
            parts += stacked(field, expert)
    return parts


def _plan(shape: ModelShape, archive: "_Archive") -> list[_Parts]:
    """Return what is outside the layers, then each layer, in the layout that the archive has.

    That is the one of the family's layouts of which layer 0 has most tensors.
    """

    def layer(layout: _Layout, number: int) -> _Parts:
        return _parts(layout, shape, layer_dims(shape), prefix=f"model.layers.{number}.")

    def found(layout: _Layout) -> int:
        return sum(name in archive for part in layer(layout, 0) for name in part.tensors())

    layout = max(_LAYOUTS[shape.family].values(), key=found)
    return [
        _parts(_OUTSIDE, shape, model_dims(shape)),
        *(layer(layout, number) for number in range(shape.num_layers)),
    ]


# The files.


class _Slice(Protocol):
    def get_shape(self) -> list[int]: ...
    def get_dtype(self) -> str: ...


class _File(Protocol):
    def keys(self) -> list[str]: ...
    def get_slice(self, name: str) -> _Slice: ...
    def get_tensor(self, name: str) -> torch.Tensor: ...


def _open_checkpoint(
    folder: Path, shape: ModelShape, *, packed: bool
) -> "tuple[_Archive, list[_Parts]]":
    """Return a checkpoint's files and what each field is made of, all names and shapes checked."""
    _refuse_quantization(folder, shape)
    archive = _Archive(folder)
    plan = _plan(shape, archive)
    if packed and not any(part.source.packed for part in chain.from_iterable(plan)):
        raise InputError(
            f"checkpoint {str(folder)!r}: its experts are not in mxfp4; use --dtype bfloat16"
        )
    _check(archive, plan, optional=frozenset({_HEAD} if shape.tied_embeddings else ()))
    return archive, plan


class _Archive:
    """All tensors of a folder's safetensors files."""

    def __init__(self, folder: Path) -> None:
        """Open the files and read their headers."""
        self.folder = folder
        paths = [folder / _SINGLE] if (folder / _SINGLE).is_file() else _shards(folder)
        self._files: dict[str, _File] = {}
        for path in paths:
            file = _open(path)
            self._files |= dict.fromkeys(file.keys(), file)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def names(self) -> frozenset[str]:
        """Return the names of all tensors."""
        return frozenset(self._files)

    def describe(self, name: str) -> tuple[tuple[int, ...], str]:
        """Return dimensions and safetensors' name of the type."""
        stored = self._files[name].get_slice(name)
        return tuple(stored.get_shape()), stored.get_dtype()

    def read(self, name: str) -> torch.Tensor:
        """Return a tensor, on the CPU."""
        try:
            return self._files[name].get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise InputError(
                f"checkpoint {str(self.folder)!r}: tensor {name!r} cannot be read: {_line(error)}"
            ) from None


def _open(path: Path) -> _File:
    try:
        file: _File = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{str(path)!r} is no readable safetensors file: {_line(error)}; download it again"
        ) from None
    return file


def _shards(folder: Path) -> list[Path]:
    """Return the shard files that the index names."""
    path = folder / _INDEX
    if not path.is_file():
        raise InputError(
            f"model folder {str(folder)!r} has neither {_SINGLE} nor {_INDEX}; "
            "give a checkpoint in safetensors format or use --load-format dummy"
        )
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # neither UTF-8 nor JSON, or too deep
        raise InputError(f"{str(path)!r} cannot be read as JSON: {_line(error)}") from None
    shards = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(name, str) for name in shards.values()):
        raise InputError(f"{str(path)!r} must hold an object weight_map of tensor to shard file")
    paths = [folder / name for name in sorted(set(shards.values()))]
    for shard in paths:
        if "\0" in shard.name or not shard.is_file():
            raise InputError(
                f"{str(path)!r} names shard {shard.name!r}, which is not there; download it again"
            )
    return paths


def _refuse_quantization(folder: Path, shape: ModelShape) -> None:
    quantization = read_config(folder).get("quantization_config")
    if quantization is None:
        return
    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
    if (shape.family, method) != ("gpt_oss", "mxfp4"):
        raise InputError(
            f"checkpoint {str(folder)!r}: quantisation {method!r} of a {shape.family} model is not "
            "supported; accepted: none, or mxfp4 for gpt_oss"
        )


def _check(archive: _Archive, plan: Iterable[_Parts], *, optional: frozenset[str]) -> None:
    """Hold the archive to exactly the tensors of `plan`, `optional` ones aside."""
    where = f"checkpoint {str(archive.folder)!r}"
    expected: dict[str, tuple[tuple[int, ...], frozenset[str]]] = {}
    for part in chain.from_iterable(plan):
        expected |= part.tensors()
        if part.source.packed and part.dims[-1] % GROUP:
            raise InputError(
                f"{where}: tensor {part.name!r} is mxfp4, but config.json gives its rows "
                f"{part.dims[-1]} values; accepted: multiples of {GROUP}"
            )
    missing = [name for name in expected if name not in archive]
    if missing:
        raise InputError(f"{where}: tensor {_first(missing)} missing; is the download complete?")
    extra = sorted(archive.names() - expected.keys() - optional)
    if extra:
        raise InputError(f"{where}: tensor {_first(extra)} not part of the model in config.json")
    for name, (dims, kinds) in expected.items():
        found, kind = archive.describe(name)
        if kind not in kinds:
            raise InputError(
                f"{where}: tensor {name!r} has type {kind}; accepted: {', '.join(sorted(kinds))}"
            )
        if found != dims:
            raise InputError(
                f"{where}: tensor {name!r} has dimensions {list(found)}; "
                f"config.json asks for {list(dims)}"
            )
    for name in optional & archive.names():
        if not torch.equal(archive.read(name), archive.read(_EMBEDDING)):
            raise InputError(
                f"{where}: tensor {name!r} differs from the embedding that it is tied to; "
                "set tie_word_embeddings to false in config.json"
            )


def _first(names: Sequence[str]) -> str:
    rest = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
    return f"{names[0]!r}{rest} is"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
