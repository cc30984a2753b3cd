"""Broken, unsafe and unsuitable model directories: each gets a clear error and costs no other."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from local_pool_bench import Gate, load, load_plan, names, plan_of, refused
from safetensors.torch import load_file, save_file

from local_inference_service.architecture import check_architecture
from local_inference_service.model_files import check_files
from local_inference_service.progress import LoadError
from local_inference_service.safetensors_header import read_header
from local_inference_service.weights import load_model
from marsys.v1 import ErrorReason, GetModelRequest, LoadStage, ModelState, UnloadModelRequest

FAILED = ErrorReason.ERROR_REASON_MODEL_LOAD_FAILED
WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


def change_config(directory: Path, **changes: Any) -> None:
    file = directory / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def empty(directory):
    for file in directory.iterdir():
        file.unlink()


def gone(directory):
    empty(directory)
    directory.rmdir()


def no_config(directory):
    (directory / "config.json").unlink()


def broken_config(directory):
    (directory / "config.json").write_text('{"model_type": "llama",')


def config_is_a_list(directory):
    (directory / "config.json").write_text("[]")


def no_type(directory):
    change_config(directory, model_type=None)


def unknown_architecture(directory):
    change_config(directory, model_type="no-such-model")


def own_code(directory):
    code = {"AutoConfig": "configuring.Config", "AutoModelForCausalLM": "modeling.Model"}
    change_config(directory, model_type="no-such-model", auto_map=code)
    (directory / "configuring.py").write_text("open('/tmp/ran', 'w')")


def kernels(directory):
    change_config(directory, attn_implementation="somebody/kernel")


def inner_kernels(directory):
    change_config(directory, text_config={"_attn_implementation": {"": "somebody/kernel"}})


def no_language_model(directory):
    change_config(directory, model_type="bert")


def sees(directory):
    change_config(directory, model_type="idefics3")


def cut_short(directory):
    file = directory / WEIGHTS
    file.write_bytes(file.read_bytes()[:-1000])


def cut_in_header(directory):
    file = directory / WEIGHTS
    file.write_bytes(file.read_bytes()[:100])


def garbage(directory):
    (directory / WEIGHTS).write_bytes(b"\xff" * 5000)


def no_bytes(directory):
    (directory / WEIGHTS).write_bytes(b"")


def html(directory):
    (directory / WEIGHTS).write_bytes(b"<!DOCTYPE html><html>not found</html>" * 10)


def more_bytes(directory):
    with (directory / WEIGHTS).open("ab") as file:
        file.write(b"x" * 10)


def no_weights(directory):
    (directory / WEIGHTS).unlink()


def pickles(directory):
    (directory / WEIGHTS).rename(directory / "pytorch_model.bin")


def pt_file(directory):
    (directory / WEIGHTS).rename(directory / "weights.pt")


def adapter_only(directory):
    (directory / WEIGHTS).rename(directory / "adapter_model.safetensors")
    (directory / "config.json").rename(directory / "adapter_config.json")


def adapter_with_config(directory):
    (directory / WEIGHTS).rename(directory / "adapter_model.safetensors")
    (directory / "adapter_config.json").write_text("{}")


def gguf_only(directory):
    empty(directory)
    (directory / "tiny.Q4_0.gguf").write_bytes(b"GGUF")


def no_tokenizer(directory):
    (directory / "tokenizer.json").unlink()


def broken_tokenizer(directory):
    (directory / "tokenizer.json").write_text("{}")


def missing_shard(directory):
    shard(directory, ["model-1.safetensors", "model-2.safetensors"])
    (directory / "model-2.safetensors").unlink()


def index_outside(directory):
    shard(directory, ["../elsewhere.safetensors"])


def index_absolute(directory):
    shard(directory, ["/etc/passwd"])


def index_of_pickles(directory):
    shard(directory, ["pytorch_model.bin"])


def index_without_map(directory):
    (directory / WEIGHTS).unlink()
    (directory / INDEX).write_text("{}")


def index_of_absent_tensors(directory):
    shard(directory, ["model-1.safetensors"])
    index = json.loads((directory / INDEX).read_text())
    index["weight_map"]["model.more.weight"] = "model-1.safetensors"
    (directory / INDEX).write_text(json.dumps(index))


def named_pickle(directory):
    (directory / "evil.bin").write_bytes(b"x")
    change_config(directory, transformers_weights="evil.bin")


def other_shapes(directory):
    change_config(directory, intermediate_size=32)


def lacking_tensors(directory):
    tensors = load_file(directory / WEIGHTS)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})


def shard(directory: Path, files: list[str]) -> None:
    """Split the weights over files, with an index; those of odd names aren't written."""
    tensors = load_file(directory / WEIGHTS)
    (directory / WEIGHTS).unlink()
    weight_map = {name: files[i % len(files)] for i, name in enumerate(sorted(tensors))}
    for file in files:
        if "/" not in file and file.endswith(".safetensors"):
            part = {name: tensors[name] for name in tensors if weight_map[name] == file}
            save_file(part, directory / file, metadata={"format": "pt"})
    (directory / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


DAMAGES = [
    (gone, "there is no directory"),
    (empty, "is empty"),
    (no_config, "config.json is missing"),
    (broken_config, "config.json is no valid JSON"),
    (config_is_a_list, "config.json is no JSON object"),
    (no_type, "model_type"),
    (unknown_architecture, "'no-such-model'"),
    (own_code, "allow_remote_code"),
    (kernels, "attn_implementation"),
    (inner_kernels, "_attn_implementation"),
    (no_language_model, "no model that generates text"),
    (sees, "model class VLM"),
    (cut_short, "model.safetensors is cut short"),
    (cut_in_header, "model.safetensors is cut short"),
    (garbage, "model.safetensors is no whole safetensors file"),
    (no_bytes, "model.safetensors is no whole safetensors file"),
    (html, "model.safetensors is no whole safetensors file"),
    (more_bytes, "10 bytes after its last tensor"),
    (no_weights, "model.safetensors is missing"),
    (pickles, "pickled (pytorch_model.bin)"),
    (pt_file, "pickled (weights.pt)"),
    (adapter_only, "merge it into its base model"),
    (adapter_with_config, "merge it into its base model"),
    (gguf_only, "tiny.Q4_0.gguf"),
    (no_tokenizer, "has no tokenizer"),
    (broken_tokenizer, "its tokenizer can't be loaded"),
    (missing_shard, "model-2.safetensors is missing"),
    (index_outside, "outside of the model's directory: '../elsewhere.safetensors'"),
    (index_absolute, "outside of the model's directory: '/etc/passwd'"),
    (index_of_pickles, "'pytorch_model.bin', which is no safetensors file"),
    (index_without_map, "has no weight_map"),
    (index_of_absent_tensors, "lacks the tensor 'model.more.weight'"),
    (named_pickle, "'evil.bin', which is no safetensors file"),
    (other_shapes, "other shapes than config.json says"),
    (lacking_tensors, "lack 1 of the model's weights, such as model.layers.1.mlp.up_proj.weight"),
]


@pytest.fixture
def damaged(copy_of):
    def make(damage: Any) -> Path:
        directory = copy_of("broken")
        damage(directory)
        return directory

    return make


@pytest.mark.parametrize(("damage", "said"), DAMAGES, ids=[d.__name__ for d, _ in DAMAGES])
async def test_a_broken_model_gets_a_clear_error_and_costs_no_other(
    serve, tiny_directory, damaged, tmp_path, ask, damage, said
):
    directory = damaged(damage)
    bench = await serve(model=str(tiny_directory), allow_model_paths=[tmp_path])
    error = await refused(load(bench, directory))
    assert (error.reason, error.field) == (FAILED, "model")
    assert said in error.message
    assert "Traceback" not in error.message
    model = (await bench.models.GetModel(GetModelRequest(name=str(directory)))).model
    assert model.state == ModelState.MODEL_STATE_FAILED
    assert model.error.message == error.message
    again = await refused(bench.inference.Generate(ask("hi", str(directory))))
    assert again.message == error.message
    assert (await bench.inference.Generate(ask("hi", max_tokens=2))).model == "tiny"
    assert [e.need for e in bench.app._pool._models if e.name != "tiny"] == [None]


@pytest.mark.parametrize(
    "damage", [d for d, _ in DAMAGES if d not in (other_shapes, lacking_tensors, broken_tokenizer)]
)
def test_most_is_found_before_anything_is_read(damaged, damage, monkeypatch):
    """Also in process, where no pool looks first."""
    import transformers

    def read(*given: Any, **options: Any) -> None:
        raise AssertionError("the weights were read")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", read)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", read)
    with pytest.raises(LoadError):
        load_model(str(damaged(damage)), torch.float32, "cpu", False)


async def test_a_mended_model_loads(serve, tiny_directory, copy_of, tmp_path):
    directory = copy_of("broken")
    whole = (directory / WEIGHTS).read_bytes()
    cut_short(directory)
    bench = await serve(model=str(tiny_directory), allow_model_paths=[tmp_path])
    await refused(load(bench, directory))
    (directory / WEIGHTS).write_bytes(whole)
    assert (await load(bench, directory))[-1].stage == LoadStage.LOAD_STAGE_READY


async def test_pickles_beside_the_weights_are_not_read(serve, tiny_directory, copy_of, tmp_path):
    """Unpickling these would write a file."""
    directory = copy_of("model")
    ran = tmp_path / "ran"
    evil = f"cbuiltins\nexec\n(Vopen({str(ran)!r}, 'w')\ntR.".encode()
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        (directory / name).write_bytes(evil)
    bench = await serve(model="none", allow_model_paths=[tmp_path])
    assert (await load(bench, directory))[-1].stage == LoadStage.LOAD_STAGE_READY
    assert not ran.exists()


async def test_sharded_weights_load(serve, copy_of, tmp_path, tiny_directory, ask):
    directory = copy_of("sharded")
    shard(directory, ["model-1.safetensors", "model-2.safetensors", "model-3.safetensors"])
    bench = await serve(model=str(tiny_directory), allow_model_paths=[tmp_path])
    await load(bench, directory)
    for text in ("hi", "and now?"):
        answers = [
            (await bench.inference.Generate(ask(text, name, max_tokens=8, temperature=0))).message
            for name in ("tiny", str(directory))
        ]
        assert answers[0] == answers[1]


async def test_tied_weights_are_not_missing(serve, tiny_directory, copy_of, tmp_path):
    directory = copy_of("tied", tie_word_embeddings=True)
    tensors = load_file(directory / WEIGHTS)
    del tensors["lm_head.weight"]
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    bench = await serve(model="none", allow_model_paths=[tmp_path])
    assert (await load(bench, directory))[-1].stage == LoadStage.LOAD_STAGE_READY


async def test_a_model_without_a_chat_template_loads_but_cannot_talk(serve, copy_of, tmp_path, ask):
    directory = copy_of("mute")
    (directory / "chat_template.jinja").unlink()
    bench = await serve(model="none", allow_model_paths=[tmp_path])
    await load(bench, directory)
    error = await refused(bench.inference.Generate(ask("hi", str(directory))))
    assert error.reason == ErrorReason.ERROR_REASON_UNSUPPORTED_PARAMETER
    assert "no chat template" in error.message


async def test_a_model_without_memory_for_it(serve, tiny_directory, tmp_path, monkeypatch):
    import transformers

    def full(*given: Any, **options: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    bench = await serve(model="none", allow_model_paths=[tiny_directory.parent])
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", full)
    error = await refused(load(bench, tiny_directory))
    assert error.reason == ErrorReason.ERROR_REASON_OUT_OF_MEMORY


async def test_others_answer_while_a_model_is_read(serve, tiny_directory, copy_of, tmp_path, ask):
    other = copy_of("other")
    cut_short(other)
    bench = await serve(model=str(tiny_directory), allow_model_paths=[tmp_path])
    gate = Gate()
    whole = plan_of(bench, copy_of("slow"))
    await gate_and_ask(bench, gate.hold(whole), gate, ask)
    await refused(load(bench, other))
    assert sorted(await names(bench)) == sorted(["tiny", whole.name, str(other)])


async def gate_and_ask(bench: Any, plan: Any, gate: Gate, ask: Any) -> None:
    loading = asyncio.create_task(load_plan(bench, plan))
    await gate.reached()
    assert (await bench.inference.Generate(ask("hi", max_tokens=2))).model == "tiny"
    gate.open()
    await loading


async def test_an_unloaded_models_weights_are_freed(serve, tiny_directory):
    bench = await serve(model="none", allow_model_paths=[tiny_directory.parent])
    name = str(tiny_directory)
    await load(bench, name)
    with bench.app._pool.use(name) as adapter:
        weight = weakref.ref(next(iter(adapter.model.parameters())))
    del adapter
    await bench.models.UnloadModel(UnloadModelRequest(model=name))
    gc.collect()
    assert weight() is None


def test_what_stands_in_a_file(tmp_path):
    tensors = {"a": torch.zeros(2, 3), "b": torch.zeros(5, dtype=torch.int8)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"k": "v"})
    header = read_header(tmp_path / "x.safetensors")
    assert (header["a"].shape, header["a"].dtype, header["a"].nbytes) == ((2, 3), "F32", 24)
    assert header["a"].is_float
    assert (header["b"].nbytes, header["b"].is_float) == (5, False)


@pytest.mark.parametrize(
    "entry",
    [
        {},
        [],
        None,
        {"dtype": "F32", "shape": [1], "data_offsets": [0]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": ["1"], "data_offsets": [0, 4]},
        {"dtype": 1, "shape": [1], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 1e9]},
        {"dtype": "F32", "shape": [1], "data_offsets": [0, 10**15]},
    ],
)
def test_headers_that_make_no_sense(tmp_path, entry):
    text = json.dumps({"a": entry}).encode()
    file = tmp_path / "x.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * 4)
    with pytest.raises(LoadError, match=r"x\.safetensors"):
        read_header(file)


@pytest.mark.parametrize(
    ("config", "model_class", "said"),
    [
        ({"model_type": "llama"}, "vlm", "model class LLM"),
        ({"model_type": "llava"}, "llm", "model class VLM"),
        ({"model_type": "gemma3"}, "llm", ""),
        ({"model_type": "gemma3"}, "vlm", ""),
        ({"model_type": "t5"}, "llm", "no model that generates text"),
        ({"model_type": "bert"}, "llm", "no model that generates text"),
        ({"model_type": "bert", "is_decoder": True}, "llm", ""),
        ({"model_type": "whisper", "is_encoder_decoder": True}, "llm", "no model that generates"),
    ],
)
def test_which_kind_a_model_is(config, model_class, said):
    if not said:
        check_architecture(config, model_class, False, "m")
        return
    with pytest.raises(LoadError, match=said):
        check_architecture(config, model_class, False, "m")


def test_a_whole_directory_passes(tiny_directory):
    files = check_files(tiny_directory)
    assert [file.name for file in files.weights] == [WEIGHTS]
    assert files.nbytes == sum(t.numel() * 4 for t in load_file(tiny_directory / WEIGHTS).values())
