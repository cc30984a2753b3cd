"""`marsys models`, `ps`, `load` and `unload`, and what the shell completes."""

from __future__ import annotations

import json
import os

import pytest
from client_terminal import NOBODY, Terminal, marsys

from marsys.v1 import (
    Backend,
    ErrorReason,
    LoadOptions,
    Model,
    ModelCapabilities,
    ModelClass,
    ModelError,
    ModelState,
)


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


# models


def test_models(local):
    result = marsys("models", env=local)
    assert result.returncode == 0
    assert rows(result.stdout) == [
        ["model", "service", "state", "context", "takes"],
        ["tiny", "local", "ready", "2048"],
        ["big", "local", "loading"],
    ]
    assert f"api: no service answers at {NOBODY}" in result.stderr
    assert "marsys serve api" in result.stderr


def test_models_as_json(local):
    found = json.loads(marsys("models", "--json", env=local).stdout)
    assert [(row["service"], row["name"], row["state"]) for row in found] == [
        ("local", "tiny", "ready"),
        ("local", "big", "loading"),
    ]
    assert found[0]["context_length"] == 2048


def test_models_by_name_and_provider(local):
    assert rows(marsys("models", "BI", env=local).stdout)[1:] == [["big", "local", "loading"]]
    only = marsys("models", "--provider", "huggingface", env=local)
    assert (len(rows(only.stdout)), only.stderr) == (3, "")
    result = marsys("models", "--provider", "openai", "--json", env=local)
    assert (json.loads(result.stdout), result.returncode) == ([], 1)
    assert "local" not in result.stderr.replace("marsys serve", "")


def test_models_of_nobody():
    result = marsys("models")
    assert result.returncode == 1
    assert result.stderr.count("no service answers") == 2
    assert "Traceback" not in result.stderr


def test_a_narrow_terminal_cuts_no_name(local, service):
    name = "a-model-with-a-name-that-is-almost-as-wide-as-the-whole-terminal-is"
    capabilities = ModelCapabilities(tools=True, input_modalities=["image", "audio"])
    service.listed = [Model(name=name, provider="huggingface", capabilities=capabilities)]
    narrow = Terminal("models", env={**local, "COLUMNS": "80"})
    assert narrow.status() == 0
    assert name in narrow.seen
    assert "image" not in narrow.seen
    assert "tools, image, audio" in marsys("models", env=local).stdout


# ps


def test_ps(local, service):
    loaded = service.listed[0]
    loaded.memory_bytes = 538_060_288
    loaded.load_options.CopyFrom(
        LoadOptions(backend=Backend.BACKEND_VLLM, model_class=ModelClass.MODEL_CLASS_VLM)
    )
    service.listed.append(
        Model(
            name="broken",
            provider="huggingface",
            state=ModelState.MODEL_STATE_FAILED,
            error=ModelError(message="out of memory"),
        )
    )
    result = marsys("ps", env=local)
    assert rows(result.stdout) == [
        ["model", "state", "backend", "kind", "memory", "context"],
        ["tiny", "ready", "vllm", "vlm", "538", "MB", "2048"],
        ["big", "loading", "huggingface"],
        ["broken", "failed", "huggingface"],
    ]
    assert result.stderr == "broken: out of memory\n"
    found = json.loads(marsys("ps", "--json", env=local).stdout)
    assert found[0]["memory_bytes"] == 538_060_288
    assert found[0]["load_options"]["backend"] == "vllm"
    assert found[2]["error"]["message"] == "out of memory"


def test_ps_where_nothing_is_loaded(service):
    result = marsys("ps", "--target", service.address)
    assert (result.returncode, result.stdout) == (0, "")
    assert "marsys load" in result.stderr
    assert marsys("ps", "--json", "--target", service.address).stdout == "[]\n"


def test_ps_of_nobody():
    result = marsys("ps")
    assert result.returncode == 1
    assert "marsys serve local" in result.stderr


# load and unload


def test_load(local, service):
    options = ("--backend", "vllm", "--model-class", "vlm", "--max-model-len", "512")
    result = marsys("load", "org/new", *options, "--engine-options", '{"a": 1}', env=local)
    assert result.returncode == 0
    assert result.stdout.startswith("loaded-name is ready, ")
    assert "org/new: downloading" in result.stderr
    (request,) = service.loads
    assert request.model == "org/new"
    assert request.options == LoadOptions(
        backend=Backend.BACKEND_VLLM,
        model_class=ModelClass.MODEL_CLASS_VLM,
        max_model_len=512,
        engine_options_json='{"a": 1}',
    )


def test_load_as_json(local):
    result = marsys("load", "org/new", "--json", env=local)
    assert json.loads(result.stdout) == {"name": "loaded-name", "state": "ready"}


def test_a_directory_here_is_sent_by_its_whole_path(local, service, tmp_path):
    (tmp_path / "model").mkdir()
    marsys("load", os.path.relpath(tmp_path / "model"), env=local)
    assert service.loads[0].model == str(tmp_path / "model")


def test_a_bar_shows_the_bytes(local, service):
    service.load_reply = ModelError(
        reason=ErrorReason.ERROR_REASON_MODEL_LOAD_FAILED, message="the file is broken"
    )
    terminal = Terminal("load", "org/new", env={**local, "TERM": "xterm", "COLUMNS": "100"})
    terminal.wait_for("downloading")
    terminal.wait_for("5/10 bytes")
    terminal.wait_for("the file is broken")
    assert terminal.status() == 1


def test_ctrl_c_leaves_the_load_running(local, service):
    service.load_reply = "hangs"
    terminal = Terminal("load", "org/new", env=local)
    terminal.wait_for("downloading")
    terminal.interrupt("the load goes on")
    assert terminal.status() == 130


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["load", "x", "--backend", "nope"], 1, "huggingface or vllm"),
        (["load", "x", "--engine-options", "{"], 2, "is no JSON"),
        (["load", "x"], 1, "marsys serve local"),
        (["unload", "x"], 1, "marsys serve local"),
        (["load"], 2, "Missing argument"),
    ],
)
def test_wrong_use(arguments, status, said):
    result = marsys(*arguments)
    assert result.returncode == status
    assert said in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


def test_unload(local, service):
    assert marsys("unload", "tiny", env=local).stdout == "tiny is unloaded\n"
    found = marsys("unload", "tiny", "--drain", "1.5", "--json", env=local).stdout
    assert json.loads(found) == {"name": "tiny", "state": "unloaded"}
    first, second = service.unloads
    assert not first.HasField("drain_timeout")
    assert second.drain_timeout.ToMilliseconds() == 1500


def test_unload_of_what_is_not_loaded(local):
    result = marsys("unload", "nope", env=local)
    assert result.returncode == 1
    assert "no model 'nope' is loaded here" in result.stderr
    assert "marsys ps" in result.stderr


# completion, as the shell asks for it


def completed(line: str, env: dict[str, str]) -> list[str]:
    words = line.split()
    at = len(words) - (not line.endswith(" "))
    shell = {"_MARSYS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(at)}
    result = marsys(env={**env, **shell}, program=True)
    assert result.stderr == ""
    return result.stdout.split()


def test_completion(local):
    assert completed("marsys un", local) == ["unload"]
    assert completed("marsys chat -m t", local) == ["tiny"]
    assert completed("marsys chat -m open", local) == ["openrouter/", "openai/", "openai-oauth/"]
    assert completed("marsys unload ", local) == ["tiny", "big"]
    assert completed("marsys models --provider goo", local) == ["google"]


def test_completion_where_nobody_answers():
    assert completed("marsys chat -m xa", {}) == ["xai/"]
    assert completed("marsys load ", {}) == []


def test_completion_of_a_providers_models(service):
    service.listed = [Model(name="xai/grok-4"), Model(name="xai/other")]
    there = {"MARSYS_API_TARGET": service.address}
    assert completed("marsys chat -m xai/g", there) == ["xai/grok-4"]
    assert completed("marsys chat -m xa", there) == ["xai/grok-4", "xai/other"]
