"""Selectors as text: what is read of them, and where the reading ends."""

from typing import Any

import pytest

pytest.importorskip("typer")

from icehouse.client.cli import selector
from icehouse.client.cli.output import CommandError, ExitCode


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("$", []),
        ("", []),
        ("users[0]", ["users", 0]),
        ("$.a-b.ü", ["a-b", "ü"]),
        ("$[ 0 ]['a b'][\"c\"]", [0, "a b", "c"]),
        ("$['it\\'s']['\\n']", ["it's", "\n"]),
        ("$['\\ud83d\\ude00']['\\ud83d']", ["\U0001f600", "\ud83d"]),
        ("$.*[*][1:][::-2]", [None, None, slice(1, None, None), slice(None, None, -2)]),
    ],
)
def test_what_is_read(text: str, keys: list[Any]) -> None:
    assert [step.key for step in selector.parse(text).steps] == keys


@pytest.mark.parametrize(
    ("text", "rest", "hint"),
    [
        ("$..a", "..a", "`..` is not supported"),
        ("$.a[?(@.b)]", "[?(@.b)]", "a filter is not supported"),
        ("$.a[ ? @.b]", "[ ? @.b]", "a filter is not supported"),
        ("$[(@.length-1)]", "[(@.length-1)]", "an expression is not supported"),
        ("$['a','b']", "['a','b']", "a union is not supported"),
        ("$[0,1].a", "[0,1].a", "a union is not supported"),
        ("$.a b", " b", ""),
        ("$.a.", ".", ""),
        ("$.a['b", "['b", ""),
        ("$.a[b]", "[b]", ""),
        ("$[1:2:3:4]", "[1:2:3:4]", ""),
        ("$[99999999999999999999]", "[99999999999999999999]", ""),
        ("$a", "a", ""),
    ],
)
def test_what_is_not_read_is_pointed_at(text: str, rest: str, hint: str) -> None:
    with pytest.raises(CommandError) as caught:
        selector.parse(text)
    assert caught.value.code is ExitCode.USAGE
    assert f"can't be read from {rest!r} on{': ' * bool(hint)}{hint};" in str(caught.value)


def test_a_step_of_zero_and_too_many() -> None:
    for text in ("$[::0]", "$" + ".a" * (selector.STEPS_MAX + 1)):
        with pytest.raises(CommandError) as caught:
            selector.parse(text)
        assert caught.value.code is ExitCode.USAGE
