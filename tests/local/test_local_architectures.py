"""Models of many families: run together, requests get what `model.generate` gives each alone."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from engine_runs import generate_alone, is_tie, start
from transformers import AutoConfig, AutoModelForCausalLM

from local_inference_service.engine import CannotGenerate, Engine
from local_inference_service.engine._batch import InTurn, SideBySide

_SIZES: dict[str, Any] = {
    "vocab_size": 128, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "max_position_embeddings": 512, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_WINDOW = {"sliding_window": 16}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}  # fmt: skip
_LATENT = {
    "num_key_value_heads": 4, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8, "v_head_dim": 16, "head_dim": 8, "n_routed_experts": 4,
    "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
}  # fmt: skip
_SHARED = {
    "vocab_size_per_layer_input": 128, "hidden_size_per_layer_input": 16,
    "num_kv_shared_layers": 2, "laurel_rank": 8, "altup_num_inputs": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "activation_sparsity_pattern": None,
}  # fmt: skip
_OLD = {"num_hidden_layers": None, "num_attention_heads": None, "head_dim": None}

SIDE_BY_SIDE: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen3": {},
    "qwen3_moe": _EXPERTS,
    "mistral": _WINDOW,
    "phi3": _WINDOW,
    "gemma2": {"query_pre_attn_scalar": 16, **_WINDOW},
    "gemma3_text": {"query_pre_attn_scalar": 16, "sliding_window_pattern": 2, **_WINDOW},
    "gemma3n_text": {**_SHARED, **_WINDOW},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, **_WINDOW},
    "llama4_text": {
        "num_local_experts": 2, "attention_chunk_size": 16, "intermediate_size_mlp": 96,
    },
    "deepseek_v3": _LATENT,
    "qwen3_next": {**_LINEAR, **_EXPERTS, "shared_expert_intermediate_size": 32},
    "qwen3_5_text": _LINEAR,
    "lfm2": {"full_attn_idxs": [1, 3], "block_ff_dim": 96},
    "falcon_h1": {
        "mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16,
        "mamba_n_groups": 1,
    },
    "gpt2": {**_OLD, "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512},
    "bloom": {**_OLD, "n_layer": 3, "n_head": 4},
}  # fmt: skip
IN_TURN: dict[str, dict[str, Any]] = {
    "mamba": {"state_size": 8, "head_dim": None},
    "minimax": {
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "num_local_experts": 2,
        "num_experts_per_tok": 1,
    },
}


def make_model(kind: str, changes: dict[str, Any]) -> Any:
    """A small model with random weights, wide enough apart that its tokens are clear."""
    values = {name: value for name, value in {**_SIZES, **changes}.items() if value is not None}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **values)).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(3)
    return model


@pytest.mark.parametrize("kind", [*SIDE_BY_SIDE, *IN_TURN])
def test_requests_together_get_what_each_gets_alone(kind: str) -> None:
    model = make_model(kind, {**SIDE_BY_SIDE, **IN_TURN}[kind])
    random_ = random.Random(0)
    asked = [
        ([random_.randrange(3, 128) for _ in range(random_.choice((3, 7, 20, 50)))], length)
        for length in (3, 10, 25, 4, 8, 25, 1, 12, 6, 3)
    ]
    engine = Engine(model, [], max_active=6, max_queued=100, prefix_cache_bytes=1 << 20)
    try:
        assert isinstance(engine._batch, SideBySide if kind in SIDE_BY_SIDE else InTurn)
        runs = [start(engine, prompt, length) for prompt, length in asked]
        got = [run.wait() for run in runs]
    finally:
        engine.close()
    for (prompt, length), tokens in zip(asked, got, strict=True):
        alone = generate_alone(model, prompt, length)
        assert tokens == alone or is_tie(model, prompt, alone, tokens)


def test_a_model_that_takes_no_cache_is_refused() -> None:
    model = make_model("rwkv", {"num_attention_heads": None, "head_dim": None})
    with pytest.raises(CannotGenerate, match="takes no cache"):
        Engine(model, [], max_active=4, max_queued=4)
