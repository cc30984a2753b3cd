"""What a model writes -> events: text, thoughts and tool calls, one file a model family."""

from local_inference_service.parsing.events import (
    Arguments,
    CallEnded,
    CallStarted,
    Event,
    Reasoning,
    Text,
)
from local_inference_service.parsing.families import FAMILIES, detect_family
from local_inference_service.parsing.family import CallGrammar, Context, Family
from local_inference_service.parsing.parser import Parser

__all__ = [
    "FAMILIES",
    "Arguments",
    "CallEnded",
    "CallGrammar",
    "CallStarted",
    "Context",
    "Event",
    "Family",
    "Parser",
    "Reasoning",
    "Text",
    "detect_family",
]
