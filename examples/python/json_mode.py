"""An answer that is JSON, in a form that the prompt asks for."""

import json
import os

from marsys.models import BaseAPIModel

model = BaseAPIModel(model_name=os.environ.get("MODEL", "openrouter/openai/gpt-5"))

response = model.run(
    [
        {"role": "system", "content": 'Respond with JSON: {"answer": str, "confidence": float}'},
        {"role": "user", "content": "What is 2+2?"},
    ],
    json_mode=True,
)
print(json.loads(response["content"]))
