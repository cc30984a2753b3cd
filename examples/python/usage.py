"""What a call took: tokens, money, and attempts."""

import os

from marsys.models import BaseAPIModel

model = BaseAPIModel(model_name=os.environ.get("MODEL", "openai/gpt-4o-mini"))
response = model.run("Hello!")

usage = response["usage"]  # only what is known: a missing count is not zero
print("Prompt tokens:", usage.get("prompt_tokens"))
print("Completion tokens:", usage.get("completion_tokens"))
print("Total tokens:", usage.get("total_tokens"))
if "cost" in response:
    print(f"Cost: ${response['cost']:.6f}")

metadata = response["metadata"]
print(f"{metadata['model']} by {metadata['provider']}, request {metadata['request_id']}")
print("Attempts that failed before:", len(metadata["attempts"]))
