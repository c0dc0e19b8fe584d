"""Train the tiny preset's two tokenizers on Shapes text: one for CLIP's text tower, one for the LLM.

Both are byte-level BPE, so that any text can be encoded, and nearly every word of the Shapes world is one token.
Numbers with two decimals are single tokens: a box costs nine tokens, and a coordinate's embedding can be
initialised from its value.

Run: python -m train.recipes.tokenizers clip --out vitron/assets/tiny/clip_tokenizer
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from train.data.shapes import captions
from train.data.shapes.scene import scene_at
from vitron.presets.tiny import TEXT_TOKENS
from vitron.prompt import SYSTEM
from vitron.tokens import add_tokens

INSTRUCTIONS = (
    "another one like it", "one more of the same", "the same object again", "the marked object", "this one",
    "that object", "the same colour as the other", "something similar to the first",
)  # fmt: skip
"""Words of instructions that no caption holds; each is seen often enough to become a token."""
CLIP_BOS, CLIP_EOS = "<|startoftext|>", "<|endoftext|>"
LLM_BOS, LLM_EOS, LLM_UNK = "<s>", "</s>", "<unk>"
WORDS = Regex(r", (?!\S)| ?[A-Za-z]+|[0-9]| ?[^\sA-Za-z0-9]+|\s+")


COORDINATE = re.compile(r"[01]\.\d\d")


def coordinate_words() -> list[str]:
    """Return "0.00" to "1.00": the spellings of coordinates."""
    return [f"{value / 100:.2f}" for value in range(101)]


def train_bpe(texts: Iterable[str], vocab_size: int, special: list[str], lowercase: bool) -> Tokenizer:
    """Train a byte-level BPE whose first ids are `special`."""
    tokenizer = Tokenizer(models.BPE())
    if lowercase:
        tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(WORDS, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=2,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def caption_texts(count: int) -> Iterator[str]:
    """Yield captions and descriptions of training scenes."""
    for index in range(count):
        scene = scene_at("train", index)
        rng = np.random.default_rng(index)
        yield captions.caption(scene, rng)
        yield captions.canonical_caption(scene)
        yield INSTRUCTIONS[index % len(INSTRUCTIONS)]


def dialogue_texts(count: int) -> Iterator[str]:
    """Yield the turns of training dialogues of every kind."""
    from train.data.shapes.dialogues import TASKS, build

    for index in range(count):
        if index % 10 == 0:
            yield f"{SYSTEM} USER: ASSISTANT:"
        for turn in build(TASKS[index % len(TASKS)], "train", index).turns:
            # Coordinates become tokens of their own, so what surrounds them must be seen without them.
            yield from COORDINATE.split(f" {turn.text}")


def clip_tokenizer(count: int = 20_000) -> PreTrainedTokenizerFast:
    """Return CLIP's tokenizer: lower-case, framed by start and end, padded with end (as OpenAI's)."""
    tokenizer = train_bpe(caption_texts(count), 640, [CLIP_BOS, CLIP_EOS], lowercase=True)
    tokenizer.post_processor = TemplateProcessing(
        single=f"{CLIP_BOS} $A {CLIP_EOS}", special_tokens=[(CLIP_BOS, 0), (CLIP_EOS, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=CLIP_BOS,
        eos_token=CLIP_EOS,
        pad_token=CLIP_EOS,
        model_max_length=TEXT_TOKENS,
    )


def llm_tokenizer(num_signal: int, count: int = 30_000) -> PreTrainedTokenizerFast:
    """Return the LLM's tokenizer, with coordinates, placeholders and signal tokens."""
    tokenizer = train_bpe(dialogue_texts(count), 1400, [LLM_UNK, LLM_BOS, LLM_EOS], lowercase=False)
    tokenizer.add_tokens([AddedToken(word, normalized=False, special=False) for word in coordinate_words()])
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=LLM_UNK,
        bos_token=LLM_BOS,
        eos_token=LLM_EOS,
        pad_token=LLM_UNK,
        clean_up_tokenization_spaces=False,
    )
    add_tokens(wrapped, num_signal)
    return wrapped


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(prog="python -m train.recipes.tokenizers", description=__doc__)
    made.add_argument("which", choices=("clip", "llm"))
    made.add_argument("--out", type=Path, required=True, help="folder that is written")
    made.add_argument("--signal-tokens", type=int, default=8, help="of the LLM's tokenizer (default: 8)")
    return made


def main() -> None:
    """Write one tokenizer to a folder."""
    args = parser().parse_args()
    made = clip_tokenizer() if args.which == "clip" else llm_tokenizer(args.signal_tokens)
    made.save_pretrained(args.out)
    print(f"{args.which} tokenizer: {len(made)} tokens -> {args.out}")


if __name__ == "__main__":
    main()
