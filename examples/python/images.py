"""Ask about a picture: python images.py PICTURE.png (or a URL)."""

import os
import sys

from marsys.models import BaseAPIModel

if len(sys.argv) != 2:
    sys.exit("usage: python images.py PICTURE")

model = BaseAPIModel(model_name=os.environ.get("MODEL", "openrouter/openai/gpt-5"))

# A path on this machine is read here and sent as bytes.
response = model.run(
    [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is in this picture?"},
                {"type": "image_url", "image_url": {"url": sys.argv[1]}},
            ],
        }
    ]
)
print(response["content"])
