"""The next step after an error, in words of the command line."""

from __future__ import annotations

import os

from marsys.agents.exceptions import AgentFrameworkError, ModelAPIError
from marsys.models.api import KEY_VARIABLES


def next_step(error: AgentFrameworkError) -> str:
    """What the user can do about an error; empty where nothing is known.

    The services word their advice for callers of the contract. Where the command line has a
    shorter way, this is it.
    """
    if not isinstance(error, ModelAPIError):
        return error.suggestion
    if error.reason == "INVALID_REQUEST" and error.grpc_code is None:
        return ""  # found here: the message says it all
    if error.reason == "UNIMPLEMENTED":
        return "Only local_inference_service does that; name it with --target."
    if error.reason == "UNAUTHENTICATED":
        return "Set MARSYS_TOKEN to the service's token."
    if error.reason == "AUTHENTICATION_FAILED":
        return _key(error.provider) or error.suggestion
    if error.reason == "INVALID_MODEL" and "set target.provider" in error.suggestion:
        return error.suggestion.replace("set target.provider", "load a local one: marsys load NAME")
    if error.model and "LoadModel" in error.suggestion:
        return f"Load it: marsys load {error.model}. What is loaded: marsys ps"
    return error.suggestion


def _key(provider: str) -> str:
    variables = KEY_VARIABLES.get(provider)
    if not variables:
        return ""
    if any(os.environ.get(variable) for variable in variables):
        return f"Check the key in {variables[0]}."
    return f"Set {variables[0]}, here or for the service."
