"""Models from configurations, local or remote, of the environment or of your own files."""

import os

from marsys.models import ModelConfig, create_model

config = ModelConfig(
    type="api",
    provider="openrouter",
    name=os.getenv("MODEL_NAME", "anthropic/claude-opus-4.6"),
    temperature=float(os.getenv("MODEL_TEMPERATURE", "0.7")),
    max_tokens=int(os.getenv("MAX_TOKENS", "12000")),
)
with create_model(config) as model:
    print(model.run("What is the capital of France?")["content"])

local = ModelConfig(type="local", name="smollm2-135m-instruct", model_class="llm", max_tokens=32)
with create_model(local) as model:
    print(model.run("What is the capital of France?", temperature=0.0)["content"])
