"""Compiles every kernel ahead of time, for GPUs that need not be there, and prints what came out.

Owns: what is compiled (`LAUNCHES`) and for which chips, and how a binary is read.
Must not know: what the numbers should be (tests/kernels/test_compiled.py does), nor any launch's
arguments beside its tensors: the project's own launch functions run, on tensors without memory.

Run by `python tools/compiled.py [--target sm_90a] [--kernel down] [--json]`, without
TRITON_INTERPRET. A new kernel gets a function here that calls its launch function on tensors of the
model's sizes, and a line in `LAUNCHES`.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from lpbench.executors.torch_engine.kernels.align import align
from lpbench.executors.torch_engine.kernels.blocks import ExpertBlocks
from lpbench.executors.torch_engine.kernels.decode import attend_decodes
from lpbench.executors.torch_engine.kernels.expert_tiles import ExpertTiles, choose_tiles
from lpbench.executors.torch_engine.kernels.experts import down, gate_up
from lpbench.executors.torch_engine.kernels.fused import Routing, query_rows
from lpbench.executors.torch_engine.kernels.heads import place_heads
from lpbench.executors.torch_engine.kernels.mxfp4 import Mxfp4
from lpbench.executors.torch_engine.kernels.norm import add, add_norm
from lpbench.executors.torch_engine.kernels.pages import Pages
from lpbench.executors.torch_engine.kernels.prefill import attend_prompts
from lpbench.executors.torch_engine.kernels.router import route
from lpbench.shape.catalogue import find_shape
from lpbench.shape.model import ModelShape

BINARIES = Path(nvidia.__file__).parent / "bin"
"""The wheel's own ptxas, which Triton calls, and cuobjdump, which reads what it wrote."""

INSTRUCTIONS = ("HGMMA", "UTCHMMA", "UTCQMMA", "HMMA", "UTMALDG", "LDGSTS", "LDL", "STL")
"""What is counted: tensor cores by generation, copies by TMA and by threads, spills."""

ROWS, PAGE_TOKENS, SEAT_PAGES, POSITIONS = 64, 16, 512, 8192


@dataclass(frozen=True, slots=True)
class Target:
    """A chip that kernels are compiled for.

    Attributes:
        name: as the compiler calls it.
        capability: major and minor number, as one.
        shared: bytes of shared memory that a program can have.
        has_tma: whether it has the copy engine.
    """

    name: str
    capability: int
    shared: int
    has_tma: bool

    @property
    def major(self) -> int:
        """First number of the capability."""
        return self.capability // 10


TARGETS = (
    Target("sm_80", 80, 163 * 1024, has_tma=False),
    Target("sm_90a", 90, 227 * 1024, has_tma=True),
    Target("sm_100", 100, 227 * 1024, has_tma=True),
)

MODELS: Mapping[str, ModelShape] = {
    name: find_shape(name)[0] for name in ("qwen3-30b-a3b", "gpt-oss-20b")
}


@dataclass(frozen=True, slots=True)
class Compiled:
    """One kernel in one form for one chip, as its binary has it.

    Attributes:
        kernel: the function's name.
        launch: which line of `LAUNCHES`, and its variant.
        model: whose sizes.
        target: name of the chip.
        registers: per thread.
        shared: bytes per program.
        local: bytes of stack and local memory per thread: what did not fit the registers.
        warps: per program.
        counts: how often each of `INSTRUCTIONS` stands in the code.
    """

    kernel: str
    launch: str
    model: str
    target: str
    registers: int
    shared: int
    local: int
    warps: int
    counts: Mapping[str, int]

    @property
    def spills(self) -> int:
        """Bytes and instructions of values that went to memory for lack of registers."""
        return self.local + self.counts["LDL"] + self.counts["STL"]


Launches = Iterator[tuple[str, Callable[[], object]]]
"""Each variant's name, and what launches it."""


def _empty(*dims: int, dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    """Return a tensor that has everything but memory."""
    return torch.empty(dims, dtype=dtype, device="meta")


def _ints(*dims: int) -> torch.Tensor:
    return _empty(*dims, dtype=torch.int32)


def _on_chip(tiles: ExpertTiles, *, has_tma: bool) -> ExpertTiles:
    """Return the tiles as launches on the chip take them: tensors without memory are on none."""
    return replace(
        tiles,
        gate_up=replace(tiles.gate_up, tma=has_tma),
        down=replace(tiles.down, tma=has_tma),
    )


def _experts(shape: ModelShape, target: Target) -> Launches:
    """All shipped tiles: of each size of a block, with plain and packed weights, and of float32."""
    experts, hidden, inner = shape.num_experts, shape.hidden_size, shape.expert_size
    is_gpt_oss = shape.family == "gpt_oss"

    def packed(outs: int, ins: int) -> Mxfp4:
        blocks, scales = (_empty(experts, outs, ins // per, dtype=torch.uint8) for per in (2, 32))
        return Mxfp4(blocks, scales)

    def variants(*, mxfp4: bool, block: int, dtype: torch.dtype = torch.bfloat16) -> Launches:
        values = partial(_empty, dtype=dtype)
        rows = block * experts // (2 * shape.top_k)
        tiles = choose_tiles(
            pairs=rows * shape.top_k,
            num_experts=experts,
            dtype=dtype,
            mxfp4=mxfp4,
            major=target.major,
        )
        assert block == tiles.block_rows
        tiles = _on_chip(tiles, has_tma=target.has_tma)
        blocks = ExpertBlocks.empty(_ints(rows, shape.top_k), num_experts=experts, block=block)
        form = "mxfp4" if mxfp4 else "bf16"
        if dtype == torch.float32:
            form = "mxfp4-float32" if mxfp4 else "float32"
        yield (
            f"gate_up {form} {block}",
            partial(
                gate_up,
                rows=values(rows, hidden),
                matrices=packed(2 * inner, hidden) if mxfp4 else values(experts, hidden, 2 * inner),
                bias=values(experts, 2 * inner) if shape.has_expert_bias else None,
                blocks=blocks,
                top_k=shape.top_k,
                limit=shape.swiglu_limit if is_gpt_oss else None,
                tile=tiles.gate_up,
            ),
        )
        yield (
            f"down {form} {block}",
            partial(
                down,
                inner=values(len(blocks.pairs), inner),
                matrices=packed(hidden, inner) if mxfp4 else values(experts, inner, hidden),
                bias=values(experts, hidden) if shape.has_expert_bias else None,
                blocks=blocks,
                share=_empty(rows, shape.top_k, dtype=torch.float32),
                tile=tiles.down,
            ),
        )

    for mxfp4 in (False, True) if is_gpt_oss else (False,):
        for block in (16, 32, 64, 128):
            yield from variants(mxfp4=mxfp4, block=block)
        yield from variants(mxfp4=mxfp4, block=16, dtype=torch.float32)


def _norms(shape: ModelShape, _: Target) -> Launches:
    hidden, parts = _empty(ROWS, shape.hidden_size), _empty(ROWS, shape.top_k, shape.hidden_size)
    norm = partial(
        add_norm,
        hidden=hidden,
        weight=_empty(shape.hidden_size),
        eps=shape.rms_eps,
        rounds_unit=shape.family != "gpt_oss",
    )
    yield "first norm", partial(norm, parts=None)
    yield "norm of the sum", partial(norm, parts=parts)
    yield "last sum", partial(add, hidden=hidden, parts=parts)


def _width(shape: ModelShape) -> int:
    return (shape.num_heads + 2 * shape.num_kv_heads) * shape.head_dim


def _pages(shape: ModelShape) -> Pages:
    pool = (ROWS * SEAT_PAGES, shape.num_kv_heads, PAGE_TOKENS, shape.head_dim)
    return Pages(keys=_empty(*pool), values=_empty(*pool), tables=_ints(ROWS, SEAT_PAGES))


def _heads(shape: ModelShape, _: Target) -> Launches:
    norms = (_empty(shape.head_dim), _empty(shape.head_dim)) if shape.has_qk_norm else None
    yield (
        "heads",
        partial(
            place_heads,
            qkv=_empty(ROWS, _width(shape)),
            norms=norms,
            cos=_empty(POSITIONS, shape.head_dim),
            sin=_empty(POSITIONS, shape.head_dim),
            positions=_ints(ROWS),
            slots=_ints(ROWS),
            pages=_pages(shape),
            eps=shape.rms_eps,
        ),
    )


def _attention(shape: ModelShape, target: Target) -> Launches:
    sinks = _empty(shape.num_heads) if shape.has_sinks else None
    rows, out = _empty(ROWS, _width(shape)), _empty(ROWS, shape.num_heads * shape.head_dim)
    blocks = _ints(ROWS // query_rows(shape.num_heads // shape.num_kv_heads), 4)
    for window in sorted(set(shape.windows)):
        decodes, prompts = (
            partial(kernel, qkv=rows, pages=_pages(shape), window=window, sinks=sinks, out=out)
            for kernel in (attend_decodes, attend_prompts)
        )
        yield f"decodes window {window}", partial(decodes, seats=_ints(ROWS), lengths=_ints(ROWS))
        yield f"prompts window {window}", partial(prompts, blocks=blocks, major=target.major)


def _router(shape: ModelShape, _: Target) -> Launches:
    named = {"route": None, "route drawn": _empty(POSITIONS, shape.top_k, dtype=torch.int16)}
    for name, drawn in named.items():
        routing = Routing(
            count=_ints(1),
            owners=_ints(ROWS),
            touched=_empty(ROWS, shape.num_experts, dtype=torch.bool),
            drawn=drawn,
            sources=_ints(ROWS),
        )
        yield (
            name,
            partial(
                route,
                logits=_empty(ROWS, shape.num_experts),
                routing=routing,
                top_k=shape.top_k,
                over_chosen=shape.family == "gpt_oss" or shape.norm_topk,
            ),
        )


def _align(shape: ModelShape, _: Target) -> Launches:
    for rows in (ROWS, POSITIONS):
        ids = _ints(rows, shape.top_k)
        yield f"align {rows}", partial(align, ids=ids, num_experts=shape.num_experts, block=16)


LAUNCHES: Mapping[str, Callable[[ModelShape, Target], Launches]] = {
    "norm": _norms,
    "heads": _heads,
    "attention": _attention,
    "router": _router,
    "align": _align,
    "experts": _experts,
}
"""What is compiled, by name."""


class _Device:
    """A GPU as far as Triton asks for it before it launches."""

    def __init__(self, target: Target) -> None:
        self._target = target

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", self._target.capability, 32)

    def get_current_device(self) -> int:
        return self._target.capability  # Triton keeps what it compiled by device

    def get_current_stream(self, _: int) -> int:
        return 0


@contextmanager
def _compiling_for(target: Target) -> Iterator[list[tuple[str, Any]]]:
    """Within, launches compile for `target` and do no more; the list fills with what came out."""
    found: list[tuple[str, Any]] = []
    launch = JITFunction.run

    def run(kernel: Any, *args: Any, warmup: bool, **named: Any) -> None:  # noqa: ANN401 - Triton's
        del warmup
        found.append((kernel.__name__, launch(kernel, *args, warmup=True, **named)))

    driver.set_active(_Device(target))
    JITFunction.run = run
    try:
        yield found
    finally:
        JITFunction.run = launch


def compile_all(target: Target, names: tuple[str, ...] = ()) -> Iterator[Compiled]:
    """Compile the named lines of `LAUNCHES`, or all, for one chip at both models' sizes."""
    for model, shape in MODELS.items():
        for name in names or LAUNCHES:
            for variant, launch in LAUNCHES[name](shape, target):
                with _compiling_for(target) as found:
                    launch()
                for kernel, binary in found:
                    yield _read(kernel, variant, model, target, binary)


def _read(kernel: str, launch: str, model: str, target: Target, binary: Any) -> Compiled:  # noqa: ANN401 - Triton's
    """Return what the binary says of itself, and what its code shows."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary.asm["cubin"])
        file.flush()
        usage, code = (
            subprocess.run(
                [BINARIES / "cuobjdump", option, file.name],
                capture_output=True,
                check=True,
                text=True,
            ).stdout
            for option in ("-res-usage", "-sass")
        )
    used = {key: int(number) for key, number in re.findall(r"(REG|STACK|LOCAL):(\d+)", usage)}
    words = re.findall(r"\b[A-Z0-9]+\b", code)
    return Compiled(
        kernel=kernel,
        launch=launch,
        model=model,
        target=target.name,
        registers=used["REG"],
        shared=binary.metadata.shared,
        local=used["STACK"] + used["LOCAL"],
        warps=binary.metadata.num_warps,
        counts={name: words.count(name) for name in INSTRUCTIONS},
    )


def _table(rows: list[Compiled]) -> Table:
    columns = ("kernel", "launch", "model", "target", "warps", "registers", "shared", "spills")
    table = Table(*columns, "wgmma", "tcgen05", "mma", "TMA", "cp.async")
    for row in rows:
        count = row.counts
        numbers = (
            row.warps,
            row.registers,
            row.shared,
            row.spills,
            count["HGMMA"],
            count["UTCHMMA"] + count["UTCQMMA"],
            count["HMMA"],
            count["UTMALDG"],
            count["LDGSTS"],
        )
        table.add_row(row.kernel, row.launch, row.model, row.target, *map(str, numbers))
    return table


def main() -> None:
    """Compile, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--target", choices=[target.name for target in TARGETS], action="append")
    parser.add_argument("--kernel", choices=LAUNCHES, action="append")
    parser.add_argument("--json", action="store_true", help="for programs instead of readers")
    options = parser.parse_args()
    rows = [
        row
        for target in TARGETS
        if not options.target or target.name in options.target
        for row in compile_all(target, tuple(options.kernel or ()))
    ]
    if options.json:
        json.dump([asdict(row) for row in rows], sys.stdout)
    else:
        Console(width=180).print(_table(rows))


if __name__ == "__main__":
    main()
