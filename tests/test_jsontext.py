"""JSON that somebody else wrote: whatever is wrong with it is one kind of error."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasten.jsontext import parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_what_can_be_read_is_what_was_written(value: Any) -> None:
    assert parse_json(json.dumps(value)) == value


def test_a_mistake_has_its_place() -> None:
    with pytest.raises(json.JSONDecodeError) as found:
        parse_json('{"a": 1,\n "b" 2}')
    assert found.value.lineno == 2


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, b"[" * 100_000])
def test_nesting_without_end_is_no_recursion_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match="maximum recursion depth"):
        parse_json(text)
