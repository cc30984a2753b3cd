"""Tokens become text without a broken character, and stop strings never leak."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from local_inference_service.text_stream import TextStream


def decode(ids: list[int]) -> str:
    """One byte a token, as byte-level tokenizers may have it."""
    return bytes(ids).decode("utf-8", errors="replace")


def run(text: str, stops: list[str]) -> tuple[list[str], str | None]:
    stream = TextStream(decode, stops)
    pieces = []
    for byte in text.encode():
        pieces.append(stream.push(byte))
        if stream.stopped_by is not None:
            return pieces, stream.stopped_by
    pieces.append(stream.end())
    return pieces, stream.stopped_by


@given(st.text())
def test_all_text_comes_out(text):
    pieces, stopped = run(text, [])
    assert "".join(pieces) == text
    assert stopped is None
    assert "\ufffd" in text or "\ufffd" not in "".join(pieces)


@given(
    st.text("abé😀", max_size=40), st.lists(st.text("abé😀", min_size=1, max_size=4), max_size=4)
)
def test_text_ends_before_the_first_stop_string(text, stops):
    pieces, stopped = run(text, stops)
    found = [text.find(stop) for stop in stops if stop in text]
    got = "".join(pieces)
    if not found:
        assert (got, stopped) == (text, None)
        return
    assert stopped in stops
    assert text.startswith(got + stopped)
    assert not any(stop in got for stop in stops)


def test_text_that_may_begin_a_stop_string_is_held_back():
    stream = TextStream(decode, ["STOP"])
    assert [stream.push(byte) for byte in b"a STO"] == ["a", " ", "", "", ""]
    assert stream.push(ord("x")) == "STOx"


def test_an_unfinished_character_comes_out_at_the_end():
    stream = TextStream(decode)
    assert stream.push("é".encode()[0]) == ""
    assert stream.end() == "\ufffd"
