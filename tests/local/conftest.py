"""The embedded model on a real server, and a tiny model that the tests make."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from local_bench import LocalBench, ask
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from local_inference_service.adapters.huggingface_llm import HuggingFaceLLMAdapter
from local_inference_service.embedded import EMBEDDED_MODEL, ensure_embedded_model
from local_inference_service.service import LocalApp
from local_inference_service.settings import LocalSettings
from marsys.v1 import GenerateRequest
from serving.server import RunningServer, start_server

TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'system' and not loop.first %}"
    "{{ raise_exception('system comes first') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}</>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


@pytest.fixture(scope="session")
def embedded_directory() -> Path:
    return ensure_embedded_model(lambda *step: None)


@pytest.fixture(scope="session")
def adapter(embedded_directory: Path) -> HuggingFaceLLMAdapter:
    """The embedded model in this process, for comparison with model.generate."""
    return HuggingFaceLLMAdapter(str(embedded_directory))


@pytest.fixture(scope="session")
def tiny_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of a few thousand parameters over bytes: fast, and says any character."""
    directory = tmp_path_factory.mktemp("models") / "tiny"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: index for index, character in enumerate(alphabet)}
    vocabulary["</s>"] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(directory)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=256,
        eos_token_id=vocabulary["</s>"],
        bos_token_id=None,
    )
    model = LlamaForCausalLM(config)
    model.generation_config.eos_token_id = vocabulary["</s>"]
    model.save_pretrained(directory)
    return directory


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[LocalBench]]]:
    running: list[tuple[RunningServer, grpc.aio.Channel]] = []

    async def make(**settings: Any) -> LocalBench:
        app = LocalApp(LocalSettings(address="127.0.0.1:0", token=None, **settings))
        server = await start_server(app._settings, app)
        channel = grpc.aio.insecure_channel(server.address)
        running.append((server, channel))
        await server.ready()
        return LocalBench(app, server, channel)

    yield make
    for server, channel in running:
        await channel.close()
        await server.stop(0.2)


@pytest.fixture
async def tiny(serve: Callable[..., Awaitable[LocalBench]], tiny_directory: Path) -> LocalBench:
    return await serve(model=str(tiny_directory))


@pytest.fixture
async def embedded(
    serve: Callable[..., Awaitable[LocalBench]], embedded_directory: Path
) -> LocalBench:
    return await serve()


@pytest.fixture(name="ask")
def _ask() -> Callable[..., GenerateRequest]:
    return ask


@pytest.fixture
def embedded_model() -> str:
    return EMBEDDED_MODEL


@pytest.fixture
def copy_of(tiny_directory: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the tiny model with its config.json changed."""

    def make(name: str, **changes: Any) -> Path:
        directory = tmp_path / name
        directory.mkdir()
        for file in tiny_directory.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
        config = json.loads((directory / "config.json").read_text())
        (directory / "config.json").write_text(json.dumps({**config, **changes}))
        return directory

    return make
