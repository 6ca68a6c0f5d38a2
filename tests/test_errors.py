import pytest

from lpbench.errors import InputError, LpbenchError, RunError, UnavailableError


@pytest.mark.parametrize(
    ("error", "exit_code"), [(RunError, 1), (InputError, 2), (UnavailableError, 77)]
)
def test_every_error_has_the_exit_code_of_the_design(
    error: type[LpbenchError], exit_code: int
) -> None:
    """1 the run failed, 2 bad input, 77 capability absent; all end a command in one line."""
    assert exit_code == error.exit_code
    assert "what happened" == str(error("what happened"))
    assert issubclass(error, LpbenchError)


def test_bad_input_is_a_value_error() -> None:
    """Validators may raise it as such."""
    assert issubclass(InputError, ValueError)
