"""Seeing video: what the encoder averages, where its tokens stand in the prompt, and who may use them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.helpers import byte_tokenizer, small_config
from vitron.config import VideoConfig, VitronConfig
from vitron.encoders.image import ImageEncoder
from vitron.encoders.projector import Projector
from vitron.encoders.region import make_region_encoder
from vitron.encoders.video import VideoEncoder, embed_clips, pool_clips
from vitron.encoders.video_projector import VideoProjector, load_video_projector, make_video_projector
from vitron.frames import sample_numbers
from vitron.language import make_language
from vitron.llm.core import LanguageModel
from vitron.llm.engine import SamplingParams
from vitron.model import Vitron
from vitron.prompt import PromptWriter, seen_frames, user_message
from vitron.tokens import token_id
from vitron.types import Clip, DrawnRegion, Message
from vitron.weights import Weights

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 255, (12, 40, 64, 3), dtype=np.uint8)
CLIP = Clip(frames=FRAMES)
LONG = Clip(frames=RNG.integers(0, 255, (50, 16, 16, 3), dtype=np.uint8), fps=25)
PICTURE = FRAMES[0]
BOX = DrawnRegion(kind="box", box=(0.1, 0.2, 0.4, 0.6), clip=0, frame=5)
PICTURES = Projector(feature_width=3, grid=2, merge=1, width=6)


def make_vitron(video: VideoConfig, *, knows_video: bool = True) -> Vitron:
    torch.manual_seed(0)
    config, tokenizer = replace(small_config(), video=video), byte_tokenizer()
    projector = make_video_projector(config).eval()
    torch.nn.init.normal_(projector.kind, std=0.02)
    return Vitron(
        config=config,
        image_encoder=ImageEncoder(config.clip).eval(),
        region_encoder=make_region_encoder(config).eval(),
        language=make_language(
            config, tokenizer, LanguageModel(config, tokenizer), video=projector if knows_video else None
        ),
    )


@pytest.fixture(scope="module")
def vitron() -> Vitron:
    return make_vitron(VideoConfig(max_frames=16))


def embeds(vitron: Vitron, parts: list[object]) -> torch.Tensor:
    messages = [user_message(parts)]  # type: ignore[arg-type]
    media = vitron.encode_media(messages)
    request = vitron.language.start(messages, media.images, media.regions, SamplingParams(), clip_features=media.clips)
    return request.inputs_embeds


# -- which frames ------------------------------------------------------------------------------------------------


def test_frames_are_spread_evenly_from_the_first_to_the_last() -> None:
    assert sample_numbers(range(10), 4) == (0, 3, 6, 9)
    assert sample_numbers(range(5), 8) == (0, 1, 2, 3, 4)
    assert sample_numbers((2, 4, 8, 16), 2) == (2, 16)
    for total in range(1, 60):
        for count in range(1, 20):
            picked = sample_numbers(range(total), count)
            assert len(picked) == min(total, count) == len(set(picked))
            assert list(picked) == sorted(picked)


def test_frames_to_keep_take_the_place_of_their_neighbours() -> None:
    assert sample_numbers(range(10), 4, keep=(4,)) == (0, 4, 6, 9)
    assert sample_numbers(range(100), 3, keep=(7, 8, 9)) == (7, 8, 9)
    with pytest.raises(ValueError, match="keep"):
        sample_numbers(range(10), 2, keep=(1, 2, 3))
    with pytest.raises(ValueError, match="keep"):
        sample_numbers(range(10), 4, keep=(10,))
    with pytest.raises(ValueError, match="numbers, count"):
        sample_numbers((), 4)


def test_what_is_drawn_on_is_always_seen_even_from_a_later_turn() -> None:
    turns = [
        user_message([LONG, "hello"]),
        Message(role="assistant", text="hi"),
        user_message(["what is", replace(BOX, frame=22)]),
    ]
    seen = seen_frames(turns, 4)
    assert len(seen) == 1 and len(seen[0]) == 4 and 22 in seen[0]


def test_regions_on_frames_and_clips_that_are_not_there_are_refused() -> None:
    with pytest.raises(ValueError, match=r"region\.frame: got 12, expected 0 to 11"):
        seen_frames([user_message([CLIP, "x", replace(BOX, frame=12)])], 16)
    with pytest.raises(ValueError, match=r"region\.clip: got 1"):
        seen_frames([user_message([CLIP, "x", replace(BOX, clip=1)])], 16)
    some = Clip(frames=FRAMES[:2], numbers=(3, 9))
    with pytest.raises(ValueError, match=r"region\.frame: got 5, expected one of \[3, 9\]"):
        seen_frames([user_message([some, "x", BOX])], 16)


def test_wrong_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="frames: got"):
        Clip(frames=FRAMES[0])
    with pytest.raises(ValueError, match="numbers: got"):
        Clip(frames=FRAMES[:2], numbers=(4, 4))
    with pytest.raises(ValueError, match="fps: got 0"):
        Clip(frames=FRAMES, fps=0)
    with pytest.raises(ValueError, match="frame_motion"):
        VideoConfig(frame_tokens=False, frame_motion=True)
    with pytest.raises(ValueError, match="frame_squares"):
        VideoConfig(frame_tokens=False, frame_squares=True)
    with pytest.raises(ValueError, match="max_frames, frame_grid"):
        VideoConfig(max_frames=0)


# -- the encoder -------------------------------------------------------------------------------------------------


def test_clips_are_averaged_over_time_and_frames_over_space() -> None:
    patches = torch.randn(5, 16, 3)
    means, frames = pool_clips(patches, [2, 3], VideoConfig())
    assert torch.allclose(means, torch.stack([patches[:2].mean(0), patches[2:].mean(0)]))
    assert torch.allclose(frames, patches.mean(1, keepdim=True))


def test_a_grid_keeps_the_quarters_of_a_frame_apart() -> None:
    grid = torch.arange(16.0).view(1, 16, 1)
    _, frames = pool_clips(grid, [1], VideoConfig(frame_grid=2))
    assert frames[0, :, 0].tolist() == [2.5, 4.5, 10.5, 12.5]  # rows first, as the patches


def test_without_frame_tokens_the_mean_alone_is_left_as_in_the_paper() -> None:
    means, frames = pool_clips(torch.randn(4, 16, 3), [4], VideoConfig(frame_tokens=False))
    assert means.shape == (1, 16, 3) and frames.shape == (4, 0, 3)
    projector = VideoProjector(VideoConfig(frame_tokens=False), feature_width=3, width=6)
    assert [name for name, _ in projector.named_parameters()] == ["kind"]
    assert projector(torch.zeros(1, 4, 3), frames, [4], PICTURES).shape == (4, 6)


def test_lengths_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="lengths"):
        pool_clips(torch.randn(4, 16, 3), [1, 2], VideoConfig())
    with pytest.raises(ValueError, match="lengths"):
        pool_clips(torch.randn(4, 16, 3), [4, 0], VideoConfig())
    projector = VideoProjector(VideoConfig(max_frames=2), feature_width=3, width=6)
    with pytest.raises(ValueError, match="at most 2 each"):
        projector(torch.zeros(1, 4, 3), torch.zeros(3, 1, 3), [3], PICTURES)


def test_a_clips_tokens_are_its_mean_and_then_its_frames_in_order() -> None:
    projector = VideoProjector(VideoConfig(max_frames=4), feature_width=3, width=6)
    means, frames = torch.randn(2, 4, 3), torch.randn(3, 1, 3)
    joined = projector(means, frames, [2, 1], PICTURES)
    own = projector.frame(frames)[:, 0]  # type: ignore[misc]
    projected = PICTURES(means)
    assert torch.allclose(joined[:4], projected[0]) and torch.allclose(joined[6:10], projected[1])
    assert torch.allclose(joined[4:6], own[:2] + size(own[:2]) * projector.number[:2])
    assert torch.allclose(joined[10], own[2] + size(own[2]) * projector.number[0])


def size(tokens: Tensor) -> Tensor:
    return tokens.square().mean(-1, keepdim=True).sqrt()


def test_frames_are_told_apart_however_large_a_trained_projector_writes() -> None:
    torch.manual_seed(0)
    config = VideoConfig(max_frames=4, frame_grid=2, frame_squares=True, frame_motion=True)
    pictures = Projector(feature_width=3, grid=4, merge=2, width=6)
    torch.nn.init.normal_(pictures.linear.weight, std=300.0)
    projector = VideoProjector(config, feature_width=3, width=6)
    projector.see_changes(pictures)
    still = torch.randn(1, 16, 3).expand(3, -1, -1)
    tokens = projector(*pool_clips(still, [3], config), [3], pictures)[4:].view(3, 4, 6)
    apart = (tokens[0] - tokens[2]).square().mean() / tokens.square().mean()
    assert 0.02 < apart < 1.0
    moving = torch.randn(3, 16, 3)
    told = projector(*pool_clips(moving, [3], config), [3], pictures)
    torch.nn.init.zeros_(projector.motion.weight)  # type: ignore[union-attr]
    unmoved = projector(*pool_clips(moving, [3], config), [3], pictures)
    assert 0.1 < ((told - unmoved).square().mean() / unmoved.square().mean()) < 10.0


def test_motion_says_what_changed_within_a_clip_and_nothing_of_one_that_stands_still() -> None:
    torch.manual_seed(0)
    projector = VideoProjector(VideoConfig(max_frames=4, frame_motion=True), feature_width=3, width=6)
    assert projector.motion is not None
    means, frames = torch.randn(2, 4, 3), torch.randn(4, 1, 3)
    untrained = projector(means, frames, [3, 1], PICTURES)
    torch.nn.init.normal_(projector.motion.weight)
    moved = projector(means, frames, [3, 1], PICTURES) - untrained
    changed = [(frames[1] - frames[0]) @ projector.motion.weight.T, (frames[2] - frames[1]) @ projector.motion.weight.T]
    assert torch.allclose(moved[5:7], torch.cat(changed), atol=1e-6)
    assert not moved[:5].any() and not moved[7:].any()  # both means, and what comes first in a clip
    still = frames[:1].expand(4, -1, -1)
    without = VideoProjector(VideoConfig(max_frames=4), feature_width=3, width=6)
    without.load_state_dict({name: value for name, value in projector.state_dict().items() if "motion" not in name})
    assert torch.equal(projector(means, still, [3, 1], PICTURES), without(means, still, [3, 1], PICTURES))


def test_frames_can_be_seen_as_pictures_are() -> None:
    torch.manual_seed(0)
    pictures = Projector(feature_width=3, grid=4, merge=2, width=6)
    config = VideoConfig(max_frames=4, frame_grid=2, frame_squares=True, frame_motion=True)
    projector = VideoProjector(config, feature_width=3, width=6)
    assert "frame" not in dict(projector.named_children())
    patches = torch.randn(3, 16, 3)
    means, frames = pool_clips(patches, [3], config)
    joined = projector(means, frames, [3], pictures)
    assert len(joined) == 4 + 3 * config.tokens_per_frame
    seen = pictures(patches)
    told = seen + size(seen) * (projector.number[:3, None] + projector.cell)
    assert torch.allclose(joined[4:], told.flatten(0, 1), atol=1e-6)
    torch.nn.init.normal_(projector.motion.weight)  # type: ignore[union-attr]
    moved = (projector(means, frames, [3], pictures) - joined)[8:12]
    change = (patches[1] - patches[0]).view(2, 2, 2, 2, 3).mean(dim=(1, 3)).view(4, 3)
    assert torch.allclose(moved, change @ projector.motion.weight.T, atol=1e-6)  # type: ignore[union-attr]


def test_neighbouring_frame_numbers_start_out_alike() -> None:
    numbers = torch.nn.functional.normalize(make_video_projector(small_config()).number.detach(), dim=-1)
    similar = numbers @ numbers.T
    assert similar[7, 8] > similar[7, 10] > similar[7, 14]
    assert similar[7, 8] < 0.999


def test_the_encoder_sees_the_frames_it_is_told(vitron: Vitron) -> None:
    encoder = VideoEncoder(vitron.image_encoder, vitron.config.video)
    some = Clip(frames=FRAMES[[2, 5, 9]], numbers=(2, 5, 9))
    assert torch.allclose(encoder.patches(some, (5, 9)), encoder.patches(CLIP, (5, 9)), atol=1e-5)
    features = encoder.pool(encoder.patches(CLIP, range(12)))
    assert features.mean.shape == (64, 32) and features.frames.shape == (12, 1, 32)


# -- the prompt --------------------------------------------------------------------------------------------------


def writer(video: VideoConfig) -> PromptWriter:
    return PromptWriter(tokenizer=byte_tokenizer(2), num_image_tokens=3, num_signal_tokens=2, video=video)


@pytest.mark.parametrize(
    ("video", "count"),
    [
        (VideoConfig(), 3 + 12),
        (VideoConfig(frame_tokens=False), 3),
        (VideoConfig(max_frames=4), 3 + 4),
        (VideoConfig(max_frames=4, frame_grid=2), 3 + 16),
    ],
)
def test_a_clip_takes_as_many_positions_as_it_has_tokens(video: VideoConfig, count: int) -> None:
    prompt = writer(video)
    ids = prompt.write([user_message([CLIP, "what happens?"])], answer=True).input_ids
    assert ids.count(token_id(prompt.tokenizer, "<video>")) == count


def test_pictures_come_before_clips_and_both_before_the_words() -> None:
    message = user_message(["compare", CLIP, PICTURE, "please"])
    assert message.text == "<image>\n<video>\ncompare please"
    assert (len(message.images), len(message.clips)) == (1, 1)


def test_a_region_on_a_clip_says_which_of_the_frames_seen_it_is_on() -> None:
    prompt = writer(VideoConfig(max_frames=4))
    ids = prompt.write([user_message([LONG, "what is", replace(BOX, frame=33), "here?"])], answer=True).input_ids
    text = prompt.tokenizer.decode(ids, spaces_between_special_tokens=False)
    assert "<region><region> (frame 2) here?" in text  # seen are 0, 16, 33 and 49
    picture = prompt.write([user_message([PICTURE, "what is", replace(BOX, clip=None)])], answer=True).input_ids
    assert "frame" not in prompt.tokenizer.decode(picture)


def test_clips_need_their_placeholder() -> None:
    with pytest.raises(ValueError, match=r"1 <video> for 0 clips"):
        writer(VideoConfig()).write([Message(role="user", text="<video>\nhello")], answer=True)
    with pytest.raises(ValueError, match=r"0 <video> for 1 clips"):
        writer(VideoConfig()).write([Message(role="user", text="hello", clips=(CLIP,))], answer=True)


# -- the assistant -----------------------------------------------------------------------------------------------


def test_answering_clips_together_equals_answering_them_alone(vitron: Vitron) -> None:
    conversations = [
        [user_message([CLIP, "what happens?"])],
        [user_message([LONG, PICTURE, "compare"])],
        [user_message([CLIP, LONG, "both", replace(BOX, clip=1, frame=30), "and", BOX])],
        [user_message(["hello"])],
        [user_message([CLIP, "x"]), Message(role="assistant", text="ok"), user_message(["go on", BOX])],
    ]
    params = SamplingParams(max_tokens=10)
    together = vitron.reply_batch(conversations, params=params)
    alone = [vitron.reply(conversation, params=params) for conversation in conversations]
    assert [reply.raw_text for reply in together] == [reply.raw_text for reply in alone]
    assert [reply.prompt_tokens for reply in together] == [reply.prompt_tokens for reply in alone]


def test_a_reply_says_which_frames_its_numbers_mean(vitron: Vitron) -> None:
    reply = vitron.reply([user_message([CLIP, LONG, "compare"])], params=SamplingParams(max_tokens=2))
    assert reply.seen_frames == (tuple(range(12)), sample_numbers(range(50), 16))
    assert vitron.reply([user_message(["hello"])], params=SamplingParams(max_tokens=2)).seen_frames == ()


def test_the_engine_answers_about_a_clip_as_transformers_generate_does(vitron: Vitron) -> None:
    messages = [user_message([CLIP, "describe", BOX])]
    media = vitron.encode_media(messages)
    request = vitron.language.start(
        messages, media.images, media.regions, SamplingParams(max_tokens=16), clip_features=media.clips
    )
    expected = vitron.language.model.llama.generate(
        inputs_embeds=request.inputs_embeds[None], max_new_tokens=16, do_sample=False
    )[0].tolist()
    assert vitron.language.engine.generate([request])[0].token_ids == expected


def test_frame_tokens_tell_a_clip_from_itself_backwards_and_the_mean_does_not(vitron: Vitron) -> None:
    back = Clip(frames=FRAMES[::-1].copy())
    assert not torch.allclose(embeds(vitron, [CLIP, "x"]), embeds(vitron, [back, "x"]), atol=1e-4)
    paper = make_vitron(VideoConfig(frame_tokens=False))
    assert torch.allclose(embeds(paper, [CLIP, "x"]), embeds(paper, [back, "x"]), atol=1e-4)


def test_a_still_clip_is_told_from_a_picture(vitron: Vitron) -> None:
    paper = make_vitron(VideoConfig(frame_tokens=False))
    still = Clip(frames=np.repeat(PICTURE[None], 3, axis=0))
    clip, picture = embeds(paper, [still, "x"]), embeds(paper, [PICTURE, "x"])
    assert clip.shape == picture.shape
    assert not torch.allclose(clip, picture, atol=1e-4)


def test_a_region_on_a_clip_shows_what_is_there_in_that_frame(vitron: Vitron) -> None:
    on_clip = vitron.encode_media([user_message([CLIP, "x", BOX])]).regions[0]
    picture = replace(BOX, clip=None)
    assert torch.allclose(on_clip, vitron.encode([user_message([FRAMES[5], "x", picture])])[1][0], atol=1e-5)
    other = vitron.encode_media([user_message([CLIP, "x", replace(BOX, frame=6)])]).regions[0]
    assert not torch.allclose(on_clip, other, atol=1e-4)


def test_prompts_about_different_clips_share_no_cached_prefix_beyond_the_system(vitron: Vitron) -> None:
    def key(clip: Clip) -> tuple[object, ...]:
        messages = [user_message([clip, "x"])]
        media = vitron.encode_media(messages)
        start = vitron.language.start
        found = start(messages, [], [], SamplingParams(), clip_features=media.clips).prefix_key
        assert found is not None
        return found

    changed = FRAMES.copy()
    changed[7] = 0
    one, two = key(CLIP), key(Clip(frames=changed))
    assert len(one) == len(two) and one != two
    assert key(CLIP) == one
    places = [i for i, item in enumerate(one) if isinstance(item, tuple)]
    assert all(one[i] != two[i] for i in places) and len({one[i] for i in places}) == 16 + 12


def test_weights_without_video_say_so() -> None:
    blind = make_vitron(VideoConfig(), knows_video=False)
    with pytest.raises(ValueError, match="these weights know no video"):
        blind.reply([user_message([CLIP, "what happens?"])])
    with pytest.raises(ValueError, match="these weights know no video"):
        blind.language.start([user_message([CLIP, "x"])], [], [], SamplingParams())
    assert blind.reply([user_message([PICTURE, "x"])], params=SamplingParams(max_tokens=2)).completion_tokens == 2


def test_the_video_part_is_found_in_weights_that_have_it(tmp_path: Path) -> None:
    config = small_config()
    assert load_video_projector(config, Weights(tmp_path)) is None
    made = make_video_projector(config)
    torch.nn.init.normal_(made.kind)
    Weights(tmp_path).save("video_projector", made)
    loaded = load_video_projector(config, Weights(tmp_path))
    assert loaded is not None and not loaded.training
    assert torch.allclose(loaded.kind, made.kind, atol=1e-3)


def test_old_weights_of_the_language_model_still_fit() -> None:
    config, tokenizer = small_config(), byte_tokenizer()
    assert not [name for name in LanguageModel(config, tokenizer).state_dict() if "video" in name]


def test_training_reaches_every_parameter_that_clips_use() -> None:
    torch.manual_seed(0)
    config, tokenizer = small_config(), byte_tokenizer()
    model, projector = LanguageModel(config, tokenizer), make_video_projector(config)
    clips = embed_clips(torch.randn(5, 64, 32), [2, 3], model.projector, projector)
    ids = torch.full((1, len(clips) + 3), model.video_id)
    ids[0, -3:] = torch.tensor([5, 6, 7])
    labels = torch.full_like(ids, -100)
    labels[0, -2:] = ids[0, -2:]
    learned = model(ids, labels, None, None, clips)
    torch.nn.functional.cross_entropy(learned.logits, learned.targets).backward()
    used = [*projector.named_parameters(), *model.projector.named_parameters()]
    used = [each for each in used if not each[0].startswith("field.")]  # another recipe trains that
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for _, parameter in used)


def test_a_clip_whose_tokens_do_not_fit_the_prompt_is_refused(vitron: Vitron) -> None:
    messages = [user_message([CLIP, "x"])]
    other = vitron.encode_media([user_message([LONG, "x"])]).clips
    with pytest.raises(ValueError, match="clips: 32 embeddings for 28 placeholder positions"):
        vitron.language.start(messages, [], [], SamplingParams(), clip_features=other)


def test_presets_say_how_clips_are_seen() -> None:
    from vitron.presets import PRESETS

    for make in PRESETS.values():
        config: VitronConfig = make()
        assert config.video.frame_tokens and config.video.max_frames >= 8
        longest = config.num_image_tokens + config.video.max_frames * config.video.tokens_per_frame
        assert longest < config.language.llama["max_position_embeddings"] / 2


def test_frames_seen_as_pictures_are_have_as_many_tokens() -> None:
    config = small_config()
    wrong = replace(config, video=VideoConfig(max_frames=4, frame_grid=3, frame_squares=True))
    with pytest.raises(ValueError, match=r"video\.frame_grid: got 3, expected a square of"):
        make_video_projector(wrong)
