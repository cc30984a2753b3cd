"""Message dicts on their way to the service, and answers on their way back into messages."""

from __future__ import annotations

import base64
import copy
import json
import pickle
from pathlib import Path

import pytest
from client_scripted import events_of, reasoning, text, tool_call
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from marsys.agents.exceptions import ModelAPIError
from marsys.models.response import harmonize
from marsys.stream import fold
from marsys.v1 import (
    Citation,
    MediaDetail,
    Message,
    OpaqueState,
    Part,
    ProviderPart,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCallPart,
)

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
PNG_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


@pytest.fixture
def sent(service, api_model):
    """The messages that the service gets."""

    def send(messages, **arguments) -> list[Message]:
        service.say(text("ok"))
        api_model.run(messages, **arguments)
        return list(service.requests[-1].messages)

    return send


def parts_of(content, sent) -> list[Part]:
    (message,) = sent([{"role": "user", "content": content}])
    return list(message.parts)


def test_roles_and_names(sent):
    messages = sent(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "Hi", "name": "ann"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Bye"},
        ]
    )
    assert [message.role for message in messages] == [
        Role.ROLE_SYSTEM,
        Role.ROLE_SYSTEM,
        Role.ROLE_USER,
        Role.ROLE_ASSISTANT,
        Role.ROLE_USER,
    ]
    assert [message.parts[0].text.text for message in messages] == [
        "Be brief.",
        "Be kind.",
        "Hi",
        "Hello",
        "Bye",
    ]
    assert messages[2].name == "ann"
    assert not messages[0].HasField("name")


def test_a_str_is_a_user_message(sent):
    (message,) = sent("Hi")
    assert message == Message(role=Role.ROLE_USER, parts=[text("Hi")])


def test_a_tool_loop(sent):
    messages = sent(
        [
            {"role": "user", "content": "weather?"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "a", "type": "function", "function": {"name": "w", "arguments": "{ }"}},
                    {"id": "b", "function": {"name": "w", "arguments": {"at": "Köln", "n": 3}}},
                ],
            },
            {"role": "tool", "tool_call_id": "a", "content": "sunny"},
            {
                "role": "tool",
                "tool_call_id": "b",
                "name": "w",
                "content": [{"type": "text", "text": "rain"}],
                "is_error": True,
            },
        ]
    )
    first, second = (part.tool_call for part in messages[1].parts)
    assert first.arguments_json == "{ }"
    assert second.arguments_json == '{"at": "Köln", "n": 3}'
    result = messages[2].parts[0].tool_result
    assert (result.tool_call_id, result.name, result.is_error) == ("a", "", False)
    assert result.content[0].text.text == "sunny"
    result = messages[3].parts[0].tool_result
    assert (result.tool_call_id, result.name, result.is_error) == ("b", "w", True)


def test_images_of_every_kind(sent, tmp_path: Path, monkeypatch):
    place = tmp_path / "a picture.png"
    place.write_bytes(PNG)
    monkeypatch.chdir(tmp_path)
    parts = parts_of(
        [
            {"type": "text", "text": "look"},
            {"type": "image_url", "image_url": {"url": PNG_URL, "detail": "low"}},
            {"type": "image_url", "image_url": PNG_URL},
            {"type": "image_url", "image_url": {"url": "a picture.png"}},
            {"type": "image_url", "image_url": {"url": str(place)}},
            {"type": "image_url", "image_url": {"url": place.as_uri()}},
            {
                "type": "image",
                "source": {
                    "type": "base64",
                    "media_type": "image/png",
                    "data": base64.b64encode(PNG).decode(),
                },
            },
            {"type": "image", "image": place},
            {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/x.png"}},
        ],
        sent,
    )
    assert parts[0].text.text == "look"
    for part in parts[1:8]:
        assert part.media.data == PNG
        assert part.media.media_type == "image/png"
    assert parts[1].media.detail == MediaDetail.MEDIA_DETAIL_LOW
    for part in parts[8:]:
        assert part.media.uri == "https://example.com/x.png"


def test_other_media(sent):
    data = base64.b64encode(b"RIFFxxxx").decode()
    pdf = "data:application/pdf;base64," + base64.b64encode(b"%PDF-1.7").decode()
    sound, document, known = parts_of(
        [
            {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}},
            {"type": "file", "file": {"file_data": pdf, "filename": "x.pdf"}},
            {"type": "file", "file": {"file_id": "file-1"}},
        ],
        sent,
    )
    assert (sound.media.media_type, sound.media.data) == ("audio/wav", b"RIFFxxxx")
    assert document.media.media_type == "application/pdf"
    assert document.media.filename == "x.pdf"
    assert known.media.file_id == "file-1"


def test_the_images_argument_goes_to_the_last_user_message(sent, tmp_path):
    place = tmp_path / "x"
    place.write_bytes(PNG)
    messages = sent(
        [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "yes?"},
            {"role": "user", "content": "look"},
        ],
        images=[str(place), PNG, {"type": "image_url", "image_url": {"url": PNG_URL}}],
    )
    assert [len(message.parts) for message in messages] == [1, 1, 4]
    assert all(part.media.data == PNG for part in messages[2].parts[1:])


def test_anthropic_thinking_and_cache_marks(sent):
    question, answer, _ = sent(
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
                    {
                        "type": "text",
                        "text": "y",
                        "cache_control": {"type": "ephemeral", "ttl": "1h"},
                    },
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "sig"},
                    {"type": "redacted_thinking", "data": "secret"},
                    {"type": "text", "text": "z"},
                ],
            },
            {"role": "user", "content": "go on"},
        ]
    )
    assert question.parts[0].HasField("cache_breakpoint")
    assert question.parts[1].cache_breakpoint.ttl.seconds == 3600
    assert answer.parts[0].reasoning.text == "hm"
    assert answer.parts[0].opaque_state == OpaqueState(issuer="anthropic_messages", data=b"sig")
    assert answer.parts[1].reasoning.redacted
    assert answer.parts[1].opaque_state.data == b"secret"
    assert answer.parts[2].text.text == "z"


USER = {"role": "user", "content": "x"}


def image(url: object) -> list[dict]:
    return [
        USER,
        {
            "role": "user",
            "content": [{"type": "image_url", "image_url": {"url": url}}],
        },
    ]


WRONG = {
    "no list": (7, "messages"),
    "no dict": ([7], "messages[0]"),
    "no role": ([{"content": "x"}], "messages[0].role"),
    "odd role": ([USER, {"role": "bot", "content": "x"}], "messages[1].role"),
    "odd key": ([{"role": "user", "content": "x", "tool_cals": []}], "messages[0].tool_cals"),
    "odd content": ([{"role": "user", "content": 7}], "messages[0].content"),
    "odd part": ([{"role": "user", "content": [{"type": "smell"}]}], "messages[0].content[0].type"),
    "no text": ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
    "surrogate": ([{"role": "user", "content": "\ud800"}], "messages[0]"),
    "no file": (image("/nowhere/x.png"), "messages[1].content[0].image_url.url"),
    "directory": (image("/"), "messages[1].content[0].image_url.url"),
    "broken data": (image("data:image/png;base64,!!"), "messages[1].content[0].image_url.url"),
    "no image": (image("data:text/plain,hi"), "messages[1].content[0].image_url.url"),
    "no url": (image(None), "messages[1].content[0].image_url.url"),
    "odd call": (
        [{"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]}],
        "messages[0].tool_calls[0].function",
    ),
    "foreign details": (
        [{"role": "assistant", "content": "x", "reasoning_details": [{"type": "other"}]}],
        "messages[0].reasoning_details[0]",
    ),
}


@pytest.mark.parametrize(("messages", "field"), WRONG.values(), ids=WRONG.keys())
def test_wrong_messages_name_the_field(service, api_model, messages, field):
    with pytest.raises(ModelAPIError) as caught:
        api_model.run(messages)
    assert caught.value.field == field
    assert caught.value.classification == "invalid_request"
    assert str(caught.value).startswith(field)
    assert service.requests == []


def test_a_file_that_says_what_it_is_not(service, api_model, tmp_path):
    place = tmp_path / "notes.txt"
    place.write_text("hello")
    with pytest.raises(ModelAPIError, match="is no image but text/plain"):
        api_model.run(image(str(place)))


# A message that the model gave, appended as it is, comes back part by part.

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
states = st.builds(OpaqueState, issuer=st.sampled_from(["a", "b"]), data=st.binary(max_size=8))
bodies = st.one_of(
    st.builds(lambda t: Part(text=TextPart(text=t)), words),
    st.builds(lambda t, u: Part(text=TextPart(text=t, citations=[Citation(uri=u)])), words, words),
    st.builds(lambda t, r: Part(reasoning=ReasoningPart(text=t, redacted=r)), words, st.booleans()),
    st.builds(
        lambda i, n, a: Part(tool_call=ToolCallPart(id=i, name=n, arguments_json=a)),
        words,
        words,
        words,
    ),
    st.builds(lambda t: Part(refusal=RefusalPart(text=t)), words),
    st.builds(lambda t: Part(provider=ProviderPart(issuer="x", type=t, payload_json="{}")), words),
    st.builds(lambda d: Part(media={"media_type": "image/png", "data": d}), st.binary(max_size=9)),
)


def with_state(part: Part, state: OpaqueState | None) -> Part:
    if state is not None:
        part.opaque_state.CopyFrom(state)
    return part


answers = st.lists(st.builds(with_state, bodies, st.none() | states), min_size=1, max_size=6)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(parts=answers, minimal=st.booleans())
def test_an_answer_replays_exactly(parts, minimal, sent):
    response = harmonize(fold(events_of(*parts, whole=True)))
    reply: dict = json.loads(json.dumps(response))
    if minimal:  # what careful users keep of an answer
        kept = ("role", "content", "tool_calls", "reasoning_details", "thinking")
        reply = {key: reply[key] for key in kept}
        if "refusal" in response:
            reply["refusal"] = response["refusal"]
    _, answer, _ = sent([USER, reply, USER])
    assert list(answer.parts) == parts


def test_simple_answers_need_no_details(service, api_model):
    service.say(reasoning("hm"), text("yes"), tool_call("f", "{}"))
    assert api_model.run("x")["reasoning_details"] == []


@pytest.fixture
def signed(service, api_model):
    """An answer whose reasoning and tool call carry state."""
    parts = [reasoning("hm"), text("yes"), tool_call("f", "{}", "c1"), text("more")]
    for part in (parts[0], parts[2]):
        part.opaque_state.CopyFrom(OpaqueState(issuer="a", data=b"s"))
    service.say(*parts)
    return parts, api_model.run("x")


def test_edited_content_keeps_the_reasoning(signed, sent, caplog):
    parts, response = signed
    edited = {**response, "content": "no"}
    answer = sent([USER, edited, {"role": "tool", "tool_call_id": "c1", "content": "1"}])[1]
    assert list(answer.parts) == [parts[0], text("no"), parts[2]]
    assert "was edited" in caplog.text


def test_edited_tool_calls_lose_their_state(signed, sent):
    parts, response = signed
    edited = copy.deepcopy(response)
    edited["tool_calls"][0]["function"]["arguments"] = '{"x": 1}'
    answer = sent([USER, edited, {"role": "tool", "tool_call_id": "c1", "content": "1"}])[1]
    assert list(answer.parts) == [parts[0], text("yesmore"), tool_call("f", '{"x": 1}', "c1")]


def test_a_response_is_a_dict_with_attributes(signed):
    _, response = signed
    assert isinstance(response, dict)
    assert response.content == response["content"] == "yesmore"
    assert response.get("nothing", 1) == 1
    assert response.tool_calls[0].function.name == "f"
    assert response.metadata.provider == "scripted"
    assert response.metadata.request_id == "req-1"
    assert response.metadata.created == 1_700_000_000
    assert response.id == "resp_1"
    assert response.model == "scripted-1"
    assert response.thinking == "hm"
    assert response.proto.message.parts[1].text.text == "yes"
    assert "cost" not in response
    with pytest.raises(AttributeError):
        _ = response.nothing
    for again in (copy.deepcopy(response), pickle.loads(pickle.dumps(response))):
        assert again == response
        assert again.proto == response.proto


def test_cost_and_raw_facts(service, api_model):
    service.say(
        text("x"),
        cost={"nano_usd": 1_500_000},
        raw_finish_reason="end_turn",
        stop_sequence="END",
    )
    response = api_model.run("x")
    assert response["cost"] == 0.0015
    assert response.metadata.raw_finish_reason == "end_turn"
    assert response.metadata.stop_sequence == "END"


def test_an_empty_answer_has_empty_content(service, api_model):
    service.say()
    assert api_model.run("x")["content"] == ""


def test_tool_calls_alone_have_no_content(service, api_model):
    service.say(tool_call("f", "{}"))
    assert api_model.run("x")["content"] is None
