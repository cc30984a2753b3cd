"""The page's examples of vLLM, as they stand: `make test-vllm` runs them.

They ask for two GPUs. Where there are none, vLLM's build for CPUs splits the model over two cores.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hub_cache import make_hub_cache, run_program
from reference_page import Example

HAS_VLLM = importlib.util.find_spec("vllm") is not None

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(not HAS_VLLM, reason="vllm isn't installed; `make test-vllm` runs this"),
]

FP8 = '    quantization="fp8",           # awq, gptq, fp8\n'
ASK = "said = adapter.run('Hello', max_tokens=4)"
TELL = (
    "import json",
    "print(json.dumps([type(adapter).__name__, adapter.backend, said['role']]))",
    "adapter.cleanup()",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    made = make_hub_cache(tmp_path_factory.mktemp("hub"))
    return {**made, "VLLM_CPU_OMP_THREADS_BIND": "0|1", "VLLM_CPU_KVCACHE_SPACE": "1"}


@pytest.fixture(scope="module")
def gpus() -> int:
    import torch

    return torch.cuda.device_count()


@pytest.mark.example("Model Classes / VLLMAdapter#1")
def test_vllm_adapters(example: Example, cache: dict[str, str], gpus: int, tmp_path: Path) -> None:
    if gpus < 2:
        # The CPU build has no kernels for fp8: that is said, and all else holds.
        with pytest.raises(AssertionError, match="fp8"):
            run_program(_main(example), tmp_path, cache)
        assert FP8 in example.code
        example = Example(example.name, example.code.replace(FP8, ""), example.line, example.page)
    said = run_program(_main(example, ASK, *TELL), tmp_path, cache)
    assert said == ["VLLMAdapter", "vllm", "assistant"]


@pytest.mark.example("Model Classes / LocalAdapterFactory#1")
def test_the_factory_makes_both_kinds(
    example: Example, cache: dict[str, str], gpus: int, tmp_path: Path
) -> None:
    if gpus == 1:
        pytest.skip("one GPU can't be two")
    said = run_program(_main(example, ASK, *TELL), tmp_path, cache)
    assert said == ["VLLMAdapter", "vllm", "assistant"]


def _main(example: Example, *after: str) -> str:
    """The example as a program whose processes of vLLM may import it again."""
    lines = [*example.code.splitlines(), *after]
    inside = "".join(f"    {line}\n" if line else "\n" for line in lines)
    return f"def main():\n{inside}\n\nif __name__ == '__main__':\n    main()\n"
