"""The file of a run's routing, and the experts that rows touch by it, against sets."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpbench.errors import InputError
from lpbench.plan.grid import Span
from lpbench.plan.iteration import PromptRows, Segment
from lpbench.plan.request import Request
from lpbench.workload.recorded import Lengths, RecordedCoverage, RoutingTrace, read_trace
from lpbench.workload.routing import RoutingDraws

LAYERS, EXPERTS, TOP_K = 3, 8, 2
ASKED = ((0, 4, 3), (5, 2, 1), (0, 1, 1))
"""Context, prompt and output tokens of the requests."""

REQUESTS = tuple(
    Request(index=at, context_tokens=context, prompt_tokens=prompt, output_tokens=output)
    for at, (context, prompt, output) in enumerate(ASKED)
)


def drawn(seed: int = 0) -> RoutingTrace:
    """Return drawn routing of the requests; contexts were not seen."""
    draws = RoutingDraws("uniform", seed, LAYERS, EXPERTS, TOP_K)
    experts = {}
    for one in REQUESTS:
        rows = draws.experts(request=one.index, start=0, stop=one.kv_tokens).swapaxes(0, 1)
        rows[: one.context_tokens] = -1
        experts[one.index] = rows
    return RoutingTrace(
        name="drawn",
        num_experts=EXPERTS,
        lengths=tuple(map(Lengths.of, REQUESTS)),
        experts=experts,
        about={"model": "tiny"},
    )


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Lengths, ids, whose they are, and the digest."""
    before, file = drawn(), tmp_path / "routing.npz"
    before.write(file)
    after = read_trace(file)
    assert before.lengths == after.lengths
    assert before.about == after.about
    assert before.digest == after.digest
    assert drawn(1).digest != after.digest
    for index, experts in before.experts.items():
        assert np.array_equal(experts, after.experts[index])


@given(seed=st.integers(0, 50), data=st.data())
def test_rows_touch_what_their_positions_took(seed: int, data: st.DataObject) -> None:
    """Distinct experts by layer, and those that no decode takes, against sets of Python."""
    trace = drawn(seed)
    start = data.draw(st.integers(0, LAYERS - 1))
    layers = Span(start, data.draw(st.integers(start, LAYERS)))
    cut = data.draw(st.integers(0, 3))
    prompts = (PromptRows(0, Span(cut, data.draw(st.integers(cut + 1, 4)))),)
    decodes = data.draw(st.sampled_from([(), (1,), (2,), (1, 2)]))
    known = {1: 7, 2: 1}
    segment = Segment(layers, decodes, data.draw(st.sampled_from([(), prompts])))

    def union(rows: Sequence[tuple[int, int]], layer: int) -> set[int]:
        return {int(e) for request, at in rows for e in trace.experts[request][at, layer]}

    rows = [(part.request, at) for part in segment.prompts for at in _range(part.tokens)]
    fed = [(request, known[request] - 1) for request in decodes]
    expected = [
        (union(rows, layer) | union(fed, layer), union(rows, layer) - union(fed, layer))
        for layer in _range(layers)
    ]
    found = RecordedCoverage(trace).touched(segment, layers, first={0: 0, 1: 5}, known=known)
    assert sum(len(every) for every, _ in expected) == found[0]
    assert sum(len(added) for _, added in expected) == found[1]


def _range(span: Span) -> range:
    return range(span.start, span.stop)


def test_a_row_that_was_not_seen_is_not_made_up() -> None:
    """A context that a preemption computes again: request and positions are named."""
    segment = Segment(Span(0, LAYERS), (), (PromptRows(1, Span(0, 7)),))
    with pytest.raises(InputError, match="lacks rows of request 1 at positions 0 to 6"):
        RecordedCoverage(drawn()).touched(segment, segment.layers, first={1: 0}, known={})


@pytest.mark.parametrize(
    ("requests", "shape", "says"),
    [
        (REQUESTS, (LAYERS, EXPERTS, 3), "3 layers of 8 experts, top-2; the model has 3 layers"),
        (REQUESTS, (4, EXPERTS, TOP_K), "the model has 4 layers of 8 experts, top-2"),
        (REQUESTS, (LAYERS, 16, TOP_K), "the model has 3 layers of 16 experts, top-2"),
        (
            (Request(index=0, prompt_tokens=4, output_tokens=2),),
            (LAYERS, EXPERTS, TOP_K),
            "another workload: request 0 has context 0 + prompt 4 + output 2 tokens, in the trace",
        ),
        (
            (Request(index=3, prompt_tokens=1, output_tokens=1),),
            (LAYERS, EXPERTS, TOP_K),
            "request 3 has context 0 + prompt 1 + output 1 tokens, in the trace there is none",
        ),
    ],
)
def test_another_model_or_workload_is_refused(
    requests: tuple[Request, ...], shape: tuple[int, int, int], says: str
) -> None:
    """The first difference is named; fewer requests, or at other times, are not another one."""
    trace = drawn()
    trace.refuse(REQUESTS[:2], num_layers=LAYERS, num_experts=EXPERTS, top_k=TOP_K)
    layers, experts, top_k = shape
    with pytest.raises(InputError) as caught:
        trace.refuse(requests, num_layers=layers, num_experts=experts, top_k=top_k)
    assert says in str(caught.value)


def arrays() -> dict[str, Any]:
    """Return the arrays of a good file."""
    trace = drawn()
    return {
        "experts": np.concatenate([trace.experts[one.index] for one in REQUESTS]),
        "lengths": np.array(ASKED),
        "about": np.array(json.dumps({"num_experts": EXPERTS})),
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"experts": np.zeros((13, LAYERS, TOP_K), np.int16)}, "do not add up"),
        ({"experts": np.zeros((14, LAYERS), np.int16)}, "no ids by position"),
        ({"experts": np.full((13, LAYERS, TOP_K), 8, np.int16)}, "add up"),
        ({"experts": arrays()["experts"] + np.int16(7)}, "outside 0 to 7"),
        ({"experts": arrays()["experts"].astype(np.float32)}, "no ids by position"),
        ({"lengths": np.array(ASKED)[:, :2]}, "no three numbers"),
        ({"lengths": np.array([(0, 0, 1)])}, "a request has no tokens"),
        ({"lengths": np.array([(0, 2**62, 1)])}, "more than there are positions"),
        ({"lengths": np.zeros((0, 3), np.int64)}, "a request has no tokens"),
        ({"about": np.array("[]")}, "how many experts"),
        ({"about": np.array("{}")}, "how many experts"),
        ({"about": np.array("{")}, "it is damaged, or holds no experts, lengths and about"),
        ({"experts": np.array([None], dtype=object)}, "it is damaged, or holds no experts"),
    ],
)
def test_a_file_that_holds_something_else(
    tmp_path: Path, changes: Mapping[str, Any], says: str
) -> None:
    """One line that names the file and what is wrong in it; nothing in it is run."""
    file = tmp_path / "other.npz"
    np.savez(file, **{**arrays(), **changes})
    assert says in refusal(file)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(b"text"),
        lambda file: file.write_bytes(b"PK\x03\x04" + bytes(40)),
        lambda file: file.write_bytes(file.read_bytes()[:200]),
        lambda file: np.savez(file, other=np.zeros(3)),
        lambda file: file.unlink(),
        lambda file: (file.unlink(), file.mkdir()),
    ],
    ids=["empty", "text", "magic", "cut", "other", "gone", "folder"],
)
def test_a_file_that_is_none(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    """One line, too."""
    file = tmp_path / "none.npz"
    drawn().write(file)
    spoil(file)
    refusal(file)


def refusal(file: Path) -> str:
    """Return the one line with which a file is refused."""
    with pytest.raises(InputError) as caught:
        read_trace(file)
    said = str(caught.value)
    assert 1 == len(said.splitlines())
    assert file.name in said
    return said
