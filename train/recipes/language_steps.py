"""Steps 1.1, 1.2, 2.1, 2.2 and 2.3 of the paper: what the LLM learns from conversations alone.

The full-size numbers are the paper's (Appendix C) where it gives them; it states hours, not steps. Its data sets are
named with each step: `--set data=...` mixes them in place of Shapes.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from train.recipe import Recipe
from train.recipes.language_data import Plan
from train.recipes.language_recipe import CLIP_INVOKING, INVOKING, Step, recipe_of
from train.recipes.parts import Learns
from train.settings import Settings

TINY = Settings(steps=600, batch=30, micro_batch=15, lr=2e-3, muon_lr=0.015, warmup=60, ema=0.998, validate_steps=300)
TINY_LATER = replace(TINY, steps=1100, lr=1.2e-3, muon_lr=0.009)
"""The later steps refine: at the first ones' peak they would undo a part of what was learned."""
FIRST = Settings(
    steps=5000,
    batch=128,
    micro_batch=8,
    lr=3e-4,
    warmup=150,
    floor=0.0,
    betas=(0.9, 0.999),
    weight_decay=0.0,
    loader_workers=4,
    validate_steps=1000,
)
SECOND = replace(FIRST, batch=90, micro_batch=9, lr=1e-5)
LORA = Learns(llm="adapters", front=True, signal_head=False)
"""LoRA in the LLM, and the linear layers behind the encoders."""
KEPT = {
    **dict.fromkeys(INVOKING, 2),
    **dict.fromkeys(CLIP_INVOKING, 1),
    "follow_up": 1,
    "video_follow_up": 1,
    "session": 2,
    "unfamiliar": 2,
    "chat": 1,
}
"""What later steps repeat, so that nothing is forgotten."""


def alignment(preset: str) -> Recipe:
    """Return step 1.1: captions of pictures, clips and regions (CC3M, WebVid, RefCOCO) behind a frozen LLM."""
    return recipe_of(
        preset,
        Step(
            name="alignment",
            about="step 1.1: captions of images, videos and regions align the encoders with the LLM",
            plan=Plan(
                single={"caption": 1, "region_caption": 1, "video_caption": 2},
                packed={"caption": 1, "region_caption": 3},
                share=Fraction(1, 2),
                stream=1,
            ),
            learns=Learns(llm="nothing", front=True, signal_head=False),
            tiny=TINY,
            full=FIRST,
            checked=("caption", "region_caption", "video_caption"),
            own=("caption", "region_caption", "video_caption"),
            signals_tiny="no",
        ),
    )


def invocation(preset: str) -> Recipe:
    """Return step 1.2: the input forms of Table 14, beside some understanding."""
    return recipe_of(
        preset,
        Step(
            name="invocation",
            about="step 1.2: requests of all forms end in the right invocation",
            plan=Plan(
                single={
                    "generate": 4,
                    "generate_like": 4,
                    "segment_text": 4,
                    "segment_mark": 3,
                    "segment_reference": 3,
                    "image_edit": 5,
                    **dict.fromkeys(CLIP_INVOKING, 2),
                    "follow_up": 2,
                    "video_follow_up": 2,
                    "unfamiliar": 2,
                    "chat": 2,
                    "chat_picture": 1,
                },
                packed={"caption": 1, "region_caption": 2, "vqa": 3, "vqa_compare": 6, "region_vqa": 1, "rec": 2},
                share=Fraction(1, 3),
                stream=2,
            ),
            learns=Learns(llm="adapters", front=False, signal_head=False),
            tiny=replace(TINY, steps=900),
            full=replace(FIRST, steps=1300),
            checked=(*INVOKING, *CLIP_INVOKING, "chat", "vqa", "region_caption"),
            own=(*INVOKING, *CLIP_INVOKING, "chat_picture"),
            signals_tiny="distance",
        ),
    )


def image_grounding(preset: str) -> Recipe:
    """Return step 2.1: boxes for expressions, grounded and regional captions (Flickr30K Entities, RefCOCO/+/g)."""
    return recipe_of(
        preset,
        Step(
            name="image-grounding",
            about="step 2.1: boxes for expressions and captions of images",
            plan=Plan(
                single={"rec": 4, **KEPT},
                packed={
                    "rec": 4,
                    "grounded_caption": 2,
                    "region_caption": 2,
                    "vqa": 3,
                    "vqa_compare": 3,
                    "region_vqa": 1,
                    "caption": 1,
                },
                share=Fraction(1, 3),
                stream=4,
            ),
            learns=LORA,
            tiny=TINY_LATER,
            full=SECOND,
            checked=("rec", "grounded_caption", "region_caption", "vqa", *INVOKING),
            own=("rec", "grounded_caption", "region_caption"),
        ),
    )


def video_grounding(preset: str) -> Recipe:
    """Return step 2.2: tracks `(box | start, end)` (LaSOT, GOT-10k, DanceTrack, MOT16)."""
    return recipe_of(
        preset,
        Step(
            name="video-grounding",
            about="step 2.2: boxes with frame spans for expressions and captions of videos",
            plan=Plan(
                single={
                    "video_grounding": 3,
                    **KEPT,
                    "video_generate": 3,
                    "image_to_video": 4,
                    "image_edit": 3,
                    "video_edit": 3,
                    "rec": 1,
                },
                packed={"vqa": 3, "vqa_compare": 2, "rec": 2, "region_caption": 2, "caption": 1},
                share=Fraction(1, 6),
                clips={
                    "video_grounding": 3,
                    "video_place": 3,
                    "video_grounded_caption": 1,
                    "video_qa": 3,
                    "video_motion": 2,
                    "video_caption": 1,
                },
                clip_share=Fraction(1, 2),
                stream=5,
            ),
            learns=LORA,
            tiny=replace(TINY_LATER, steps=900),
            full=replace(SECOND, steps=3000),
            checked=("video_grounding", "video_grounded_caption", "video_qa", "video_caption", "rec", "vqa", *INVOKING),
            own=("video_grounding", "video_grounded_caption"),
        ),
    )


def grounded_qa(preset: str) -> Recipe:
    """Return step 2.3: locate what a question is about, then answer (the grounding data sets with questions)."""
    return recipe_of(
        preset,
        Step(
            name="grounded-qa",
            about="step 2.3: questions on images and videos are answered by what was located first",
            plan=Plan(
                single={
                    **KEPT,
                    "grounded_vqa": 2,
                    "grounded_video_qa": 2,
                    # Plans of clips and layouts of pictures want the most practice, and requests in words cost little;
                    # in sessions little practice left the words unheard, and seldom tracks were taken for other things.
                    "video_generate": 50,
                    "image_to_video": 26,
                    "generate": 70,
                    "generate_like": 60,
                    "image_edit": 36,
                    "video_edit": 28,
                    "follow_up": 8,
                    "video_follow_up": 8,
                    "session": 115,
                    "unfamiliar": 24,
                    "segment_text": 22,
                    "segment_mark": 17,
                    "segment_reference": 5,
                    "track_text": 16,
                    "track_mark": 12,
                    "rec": 5,
                    "region_caption": 3,
                    "caption": 2,
                    "chat": 8,
                },
                packed={
                    "grounded_vqa": 3,
                    "vqa": 7,
                    "vqa_compare": 5,
                    "region_vqa": 3,
                    "rec": 4,
                    "region_caption": 9,
                    "caption": 3,
                },
                share=Fraction(3, 20),
                clips={
                    "grounded_video_qa": 2,
                    "video_qa": 6,
                    # The direction of each mover is asked once a clip at most, so this is the most there is.
                    "video_motion": 8,
                    "video_place": 1,
                    "video_grounding": 3,
                    "video_caption": 3,
                },
                clip_share=Fraction(1, 5),
                stream=6,
            ),
            learns=LORA,
            tiny=TINY_LATER,
            full=replace(SECOND, steps=3000),
            checked=("grounded_vqa", "grounded_video_qa", "vqa", "video_qa", "region_vqa", "rec", *INVOKING),
            own=("grounded_vqa", "grounded_video_qa", "vqa", "video_qa"),
        ),
    )
