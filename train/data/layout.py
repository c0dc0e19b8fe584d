"""Conversations with pictures and clips -> what the encoders look at, in reading order, for a whole batch.

    layout = lay_out(conversations, config.video.max_frames)
    features = image_encoder(image_encoder.preprocess(layout.pictures))            # pictures, then frames of clips
    regions = region_encoder(features[layout.owners], *region_encoder.prepare(layout.masks))
    clips = embed_clips(features[layout.num_images :], layout.lengths, language.projector, video_projector)
    language(ids, labels, features[: layout.num_images], regions, clips)

Where there are no pictures, clips or regions, None takes the place of features, clips or regions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from train.data.sample import Sample
from vitron.prompt import seen_frames
from vitron.regions import to_mask
from vitron.tokens import IMAGE, REGION, VIDEO
from vitron.types import BoolMask, Clip, DrawnRegion, Image, Message


class Layout(NamedTuple):
    """The media of a batch.

    Attributes:
        pictures: all pictures, and after them the frames seen of all clips.
        num_images: how many of them are pictures.
        lengths: frames seen of each clip.
        owners: for each region, the place in `pictures` of what it is drawn on.
        masks: of each region, bool `[H, W]` of that picture.
    """

    pictures: list[Image]
    num_images: int
    lengths: tuple[int, ...]
    owners: list[int]
    masks: list[BoolMask]


def messages(sample: Sample) -> list[Message]:
    """Return a sample's conversation; media and regions belong to the first user turn that names them.

    Marks are on pictures where the sample has any, else on the frame `target["mark_frame"]` of a clip.
    """
    images, clips, marks = list(sample.images), list(sample.clips), list(sample.marks)
    on_clips = not images
    turns = []
    for turn in sample.turns:
        asked = turn.text if turn.role == "user" else ""
        turns.append(
            Message(
                role=turn.role,
                text=turn.text,
                learned=turn.learned,
                images=tuple(images.pop(0) for _ in range(asked.count(IMAGE))),
                clips=tuple(Clip(frames=clips.pop(0)) for _ in range(asked.count(VIDEO))),
                regions=tuple(_region(sample, *marks.pop(0), on_clips) for _ in range(asked.count(REGION))),
            )
        )
    return turns


def lay_out(conversations: Sequence[Sequence[Message]], max_frames: int) -> Layout:
    """Lay the media of several conversations out in reading order.

    Raises:
        ValueError: a region is on a picture, clip or frame that is not there.
    """
    pictures = [image for turns in conversations for message in turns for image in message.images]
    num_images, first = len(pictures), 0
    lengths: list[int] = []
    owners: list[int] = []
    for turns in conversations:
        clips, starts = [clip for message in turns for clip in message.clips], []
        seen = seen_frames(turns, max_frames)
        for clip, numbers in zip(clips, seen, strict=True):
            starts.append(len(pictures))
            pictures += [clip.frames[clip.numbers.index(number)] for number in numbers]
            lengths.append(len(numbers))
        count = sum(len(message.images) for message in turns)
        for region in _regions(turns):
            if region.clip is not None:
                owners.append(starts[region.clip] + seen[region.clip].index(region.frame))
            elif 0 <= region.image < count:
                owners.append(first + region.image)
            else:
                raise ValueError(f"region.image: got {region.image}, expected the index of one of {count} pictures")
        first += count
    drawn = [region for turns in conversations for region in _regions(turns)]
    masks = [to_mask(region, *pictures[owner].shape[:2]) for region, owner in zip(drawn, owners, strict=True)]
    return Layout(pictures, num_images, tuple(lengths), owners, masks)


def _regions(turns: Sequence[Message]) -> list[DrawnRegion]:
    return [region for message in turns for region in message.regions]


def _region(sample: Sample, index: int, mask: BoolMask, on_clip: bool) -> DrawnRegion:
    if not on_clip:
        return DrawnRegion(kind="mask", mask=mask, image=index)
    return DrawnRegion(kind="mask", mask=mask, clip=index, frame=int(sample.target["mark_frame"]))
