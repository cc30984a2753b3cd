"""Let a model call a tool, with the calls in your own hands. conversation.py does it by itself."""

import json
import os

from marsys.models import BaseAPIModel

model = BaseAPIModel(model_name=os.environ.get("MODEL", "openrouter/anthropic/claude-opus-4.6"))


def get_weather(location: str) -> dict:
    return {"location": location, "celsius": 18, "sky": "clear"}


tools = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "Get weather for a location",
            "parameters": {
                "type": "object",
                "properties": {"location": {"type": "string"}},
                "required": ["location"],
            },
        },
    }
]

messages = [{"role": "user", "content": "How is the weather in Paris?"}]
response = model.run(messages, tools=tools)

while response.get("tool_calls"):
    messages.append(response)  # as it is: it is a message
    for call in response["tool_calls"]:
        arguments = json.loads(call["function"]["arguments"])
        print("Tool:", call["function"]["name"], arguments)
        result = json.dumps(get_weather(**arguments))
        messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    response = model.run(messages, tools=tools)

print(response["content"])
