"""Engines without a server: `model.generate`, and vLLM's `LLM.generate`. Run in a process apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from directory import directory_of
from processes import VLLM_ON_CPU
from workload import Figures, Side, Timed, Workload, figures_of


def offline(engine: str) -> Side:
    """An engine: "generate" or "vllm"."""

    def side(work: Workload) -> dict[int, Figures]:
        with tempfile.TemporaryDirectory() as directory:
            told_file, said_file = Path(directory) / "told", Path(directory) / "said"
            # Files, not pipes: vLLM's processes hold them open for longer than ours lives.
            with said_file.open("wb") as said:
                done = subprocess.run(
                    [sys.executable, __file__, engine, str(told_file)],
                    input=json.dumps(asdict(work)).encode(),
                    stdout=said,
                    stderr=said,
                    check=False,
                    env=os.environ | VLLM_ON_CPU,
                )
            if done.returncode:
                raise RuntimeError(said_file.read_text()[-3000:])
            told = json.loads(told_file.read_text())
        return {int(level): Figures(*figures) for level, figures in told.items()}

    return side


def _generate(work: Workload) -> Callable[[list[str]], Figures]:
    """The prompts one after the other, on a model of transformers."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.generation.streamers import BaseStreamer

    from local_inference_service.weights import resolve_device, resolve_dtype

    class Clock(BaseStreamer):  # type: ignore[misc]
        def __init__(self) -> None:
            self.times: list[float] = []

        def put(self, value: Any) -> None:
            self.times.append(time.perf_counter())

        def end(self) -> None:
            pass

    directory = directory_of(work.model)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    device = resolve_device("auto")
    dtype = resolve_dtype(work.dtype, device)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype, device_map=device).eval()

    def run(prompts: list[str]) -> Figures:
        begun, answers = time.perf_counter(), []
        for prompt in prompts:
            ids = torch.tensor([_ids(tokenizer, prompt)], device=model.device)
            clock = Clock()
            asked = time.perf_counter()
            with torch.inference_mode():
                result = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    do_sample=False,
                    max_new_tokens=work.tokens,
                    streamer=clock,
                )
            times = clock.times[1:]  # the first is the prompt
            count = result.shape[1] - ids.shape[1]
            answers.append(Timed(count, times[0] - asked, times[-1] - asked))
        return figures_of(answers, time.perf_counter() - begun)

    return run


def _vllm(work: Workload) -> Callable[[list[str]], Figures]:
    """The prompts at once, on vLLM."""
    from vllm import LLM, SamplingParams

    directory = str(directory_of(work.model))
    engine = LLM(
        directory,
        dtype=work.dtype,
        max_model_len=2048,
        max_num_seqs=work.most,
        enforce_eager=True,
        disable_log_stats=True,
    )
    tokenizer = engine.get_tokenizer()
    params = SamplingParams(temperature=0, max_tokens=work.tokens)

    def run(prompts: list[str]) -> Figures:
        asked: list[Any] = [{"prompt_token_ids": _ids(tokenizer, prompt)} for prompt in prompts]
        begun = time.perf_counter()
        answers = engine.generate(asked, params, use_tqdm=False)
        seconds = time.perf_counter() - begun
        return Figures(sum(len(a.outputs[0].token_ids) for a in answers) / seconds, None, None)

    return run


def _ids(tokenizer: Any, prompt: str) -> list[int]:
    turn = [{"role": "user", "content": prompt}]
    ids: list[int] = tokenizer.apply_chat_template(
        turn, add_generation_prompt=True, return_dict=False
    )
    return ids


def _main() -> None:
    told = json.loads(sys.stdin.read())
    work = Workload(**told | {"levels": tuple(told["levels"])})
    run = {"generate": _generate, "vllm": _vllm}[sys.argv[1]](work)
    run(work.warm_up())
    # One at a time, every level is the same: a few requests tell it.
    few = sys.argv[1] == "generate"
    figures = {level: run(work.prompts(min(level, 4) if few else level)) for level in work.levels}
    Path(sys.argv[2]).write_text(json.dumps(figures))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _main()
