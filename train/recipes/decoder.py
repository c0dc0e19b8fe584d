"""Step 1.3 of the paper: the signal embedding meets the specialists (B.1, after NExT-GPT)."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from train.recipe import Recipe
from train.recipes.language_data import Plan
from train.recipes.language_recipe import CLIP_INVOKING, INVOKING, Step, recipe_of
from train.recipes.language_steps import FIRST, TINY
from train.recipes.parts import Learns

INVOCATIONS = {
    "generate": 6,
    "generate_like": 4,
    "segment_text": 4,
    "segment_mark": 3,
    "segment_reference": 3,
    "image_edit": 4,
    **dict.fromkeys(CLIP_INVOKING, 1),
}
"""What carries a signal; in generation more has to be said by it."""


def decoder(preset: str) -> Recipe:
    """Return step 1.3: next tokens, distance to the text states, and the frozen specialists' own losses."""
    return recipe_of(
        preset,
        Step(
            name="decoder",
            about="step 1.3: signal head, signal tokens and output projections meet the frozen specialists",
            plan=Plan(
                single={**INVOCATIONS, "rec": 1, "chat": 1},
                packed={"vqa": 2, "region_caption": 1, "rec": 1},
                share=Fraction(1, 5),
                stream=3,
            ),
            learns=Learns(llm="tokens", front=False, signal_head=True, whole=0.5, front_whole=0.0),
            tiny=replace(TINY, steps=800),
            full=FIRST,
            checked=(*INVOKING, "vqa", "rec"),
            signals="specialists",
            signals_tiny="specialists",
        ),
    )
