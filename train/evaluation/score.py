"""From predictions to rows of the results table. Reads records and samples, never a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from train.data.shapes import oracle
from train.data.shapes.captions import VOCABULARY, names_exactly
from train.evaluation.cases import Case, Score, Scores, share
from train.evaluation.items import WRITTEN_TASKS, Item, expected_invocation
from train.evaluation.predict import Record
from train.evaluation.score_clips import image_to_video, video_generation
from train.evaluation.score_edits import image_editing, video_editing
from train.evaluation.score_tracks import TRACK_TASKS, sight, tracking
from train.evaluation.score_videos import video_grounding
from vitron.evaluation import captions, generation, grounding, reference_captions, segmentation, vqa
from vitron.evaluation.generation import ContentMatch
from vitron.evaluation.segmentation import Overlap
from vitron.evaluation.table import Row
from vitron.types import Module

_BY_KIND = ("vqa", "region_vqa", "rec", "video_qa", "image_editing", "video_editing")
_PROMPTS = {
    "segment_text": "text",
    "segment_mark": "mark",
    "segment_reference": "reference",
    "generate": "text",
    "generate_like": "like",
}


def cases(wanted: Sequence[Item], records: Mapping[str, Record]) -> list[Case]:
    """Pair the samples that were answered with their answers."""
    return [Case(item, item.sample(), records[item.key]) for item in wanted if item.key in records]


def scores(task: str, found: Sequence[Case]) -> Scores:
    """Return the metrics of `task`, over all cases and for each kind of prompt ("ciou/mark").

    What is written ("module", "invocation") is grouped by dialogue ("accuracy/segment_mark").
    """
    if task not in _SCORERS:
        raise ValueError(f"task: got {task!r}, expected one of {', '.join(_SCORERS)}")
    if not found:
        return {}
    result = _SCORERS[task](found)
    group = _dialogue if task in WRITTEN_TASKS else prompt_kind
    kinds = sorted({group(case) for case in found})
    for kind in kinds if len(kinds) > 1 else ():
        part = _SCORERS[task]([case for case in found if group(case) == kind])
        result |= {f"{metric}/{kind}": score for metric, score in part.items()}
    return {metric: score for metric, score in result.items() if score.n}


def rows(task: str, split: str, message: str, found: Scores, *, seed: int, weights: str) -> list[Row]:
    """Write scores as rows of the table."""
    return [
        Row(
            task=task,
            split=split,
            message=message,
            metric=metric,
            value=round(score.value, 4),
            n=score.n,
            seed=seed,
            weights=weights,
        )
        for metric, score in found.items()
    ]


def prompt_kind(case: Case) -> str:
    """Name what a case is grouped by: how it was prompted, or what was asked."""
    if case.item.task in TRACK_TASKS:
        return sight(case)
    asked = case.sample.target.get("kind")
    if case.item.task in _BY_KIND and isinstance(asked, str):
        return asked
    return _PROMPTS.get(case.item.kind, case.item.kind)


def _dialogue(case: Case) -> str:
    return case.item.kind


def case_overlap(case: Case) -> Overlap:
    """Compare all that was segmented with the target's mask."""
    target = np.asarray(case.sample.target["mask"], dtype=np.bool_)
    return segmentation.overlap(segmentation.union_of(case.record.decoded_masks()), target)


def case_iou(case: Case) -> float:
    """Return the IoU of the box that the answer names with the target's."""
    box = grounding.first_box(case.record.text)
    return grounding.box_iou(box, case.sample.target["box"]) if box else 0.0


def case_match(case: Case) -> ContentMatch:
    """Compare the first picture made, as the oracle reads it, with what was asked for."""
    reading = _reading(case)
    if reading is None:
        return ContentMatch(False, False, False, False)
    shown = [_attributes(thing) for thing in reading.objects]
    return generation.content_match(case.sample.target["required"], shown)


def _reading(case: Case) -> oracle.Reading | None:
    return oracle.read(case.record.decoded_images()[0]) if case.record.images else None


def _attributes(thing: oracle.ReadObject) -> dict[str, str]:
    return {"shape": thing.shape, "color": thing.color, "size": thing.size}


def _layout_right(case: Case, reading: oracle.Reading | None) -> bool:
    """Tell whether every place and relation that was asked for is kept."""
    target = case.sample.target
    if reading is None:
        return False
    placed = [(w, p) for w, p in zip(target["required"], target["positions"], strict=True) if p]
    shown = [(_attributes(thing), _cell(thing)) for thing in reading.objects]
    return all(
        any(cell == place and wanted.items() <= has.items() for has, cell in shown) for wanted, place in placed
    ) and all(oracle.relation_holds(reading, *relation) for relation in target["relations"])


def _cell(thing: oracle.ReadObject) -> str:
    """Name the cell of the 3x3 grid that holds the centre, as `position_word` does for scenes."""
    column = ("left", "", "right")[min(int(3 * thing.center[0]), 2)]
    row = ("top", "", "bottom")[min(int(3 * thing.center[1]), 2)]
    return f"{row} {column}".strip() or "center"


def _rec(found: Sequence[Case]) -> Scores:
    ious = [case_iou(case) for case in found]
    return {
        "acc_at_0_5": share([iou > 0.5 for iou in ious]),
        "mean_iou": Score(sum(ious) / len(ious), len(ious)),
    }


def _vqa(found: Sequence[Case]) -> Scores:
    right = [vqa.exact(c.record.text, str(c.sample.target["answer"])) for c in found]
    return {"accuracy": share(right)}


def _region_caption(found: Sequence[Case]) -> Scores:
    verdicts = []
    for case in found:
        named = captions.mentioned(case.sample.turns[-1].text, VOCABULARY)
        expected = {name: next(iter(values)) for name, values in named.items() if values}
        verdicts.append(captions.attributes_right(case.record.text, expected, VOCABULARY))
    result = {"all_attributes": share([all(v.values()) for v in verdicts])}
    for name in VOCABULARY:
        result[name] = share([v[name] for v in verdicts if name in v])
    return result | _words(found)


def _caption(found: Sequence[Case]) -> Scores:
    """Score whether exactly the objects of the picture are named, each with size, colour and shape; and the words."""
    right = [names_exactly(c.record.text, c.sample.target["required"]) for c in found]
    return {"all_objects": share(right), **_words(found)}


def _words(found: Sequence[Case]) -> Scores:
    """Compare captions with the world's own, of which each sample has one."""
    said, wanted = [c.record.text for c in found], [[c.sample.turns[-1].text] for c in found]
    scored = {"bleu_4": reference_captions.bleu(said, wanted).bleu_4}
    scored["rouge_l"] = float(np.mean(reference_captions.rouge_l(said, wanted)))
    if len(found) > 1:  # it weighs words by how few samples have them
        scored["cider_d"] = float(np.mean(reference_captions.cider_d(said, wanted)))
    return {name: Score(value, len(found)) for name, value in scored.items()}


def _segmentation(found: Sequence[Case]) -> Scores:
    overlaps = [case_overlap(case) for case in found]
    return {
        "ciou": Score(segmentation.ciou(overlaps), len(overlaps)),
        "giou": Score(segmentation.giou(overlaps), len(overlaps)),
    }


def _image_generation(found: Sequence[Case]) -> Scores:
    matches = [case_match(case) for case in found]
    result = {name: share([getattr(match, name) for match in matches]) for name in ContentMatch._fields}
    read = [(case, _reading(case)) for case in found]
    grounds = [(c.sample.target["background"], r) for c, r in read if c.sample.target["background"]]
    laid_out = [(c, r) for c, r in read if _asks_layout(c)]
    whole = [m.all_match and _layout_right(c, r) for m, (c, r) in zip(matches, read, strict=True)]
    result["all_and_layout_match"] = share(whole)
    if grounds:
        right = [reading is not None and reading.background == name for name, reading in grounds]
        result["background_match"] = share(right)
    if laid_out:
        result["layout_match"] = share([_layout_right(case, r) for case, r in laid_out])
    return result


def _asks_layout(case: Case) -> bool:
    return any(case.sample.target["positions"]) or bool(case.sample.target["relations"])


def _module(found: Sequence[Case]) -> Scores:
    right = []
    for case in found:
        expected = expected_invocation(case.sample)
        named = case.record.module
        right.append(named == (expected.module.value if expected else None))
    return {"accuracy": share(right)}


def _invocation(found: Sequence[Case]) -> Scores:
    """Score what is written, whether or not the specialist succeeds with it."""
    asked = [(c.record, e) for c in found if (e := expected_invocation(c.sample))]
    # A planned layout is one of many right ones; only what is to be found has a right box.
    found_boxes = [(r, e) for r, e in asked if e.regions and e.module is Module.IMAGE_SEGMENTATION]
    boxes = [(r.regions[0] if r.regions else None, e.regions[0].box) for r, e in found_boxes]
    result = {
        "parse_rate": share([r.module is not None for r, _ in asked]),
        "instruction_match": share([r.instruction == e.instruction for r, e in asked]),
    }
    if boxes:
        result["region_acc_at_0_5"] = share(
            [box is not None and grounding.box_iou(box, target) > 0.5 for box, target in boxes]
        )
    return result


_SCORERS: dict[str, Callable[[Sequence[Case]], Scores]] = {
    "rec": _rec,
    "vqa": _vqa,
    "region_vqa": _vqa,
    "region_caption": _region_caption,
    "segmentation": _segmentation,
    "image_generation": _image_generation,
    "video_generation": video_generation,
    "image_to_video": image_to_video,
    "image_editing": image_editing,
    "video_editing": video_editing,
    "caption": _caption,
    "video_qa": _vqa,
    "video_grounding": video_grounding,
    "track_text": tracking,
    "track_mark": tracking,
    "module": _module,
    "invocation": _invocation,
}
