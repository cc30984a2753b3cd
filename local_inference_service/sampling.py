"""How the next token is chosen: parameters with their defaults, and the sampler of one request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from marsys.v1 import GenerationConfig

_DEFAULT_TEMPERATURE = 0.7


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How to choose tokens. 0 temperature is greedy; neutral values switch a rule off."""

    temperature: float = _DEFAULT_TEMPERATURE
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None


def resolve_params(config: GenerationConfig, model_defaults: dict[str, Any]) -> SamplingParams:
    """The caller's values, else the model's own, else the contract's defaults.

    Args:
        config: what the caller set.
        model_defaults: what the model's generation_config sets explicitly.
    """
    asked = {field.name: value for field, value in config.ListFields()}

    def pick(name: str, default: float) -> float:
        value = asked.get(name, model_defaults.get(name))
        return default if value is None else float(value)

    return SamplingParams(
        temperature=pick("temperature", _DEFAULT_TEMPERATURE),
        top_p=pick("top_p", 1.0),
        top_k=int(pick("top_k", 0)),
        min_p=pick("min_p", 0.0),
        frequency_penalty=config.frequency_penalty,
        presence_penalty=config.presence_penalty,
        repetition_penalty=pick("repetition_penalty", 1.0),
        seed=config.seed if config.HasField("seed") else None,
    )


class Rule(Protocol):
    """Bars tokens of one request, in the light of those that were chosen before."""

    def apply(self, scores: torch.Tensor) -> torch.Tensor:
        """Scores, of shape (1, vocabulary), in which tokens that may not come next are -inf."""
        ...

    def took(self, token: int) -> None:
        """A token was chosen."""
        ...


class Sampler:
    """Chooses the tokens of one request. Shares no state with other requests.

    Args:
        params: how to choose.
        prompt: ids of the prompt's tokens.
        device: where the logits are.
        processors: further changes to the logits, called with all ids so far and the logits.
        rules: bar tokens, after all other changes.
    """

    def __init__(
        self,
        params: SamplingParams,
        prompt: list[int],
        device: torch.device,
        processors: Sequence[LogitsProcessor] = (),
        rules: Sequence[Rule] = (),
    ) -> None:
        self._rules = rules
        self._params = params
        self._device = device
        self._ids = list(prompt) if processors else []
        self._prompt = torch.tensor([prompt], device=device)
        self._processors = LogitsProcessorList(processors)
        self._counts: dict[int, int] = {}
        self._repetition = (
            RepetitionPenaltyLogitsProcessor(params.repetition_penalty)
            if params.repetition_penalty != 1.0
            else None
        )
        self._warpers = _warpers(params)
        self._generator = torch.Generator(device=device)
        if params.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(params.seed % 2**63)

    @property
    def takes_the_likeliest(self) -> bool:
        """Whether nothing but the logits decides."""
        params = self._params
        penalized = params.frequency_penalty or params.presence_penalty or self._repetition
        untouched = not (penalized or self._processors or self._rules)
        return params.temperature == 0 and untouched

    def choose(self, logits: torch.Tensor) -> torch.Tensor:
        """The next token, as a tensor without dimensions.

        Args:
            logits: of the last position, finite; float tensor of shape (vocabulary,).
        """
        scores = logits.float().unsqueeze(0)
        ids = self._seen()
        if self._repetition is not None:
            scores = self._repetition(ids, scores)
        scores = self._penalized(scores)
        if self._processors:
            scores = self._processors(torch.tensor([self._ids], device=self._device), scores)
        for rule in self._rules:
            scores = rule.apply(scores)
        if self._params.temperature == 0:
            return scores[0].argmax()
        weights = torch.softmax(self._warpers(ids, scores), dim=-1)
        return torch.multinomial(weights[0], 1, generator=self._generator)[0]

    def took(self, token: int) -> None:
        """Tell the sampler of the token that came of its choice."""
        self._counts[token] = self._counts.get(token, 0) + 1
        if self._processors:
            self._ids.append(token)
        for rule in self._rules:
            rule.took(token)

    def _seen(self) -> torch.Tensor:
        if self._repetition is None or not self._counts:
            return self._prompt
        generated = torch.tensor([list(self._counts)], device=self._prompt.device)
        return torch.cat([self._prompt, generated], dim=1)

    def _penalized(self, scores: torch.Tensor) -> torch.Tensor:
        """OpenAI's penalties: by how often a token was generated, and whether it was at all."""
        often, once = self._params.frequency_penalty, self._params.presence_penalty
        if not self._counts or not (often or once):
            return scores
        tokens = torch.tensor(list(self._counts), device=scores.device)
        counts = torch.tensor(list(self._counts.values()), device=scores.device)
        scores = scores.clone()
        scores[0, tokens] -= often * counts + once
        return scores


def choose(samplers: Sequence[Sampler], logits: torch.Tensor) -> list[int | Exception]:
    """The next token of each of some requests; or why one of them has none.

    Args:
        samplers: one a request.
        logits: float tensor of shape (requests, vocabulary).
    """
    finite = torch.isfinite(logits.amax(dim=-1)).tolist()
    tokens = logits.argmax(dim=-1)
    failures: dict[int, Exception] = {}
    for row, sampler in enumerate(samplers):
        if not finite[row]:
            failures[row] = ArithmeticError("the model gave no finite logits")
        elif not sampler.takes_the_likeliest:
            try:
                tokens[row] = sampler.choose(logits[row])
            except Exception as error:  # of a processor that the caller gave
                failures[row] = error
    chosen: list[int | Exception] = []
    for row, token in enumerate(tokens.tolist()):
        if row not in failures:
            try:
                samplers[row].took(token)
            except Exception as error:  # of a rule
                failures[row] = error
        chosen.append(failures.get(row, token))
    return chosen


def _warpers(params: SamplingParams) -> LogitsProcessorList:
    warpers = LogitsProcessorList()
    if params.temperature not in (0, 1):
        warpers.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        warpers.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        warpers.append(TopPLogitsWarper(params.top_p))
    if params.min_p:
        warpers.append(MinPLogitsWarper(params.min_p))
    return warpers
