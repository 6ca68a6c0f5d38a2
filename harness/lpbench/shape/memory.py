"""How much memory a run needs, and whether it fits.

Owns: the sum of weights, KV pages, hidden states and draws, and the refusal when there is less.
Must not know: devices, tensors.
"""

from dataclasses import dataclass, replace

from lpbench.errors import MisfitError
from lpbench.plan.request import PAGE_TOKENS
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import Precision, weight_bytes
from lpbench.units import format_bytes

HEADROOM = 0.9
"""Share of the free memory that a run may plan with, where nothing else is said."""

ROW_VALUES = 12
"""Values of hidden size a row needs at once in a layer: residual, normed, gathered, results."""

PAIR_VALUES = {"qwen3_moe": 3, "gpt_oss": 8, "mixtral": 3, "olmoe": 3, "deepseek_v3": 3}
"""Values of expert size a (row, expert) pair needs at once: gate, up and the activation's steps, of
which the clamped one has more."""


SCORE_ROWS, SCORE_BYTES = 128, 18
"""Query rows whose attention scores stand in memory at a time where heads have sinks, and bytes of
a score meanwhile: scores, mask, what the sink is put beside, and probabilities, in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes a run needs, by what for.

    Attributes:
        weights: the model.
        page: one KV page.
        num_kv_pages: pages of the pool.
        held_pages: KV pages' worth of memory that is taken whatever the pool.
        beside_pages: KV pages that are taken beside the pool.
        rows: hidden states of the largest pass, those kept between iterations included, and what
            a layer computes from them.
        draws: the experts drawn ahead.
    """

    weights: int
    page: int
    num_kv_pages: int
    rows: int
    draws: int
    held_pages: int = 0
    beside_pages: int = 0

    @property
    def kv(self) -> int:
        """Keys and values."""
        return self.page * max(self.num_kv_pages + self.beside_pages, self.held_pages)

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.rows + self.draws

    def __str__(self) -> str:
        """Return the parts and their sum, in one line."""
        return (
            f"{format_bytes(self.total)} (weights {format_bytes(self.weights)}, KV "
            f"{format_bytes(self.kv)}, rows "
            f"{format_bytes(self.rows + self.draws)})"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a run asks of the memory.

    Attributes:
        most_rows: rows of the largest pass.
        all_pages: KV pages with which no request ever waits for one.
        least_pages: KV pages of the largest request.
        num_kv_pages: pages asked for; None for what fits, at most `all_pages`.
        draws: bytes of experts drawn ahead.
        held_pages: KV pages' worth of memory that is taken whatever the pool: the whole slabs of
            requests that may be in memory together, where memory not yet written counts.
        beside_pages: KV pages beside the pool: those of contexts, which stay from arm to arm.
        held_passes: largest passes whose rows take memory at a time: the one that runs, and what
            captured passes keep.
    """

    most_rows: int
    all_pages: int
    least_pages: int
    num_kv_pages: int | None
    draws: int
    held_pages: int = 0
    beside_pages: int = 0
    held_passes: int = 1


def plan_memory(
    shape: ModelShape,
    needs: Needs,
    *,
    precision: Precision,
    available: int,
    reserved: int | None = None,
) -> Memory:
    """Return the memory a run needs, its KV pool sized to what is free.

    Args:
        shape: the model's geometry.
        needs: what the workload asks for.
        precision: of the weights; hidden states, keys and values are in that of its products.
        available: free bytes of the device.
        reserved: how many of them to leave alone; None for a tenth.

    Raises:
        MisfitError: it is more than there is.
    """
    size = precision.value_bytes
    free = int(available * HEADROOM) if reserved is None else max(0, available - reserved)
    # A row passes experts or a dense layer's MLP, whichever is wider.
    inner = max((shape.top_k + shape.shared_experts) * shape.expert_size, shape.dense_size)
    row = ROW_VALUES * shape.hidden_size + PAIR_VALUES[shape.family] * inner
    fixed = Memory(
        weights=weight_bytes(shape, precision),
        page=PAGE_TOKENS * shape.kv_bytes_per_token(size),
        num_kv_pages=0,
        rows=needs.held_passes * needs.most_rows * row * size + _score_bytes(shape, needs),
        draws=needs.draws,
        beside_pages=needs.beside_pages,
    )
    pages = needs.num_kv_pages
    if pages is None:
        fits = max(0, free - fixed.total) // fixed.page
        pages = max(needs.least_pages, min(needs.all_pages, fits))
    memory = replace(fixed, num_kv_pages=pages, held_pages=needs.held_pages)
    used = replace(memory, num_kv_pages=min(pages, needs.all_pages)).total
    if used > free:
        smaller = ", --dtype bfloat16" if precision.name == "float32" else ""
        if needs.held_pages > pages:
            smaller += ", a smaller --max-num-seqs"
        msg = (
            f"model {shape.name!r} in {precision.name} needs {memory}, this machine has "
            f"{format_bytes(free)} to give; use a smaller model{smaller} or a smaller workload"
        )
        raise MisfitError(msg)
    return memory


def _score_bytes(shape: ModelShape, needs: Needs) -> int:
    """Return what the scores of the longest request take; without sinks they are never whole."""
    if not shape.has_sinks:
        return 0
    keys = needs.least_pages * PAGE_TOKENS
    return shape.num_heads * min(SCORE_ROWS, needs.most_rows) * keys * SCORE_BYTES
