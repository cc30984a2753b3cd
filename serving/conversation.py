"""What a conversation holds, and what may be said in it. No I/O."""

from __future__ import annotations

from collections.abc import Sequence

from marsys.stream import spoken
from marsys.v1 import (
    ConversationTurn,
    ErrorReason,
    GenerateRequest,
    GenerateResponse,
    GenerationConfig,
    Message,
    Part,
    Role,
    TextPart,
    ToolResultPart,
)
from serving._message_checks import check_messages
from serving.errors import ServiceError, invalid, service_error
from serving.validation import validate_config, validate_template

_OF_CALLERS = (Role.ROLE_USER, Role.ROLE_SYSTEM)
_NOT_RUN = "The call was not run."


class Conversation:
    """A conversation: everything that has been said.

    What a turn adds is taken back where the turn fails (`undo`), so that a failed turn leaves no
    trace.

    Args:
        template: what it begins with.
        most_bytes: most bytes that it may hold.

    Raises:
        ServiceError: a field of the template is wrong.

    Attributes:
        request: what the model is asked in the present turn: the template, with all messages.
    """

    def __init__(self, template: GenerateRequest, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._calls = validate_template(template)
        self._results: dict[str, ToolResultPart] = {}
        self.request = template
        self._kept = len(template.messages)
        self._kept_config: GenerationConfig | None = None
        self._kept_calls: dict[str, str] = {}
        self._kept_results: dict[str, ToolResultPart] = {}
        self._check_size()

    def say(self, turn: ConversationTurn) -> None:
        """Add what the caller says. Tool calls that it leaves open count as not run.

        Raises:
            ServiceError: a field is wrong, or the conversation would get too large. Nothing was
                added.
        """
        check_messages(turn.messages, "turn.messages")
        for index, message in enumerate(turn.messages):
            if message.role not in _OF_CALLERS:
                raise invalid(f"turn.messages[{index}].role", "must be user or system")
        if turn.HasField("config"):
            validate_config(turn.config, "turn.config")
        self._keep()
        if turn.HasField("config"):
            self.request.config.CopyFrom(turn.config)
        for call_id, name in self._calls.items():
            if call_id not in self._results:
                self._results[call_id] = _not_run(call_id, name)
        self._answer_calls()
        self.request.messages.extend(turn.messages)
        self._check_size()

    def take_results(self, results: Sequence[ToolResultPart]) -> bool:
        """Take results of tool calls.

        Returns:
            Whether all calls are answered: then the model goes on.

        Raises:
            ServiceError: a result is of no open call, comes twice or is wrong, or the conversation
                would get too large. None of them was taken.
        """
        if not results:
            raise invalid("tool_results.results", "at least one result is needed")
        if not self._calls:
            raise conflict("tool_results", "no tool call is open")
        path = "tool_results.results"
        taken = dict(self._results)
        for index, result in enumerate(results):
            if result.tool_call_id not in self._calls:
                raise invalid(
                    f"{path}[{index}].tool_call_id",
                    f"no open tool call has the id {result.tool_call_id!r}",
                )
            if result.tool_call_id in taken:
                raise invalid(f"{path}[{index}].tool_call_id", "is answered already")
            _check_content(result, f"{path}[{index}]")
            taken[result.tool_call_id] = result
        self._keep()
        self._results = taken
        if len(taken) < len(self._calls):
            self._check_size(sum(result.ByteSize() for result in taken.values()))
            return False
        self._answer_calls()
        self._check_size()
        return True

    def finish(self, response: GenerateResponse) -> None:
        """The turn has ended with an answer, or was interrupted within it."""
        message = spoken(response)
        if message is not None:
            self.request.messages.append(message)
            self._calls = {
                part.tool_call.id: part.tool_call.name
                for part in message.parts
                if part.HasField("tool_call")
            }

    def undo(self) -> None:
        """The turn has failed: it's as if nothing had been said."""
        del self.request.messages[self._kept :]
        self._calls, self._results = self._kept_calls, self._kept_results
        if self._kept_config is None:
            self.request.ClearField("config")
        else:
            self.request.config.CopyFrom(self._kept_config)

    def _keep(self) -> None:
        """Remember the state to which `undo` goes back."""
        self._kept = len(self.request.messages)
        self._kept_calls, self._kept_results = self._calls, dict(self._results)
        self._kept_config = None
        if self.request.HasField("config"):
            self._kept_config = GenerationConfig()
            self._kept_config.CopyFrom(self.request.config)

    def _answer_calls(self) -> None:
        """Put the results of all calls into the conversation, in the calls' order."""
        if self._calls:
            parts = [Part(tool_result=self._results[call_id]) for call_id in self._calls]
            self.request.messages.append(Message(role=Role.ROLE_TOOL, parts=parts))
        self._calls, self._results = {}, {}

    def _check_size(self, more: int = 0) -> None:
        if self.request.ByteSize() + more > self._most_bytes:
            self.undo()
            raise service_error(
                ErrorReason.ERROR_REASON_REQUEST_TOO_LARGE,
                f"the conversation would hold more than {self._most_bytes} bytes",
                action="Open another one that begins with less.",
            )


def conflict(field: str, message: str) -> ServiceError:
    """CONFLICT: what is said doesn't fit the conversation as it stands."""
    return service_error(ErrorReason.ERROR_REASON_CONFLICT, f"{field}: {message}", field=field)


def _not_run(call_id: str, name: str) -> ToolResultPart:
    text = Part(text=TextPart(text=_NOT_RUN))
    return ToolResultPart(tool_call_id=call_id, name=name, content=[text], is_error=True)


def _check_content(result: ToolResultPart, path: str) -> None:
    """Check what a result holds, as in any other conversation."""
    call = Message(role=Role.ROLE_ASSISTANT)
    call.parts.add().tool_call.id = result.tool_call_id
    call.parts[0].tool_call.name = result.name or "tool"
    answer = Message(role=Role.ROLE_TOOL, parts=[Part(tool_result=result)])
    try:
        check_messages([call, answer], "messages")
    except ServiceError as error:
        inner = "messages[1].parts[0].tool_result"
        error.error.field = error.error.field.replace(inner, path)
        error.error.message = error.error.message.replace(inner, path)
        raise
