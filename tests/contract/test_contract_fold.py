"""The fold and its counterpart, the event writer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marsys.stream import Fold, StreamError, fold
from marsys.v1 import (
    Cost,
    FinishReason,
    GenerationFinished,
    MediaPart,
    OpaqueState,
    Part,
    PartDelta,
    PartFinished,
    PartStarted,
    StreamEvent,
    TextPart,
    Usage,
    WarningCode,
)
from serving.event_writer import EventWriter

TEXT_KINDS = ("text", "reasoning", "refusal")


@st.composite
def series(draw: st.DrawFn) -> tuple[list[StreamEvent], list[tuple[str, str]]]:
    """Events of a random generation, and the kind and text of each part that it wrote."""
    writer = EventWriter()
    events: list[StreamEvent] = []
    writer.start("id", "model", "provider")
    parts: list = []
    expected: list[list] = []
    for _ in range(draw(st.integers(0, 12))):
        step = draw(st.sampled_from(["open", "append", "append", "close", "take", "add"]))
        if step == "open":
            kind = draw(st.sampled_from([*TEXT_KINDS, "tool_call"]))
            if kind == "tool_call":
                parts.append(writer.open_tool_call(f"call-{len(parts)}", "tool"))
            else:
                parts.append(writer.open(kind))
            expected.append([kind, ""])
        elif step == "add":
            parts.append(None)
            expected.append(["media", "x"])
            writer.add(Part(media=MediaPart(media_type="image/png", data=b"x")))
        elif step == "take":
            events += writer.take()
        elif parts:
            index = draw(st.integers(0, len(parts) - 1))
            part = parts[index]
            if part is None or part.closed:
                continue
            if step == "close":
                writer.close(part)
            else:
                text = draw(st.text(max_size=5))
                writer.append(part, text)
                expected[index][1] += text
    writer.finish(FinishReason.FINISH_REASON_STOP, "stop", usage=Usage(input_tokens=1))
    events += writer.take()
    for number, event in enumerate(events):
        event.sequence = number
    return events, [(kind, text) for kind, text in expected]


def text_of(part: Part) -> str:
    kind = part.WhichOneof("content")
    if kind == "tool_call":
        return part.tool_call.arguments_json
    return part.media.data.decode() if kind == "media" else getattr(part, kind).text


@given(series())
def test_the_fold_of_what_was_written_is_what_was_written(case):
    events, expected = case
    response = fold(events)
    got = [(part.WhichOneof("content"), text_of(part)) for part in response.message.parts]
    assert got == expected
    assert response.usage.input_tokens == 1
    assert events[-1].HasField("finished")
    assert sum(event.HasField("finished") for event in events) == 1


@given(series())
def test_deltas_join_to_the_finished_part(case):
    events, _ = case
    joined: dict[int, str] = {}
    for event in events:
        if event.HasField("part_delta"):
            delta = event.part_delta
            text = getattr(delta, delta.WhichOneof("delta"))
            assert text
            joined[delta.part_index] = joined.get(delta.part_index, "") + text
        elif event.HasField("part_finished") and not event.part_finished.part.HasField("media"):
            finished = event.part_finished
            assert text_of(finished.part) == joined.get(finished.part_index, "")


@given(series(), st.data())
def test_a_partial_fold_holds_what_has_come(case, data):
    events, expected = case
    cut = data.draw(st.integers(0, len(events)))
    state = Fold()
    for event in events[:cut]:
        state.add(event)
    for part, (kind, text) in zip(state.partial().message.parts, expected, strict=False):
        assert part.WhichOneof("content") == kind
        assert kind == "media" or text.startswith(text_of(part))
    if cut < len(events):
        with pytest.raises(StreamError):
            state.result()


@given(series(), st.data())
def test_a_lost_or_repeated_event_is_an_error(case, data):
    events, _ = case
    index = data.draw(st.integers(0, len(events) - 1))
    with pytest.raises(StreamError):
        fold(events[:index] + events[index + 1 :])
    with pytest.raises(StreamError):
        fold([*events[: index + 1], *events[index:]])


def numbered(*events: StreamEvent) -> list[StreamEvent]:
    for number, event in enumerate(events):
        event.sequence = number
    return list(events)


START = PartStarted(part_index=0, part=Part(text=TextPart()))
END = GenerationFinished(finish_reason=FinishReason.FINISH_REASON_STOP)


@pytest.mark.parametrize(
    "events",
    [
        [StreamEvent(part_started=PartStarted(part_index=1, part=Part(text=TextPart())))],
        [StreamEvent(part_delta=PartDelta(part_index=0, text="x"))],
        [StreamEvent(part_finished=PartFinished(part_index=0, part=Part(text=TextPart())))],
        [StreamEvent(part_started=START), StreamEvent(finished=END)],
        [StreamEvent(finished=END), StreamEvent(finished=END)],
        [],
    ],
)
def test_series_that_break_the_rules(events):
    with pytest.raises(StreamError):
        fold(numbered(*events))


def test_everything_beside_the_parts_is_kept():
    writer = EventWriter()
    writer.start("id", "model", "provider", created=12.5)
    writer.warn(WarningCode.WARNING_CODE_UNSUPPORTED_PARAMETER, "config.top_k", "left out")
    part = writer.open("reasoning")
    part.redacted = True
    part.opaque_state = OpaqueState(issuer="x", data=b"\x00\xff")
    writer.usage(Usage(output_tokens=1))
    writer.finish(
        FinishReason.FINISH_REASON_LENGTH,
        "max_tokens",
        stop_sequence="END",
        usage=Usage(output_tokens=2),
        cost=Cost(nano_usd=5),
    )
    response = fold(numbered(*writer.take()))
    assert response.create_time.ToMilliseconds() == 12500
    assert response.warnings[0].field == "config.top_k"
    assert response.message.parts[0].opaque_state.data == b"\x00\xff"
    assert response.message.parts[0].reasoning.redacted
    assert response.finish_reason == FinishReason.FINISH_REASON_LENGTH
    assert (response.raw_finish_reason, response.stop_sequence) == ("max_tokens", "END")
    assert (response.usage.output_tokens, response.cost.nano_usd) == (2, 5)
