"""The workload of a point of the regime map.

Owns: the requests that decode, the prompts that come in beside them, and when.
Must not know: schedules, devices.
"""

from lpbench.bench.spec import Burst
from lpbench.errors import InputError, MisfitError
from lpbench.workload.requests import Line
from lpbench.workload.workload import MOST_REQUESTS, Workload

LONGEST = 8192
"""Tokens that a decode generates at most: more passes than any point takes."""


def burst_workload(burst: Burst, *, num_layers: int, num_positions: int) -> Workload:
    """Return the decodes, and the prompts that arrive when all of them are in flight.

    A batch of layered prefill takes a pass a layer at most.

    Raises:
        InputError: a number is out of its range.
        MisfitError: a decode has no room for a token among the model's positions.
    """
    for name, least in (("num_decodes", 0), ("context_len", 0), ("prompts", 1), ("prompt_len", 1)):
        if not least <= (value := getattr(burst, name)) <= MOST_REQUESTS:
            msg = f"{name} = {value} is out of range; accepted: {least} to {MOST_REQUESTS}"
            raise InputError(msg)
    output = min(LONGEST, num_positions - burst.context_len - 1)
    if output < 1:
        msg = f"context_len = {burst.context_len} leaves nothing of the {num_positions} positions"
        raise MisfitError(msg)
    decode = Line(
        prompt=1, context_tokens=burst.context_len, output_tokens=output, arrival_iteration=0
    )
    prompt = Line(prompt=burst.prompt_len, output_tokens=1, arrival_iteration=num_layers + 2)
    return Workload(
        name=f"{burst.prompts}x{burst.prompt_len} beside {burst.num_decodes} decodes",
        description="prompts that come in together while others decode",
        lines=(*(decode,) * burst.num_decodes, *(prompt,) * burst.prompts),
    )
