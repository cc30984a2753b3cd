"""A model in this very process, to reach its weights: python weights.py [NAME or directory]"""

import sys

from marsys.models import LocalAdapterFactory

adapter = LocalAdapterFactory.create_adapter(
    backend="huggingface",
    model_name=sys.argv[1] if len(sys.argv) > 1 else "HuggingFaceTB/SmolLM2-135M-Instruct",
    model_class="llm",
    max_tokens=32,
)

print(f"{sum(p.numel() for p in adapter.model.parameters()):,} parameters")
print(len(adapter.tokenizer), "tokens in the vocabulary")
print("Can be trained:", adapter.supports_training)

response = adapter.run("What is the capital of France?", temperature=0.0)
print(response["content"])
