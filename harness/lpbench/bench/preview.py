"""What a schedule would do with one prompt: tiles, segments, closed-form bytes; nothing runs.

Owns: the walk behind `lpbench plan`.
Must not know: torch, routers, clocks.
"""

from dataclasses import dataclass

from pydantic import JsonValue

from lpbench.bench.prediction import predicting, predictor_of
from lpbench.bench.spec import RunSpec
from lpbench.errors import InputError
from lpbench.plan.check import check_plan
from lpbench.plan.grid import Tile
from lpbench.plan.iteration import IterationPlan, Segment
from lpbench.plan.policy import View
from lpbench.plan.predictor import Predictor
from lpbench.plan.request import Progress, Request
from lpbench.plan.schedules import parse_schedule
from lpbench.shape.model import ModelShape
from lpbench.shape.precision import Precision
from lpbench.shape.traffic import ModelledBytes, modelled_bytes

CONTEXT_TOKENS = 2048
"""What each decode has in its KV cache: only a schedule that predicts times asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewStep:
    """One iteration: its plan, the segments the engine would loop over, expected expert bytes."""

    plan: IterationPlan
    segments: tuple[Segment, ...]
    bytes: ModelledBytes

    @property
    def tile(self) -> Tile:
        """The prompt's tile."""
        return self.plan.prefill[0].tile


def preview_predictor(
    schedule: str, shape: ModelShape, *, predict_by: str | None, dtype: str
) -> tuple[Predictor | None, dict[str, JsonValue]]:
    """Return what a schedule plans by that predicts, under uniform routing, and its names.

    Args:
        schedule: as typed.
        shape: the model's geometry.
        predict_by: the device, by name or file; None for the roofline's default.
        dtype: in which it computes.

    Raises:
        InputError: no such device, or a schedule that predicts nothing.
    """
    spec = RunSpec(executor="roofline", predict_by=predict_by, dtype=dtype)
    return predictor_of([parse_schedule(schedule)], spec, shape, routing="uniform")


def preview(
    schedule: str,
    shape: ModelShape,
    *,
    prompt_tokens: int,
    num_decodes: int,
    precision: Precision,
    predictor: Predictor | None = None,
) -> tuple[PreviewStep, ...]:
    """Return the iterations from the prompt's first tile to its last.

    Args:
        schedule: as typed.
        shape: the model's geometry.
        prompt_tokens: length of the prompt.
        num_decodes: requests that decode all along.
        precision: of the weights.
        predictor: what a schedule plans by that predicts.

    Raises:
        InputError: a length is out of range or the schedule cannot serve it.
    """
    if num_decodes < 0 or not 1 <= prompt_tokens <= shape.max_positions:
        msg = (
            f"--prompt {prompt_tokens} and --decodes {num_decodes} are out of range; accepted: 1 "
            f"to the {shape.max_positions} positions of {shape.name}, 0 or more"
        )
        raise InputError(msg)
    policy = predicting(parse_schedule(schedule), predictor)
    request = Request(index=num_decodes, prompt_tokens=prompt_tokens, output_tokens=1)
    decoding = [Request(index=at, prompt_tokens=1, output_tokens=1) for at in range(num_decodes)]
    policy.refuse([*decoding, request], max_num_seqs=num_decodes + 1)
    decodes = tuple(range(num_decodes))
    progress = Progress.start(request.index, prompt_tokens, num_layers=shape.num_layers)
    steps: list[PreviewStep] = []
    while not progress.is_done:
        view = View(
            num_layers=shape.num_layers,
            decodes=decodes,
            begun=(progress,) if progress.is_begun else (),
            queue=() if progress.is_begun else (progress,),
            free_pages=progress.pages,
            free_seqs=1,
            decode_tokens=num_decodes * CONTEXT_TOKENS,
        )
        plan = policy.plan(view)
        check_plan(view, plan, policy)
        expected = modelled_bytes([plan], shape, precision=precision)
        steps.append(
            PreviewStep(plan=plan, segments=plan.segments(shape.num_layers), bytes=expected)
        )
        progress = progress.after(plan.prefill[0].tile)
    return tuple(steps)
