"""OpenAI Responses: tools, tool choice and the form of the answer -> fields of the body."""

from __future__ import annotations

from api_service.providers.codec import Upstream
from api_service.providers.json_text import JsonObject
from api_service.providers.openai_formats import JSON_HINT, named_schema, speak_of_json
from api_service.providers.openai_functions import CHOICE_MODES, function_of
from api_service.providers.unsupported import Refusals
from marsys.v1 import GenerateRequest


def put_tools(
    body: JsonObject, request: GenerateRequest, upstream: Upstream, refusals: Refusals
) -> None:
    """Put the request's tools and tool choice into the body.

    Raises:
        ServiceError: what the caller set can't be honoured.
    """
    if not request.tools:
        return
    # Strict is what the provider does where nothing is said of it.
    body["tools"] = [
        {"type": "function", "strict": False}
        | function_of(tool, f"tools[{index}]", upstream, refusals)
        for index, tool in enumerate(request.tools)
    ]
    choice = request.tool_choice
    if choice.tool_name:
        body["tool_choice"] = {"type": "function", "name": choice.tool_name}
    elif choice.mode in CHOICE_MODES:
        body["tool_choice"] = CHOICE_MODES[choice.mode]
    if choice.HasField("allow_parallel_calls"):
        body["parallel_tool_calls"] = choice.allow_parallel_calls


def put_format(
    body: JsonObject, request: GenerateRequest, upstream: Upstream, refusals: Refusals
) -> None:
    """Put the form that the caller wants into the body.

    Raises:
        ServiceError: the provider does not take it.
    """
    form = request.output_format
    kind = form.WhichOneof("format")
    if kind == "json_object":
        body["text"] = {"format": {"type": "json_object"}}
        if upstream.row.json_word and not speak_of_json(request.messages):
            body["input"].append(JSON_HINT)
    elif kind == "json_schema":
        schema = named_schema(form.json_schema, refusals)
        body["text"] = {"format": {"type": "json_schema"} | schema}
    elif kind in ("regex", "grammar", "choice"):
        refusals.refuse(f"output_format.{kind}", f"{upstream.row.name} does not take it")
