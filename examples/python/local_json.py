"""A local model that is held to a JSON schema, token by token."""

import json

from marsys.models import BaseLocalModel

model = BaseLocalModel("smollm2-135m-instruct", max_tokens=64, temperature=0.0)

schema = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 20},
        "continent": {"enum": ["Africa", "America", "Asia", "Europe", "Oceania"]},
    },
    "required": ["city", "continent"],
}
response = model.run("Where is the Eiffel Tower?", response_schema=schema)
print(json.loads(response["content"]))
