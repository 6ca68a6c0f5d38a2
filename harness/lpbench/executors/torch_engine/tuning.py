"""Tiles against tiles: what is timed, in which order, and when a candidate takes the place.

Owns: the experts' layers that are timed, the check of every candidate's result, the decision.
Must not know: Triton, how a candidate came up, files.

Layers are run one after the other, each on weights of its own, so many that what they read exceeds
the last-level cache `CACHES` times, for in a run every layer's weights come from memory too; but no
more than the model has. Rows are routed uniformly, to other experts in every layer.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch

from lpbench.errors import RunError
from lpbench.executors.torch_engine.device import DTYPES
from lpbench.executors.torch_engine.kernels.expert_tiles import ExpertTiles
from lpbench.executors.torch_engine.kernels.fused import FusedKernels
from lpbench.executors.torch_engine.stopwatch import Stopwatch
from lpbench.executors.torch_engine.weights import dummy_weights
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import Precision, expert_bytes

CACHES, FEWEST_LAYERS = 3, 4

HEATS, FINALS = 7, 15
"""Rounds in which all candidates run, and in which the best of them runs against the shipped."""

MOST_LOST = 1
"""Of the final rounds; with no difference, so few are lost with a probability of 16 / 2^15."""

TOLERANCE = {torch.bfloat16: 2**-6, torch.float32: 1e-5}
"""Largest difference of a result, as a part of the largest value: sums are taken in another order
and rounded to the dtype twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was found for one number of rows.

    Attributes:
        rows: of the batch.
        shipped: the tiles that stood.
        best: of the candidates; None where none could be timed.
        shipped_ms: one layer's experts with the shipped tiles, the median of the final.
        best_ms: the same with the best candidate; None without one.
        noise: how much two times of the shipped tiles in one round differ, as a ratio less 1: the
            median of the final.
        wins: whether the best takes the place.
        candidates: how many were timed.
        not_compiled: how many the compiler or the device refused.
        wrong: those whose result was not the shipped tiles'.
    """

    rows: int
    shipped: ExpertTiles
    best: ExpertTiles | None
    shipped_ms: float
    best_ms: float | None
    noise: float
    wins: bool
    candidates: int
    not_compiled: int
    wrong: tuple[ExpertTiles, ...]


@dataclass(frozen=True, slots=True)
class Round:
    """Milliseconds of one round, in the order they were taken: shipped, candidates, shipped."""

    first: float
    candidates: tuple[float, ...]
    last: float

    @property
    def shipped(self) -> float:
        """The mean of both."""
        return (self.first + self.last) / 2

    @property
    def noise(self) -> float:
        """How much both differ, as a ratio less 1."""
        return abs(self.last / self.first - 1)


def is_faster(final: Sequence[Round]) -> bool:
    """Return whether the only candidate of the final is faster than the shipped tiles.

    It is where its median ratio to them, round by round, is below 1 by more than the noise, and it
    lost `MOST_LOST` rounds at most (a sign test). The final is run anew for the candidate that was
    best before, so that having been lucky among many does not count.
    """
    ratios = [one.candidates[0] / one.shipped for one in final]
    lost = sum(ratio >= 1 for ratio in ratios)
    return lost <= MOST_LOST and 1 - median(ratios) > median(one.noise for one in final)


class Tuner:
    """Layers of one model on one device, and the rows that are sent through them."""

    def __init__(
        self,
        shape: ModelShape,
        precision: Precision,
        *,
        device: torch.device,
        cache_bytes: int,
        kernels: Callable[[ExpertTiles], FusedKernels],
        refusals: tuple[type[Exception], ...],
    ) -> None:
        """Draw the weights.

        Args:
            shape: the model.
            precision: of its weights.
            device: where to compute.
            cache_bytes: of the last-level cache.
            kernels: gives the kernels that have certain tiles.
            refusals: what these raise where tiles cannot be compiled or launched.
        """
        # One row of top_k experts is the least that a layer reads.
        least = shape.top_k * expert_bytes(shape, precision)
        layers = max(math.ceil(CACHES * cache_bytes / least), FEWEST_LAYERS)
        layers = min(layers, shape.num_layers)
        dtype = DTYPES[precision.computed_in]
        model = replace(shape, num_layers=layers, windows=(0,) * layers, vocab_size=1)
        weights = dummy_weights(
            model, dtype=dtype, device=device, seed=0, packed=precision.is_packed
        )
        self._shape, self._layers = shape, weights.layers
        self._dtype, self._device = dtype, device
        self._kernels, self._refusals = kernels, refusals

    def tune(
        self,
        rows: int,
        shipped: ExpertTiles,
        candidates: Sequence[ExpertTiles],
        *,
        stopwatch: Stopwatch,
        progress: Callable[[], None],
    ) -> Outcome:
        """Return what is best for so many rows.

        Args:
            rows: of a batch.
            shipped: the tiles to beat.
            candidates: the tiles to try.
            stopwatch: times the layers.
            progress: called for each candidate and then for each round.

        Raises:
            RunError: the shipped tiles do not run on this device.
        """
        batches = [self._batch(rows, seed) for seed in range(len(self._layers))]
        try:
            expected, ours = self._ready(shipped, batches, stopwatch)
        except _RefusedError as error:
            msg = f"the shipped tiles for {rows} rows do not run here: {error}"
            raise RunError(msg) from error
        laps, fit, wrong = [], [], []
        for tiles in candidates:
            progress()
            try:
                found, lap = self._ready(tiles, batches, stopwatch)
            except _RefusedError:
                continue
            if self._agree(found, expected):
                laps.append(lap)
                fit.append(tiles)
            else:
                wrong.append(tiles)
        heats = [_round(ours, laps, progress) for _ in range(HEATS)]
        best = _best(heats)
        final = [_round(ours, laps[best : best + 1], progress) for _ in range(FINALS)]
        per_layer = 1 / len(self._layers)
        return Outcome(
            rows=rows,
            shipped=shipped,
            best=fit[best] if fit else None,
            shipped_ms=median(one.shipped for one in final) * per_layer,
            best_ms=median(one.candidates[0] for one in final) * per_layer if fit else None,
            noise=median(one.noise for one in final),
            wins=bool(fit) and is_faster(final),
            candidates=len(fit),
            not_compiled=len(candidates) - len(fit) - len(wrong),
            wrong=tuple(wrong),
        )

    @torch.inference_mode()
    def _ready(
        self, tiles: ExpertTiles, batches: "Sequence[_Batch]", stopwatch: Stopwatch
    ) -> tuple[torch.Tensor, Callable[[], float]]:
        """Return the first layer's result, and what times a run through all layers.

        Raises:
            _RefusedError: the tiles cannot be compiled or launched.
        """
        try:
            found = self._run(tiles, 0, batches)
            return found, stopwatch.ready(partial(self._run_all, tiles, batches))
        except (torch.AcceleratorError, torch.OutOfMemoryError):
            raise  # of the device, whatever the tiles
        except self._refusals as error:
            first = str(error).partition("\n")[0]
            raise _RefusedError(f"{type(error).__name__}: {first}") from error

    def _batch(self, rows: int, seed: int) -> "_Batch":
        """Draw rows, their experts and shares, on the CPU: the same on every device."""
        shape, generator = self._shape, torch.Generator().manual_seed(seed)
        odds = torch.rand(rows, shape.num_experts, generator=generator)
        return _Batch(
            rows=torch.randn(rows, shape.hidden_size, generator=generator).to(
                self._device, self._dtype
            ),
            ids=odds.topk(shape.top_k).indices.int().to(self._device),
            share=torch.rand(rows, shape.top_k, generator=generator).to(self._device),
        )

    def _run_all(self, tiles: ExpertTiles, batches: "Sequence[_Batch]") -> None:
        for layer in range(len(self._layers)):
            self._run(tiles, layer, batches)

    def _run(self, tiles: ExpertTiles, layer: int, batches: "Sequence[_Batch]") -> torch.Tensor:
        """Return each row's experts' results in one layer."""
        kernels, weights, batch = self._kernels(tiles), self._layers[layer], batches[layer]
        blocks = kernels.align(batch.ids)
        inner = kernels.gate_up(batch.rows, weights.gate_up, weights.gate_up_bias, blocks)
        return kernels.down(inner, weights.down, weights.down_bias, blocks, batch.share)

    def _agree(self, found: torch.Tensor, expected: torch.Tensor) -> bool:
        """Return whether results are the same but for rounding."""
        worst = (found.float() - expected.float()).abs().max()
        return bool(worst <= TOLERANCE[self._dtype] * expected.abs().max().float())


class _RefusedError(Exception):
    """Tiles that the compiler or the device does not take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """Rows [R, H], their experts int32 [R, k] and the weights of these float32 [R, k]."""

    rows: torch.Tensor
    ids: torch.Tensor
    share: torch.Tensor


def _round(
    shipped: Callable[[], float],
    candidates: Sequence[Callable[[], float]],
    progress: Callable[[], None],
) -> Round:
    """Time everything once."""
    progress()
    return Round(shipped(), tuple(lap() for lap in candidates), shipped())


def _best(heats: Sequence[Round]) -> int:
    """Return which candidate has the least median ratio to the shipped tiles; 0 without any."""
    ratios = ([time / one.shipped for time in one.candidates] for one in heats)
    medians = [median(of_one) for of_one in zip(*ratios, strict=True)]
    return min(range(len(medians)), key=medians.__getitem__, default=0)
