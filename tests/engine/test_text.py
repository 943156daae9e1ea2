"""Text from tokens: what is handed out is never taken back, and stop strings never show."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from hasten.engine.text import Detokenizer, StopFinder


class Bytes:
    """A tokenizer whose tokens are bytes of UTF-8."""

    def decode(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode(errors="replace")


@given(st.text(max_size=40))
def test_the_pieces_are_the_text(text: str) -> None:
    grower = Detokenizer(Bytes())
    pieces = [grower.add(token) for token in text.encode()]
    assert "".join(pieces) + grower.rest() == text
    assert all(piece in text for piece in pieces)


@given(st.lists(st.integers(0, 255), max_size=60))
def test_broken_bytes_come_out_all_the_same(tokens: list[int]) -> None:
    grower = Detokenizer(Bytes())
    text = "".join([grower.add(token) for token in tokens]) + grower.rest()
    assert text.replace("�", "") == Bytes().decode(tokens).replace("�", "")


@given(st.text("abc", max_size=30), st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3))
def test_a_stop_string_ends_the_text_before_it(text: str, stops: list[str]) -> None:
    finder = StopFinder(Bytes(), tuple(stops))
    told = ""
    met = False
    for token in text.encode():
        fresh, met = finder.add(token)
        told += fresh
        if met:
            break
    if not met:
        told += finder.rest()
    ends = [text.find(stop) + len(stop) for stop in stops if stop in text]
    assert met == bool(ends)
    if not met:
        assert told == text
        return
    seen = text[: min(ends)]  # the first stop string to be complete
    assert told == seen[: min(seen.find(stop) for stop in stops if stop in seen)]


def test_text_before_min_tokens_is_not_checked() -> None:
    finder = StopFinder(Bytes(), ("b",))
    assert finder.add(ord("b"), check=False) == ("b", False)
    assert finder.add(ord("b")) == ("", True)
