"""A model on your own machine: python local_model.py [NAME]

The first call loads it. smollm2-135m-instruct comes with the service; hub names work as well.
"""

import sys

from marsys.models import BaseLocalModel

name = sys.argv[1] if len(sys.argv) > 1 else "smollm2-135m-instruct"
model = BaseLocalModel(name, max_tokens=64, temperature=0.0)
messages = [{"role": "user", "content": "What is the capital of France?"}]

response = model.run(messages)
print(response["content"])
print(response["usage"]["total_tokens"], "tokens")

for chunk in model.stream(messages):
    print(chunk["content"], end="", flush=True)
print()
