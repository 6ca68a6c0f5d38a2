"""The torch executor: carries out plans with real forward passes.

Owns: the requests' token ids, the KV cache's life, the contexts, the greedy tokens.
Must not know: schedules, counting rules, files.
"""

import time
from collections.abc import Mapping, Sequence

import torch

from lpbench.executors.executor import CONTEXT_CHUNK, Execution
from lpbench.executors.torch_engine.forward import Forward
from lpbench.executors.torch_engine.forward import Sequence as Tokens
from lpbench.executors.torch_engine.kv_cache import KvCache
from lpbench.executors.torch_engine.layer import Block
from lpbench.executors.torch_engine.probe import Probe
from lpbench.executors.torch_engine.rotary import rotary_table
from lpbench.executors.torch_engine.touched import Touched
from lpbench.executors.torch_engine.weights import ModelWeights
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile, Segment
from lpbench.plan.request import Request
from lpbench.shape.model import ModelShape
from lpbench.workload.routing import RoutingDraws


class _Witness:
    """Tells the counting witness, and the audit's where there is one."""

    def __init__(self, touched: Touched, probe: Probe | None) -> None:
        self._listeners = (touched,) if probe is None else (touched, probe)

    def enter(self, segment: Segment, blocks: tuple[Block, ...]) -> None:
        for listener in self._listeners:
            listener.enter(segment, blocks)

    def route(self, layer: int, ids: torch.Tensor, logits: torch.Tensor) -> None:
        for listener in self._listeners:
            listener.route(layer, ids, logits)


class TorchExecutor:
    """Runs every arm of an experiment on the same weights, prompts and routing draws."""

    def __init__(
        self,
        shape: ModelShape,
        weights: ModelWeights,
        *,
        requests: Sequence[Request],
        ids: Mapping[int, Sequence[int]],
        draws: RoutingDraws | None = None,
    ) -> None:
        """Take the model and the workload.

        Args:
            shape: the model's geometry.
            weights: its tensors; their dtype and device are the run's.
            requests: the workload in lengths.
            ids: token ids of each request: context, then prompt.
            draws: the experts to route to; None leaves the choice to the model's router.
        """
        self._shape = shape
        self._device = weights.embed.device
        self._requests = {request.index: request for request in requests}
        self._ids = ids
        self._cache = KvCache(shape, dtype=weights.embed.dtype, device=self._device)
        most = max(request.kv_tokens for request in requests)
        self._forward = Forward(
            shape,
            weights,
            cache=self._cache,
            rotary=rotary_table(shape, most, dtype=weights.embed.dtype, device=self._device),
        )
        self._drawn = {
            request.index: torch.from_numpy(
                draws.experts(request=request.index, start=0, stop=request.kv_tokens)
            ).to(self._device)
            for request in requests
            if draws is not None
        }
        self._script: Mapping[int, Sequence[int]] | None = None
        self._sequences: dict[int, Tokens] = {}
        self._probe: Probe | None = None

    def start_arm(
        self, script: Mapping[int, Sequence[int]] | None, probe: Probe | None = None
    ) -> None:
        """Begin an arm: empty cache, contexts filled; `probe` listens to an audit pass."""
        self._cache.close_all()
        self._forward.reset()
        self._script, self._probe = script, None
        self._sequences = {
            index: Tokens(list(ids), 0, self._drawn.get(index)) for index, ids in self._ids.items()
        }
        for request in self._requests.values():
            if request.context_tokens:
                self._fill_context(request)
        self._probe = probe

    def execute(self, plan: IterationPlan) -> Execution:
        """Run one pass and append a token to every request that is due one."""
        for part in plan.prefill:
            self._cache.open(part.request, self._requests[part.request].kv_tokens)
        touched = Touched(plan, self._shape, device=self._device)
        with torch.inference_mode():
            due, logits = self._forward.run(plan, self._sequences, _Witness(touched, self._probe))
            best = logits.argmax(-1).tolist()
        tokens = dict(zip(due, best, strict=True))
        for at, (request, token) in enumerate(tokens.items()):
            nth = len(self._sequences[request].ids) - len(self._ids[request])
            if self._probe is not None:
                self._probe.sample(request, nth, logits[at])
            fed = token if self._script is None else self._script[request][nth]
            self._sequences[request].ids.append(fed)
        return Execution(tokens=tokens, routed=touched.routed())

    def release(self, request: int) -> None:
        """Drop a request's cache; should it come back, its context is computed again too."""
        self._cache.close(request)
        self._sequences[request].offset = 0

    def now_ns(self) -> int:
        """Return the monotonic clock."""
        return time.perf_counter_ns()

    def _fill_context(self, request: Request) -> None:
        """Prefill the context, uncounted and untimed, and let the prompt start behind it."""
        index, length = request.index, request.context_tokens
        for start in range(0, length, CONTEXT_CHUNK):
            tokens = Span(start, min(length, start + CONTEXT_CHUNK))
            tile = Tile(tokens, Span(0, self._shape.num_layers))
            self.execute(IterationPlan(decodes=(), prefill=(PromptTile(index, tile),)))
        self._sequences[index].offset = length
