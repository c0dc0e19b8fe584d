"""Step 3 of the paper: the shared half of the signal embedding forgets the task (§4.3, B.3).

Total loss: L_syn + sum of L_k, where L_k are the next tokens, the distances and the specialists' own losses.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from train.recipe import Recipe
from train.recipes.decoder import INVOCATIONS
from train.recipes.language_data import Plan
from train.recipes.language_recipe import INVOKING, Step, recipe_of
from train.recipes.language_steps import SECOND, TINY
from train.recipes.parts import Learns

_STEP = Step(
    name="synergy",
    about="step 3: the shared half of the signal unlearns the task, beside all task losses",
    plan=Plan(
        single=INVOCATIONS,
        packed={"vqa": 3, "rec": 2, "region_caption": 1, "grounded_vqa": 1},
        share=Fraction(2, 15),
        clips={"video_qa": 2, "video_grounding": 1, "grounded_video_qa": 1},
        clip_share=Fraction(1, 15),
        stream=7,
    ),
    learns=Learns(llm="adapters", front=False, signal_head=True, front_whole=0.0),
    # Neither side of the game has momentum: with it they circle each other (see `vitron.llm.synergy`).
    tiny=replace(TINY, steps=450, lr=4e-4, muon_lr=0.0, betas=(0.0, 0.98)),
    full=replace(SECOND, steps=2000, batch=128, micro_batch=8, betas=(0.0, 0.999)),
    checked=(*INVOKING, "vqa", "rec"),
    signals="specialists",
    signals_tiny="specialists",
    adversary="full",
)


def synergy(preset: str) -> Recipe:
    """Return step 3."""
    return recipe_of(preset, _STEP)


def synergy_off(preset: str) -> Recipe:
    """Return the same run without the adversary, for the ablation: the discriminator only watches.

    `python -m train train.recipes.synergy:synergy_off`
    """
    off = replace(_STEP, name="synergy-off", about="step 3 without the adversary", adversary="watches")
    return recipe_of(preset, off)
