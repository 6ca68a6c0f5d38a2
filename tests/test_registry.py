import pytest

from lpbench.registry import Registry, unknown

COLOURS = Registry("colour", {"red": 1, "green": 2}, error=KeyError)


def test_a_name_gives_its_entry() -> None:
    """Names keep the order in which they were given."""
    assert 2 == COLOURS.get("green")
    assert ("red", "green") == COLOURS.names()


def test_an_unknown_name_raises_the_given_error_with_the_nearest() -> None:
    """The message names the kind, the name, a guess and all that is known."""
    with pytest.raises(KeyError) as caught:
        COLOURS.get("gren")
    expected = "unknown colour 'gren' (did you mean 'green'?); known: red, green"
    assert (expected,) == caught.value.args


def test_a_name_like_none_has_no_guess() -> None:
    """Nothing near, nothing guessed."""
    assert "unknown colour 'x'; known: red, green" == unknown("colour", "x", known=COLOURS.names())


def test_the_message_is_one_line_whatever_the_name() -> None:
    """A line break in a name is shown, not printed."""
    assert "unknown colour 'a\\nb'; known: red" == unknown("colour", "a\nb", known=["red"])


def test_a_long_name_is_cut() -> None:
    """The message stays a line that can be read."""
    message = unknown("colour", "x" * 5000, known=["red"])
    assert message.startswith("unknown colour 'xxxxx")
    assert len(message) < 120


def test_a_registry_does_not_change_with_its_source() -> None:
    """Entries are copied."""
    source = {"red": 1}
    registry = Registry("colour", source, error=KeyError)
    source["green"] = 2
    assert ("red",) == registry.names()
