"""Chat templates in the styles of the families, and a tokenizer over bytes that carries them."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

_DEFINITIONS = (
    "{% if tools %}<system>{% for t in tools %}{{ t | tojson }}{% endfor %}</s>{% endif %}"
)
_BEGIN = "{% if add_generation_prompt %}<assistant>{% endif %}"

PLAIN = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}" + _BEGIN

NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}" + PLAIN
)

# Arguments as objects, printed as JSON; a switch for thoughts; thoughts of the last turn come back.
HERMES = (
    _DEFINITIONS + "{% for m in messages %}<{{ m.role }}>"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}"
    "{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}</s>{% endfor %}"
    + _BEGIN
    + "{% if add_generation_prompt and enable_thinking is defined and not enable_thinking %}"
    "<think>\n\n</think>\n\n{% endif %}"
)

# Arguments as text, and no content beside calls.
TEXT_ARGUMENTS = (
    _DEFINITIONS + "{% for m in messages %}<{{ m.role }}>"
    "{% if m.content is not defined or m.content is none %}"
    "{% for c in m.tool_calls %}{{ '[' + c.function.name + ' ' + c.function.arguments + ']' }}"
    "{% endfor %}{% else %}{{ m.content }}{% endif %}</s>{% endfor %}" + _BEGIN
)

# Ids of nine letters, or else an error.
SHORT_IDS = (
    _DEFINITIONS + "{% for m in messages %}<{{ m.role }}>{{ m.content }}"
    "{% for c in m.tool_calls or [] %}"
    "{% if c.id | length != 9 %}{{ raise_exception('nine') }}{% endif %}"
    "[{{ c.id }} {{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}"
    "{% if m.role == 'tool' %} for {{ m.tool_call_id }}{% endif %}</s>{% endfor %}" + _BEGIN
)

ONE_CALL = (
    _DEFINITIONS + "{% for m in messages %}<{{ m.role }}>"
    "{% if (m.tool_calls or []) | length > 1 %}{{ raise_exception('one call') }}{% endif %}"
    "{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}</s>{% endfor %}" + _BEGIN
)

# An effort; a turn with calls has a thought or a text, not both.
EFFORT = (
    "{% if reasoning_effort is not defined %}{% set reasoning_effort = 'medium' %}{% endif %}"
    "Reasoning: {{ reasoning_effort }}" + _DEFINITIONS + "{% for m in messages %}<{{ m.role }}>"
    "{% if m.tool_calls and m.thinking and m.content %}{{ raise_exception('both') }}{% endif %}"
    "{{ m.thinking or '' }}{{ m.content }}{% for c in m.tool_calls or [] %}"
    "{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}</s>{% endfor %}" + _BEGIN
)


def tokenizer_with(template: str | None, *special: str) -> Any:
    """A tokenizer over bytes, with further control tokens."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    vocabulary["</s>"] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in ("</s>", *special)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    fast.chat_template = template
    return fast
