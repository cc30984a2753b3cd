"""Whatever a grammar of a schema lets through validates against the schema."""

from __future__ import annotations

import json
import random
from typing import Any

import chat_templates
import jsonschema
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from random_schemas import schemas

from local_inference_service.constraints import Compiler, Grammar, GrammarError
from local_inference_service.constraints._lark import json_term
from serving.errors import ServiceError

_STEPS = 1500
_CLOSING = [ord(character) for character in '"}]']


class Walker:
    """Writes at random what a grammar allows, a byte a token."""

    def __init__(self) -> None:
        self.tokenizer = chat_templates.tokenizer_with(None)
        self.end = self.tokenizer.eos_token_id
        self.compiler = Compiler(self.tokenizer, len(self.tokenizer), [self.end])
        self._closing = self.tokenizer.convert_tokens_to_ids(
            ['"', "}", "]", "0", self.tokenizer.eos_token]
        )

    def walk(self, grammar: Grammar, seed: int) -> str | None:
        """A text; None where it didn't end in time."""
        chance = random.Random(seed)
        mask = self.compiler.mask(grammar)
        ids: list[int] = []
        for step in range(_STEPS):
            scores = mask.apply(torch.zeros(1, len(self.tokenizer)))
            allowed = scores[0].isfinite().nonzero().flatten().tolist()
            if step > 40:  # come to an end
                allowed = [token for token in self._closing if token in allowed] or allowed
            token = (
                self.end
                if self.end in allowed and chance.random() < 0.5
                else chance.choice(allowed)
            )
            mask.took(token)
            if token == self.end:
                return str(self.tokenizer.decode(ids))
            ids.append(token)
        return None


@pytest.fixture(scope="module")
def walker() -> Walker:
    return Walker()


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=schemas(), seed=st.integers(0, 2**32))
def test_what_is_allowed_validates(walker, schema, seed):
    try:
        text = walker.walk(Grammar(f"start: {json_term(schema)}", "schema"), seed)
    except (ServiceError, GrammarError):  # it can't be enforced, or has no value: that is said
        text = None
    assume(text is not None)
    value: Any = json.loads(text)
    jsonschema.validate(value, schema)
