"""Ask models of several providers the same, all at once: python many_models.py [MODEL ...]"""

import asyncio
import sys

from marsys.agents.exceptions import ModelError
from marsys.models import BaseAPIModel

names = sys.argv[1:] or [
    "openai/gpt-5",
    "anthropic/claude-opus-4-6",
    "google/gemini-3-flash-preview",
]


async def ask(name: str) -> str:
    try:
        response = await BaseAPIModel(model_name=name).arun("What is the capital of France?")
    except ModelError as error:
        return f"failed: {error}"
    return response["content"]


async def main() -> None:
    answers = await asyncio.gather(*map(ask, names))
    for name, answer in zip(names, answers, strict=True):
        print(f"{name}: {answer}")


asyncio.run(main())
