"""Show an answer as it comes."""

import asyncio
import os

from marsys.models import BaseAPIModel

model = BaseAPIModel(model_name=os.environ.get("MODEL", "openrouter/anthropic/claude-opus-4.6"))

for chunk in model.stream("Tell me a short story."):
    print(chunk["content"], end="", flush=True)
print()


async def main() -> None:
    stream = model.stream("Tell me another one.")
    async for chunk in stream:
        if chunk["type"] == "thinking":
            print(f"[{chunk['thinking']}]", end="", flush=True)
        else:
            print(chunk["content"], end="", flush=True)
    print()
    print("Finished because of", stream.response["finish_reason"])  # the whole answer is there, too


asyncio.run(main())
