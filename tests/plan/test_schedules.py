import pytest

from lpbench.errors import InputError
from lpbench.plan.chunked import Chunked
from lpbench.plan.layered import Layered
from lpbench.plan.policy import Policy
from lpbench.plan.schedules import SCHEDULES, parameters, parse_schedule
from lpbench.plan.whole import Whole


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("whole", Whole()),
        ("chunked", Chunked()),
        ("layered", Layered()),
        ("layered:", Layered()),
        ("hybrid", Layered(max_num_batched_tokens=2048, num_groups=4)),
        ("whole:max_num_batched_tokens=7", Whole(max_num_batched_tokens=7)),
        ("chunked:max_num_batched_tokens=7", Chunked(max_num_batched_tokens=7)),
        ("layered:tokens_per_group=64", Layered(tokens_per_group=64)),
        ("layered:rule=table,max_groups=12", Layered(rule="table", max_groups=12)),
        (" layered: num_groups = 3 ", Layered(num_groups=3)),
        (
            "layered:num_groups=3,,max_num_batched_tokens=9",
            Layered(num_groups=3, max_num_batched_tokens=9),
        ),
        ("hybrid:num_groups=2,chunk=10", Layered(max_num_batched_tokens=10, num_groups=2)),
    ],
)
def test_a_text_gives_the_policy_it_describes(text: str, expected: Policy) -> None:
    """Parameters may come in any order, with spaces, and default where they are not named."""
    assert expected == parse_schedule(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "layerd",
            (
                "unknown schedule 'layerd' (did you mean 'layered'?); "
                f"known: {', '.join(SCHEDULES.names())}"
            ),
        ),
        ("", f"unknown schedule ''; known: {', '.join(SCHEDULES.names())}"),
        (
            "chunked:max_num_batched_token=4",
            (
                "unknown parameter of schedule 'chunked': 'max_num_batched_token' (did you mean "
                "'max_num_batched_tokens'?); known: max_num_batched_tokens"
            ),
        ),
        (
            "hybrid:rule=ceil",
            "unknown parameter of schedule 'hybrid': 'rule'; known: chunk, num_groups",
        ),
        (
            "layered:num_groups=2,num_groups=3",
            "schedule 'layered': 'num_groups=3' must be key=value, each key once",
        ),
        (
            "layered:num_groups",
            "schedule 'layered': 'num_groups' must be key=value, each key once",
        ),
        (
            "layered:num_groups=",
            "schedule 'layered': 'num_groups=' must be key=value, each key once",
        ),
        ("layered:num_groups=two", "schedule 'layered': num_groups='two' is not a whole number"),
        ("layered:num_groups=2.0", "schedule 'layered': num_groups='2.0' is not a whole number"),
        (
            "layered:num_groups=0",
            "schedule 'layered': num_groups=0 is out of range; accepted: 1 or more",
        ),
        (
            "whole:max_num_batched_tokens=0",
            "schedule 'whole': max_num_batched_tokens=0 is out of range; accepted: 1 or more",
        ),
        (
            "layered:rule=log",
            "schedule 'layered': rule=log is out of range; accepted: ceil, table",
        ),
        ("hybrid:chunk=0", "schedule 'hybrid': chunk=0 is out of range; accepted: 1 or more"),
    ],
)
def test_a_text_that_describes_no_policy_is_refused(text: str, expected: str) -> None:
    """One line says what is wrong, with the nearest name, the known names or the range."""
    with pytest.raises(InputError) as caught:
        parse_schedule(text)
    assert expected == str(caught.value)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("whole", {"max_num_batched_tokens": int}),
        ("chunked", {"max_num_batched_tokens": int}),
        (
            "layered",
            {
                "tokens_per_group": int,
                "max_num_batched_tokens": int,
                "rule": str,
                "max_groups": int,
                "num_groups": int,
            },
        ),
        ("hybrid", {"chunk": int, "num_groups": int}),
        ("adaptive", {"tbt_budget_ms": int}),
    ],
)
def test_a_schedules_parameters_have_types(name: str, expected: dict[str, type]) -> None:
    """Names and types are those of DESIGN.md's table."""
    assert expected == parameters(name)


def test_parameters_of_an_unknown_schedule_are_refused() -> None:
    """The message is that of the registry."""
    with pytest.raises(InputError, match="unknown schedule 'whol'"):
        parameters("whol")


def test_the_schedules_of_the_design_are_registered() -> None:
    """Each name of DESIGN.md's table is there."""
    assert ("whole", "chunked", "layered", "hybrid", "adaptive") == SCHEDULES.names()
