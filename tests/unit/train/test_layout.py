"""How the media of a batch are laid out: in reading order, with every region on its own picture or frame."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.helpers import byte_tokenizer, small_config
from train.data.layout import lay_out, messages
from train.data.shapes import clip_dialogues, dialogues
from vitron.encoders.image import ImageEncoder
from vitron.encoders.region import make_region_encoder
from vitron.encoders.video import embed_clips
from vitron.encoders.video_projector import make_video_projector
from vitron.language import make_language
from vitron.llm.core import LanguageModel
from vitron.llm.engine import SamplingParams
from vitron.model import Vitron
from vitron.prompt import PromptWriter
from vitron.types import DrawnRegion, Message

SAMPLES = (
    dialogues.build("region_vqa", "train", 1),
    clip_dialogues.build("track_mark", "train", 2),
    dialogues.build("segment_reference", "train", 3),
    clip_dialogues.build("video_qa", "train", 4),
    dialogues.build("chat", "train", 5),
)


def test_pictures_come_first_and_frames_of_clips_after_them() -> None:
    layout = lay_out([messages(sample) for sample in SAMPLES], 16)
    assert layout.num_images == 3
    assert layout.lengths == (len(SAMPLES[1].clips[0]), len(SAMPLES[3].clips[0]))
    assert len(layout.pictures) == 3 + sum(layout.lengths)
    assert layout.pictures[0] is SAMPLES[0].images[0]
    assert np.array_equal(layout.pictures[3], SAMPLES[1].clips[0][0])
    assert np.array_equal(layout.pictures[-1], SAMPLES[3].clips[0][-1])


def test_regions_are_on_their_own_picture_or_frame() -> None:
    layout = lay_out([messages(sample) for sample in SAMPLES], 16)
    assert layout.owners == [0, 3 + SAMPLES[1].target["mark_frame"], 1]
    for mask, sample in zip(layout.masks, (SAMPLES[0], SAMPLES[1], SAMPLES[2]), strict=True):
        assert np.array_equal(mask, sample.marks[0][1])


def test_long_clips_are_sampled_and_the_marked_frame_is_kept() -> None:
    sample = clip_dialogues.build("track_mark", "train", 7, frames=16)
    layout = lay_out([messages(sample)], 4)
    assert layout.lengths == (4,)
    frame = sample.clips[0][sample.target["mark_frame"]]
    assert np.array_equal(layout.pictures[layout.owners[0]], frame)


def test_a_region_on_a_picture_that_is_not_there_is_refused() -> None:
    region = DrawnRegion(kind="point", points=((0.5, 0.5),), image=2)
    with pytest.raises(ValueError, match=r"region\.image: got 2"):
        lay_out([[Message(role="user", text="<region>", regions=(region,))]], 4)


def test_training_embeds_a_conversation_as_serving_does() -> None:
    torch.manual_seed(0)
    config, tokenizer = small_config(), byte_tokenizer()
    image, region = ImageEncoder(config.clip).eval(), make_region_encoder(config).eval()
    model, video = LanguageModel(config, tokenizer), make_video_projector(config).eval()
    torch.nn.init.normal_(video.kind, std=0.02)
    served = Vitron(
        config=config,
        image_encoder=image,
        region_encoder=region,
        language=make_language(config, tokenizer, model, video=video),
    )
    turns = messages(SAMPLES[1])
    layout = lay_out([turns], config.video.max_frames)
    features = image.encode(layout.pictures)
    with torch.no_grad():
        clips = embed_clips(features[layout.num_images :], layout.lengths, model.projector, video)
        weights, geometry = region.prepare(layout.masks)
        regions = region(features[layout.owners], weights, geometry)
        writer = PromptWriter(
            tokenizer=tokenizer,
            num_image_tokens=config.num_image_tokens,
            num_signal_tokens=config.signal.num_tokens,
            video=config.video,
        )
        ids = torch.tensor(writer.write(turns, answer=False).input_ids)
        mine = model.embed(ids, None, regions, clips)
    media = served.encode_media(turns[:1])
    theirs = served.language.start(
        turns[:1], media.images, media.regions, SamplingParams(), clip_features=media.clips
    ).inputs_embeds
    assert torch.allclose(mine[: len(theirs)], theirs, atol=1e-5)
