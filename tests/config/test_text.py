"""YAML text: what each scalar is, what is refused, and that what is written is read back."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from walkers_dist.config import text
from walkers_dist.config.errors import UserError


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("1.e-3", 0.001),
        ("1E-3", 0.001),
        ("+.5", 0.5),
        ("1.0e-4", 0.0001),
        ("1e4", 10_000),
        ("1.0e4", 10_000.0),
        ("012", 12),
        ("-7", -7),
        (".inf", math.inf),
        ("-.inf", -math.inf),
        ("1e400", math.inf),
        ("true", True),
        ("FALSE", False),
        ("yes", "yes"),
        ("on", "on"),
        ("No", "No"),
        ("1:30", "1:30"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("my_nets:Net", "my_nets:Net"),
        ("null", None),
        ("~", None),
        ("", None),
        ("'1'", "1"),
        ("[1, 2.5, x]", [1, 2.5, "x"]),
        ("{a: {b: 1}}", {"a": {"b": 1}}),
    ],
)
def test_scalars(written: str, value: object) -> None:
    read = text.parse(written)
    assert read == value
    assert type(read) is type(value)


def test_not_a_number() -> None:
    assert math.isnan(text.parse(".nan"))


@pytest.mark.parametrize(
    ("written", "line"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key a comes twice"),
        ("a: {b: 1, b: 2}", "line 1, column 11: the key b comes twice"),
        ("1: x", "line 1, column 1: the key 1 is not text"),
        ("a: b: c", "line 1, column 5: mapping values are not allowed here"),
        ("a: [1, 2", "line 1, column 9: expected ',' or ']', but got '<stream end>'"),
        ("a: 'x", "line 1, column 6: found unexpected end of stream"),
        ("a: &x [*x]", "line 1, column 4: found unconstructable recursive node"),
        ("a: 1\x00", "not a text file, it holds control characters"),
    ],
)
def test_refused(written: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        text.parse(written)
    assert str(caught.value) == line


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.getcwd []", "!!python/name:os.getcwd", "!mine 3"])
def test_no_tag_makes_an_object(tag: str) -> None:
    with pytest.raises(UserError, match="could not determine a constructor"):
        text.parse(f"a: {tag}")


@pytest.mark.parametrize("written", ["[" * 3000, "9" * 5000])
def test_monsters_are_one_line(written: str) -> None:
    with pytest.raises(UserError, match="not readable as YAML"):
        text.parse(written)


SCALAR = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8"))
VALUE = st.recursive(SCALAR, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


@given(st.dictionaries(st.text(), VALUE))
def test_what_is_written_is_read_back(mapping: dict[str, object]) -> None:
    read = text.parse(text.write(mapping))
    assert repr(read) == repr(mapping)  # repr tells 1 from 1.0 and from True


@given(st.from_regex(r"[0-9+\-.eE_:xonyftN~]{1,8}", fullmatch=True))
def test_text_that_looks_like_something_else_stays_text(word: str) -> None:
    assert text.parse(text.write({"a": word})) == {"a": word}
