"""The torch executor: carries out plans with real forward passes.

Owns: the requests' token ids, the KV cache's life, the contexts, the greedy tokens.
Must not know: schedules, counting rules, files.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from lpbench.errors import RunError
from lpbench.executors.executor import CONTEXT_CHUNK, Execution
from lpbench.executors.torch_engine.choice import Kernels
from lpbench.executors.torch_engine.drawn import DrawnExperts
from lpbench.executors.torch_engine.forward import Forward
from lpbench.executors.torch_engine.graphs import Captured
from lpbench.executors.torch_engine.layers import Layers
from lpbench.executors.torch_engine.probe import Probe
from lpbench.executors.torch_engine.sequences import Sequences
from lpbench.executors.torch_engine.timer import PassTimer
from lpbench.executors.torch_engine.transfer import to_host
from lpbench.executors.torch_engine.weights import ModelWeights
from lpbench.plan.grid import Span, Tile
from lpbench.plan.iteration import IterationPlan, PromptTile
from lpbench.plan.request import Request


class TorchExecutor:
    """Runs every arm of an experiment on the same weights, prompts and routing draws.

    Attributes:
        kernels: what computes on this device.
        captured: what was captured ahead; None for nothing.
    """

    def __init__(
        self,
        weights: ModelWeights,
        *,
        kernels: Kernels,
        layers: Layers,
        sequences: Sequences,
        drawn: DrawnExperts,
        captured: Captured | None = None,
    ) -> None:
        """Take the parts; `build` puts them together."""
        self.kernels, self.captured = kernels, captured
        self._device = weights.embed.device
        self._num_layers = len(weights.layers)
        self._layers = layers
        self._sequences = sequences
        self._drawn = drawn
        self._timer = PassTimer(self._device)
        self._forward = Forward(weights, layers=layers, sequences=sequences)
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
        self._forward.reset()
        self._sequences.reset(script)
        self._probe = None
        self._drawn.is_pinned = False
        for request in self._sequences.requests:
            self._layers.release(request.index, keep_context=request.index in self._filled)
        for request in self._sequences.requests:
            if request.context_tokens:
                self._fill_context(request)
        self._drawn.is_pinned = pinned
        self._probe = probe

    def execute(
        self, plan: IterationPlan, meanwhile: Callable[[], None] | None = None
    ) -> Execution:
        """Run one pass and append a token to every request that is due one.

        The host waits for the device once, when the tokens and the bitmap are read back; so it
        does where no token is due, and the clock then tells when the pass was over.

        Args:
            plan: the pass.
            meanwhile: done by the host while a GPU computes; not on a CPU.

        Raises:
            RunError: the device's memory is not enough, or the device failed.
        """
        try:
            self._timer.start()
            with torch.inference_mode():
                due, logits = self._forward.run(plan, self._probe)
                chosen = logits.argmax(-1)
                self._timer.stop()
                launched_ns = self.now_ns()
                if meanwhile is not None and self._device.type == "cuda":
                    meanwhile()
                tokens, bits = to_host(chosen, self._layers.bits())
        except torch.OutOfMemoryError:
            raise RunError(
                f"the device ran out of memory in a pass with {plan.num_prefill_tokens} prompt "
                f"tokens and {len(plan.decodes)} decodes; use a smaller --max-num-seqs, "
                "max_num_batched_tokens or workload"
            ) from None
        except torch.AcceleratorError as error:
            raise RunError(f"the device failed: {str(error).partition(chr(10))[0]}") from error
        seats = self._sequences.seats(due)
        if self._probe is not None:
            nths = self._sequences.generated(seats).tolist()
            for request, nth, row in zip(due, nths, logits, strict=True):
                self._probe.sample(request, nth, row)
        self._sequences.feed(seats, tokens)
        device_ns = self._timer.elapsed_ns()
        return Execution(
            tokens=dict(zip(due, tokens.tolist(), strict=True)),
            routed=self._layers.routed(bits),
            device_ns=device_ns,
            launched_ns=None if device_ns is None else launched_ns,
        )

    def release(self, request: int) -> None:
        """Drop a request's cache; should it come back, its context is computed again too.

        The context of a finished request stays, for the next arm.
        """
        seat = self._sequences.seat(request)
        generated = self._sequences.generated(np.array([seat]))[0]
        is_finished = generated == self._sequences.requests[seat].output_tokens
        keep_context = is_finished and request in self._filled
        self._layers.release(request, keep_context=keep_context)
        if not keep_context:
            self._filled.discard(request)
            self._sequences.offsets[seat] = 0

    @contextmanager
    def profiled(self) -> Iterator[None]:
        """Have a profiler around this process see the passes within, the experts marked.

        Without CUDA there is none, and nothing changes.
        """
        if self._device.type != "cuda":
            yield
            return
        with self._layers.marked():
            torch.cuda.profiler.start()
            try:
                yield
            finally:
                torch.cuda.profiler.stop()

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
            tile = Tile(tokens, Span(0, self._num_layers))
            self.execute(IterationPlan(decodes=(), prefill=(PromptTile(index, tile),)))
        self._filled.add(index)
        self._sequences.offsets[self._sequences.seat(index)] = length
