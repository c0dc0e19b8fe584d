"""How much does continuous batching give over answering one request after the other?

The same held-out conversations about pictures, greedy, on the tiny preset: transformers' `generate` one by one, and the
engine with 1, 4, 8 and 16 slots. The two are run in turn, several rounds, and the median ratio is reported, because a
shared machine drifts. Token ids must be equal; the script fails if they are not.

Run: PYTHONPATH=. python benchmarks/llm_engine.py --out benchmarks/llm_engine.json
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch

from benchmarks.report import load, report
from train.data.layout import messages
from train.data.shapes.dialogues import build
from vitron.llm.engine import Engine, EngineConfig, GenerationRequest, SamplingParams
from vitron.model import Vitron

TASKS = ("caption", "vqa", "rec", "segment_text", "generate")


def requests(vitron: Vitron, count: int) -> list[GenerationRequest]:
    """Return `count` held-out requests with their features spliced in."""
    made = []
    for index in range(count):
        turns = messages(build(TASKS[index % len(TASKS)], "test", index))[:1]
        made.append(vitron.language.start(turns, *vitron.encode(turns), SamplingParams(max_tokens=64)))
    return made


def one_by_one(vitron: Vitron, batch: list[GenerationRequest]) -> list[list[int]]:
    """Answer with transformers."""
    llama = vitron.language.model.llama
    eos = vitron.language.tokenizer.eos_token_id
    found = []
    for request in batch:
        ids = llama.generate(
            inputs_embeds=request.inputs_embeds[None], max_new_tokens=64, do_sample=False, eos_token_id=eos
        )
        found.append(ids[0].tolist())
    return found


def batched(vitron: Vitron, batch: list[GenerationRequest], slots: int) -> list[list[int]]:
    """Answer with the engine, its prefix cache off so that every round does the same work."""
    language = vitron.language
    engine = Engine(
        language.model.llama,
        EngineConfig(max_slots=slots, prefix_cache_entries=0),
        eos_token_id=language.tokenizer.eos_token_id,
    )
    return [result.token_ids for result in engine.generate(batch)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    before = load()
    torch.set_num_threads(1)
    vitron = Vitron.from_preset("tiny")
    batch = requests(vitron, args.requests)
    seconds: dict[str, list[float]] = {}
    expected = one_by_one(vitron, batch)
    tokens = sum(len(ids) for ids in expected)
    for _ in range(args.rounds):
        for name, slots in (("generate", 0), ("1", 1), ("4", 4), ("8", 8), ("16", 16)):
            start = time.process_time()
            found = batched(vitron, batch, slots) if slots else one_by_one(vitron, batch)
            seconds.setdefault(name, []).append(time.process_time() - start)
            assert found == expected, f"slots {name}: tokens differ from transformers"
    result = {
        "requests": args.requests,
        "rounds": args.rounds,
        "tokens": tokens,
        "tokens_per_cpu_second": {k: round(tokens / statistics.median(v), 1) for k, v in seconds.items()},
        "ratio_to_generate": {
            k: round(statistics.median(a / b for a, b in zip(seconds["generate"], v, strict=True)), 2)
            for k, v in seconds.items()
        },
    }
    report(result, args.out, load_before=before)


if __name__ == "__main__":
    main()
