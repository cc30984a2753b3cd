"""An answer that fits a JSON schema."""

import json
import os

from marsys.models import BaseAPIModel

model = BaseAPIModel(model_name=os.environ.get("MODEL", "openrouter/openai/gpt-5"))

schema = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "confidence": {"type": "number"}},
    "required": ["answer", "confidence"],
}
response = model.run("What is 2+2?", response_schema=schema)

data = json.loads(response["content"])
print(f"Answer: {data['answer']} (confidence: {data['confidence']})")
