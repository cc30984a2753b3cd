"""What models turned out to refuse, of what the service itself chose to send."""

from __future__ import annotations

import re
from collections import OrderedDict

from api_service.providers.google_state import SIGNATURES
from api_service.target import Target
from marsys.v1 import ErrorReason, GenerateRequest, ModelError, UnsupportedPolicy

_MOST_MODELS = 1024
_MALFORMED = (400, 422)
# OpenAI shows summaries of some models' reasoning only to organisations that it knows.
_SUMMARY = re.compile(r"reasoning[ .]summar(?:y|ies)", re.IGNORECASE)

# Google takes signatures of other models and keys for corrupted.
_SIGNATURE = re.compile(
    r"(?:invalid|corrupt\w*) thought[ _]?signature"
    r"|thought[ _]?signature is (?:invalid|corrupt|not valid)",
    re.IGNORECASE,
)


class Learned:
    """Remembers refused parameters by model, so that one refusal is enough.

    Only the service's own choices are remembered: what a caller sets is always sent, since another
    value of it may be taken.
    """

    def __init__(self) -> None:
        self._refused: OrderedDict[tuple[str, str, str], frozenset[str]] = OrderedDict()

    def apply(self, target: Target, request: GenerateRequest) -> Target:
        """The target, with what is known of its model."""
        known = self._refused.get(_key(target))
        if not known:
            return target
        return target.refusing(
            frozenset(name for name in known if not _chosen(target, request, name))
        )

    def learn(self, target: Target, request: GenerateRequest, error: ModelError) -> Target | None:
        """What to try instead after an error; None where the error teaches nothing."""
        name = _refused_by(error)
        if not name or name in target.upstream.refused:
            return None
        if name == SIGNATURES:  # of this conversation alone
            pass
        elif not _chosen(target, request, name):
            self._remember(target, name)
        elif request.on_unsupported != UnsupportedPolicy.UNSUPPORTED_POLICY_WARN:
            return None  # the provider's words say it best
        return target.refusing(target.upstream.refused | {name})

    def _remember(self, target: Target, name: str) -> None:
        key = _key(target)
        self._refused[key] = self._refused.get(key, frozenset()) | {name}
        self._refused.move_to_end(key)
        if len(self._refused) > _MOST_MODELS:
            self._refused.popitem(last=False)


def _key(target: Target) -> tuple[str, str, str]:
    row = target.upstream.row
    return row.name + row.wire, target.base_url, target.model


def _refused_by(error: ModelError) -> str:
    """What the error refuses: a field of GenerationConfig, or what only the service chooses."""
    if error.http_status not in _MALFORMED:
        return ""
    if "stream_options" in error.message:
        return "stream_options"
    if _SUMMARY.search(error.message):
        return "reasoning.summary"
    if _SIGNATURE.search(error.message):
        return SIGNATURES
    if error.reason != ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER:
        return ""
    where, _, field = error.field.partition(".")
    return field.partition(".")[0] if where == "config" else ""


def _chosen(target: Target, request: GenerateRequest, name: str) -> bool:
    """Whether the caller chose the parameter, and no other name of it is left to try."""
    descriptor = request.config.DESCRIPTOR.fields_by_name.get(name)
    if descriptor is None or name in target.upstream.row.other_names:
        return False
    return any(field is descriptor for field, _ in request.config.ListFields())
