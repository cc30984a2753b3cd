"""How a model holds a conversation: the prompt that it reads, and who reads what it writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerFast

from local_inference_service.chat_template import EFFORTS, ChatTemplate
from local_inference_service.chat_turns import TurnWriter
from local_inference_service.constraints import Grammar
from local_inference_service.image_chat import ImageChat
from local_inference_service.parsing import FAMILIES, Context, Family, Parser, detect_family
from local_inference_service.plain_tools import definition, system_to_user, write_out
from marsys.v1 import (
    ErrorReason,
    GenerateRequest,
    ReasoningConfig,
    ReasoningEffort,
    Role,
    ToolChoiceMode,
    ToolDefinition,
)
from serving.errors import invalid, service_error

_PLAIN_TOOLS = "hermes"  # the family whose notation plain_tools uses
_PROMPT_END = 400  # characters of the prompt's end that parsers look at
# gpt-oss's template prints whatever it gets.
_EFFORTS_OF_FAMILY = {"gpt_oss": frozenset({"low", "medium", "high"})}
_WORDS = {ReasoningEffort.Value(f"REASONING_EFFORT_{effort.upper()}"): effort for effort in EFFORTS}


@dataclass(frozen=True, slots=True)
class Turn:
    """What one request asks of the model.

    Attributes:
        prompt: the text that it reads.
        family: in whose notation it answers.
        context: for the family's parsers.
        tools: that it may call.
        parallel: whether it may call several.
        budget: most tokens of reasoning; None: no limit.
        thought_end: token ids that close a thought; empty where the model doesn't reason.
        grammar: that the answer must keep to; None: none.
    """

    prompt: str
    family: Family
    context: Context = field(default_factory=Context)
    tools: Sequence[ToolDefinition] = ()
    parallel: bool = True
    budget: int | None = None
    thought_end: Sequence[int] = ()
    grammar: Grammar | None = None

    def parser(self) -> Parser:
        """A new parser of the answer."""
        return self.family.parser(self.context)


class Chat:
    """The conversations of one model.

    Args:
        holder: the tokenizer or processor that holds the chat template.
        tokenizer: the model's tokenizer.
        images: how the template takes images; None: the model takes none.
        family: name of the notation of calls and thoughts; None: found by template and tokenizer.
        hide: applied to every text of a caller before the template sees it.

    Attributes:
        template: the chat template.
        family: the notation of what the model writes.
        efforts: how hard the model can be told to think, each with the template's word for it.
        constrains: whether answers can be held to a grammar.

    Raises:
        ValueError: no family has that name.
    """

    def __init__(
        self,
        holder: Any,
        tokenizer: Any,
        *,
        images: ImageChat | None = None,
        family: str | None = None,
        hide: Callable[[str], str] = str,
    ) -> None:
        if family is not None and family not in FAMILIES:
            raise ValueError(f"tool_parser: must be {', '.join(sorted(FAMILIES))}; not {family!r}")
        if images is None:
            self.template = ChatTemplate(holder)
        else:
            self.template = ChatTemplate(holder, images.content_of)
        self._tokenizer = tokenizer
        self._images = images
        tokens = [token.content for token in tokenizer.added_tokens_decoder.values()]
        text = holder.chat_template if isinstance(holder.chat_template, str) else None
        self.family = detect_family(text, tokens) if family is None else FAMILIES[family]
        self.constrains = isinstance(tokenizer, PreTrainedTokenizerFast)
        self._writer = TurnWriter(self.template, images, hide)
        words = _EFFORTS_OF_FAMILY.get(self.family.name, frozenset(EFFORTS))
        self.efforts = {e: w for e, w in _WORDS.items() if w in self.template.efforts & words}

    @property
    def reasons(self) -> bool:
        """Whether the model thinks before it answers."""
        return self.family.thought_marks is not None

    @property
    def markers(self) -> frozenset[str]:
        """Special tokens with these texts have a meaning in answers; others are left out."""
        return self.family.markers | FAMILIES[_PLAIN_TOOLS].markers

    def turn(self, request: GenerateRequest, name: str, default_budget: int) -> Turn:
        """What a request asks of the model.

        A conversation that ends with an assistant's message is continued from there.

        Args:
            request: a checked request.
            name: the model's name, for errors.
            default_budget: most tokens of reasoning where the request doesn't say.

        Raises:
            ServiceError: the template doesn't take the conversation, or there is none.
        """
        if not self.template.exists:
            raise service_error(
                ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER,
                f"messages: {name} has no chat template, so it can't hold a conversation",
                field="messages",
                model=name,
            )
        tools = offered_tools(request)
        native = self.template.takes_tools and self.family.calls is not None
        family = self.family
        if tools and not native:
            family = replace(FAMILIES[_PLAIN_TOOLS], thought_marks=family.thought_marks)
        prompt = self._render(request, name, tools if native else (), () if native else tools)
        schemas = {tool.name: json.loads(tool.parameters_json or "{}") for tool in tools}
        end = family.thought_marks[1] if family.thought_marks else ""
        parallel = _asks_parallel(request) and (not native or self.template.takes_parallel_calls)
        return Turn(
            prompt=prompt,
            family=family,
            context=Context(tools=schemas, prompt_end=prompt[-_PROMPT_END:]),
            tools=tools,
            parallel=parallel,
            budget=self._budget(request.config.reasoning, default_budget),
            thought_end=self._tokenizer(end, add_special_tokens=False).input_ids if end else (),
        )

    def _render(
        self,
        request: GenerateRequest,
        name: str,
        tools: Sequence[ToolDefinition],
        written_out: Sequence[ToolDefinition],
    ) -> str:
        messages: Any = request.messages
        if not tools and (written_out or not self.template.takes_tools):
            messages = write_out(messages, written_out)
        if not self.template.takes_system and messages[0].role == Role.ROLE_SYSTEM:
            messages = system_to_user(messages)
        try:
            prompt = self.template.render(
                self._writer.turns(messages),
                tools=[definition(tool) for tool in tools],
                continued=messages[-1].role == Role.ROLE_ASSISTANT,
                variables=self._variables(request.config.reasoning),
            )
        except (jinja2.TemplateError, TypeError, KeyError) as error:
            raise invalid("messages", f"the template of {name} says: {error}") from None
        if self._images is not None:
            count = sum(part.HasField("media") for m in messages for part in m.parts)
            self._images.check_places(prompt, count, name)
        return prompt

    def _variables(self, reasoning: ReasoningConfig) -> dict[str, Any]:
        """What the template is told of how much to think."""
        off = _is_off(reasoning)
        variables: dict[str, Any] = {}
        if self.template.toggle and (off or reasoning.HasField("effort")):
            variables[self.template.toggle] = not off
        effort = ReasoningEffort.REASONING_EFFORT_LOW
        if reasoning.HasField("effort"):
            effort = reasoning.effort
        if effort in self.efforts:
            variables["reasoning_effort"] = self.efforts[effort]
        return variables

    def _budget(self, reasoning: ReasoningConfig, default: int) -> int | None:
        if not self.reasons:
            return None
        if _is_off(reasoning):
            return 0
        if reasoning.HasField("budget_tokens"):
            return reasoning.budget_tokens
        return None if reasoning.HasField("effort") else default


def offered_tools(request: GenerateRequest) -> list[ToolDefinition]:
    """The tools that the model may call; none where the choice is none."""
    if request.tool_choice.mode == ToolChoiceMode.TOOL_CHOICE_MODE_NONE:
        return []
    return list(request.tools)


def _asks_parallel(request: GenerateRequest) -> bool:
    """One tool that must be called is called once, unless the caller wants more."""
    choice = request.tool_choice
    if choice.HasField("allow_parallel_calls"):
        return choice.allow_parallel_calls
    return not choice.tool_name


def _is_off(reasoning: ReasoningConfig) -> bool:
    none = reasoning.effort == ReasoningEffort.REASONING_EFFORT_NONE
    return none or (reasoning.HasField("budget_tokens") and reasoning.budget_tokens == 0)
