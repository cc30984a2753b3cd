"""Vision-language models on transformers answer as their own generate does, for any images."""

from __future__ import annotations

import asyncio
import base64
import functools
from pathlib import Path

import grpc
import pytest
import torch
from PIL import Image
from tiny_models import make_tiny_vlm
from vlm_requests import (
    WIDE,
    A,
    B,
    answer_of,
    generated,
    inputs_of,
    png,
    refusal,
    request_of,
    text_of,
)

from local_inference_service.adapters.factory import LocalAdapterFactory
from local_inference_service.adapters.huggingface_vlm import HuggingFaceVLMAdapter
from local_inference_service.images import MediaRules
from marsys.agents.exceptions import ModelAPIError
from marsys.rpc.status import from_rpc_error
from marsys.v1 import (
    CountTokensRequest,
    ErrorReason,
    GetModelRequest,
    LoadModelRequest,
    LoadOptions,
    ModelClass,
)

FAMILIES = ["idefics3", "llava"]

# Conversations of (role, what is said); an image stands for itself.
CONVERSATIONS: dict[str, list[tuple[str, list[str | Image.Image]]]] = {
    "text only": [("user", ["hello"])],
    "one": [("user", ["what is", A])],
    "between texts": [("user", ["what", A, "is that"])],
    "two": [("user", [A, "and", B, "?"])],
    "side by side": [("user", [A, B])],
    "five": [("user", ["look", A, "then", B, WIDE, "and", B, A])],
    "system": [("system", ["be short"]), ("user", [WIDE, "?"])],
    "system with an image": [("system", ["like", B]), ("user", [A, "?"])],
    "earlier turn": [("user", [A, "?"]), ("assistant", ["a cat"]), ("user", ["and ", B])],
    "only earlier": [("user", [A, "?"]), ("assistant", ["a cat"]), ("user", ["sure?"])],
    "continued": [("user", [A, "?"]), ("assistant", ["I see a "])],
}


@functools.cache
def _adapter(directory: Path) -> HuggingFaceVLMAdapter:
    return HuggingFaceVLMAdapter(str(directory), max_tokens=16, media_rules=MediaRules())


@pytest.fixture(scope="session")
def directories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("vlm")
    return {family: make_tiny_vlm(root / family, family) for family in FAMILIES}


@pytest.fixture
def vlm(directories: dict[str, Path]) -> HuggingFaceVLMAdapter:
    return _adapter(directories["idefics3"])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", CONVERSATIONS)
async def test_answers_and_counts_are_those_of_transformers(directories, family, name):
    adapter = _adapter(directories[family])
    conversation = CONVERSATIONS[name]
    request = request_of(conversation)
    prompt = await adapter.prompt_of(request, "m")
    assert prompt.ids == inputs_of(adapter, conversation)["input_ids"][0].tolist()
    assert await adapter.count_tokens(request, "m") == len(prompt.ids)
    assert await answer_of(adapter, request) == generated(adapter, conversation)


async def test_requests_side_by_side_keep_their_images(vlm):
    conversations = [*CONVERSATIONS.values()]
    alone = [generated(vlm, conversation) for conversation in conversations]
    assert len(set(alone)) > len(alone) // 2
    together = await asyncio.gather(*[answer_of(vlm, request_of(c)) for c in conversations * 2])
    assert together == alone * 2


@pytest.mark.parametrize("family", FAMILIES)
async def test_images_stand_where_they_were_put(directories, family):
    adapter = _adapter(directories[family])

    async def logits(*said: str | Image.Image) -> torch.Tensor:
        prompt = await adapter.prompt_of(request_of([("user", list(said))]), "m")
        with torch.inference_mode():
            ids = torch.tensor([prompt.ids])
            return adapter.model(input_ids=ids, **prompt.inputs).logits[0, -1]

    first = await logits(A, "or", B)
    assert torch.equal(first, await logits(A, "or", B))
    assert not torch.allclose(first, await logits(B, "or", A), atol=1e-3)
    assert not torch.allclose(first, await logits("or", A, B), atol=1e-3)


class TestServer:
    """A vision-language model behind gRPC."""

    @pytest.fixture
    async def bench(self, serve, directories):
        return await serve(
            model=str(directories["idefics3"]), model_class="vlm", max_active=4, max_queued=64
        )

    async def test_answers_through_grpc_are_those_of_generate(self, bench, vlm):
        names = ["text only", "between texts", "five", "earlier turn"]
        requests = [request_of(CONVERSATIONS[name]) for name in names]
        answers = await asyncio.gather(*map(bench.inference.Generate, requests))
        for name, request, answer in zip(names, requests, answers, strict=True):
            assert text_of(answer) == generated(vlm, CONVERSATIONS[name])
            counted = await bench.inference.CountTokens(CountTokensRequest(request=request))
            assert counted.input_tokens == answer.usage.input_tokens

    async def test_the_model_says_that_it_takes_images(self, bench):
        model = (await bench.models.GetModel(GetModelRequest(name="idefics3"))).model
        assert list(model.capabilities.input_modalities) == ["image"]
        assert model.load_options.model_class == ModelClass.MODEL_CLASS_VLM

    async def test_data_urls_are_taken(self, bench, vlm):
        request = request_of([("user", [A, "?"])])
        media = request.messages[0].parts[0].media
        media.uri = "data:image/png;base64," + base64.b64encode(media.data).decode()
        answer = await bench.inference.Generate(request)
        assert text_of(answer) == generated(vlm, [("user", [A, "?"])])

    async def test_addresses_are_refused_unless_the_operator_allows_them(self, bench):
        request = request_of([("user", [A, "?"])])
        request.messages[0].parts[0].media.uri = "https://example.com/cat.png"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await bench.inference.Generate(request)
        assert caught.value.code() == grpc.StatusCode.PERMISSION_DENIED
        error = from_rpc_error(caught.value)
        assert error.reason == ErrorReason.ERROR_REASON_NOT_ALLOWED
        assert error.field == "messages[0].parts[0].media.uri"

    async def test_a_caller_may_load_one(self, serve, directories, vlm):
        llava = directories["llava"]
        bench = await serve(model="none", allow_model_paths=[llava.parent], allow_load=True)
        options = LoadOptions(model_class=ModelClass.MODEL_CLASS_VLM)
        async for _ in bench.models.LoadModel(LoadModelRequest(model=str(llava), options=options)):
            pass
        answer = await bench.inference.Generate(request_of([("user", [A, "?"])], str(llava)))
        assert text_of(answer) == generated(_adapter(llava), [("user", [A, "?"])])

    async def test_a_text_model_names_the_image_that_it_does_not_take(self, tiny):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await tiny.inference.Generate(request_of([("user", ["see", A])], "tiny"))
        error = from_rpc_error(caught.value)
        assert error.reason == ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER
        assert error.field == "messages[0].parts[1].media"


class TestInProcess:
    """The adapter as the Python API has it."""

    def test_the_callers_files_and_bytes(self, directories, vlm, tmp_path):
        file = tmp_path / "a.png"
        file.write_bytes(png(A))
        expected = generated(vlm, [("user", ["see", A])])
        for source in (str(file), file.as_uri(), A, png(A)):
            answer = vlm.run(
                [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "see"},
                            {"type": "image_url", "image_url": {"url": source}},
                        ],
                    }
                ],
                temperature=0,
            )
            assert answer["content"] == expected
        assert vlm.run("see", images=[A], temperature=0)["content"] == expected

    async def test_file_uris_are_read_as_the_rules_have_it(self, directories, tmp_path):
        (tmp_path / "a.png").write_bytes(png(A))
        request = request_of([("user", ["see", A])])
        request.messages[0].parts[1].media.uri = (tmp_path / "a.png").as_uri()
        closed = _adapter(directories["idefics3"])
        reason, field, _ = await refusal(closed.prompt_of(request, "m"))
        assert (reason, field) == (
            ErrorReason.ERROR_REASON_NOT_ALLOWED,
            "messages[0].parts[1].media.uri",
        )
        opened = HuggingFaceVLMAdapter(str(directories["idefics3"]))
        prompt = await opened.prompt_of(request, "m")
        same = await opened.prompt_of(request_of([("user", ["see", A])]), "m")
        assert prompt.ids == same.ids
        assert torch.equal(prompt.inputs["pixel_values"], same.inputs["pixel_values"])
        opened.cleanup()

    def test_the_model_can_be_trained(self, vlm):
        assert vlm.supports_training
        assert (vlm.backend, vlm.input_modalities) == ("huggingface", ("image",))
        assert isinstance(vlm.model, torch.nn.Module)
        assert vlm.tokenizer is vlm.processor.tokenizer
        assert not vlm.model.training

    def test_the_factory_makes_it(self, directories):
        made = LocalAdapterFactory.create_adapter(
            "huggingface", str(directories["llava"]), "vlm", max_tokens=3, thinking_budget=256
        )
        assert isinstance(made, HuggingFaceVLMAdapter)
        made.warm_up()
        made.cleanup()
        made.cleanup()
        with pytest.raises(ModelAPIError):
            made.run("hello")

    async def test_a_prompt_with_images_must_fit(self, directories):
        short = HuggingFaceVLMAdapter(str(directories["idefics3"]), max_model_len=100)
        reason, _, message = await refusal(answer_of(short, request_of([("user", [WIDE, WIDE])])))
        assert reason == ErrorReason.ERROR_REASON_TOKEN_LIMIT
        assert "100" in message
        short.cleanup()
