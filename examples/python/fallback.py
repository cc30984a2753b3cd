"""Ask another model where the first one fails."""

from marsys.models import BaseAPIModel

# Its own timeout leaves time for the others, should the first model hang.
model = BaseAPIModel(model_name="openai/gpt-5", timeout=30).with_fallback(
    BaseAPIModel(model_name="anthropic/claude-opus-4-6", timeout=30),
    BaseAPIModel(model_name="openrouter/anthropic/claude-opus-4.6"),
)

response = model.run("What is the capital of France?", timeout=90)
print(response["content"])
print("Answered by", response["model"])
for failed in response["metadata"]["failed_models"]:
    print(f"{failed['model']} failed: {failed['classification']}")

for chunk in model.stream("And of Italy?"):  # falls back as well, before its first content
    print(chunk["content"], end="", flush=True)
print()
