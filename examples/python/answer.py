"""Ask a model: python answer.py "What is the capital of France?" """

import os
import sys

from marsys.models import BaseAPIModel

model = BaseAPIModel(model_name=os.environ.get("MODEL", "openrouter/anthropic/claude-opus-4.6"))

question = " ".join(sys.argv[1:]) or "What is the capital of France?"
response = model.run(question)
print(response["content"])
