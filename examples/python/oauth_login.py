"""The login of a ChatGPT subscription in place of an API key. Read docs/oauth.md first.

codex login
export MARSYS_API_OAUTH_PROVIDERS='["openai-oauth"]'    # for the service; it is off by default
python oauth_login.py
"""

from marsys.models import BaseAPIModel, ModelConfig

config = ModelConfig(type="api", provider="openai-oauth", name="gpt-5.3-codex")
model = BaseAPIModel.from_config(config)
print(model.run("What is the capital of France?")["content"])
