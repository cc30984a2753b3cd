"""A conversation that the service remembers, with Python functions as tools."""

import asyncio
import os

from marsys.models import BaseAPIModel

model = BaseAPIModel(model_name=os.environ.get("MODEL", "openrouter/anthropic/claude-opus-4.6"))


def get_weather(location: str, days: int = 1) -> dict:
    """Tell the weather.

    Args:
        location: a city.
        days: for how many days.
    """
    print("Looking up", location)
    return {"location": location, "celsius": 18, "days": days}


async def main() -> None:
    async with model.converse("Be brief.", tools=[get_weather]) as chat:
        async for chunk in chat.send("How is the weather in Paris?"):  # the function is run here
            print(chunk["content"], end="", flush=True)
        print()
        answer = await chat.send("Thank you!")  # the whole answer; only what is new is sent
        print(answer["content"])
        print(len(chat.messages), "messages")


asyncio.run(main())
