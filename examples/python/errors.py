"""What can go wrong, and what to do about it."""

import os

from marsys.agents.exceptions import (
    ModelAPIError,
    ModelConfigurationError,
    ModelRateLimitError,
    ModelTimeoutError,
    ModelTokenLimitError,
)
from marsys.models import BaseAPIModel

try:
    model = BaseAPIModel(model_name=os.environ.get("MODEL", "openrouter/anthropic/claude-opus-4.6"))
    # What may pass is tried again by the service: four times in all, unless max_retries says less.
    response = model.run("Hello!", timeout=60)
    print(response["content"])
except ModelConfigurationError as error:
    print(f"Set up wrongly: {error.field}: {error.message}")
except ModelRateLimitError as error:
    print(f"Too many requests; try again in {error.retry_after} s")
except ModelTokenLimitError as error:
    print(f"Too long: the model takes {error.limit} tokens")
except ModelTimeoutError as error:
    print(f"Too slow: {error.message}")
except ModelAPIError as error:
    print(f"{error.classification} ({error.status_code}): {error.message}")
    print(error.suggested_action)
