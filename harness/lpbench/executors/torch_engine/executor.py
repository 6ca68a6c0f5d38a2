"""The torch executor: carries out plans with real forward passes.

Owns: the requests' token ids, the KV cache's life, the contexts, the greedy tokens.
Must not know: schedules, counting rules, files.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from lpbench.errors import RunError
from lpbench.executors.executor import CONTEXT_CHUNK, Execution
from lpbench.executors.torch_engine.forward import Forward
from lpbench.executors.torch_engine.forward import Sequence as Tokens
from lpbench.executors.torch_engine.kernels import pick_kernels
from lpbench.executors.torch_engine.kv_cache import KvCache
from lpbench.executors.torch_engine.layer import Block
from lpbench.executors.torch_engine.marked import MarkedOperators
from lpbench.executors.torch_engine.probe import Probe
from lpbench.executors.torch_engine.rotary import rotary_table
from lpbench.executors.torch_engine.timer import PassTimer
from lpbench.executors.torch_engine.touched import Touched
from lpbench.executors.torch_engine.transfer import to_device, to_host
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
    """Runs every arm of an experiment on the same weights, prompts and routing draws.

    Attributes:
        kernels: what computes on this device.
    """

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
        dtype = weights.embed.dtype
        self.kernels = pick_kernels(shape, device=self._device, dtype=dtype)
        self._cache = KvCache(shape, dtype=dtype, device=self._device)
        self._timer = PassTimer(self._device)
        most = max(request.kv_tokens for request in requests)
        self._forward = Forward(
            shape,
            weights,
            kernels=self.kernels,
            cache=self._cache,
            rotary=rotary_table(shape, most, dtype=dtype, device=self._device),
        )
        self._drawn = {
            request.index: to_device(
                draws.experts(request=request.index, start=0, stop=request.kv_tokens),
                self._device,
            )
            for request in requests
            if draws is not None
        }
        self._script: Mapping[int, Sequence[int]] | None = None
        self._sequences: dict[int, Tokens] = {}
        self._filled: set[int] = set()
        self._probe: Probe | None = None

    def start_arm(
        self,
        script: Mapping[int, Sequence[int]] | None,
        probe: Probe | None = None,
        *,
        pinned: bool = False,
    ) -> None:
        """Begin an arm: empty cache, contexts filled.

        A context is computed once: its keys and values stay in memory from arm to arm.

        Args:
            script: tokens to feed instead of the engine's own, by request; None decodes greedily.
            probe: listens to an audit pass.
            pinned: send every row to experts 0..top_k instead: the control of the counter pass.
        """
        self._cache.close_all(but=self._filled)
        self._forward.reset()
        self._script, self._probe = script, None
        self._sequences = {
            index: Tokens(list(ids), 0, self._drawn.get(index)) for index, ids in self._ids.items()
        }
        for request in self._requests.values():
            if request.context_tokens:
                self._fill_context(request)
        if pinned:
            for index, sequence in self._sequences.items():
                sequence.drawn = self._pinned(self._requests[index].kv_tokens)
        self._probe = probe

    def execute(self, plan: IterationPlan) -> Execution:
        """Run one pass and append a token to every request that is due one.

        The host waits for the device once, when the tokens and the bitmap are read back; so it
        does where no token is due, and the clock then tells when the pass was over.

        Raises:
            RunError: the device's memory is not enough, or the device failed.
        """
        try:
            self._timer.start()
            touched = Touched(plan, self._shape, device=self._device)
            for part in plan.prefill:
                self._cache.open(part.request, self._requests[part.request].kv_tokens)
            with torch.inference_mode():
                witness = _Witness(touched, self._probe)
                due, logits = self._forward.run(plan, self._sequences, witness)
                chosen = logits.argmax(-1)
                self._timer.stop()
                best, bits = to_host(chosen, touched.bits)
        except torch.OutOfMemoryError:
            raise RunError(
                f"the device ran out of memory in a pass with {plan.num_prefill_tokens} prompt "
                f"tokens and {len(plan.decodes)} decodes; use a smaller --max-num-seqs, "
                "max_num_batched_tokens or workload"
            ) from None
        except torch.AcceleratorError as error:
            raise RunError(f"the device failed: {str(error).partition(chr(10))[0]}") from error
        tokens = dict(zip(due, best.tolist(), strict=True))
        for at, (request, token) in enumerate(tokens.items()):
            nth = len(self._sequences[request].ids) - len(self._ids[request])
            if self._probe is not None:
                self._probe.sample(request, nth, logits[at])
            fed = token if self._script is None else self._script[request][nth]
            self._sequences[request].ids.append(fed)
        return Execution(
            tokens=tokens, routed=touched.routed(bits), device_ns=self._timer.elapsed_ns()
        )

    def release(self, request: int) -> None:
        """Drop a request's cache; should it come back, its context is computed again too.

        The context of a finished request stays, for the next arm.
        """
        generated = len(self._sequences[request].ids) - len(self._ids[request])
        if request in self._filled and generated == self._requests[request].output_tokens:
            return
        self._filled.discard(request)
        self._cache.close(request)
        self._sequences[request].offset = 0

    @contextmanager
    def profiled(self) -> Iterator[None]:
        """Have a profiler around this process see the passes within, the experts marked.

        Without CUDA there is none, and nothing changes.
        """
        if self._device.type != "cuda":
            yield
            return
        own = self._forward.operators
        self._forward.operators = MarkedOperators(self._shape, self.kernels)
        torch.cuda.profiler.start()
        try:
            yield
        finally:
            torch.cuda.profiler.stop()
            self._forward.operators = own

    def now_ns(self) -> int:
        """Return the host's monotonic clock.

        Right for a GPU's passes too: `execute` has waited for the device when it returns.
        """
        return time.perf_counter_ns()

    def wait_until_ns(self, until_ns: int) -> None:
        """Sleep until then."""
        while (left := until_ns - self.now_ns()) > 0:
            time.sleep(left / 1e9)

    def _fill_context(self, request: Request) -> None:
        """Prefill the context, uncounted and untimed, and let the prompt start behind it."""
        index, length = request.index, request.context_tokens
        missing = range(0) if index in self._filled else range(0, length, CONTEXT_CHUNK)
        for start in missing:
            tokens = Span(start, min(length, start + CONTEXT_CHUNK))
            tile = Tile(tokens, Span(0, self._shape.num_layers))
            self.execute(IterationPlan(decodes=(), prefill=(PromptTile(index, tile),)))
        self._filled.add(index)
        self._sequences[index].offset = length

    def _pinned(self, positions: int) -> torch.Tensor:
        """Return the same experts for every layer and position."""
        shape = self._shape
        experts = torch.arange(shape.top_k, dtype=torch.int16, device=self._device)
        return experts.expand(shape.num_layers, positions, shape.top_k)
