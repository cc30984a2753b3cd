"""Vision-language models: marks of images, chat templates, and what can't be loaded."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_models import make_tiny_vlm
from vlm_requests import A, answer_of, generated, refusal, request_of

from local_inference_service.adapters.huggingface_llm import HuggingFaceLLMAdapter
from local_inference_service.adapters.huggingface_vlm import HuggingFaceVLMAdapter
from local_inference_service.progress import LoadError
from marsys.v1 import ErrorReason


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_vlm(tmp_path_factory.mktemp("vlm") / "llava", "llava")


@pytest.fixture(scope="session")
def idefics3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_vlm(tmp_path_factory.mktemp("vlm") / "idefics3")


@pytest.fixture(scope="session")
def vlm(idefics3: Path) -> Iterator[HuggingFaceVLMAdapter]:
    with HuggingFaceVLMAdapter(str(idefics3)) as adapter:
        yield adapter


@pytest.fixture
def changed(llava: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of a model with another chat template, or without some of its files."""

    def make(template: str | None = None, without: tuple[str, ...] = ()) -> Path:
        directory = tmp_path / "changed"
        shutil.copytree(llava, directory)
        if template is not None:
            (directory / "chat_template.jinja").write_text(template)
        for name in without:
            (directory / name).unlink()
        return directory

    return make


class TestMarks:
    """The model's own marks of images can't be written by a caller."""

    @pytest.mark.parametrize(
        ("said", "field"),
        [
            (["see <image> here"], "messages[0].parts[0].text"),
            ([A, "<image>"], "messages[0].parts[1].text"),
            (["see <ima", "ge> here"], "messages[0].parts[1].text"),
            (["<fake_token_around_image>"], "messages[0].parts[0].text"),
        ],
    )
    async def test_they_are_refused_in_texts(self, vlm, said, field):
        reason, at, message = await refusal(vlm.prompt_of(request_of([("user", said)]), "m"))
        assert (reason, at) == (ErrorReason.ERROR_REASON_INVALID_REQUEST, field)
        assert "marks images" in message

    async def test_they_are_refused_in_every_role(self, vlm):
        for role in ("system", "assistant"):
            conversation = [(role, ["<image>"]), ("user", ["hi"])]
            reason, at, _ = await refusal(vlm.prompt_of(request_of(conversation), "m"))
            assert (reason, at) == (
                ErrorReason.ERROR_REASON_INVALID_REQUEST,
                "messages[0].parts[0].text",
            )

    async def test_what_only_looks_like_one_is_text(self, vlm):
        conversation = [("user", ["<ima", A, "ge> <Image> < image>"])]
        answer = await answer_of(vlm, request_of(conversation))
        assert answer == generated(vlm, conversation)


class TestTemplates:
    """Templates want lists or texts; which, is found out."""

    TEXTS_ONLY = (
        "{% for m in messages %}{{ m['role'] + ':' + m['content'] + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    PRINTS = (
        "{% for m in messages %}{{ m['role'] }}:{{ m['content'] }}\n{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    SKIPS_IMAGES = (
        "{% for m in messages %}{{ m['role'] }}:{% if m['content'] is string %}{{ m['content'] }}"
        "{% else %}{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] }}{% endfor %}"
        "{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    MIXED = (
        "{% for m in messages %}{{ m['role'] }}:{% if m['role'] == 'user' %}"
        "{% for c in m['content'] %}{% if c['type'] == 'image' %}<image>{% else %}{{ c['text'] }}"
        "{% endif %}{% endfor %}{% else %}{{ m['content'] }}{% endif %}{{ '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )

    @pytest.mark.parametrize("template", [TEXTS_ONLY, PRINTS, SKIPS_IMAGES])
    async def test_a_template_of_texts_has_the_mark_in_the_text(self, changed, template):
        adapter = HuggingFaceVLMAdapter(str(changed(template)))
        conversation = [("system", ["be kind"]), ("user", ["what", A, "is that"])]
        prompt = await adapter.prompt_of(request_of(conversation), "m")
        side = adapter.processor(
            text="system:be kind\nuser:what\n<image>\nis that\nassistant:",
            images=[A],
            return_tensors="pt",
        )
        assert prompt.ids == side["input_ids"][0].tolist()
        assert torch.equal(prompt.inputs["pixel_values"], side["pixel_values"])
        adapter.cleanup()

    async def test_each_role_has_its_form(self, changed):
        adapter = HuggingFaceVLMAdapter(str(changed(self.MIXED)))
        conversation = [
            ("system", ["be kind"]),
            ("user", ["what", A, "is that"]),
            ("assistant", ["a cat"]),
            ("user", ["sure?"]),
        ]
        prompt = await adapter.prompt_of(request_of(conversation), "m")
        side = adapter.processor(
            text="system:be kind\nuser:what<image>is that\nassistant:a cat\nuser:sure?\nassistant:",
            images=[A],
        )
        assert prompt.ids == side["input_ids"][0]
        adapter.cleanup()

    async def test_an_image_that_the_template_would_leave_out_is_an_error(self, changed):
        user_only = self.SKIPS_IMAGES.replace(
            "{% for c in m['content'] if c['type'] == 'text' %}{{ c['text'] }}{% endfor %}",
            "{% for c in m['content'] %}{% if c['type'] == 'text' %}{{ c['text'] }}"
            "{% elif m['role'] == 'user' %}<image>{% endif %}{% endfor %}",
        )
        adapter = HuggingFaceVLMAdapter(str(changed(user_only)))
        conversation = [("user", ["hi"]), ("assistant", [A]), ("user", ["?"])]
        reason, field, message = await refusal(adapter.prompt_of(request_of(conversation), "m"))
        assert (reason, field) == (ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER, "messages")
        assert "no place for images" in message
        adapter.cleanup()

    async def test_without_a_template_there_is_no_chat(self, changed):
        adapter = HuggingFaceVLMAdapter(str(changed(without=("chat_template.jinja",))))
        adapter.warm_up()
        _, field, message = await refusal(adapter.prompt_of(request_of([("user", [A])]), "m"))
        assert field == "messages"
        assert "chat template" in message
        adapter.cleanup()


class TestLoading:
    """What can't be loaded says why."""

    def test_a_text_model_is_no_vision_language_model(self, tiny_directory):
        with pytest.raises(LoadError, match="load it as model class LLM"):
            HuggingFaceVLMAdapter(str(tiny_directory))

    def test_a_vision_language_model_is_no_text_model(self, idefics3):
        with pytest.raises(LoadError, match="load it as model class VLM"):
            HuggingFaceLLMAdapter(str(idefics3))

    def test_a_processor_without_images(self, changed):
        with pytest.raises(LoadError, match="processor"):
            HuggingFaceVLMAdapter(str(changed(without=("processor_config.json",))))

    @pytest.mark.skipif(
        importlib.util.find_spec("torchvision") is not None, reason="torchvision is there"
    )
    def test_a_processor_that_needs_torchvision(self, changed):
        directory = changed(without=("processor_config.json",))
        (directory / "preprocessor_config.json").write_text(
            json.dumps(
                {
                    "processor_class": "Qwen2VLProcessor",
                    "image_processor_type": "Qwen2VLImageProcessor",
                }
            )
        )
        with pytest.raises(LoadError, match="pip install torchvision"):
            HuggingFaceVLMAdapter(str(directory))

    def test_a_model_that_answers_otherwise_than_its_generate(self, llava, monkeypatch):
        adapter = HuggingFaceVLMAdapter(str(llava))
        own = adapter.model.generate
        monkeypatch.setattr(adapter.model, "generate", lambda **inputs: own(**inputs) // 2)
        with pytest.raises(LoadError, match="aren't those of its own generate"):
            adapter.warm_up()
        adapter.cleanup()

    def test_a_template_that_fails_at_images(self, changed):
        template = "{% for m in messages %}{{ raise_exception('none') }}{% endfor %}"
        adapter = HuggingFaceVLMAdapter(str(changed(template)))
        with pytest.raises(LoadError, match="can't take an image"):
            adapter.warm_up()
        adapter.cleanup()

    @pytest.mark.parametrize(
        "arguments",
        [{"max_tokens": 0}, {"thinking_budget": -1}, {"torch_dtype": "int8"}, {"max_active": 0}],
    )
    def test_wrong_arguments(self, llava, arguments):
        with pytest.raises(ValueError, match="must be"):
            HuggingFaceVLMAdapter(str(llava), **arguments)
