"""Ask several questions at once, on an event loop."""

import asyncio
import os

from marsys.models import BaseAPIModel

model = BaseAPIModel(model_name=os.environ.get("MODEL", "openrouter/anthropic/claude-opus-4.6"))


async def main() -> None:
    first = await model.arun("What is the capital of France?")
    print(first["content"])

    # `run` is the same inside a loop: it starts the call at once, and `await` gives the response.
    countries = ["Italy", "Spain", "Portugal"]
    calls = [model.run(f"What is the capital of {country}?") for country in countries]
    for country, response in zip(countries, await asyncio.gather(*calls), strict=True):
        print(f"{country}: {response['content']}")


asyncio.run(main())
