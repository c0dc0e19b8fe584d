"""A chat request's messages to the conversation the model reads, and the pictures and videos in it."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from deployments.args import AppArgs
from deployments.conversation_media import MediaReader, StoredPart, TurnMedia
from deployments.errors import ApiError
from deployments.media_reader import NamedClip
from deployments.messages import ChatCall, Sampling
from deployments.schema import ChatMessage, ChatRequest
from deployments.schema_parts import FilePart, ImagePart, RegionField, RegionPart, TextPart, VideoPart
from vitron.presets import preset
from vitron.prompt import carry_produced, seen_frames, user_message
from vitron.types import Clip, DrawnRegion, Image, Message, Module


class Conversation(NamedTuple):
    """What a chat request asks, and its pictures and clips in order."""

    call: ChatCall
    images: list[Image]
    clips: list[NamedClip]


class _Turn(NamedTuple):
    role: str
    parts: list[tuple[str, object]]
    """Each part with its place in the request, for error messages."""


async def read_conversation(
    request: ChatRequest,
    args: AppArgs,
    media: MediaReader,
    owner: str,
    request_id: str,
    *,
    required: Module | None = None,
) -> Conversation:
    """Check a chat request against the limits, read its media, and compose the conversation.

    Where the route says what is to be done, `required` is what the reply invokes in any case.
    """
    check_limits(request, args)
    turns = _merged(request.messages)
    late = [(f"vitron.regions[{place}]", field) for place, field in enumerate(request.vitron.regions)]
    parts = [each for turn in turns for each in turn.parts]
    fields = [(f"{at}.region", part.region) for at, part in parts if isinstance(part, RegionPart)]
    found = await media.read(owner, parts, [*fields, *late])
    messages = _compose(turns, found, late)
    call = ChatCall(
        request_id=request_id,
        messages=tuple(dataclasses.replace(message, images=(), clips=()) for message in messages),
        images_per_message=tuple(len(message.images) for message in messages),
        clips_per_message=tuple(len(message.clips) for message in messages),
        seen_frames=_seen(messages, args),
        sampling=_sampling(request, args),
        message=request.vitron.message or args.message,
        options=request.vitron.options,
        required=required,
    )
    return Conversation(call, found.images, found.clips)


def check_limits(request: ChatRequest, args: AppArgs) -> None:
    """Raise if a chat is larger than this server takes; nothing of it is read or fetched for that."""
    limits = args.limits
    parts = [part for message in request.messages for _, part in _parts(0, message)]

    def count(*kinds: type) -> int:
        return sum(isinstance(part, kinds) for part in parts)

    made = [message.vitron for message in request.messages if message.vitron is not None]
    counts = {
        "messages": (len(request.messages), limits.max_messages),
        "messages: pictures": (count(ImagePart) + sum(len(each.images) for each in made), limits.max_images),
        "messages: videos": (count(VideoPart) + sum(len(each.videos) for each in made), limits.max_videos),
        "messages: files": (count(FilePart), limits.max_images + limits.max_videos),
        "messages: characters": (
            sum(len(part.text) for part in parts if isinstance(part, TextPart)),
            limits.max_text_chars,
        ),
        "messages: regions": (count(RegionPart) + len(request.vitron.regions), limits.max_regions),
        "max_tokens": (
            request.max_completion_tokens or request.max_tokens or 1,
            limits.max_tokens,
        ),
    }
    for name, (number, most) in counts.items():
        if number > most:
            param = name.partition(":")[0]
            raise ApiError(400, f"{name}: got {number}, expected at most {most}", param=param)


def _parts(index: int, message: ChatMessage) -> list[tuple[str, object]]:
    at = f"messages[{index}].content"
    if message.content is None or isinstance(message.content, str):
        return [(at, TextPart(type="text", text=message.content or ""))]
    return [(f"{at}[{place}]", part) for place, part in enumerate(message.content)]


def _made(index: int, message: ChatMessage) -> Iterator[tuple[str, StoredPart]]:
    """What an assistant's message says that it made."""
    if message.vitron is None:
        return
    for name, kind in (("images", "image"), ("videos", "video")):
        for place, medium in enumerate(getattr(message.vitron, name)):
            at = f"messages[{index}].vitron.{name}[{place}].id"
            yield at, StoredPart(kind, medium)


def _merged(messages: Sequence[ChatMessage]) -> list[_Turn]:
    """Join neighbours of one role: the model's turns alternate, while clients may send several in a row."""
    turns: list[_Turn] = []
    for index, message in enumerate(messages):
        role = "system" if message.role == "developer" else message.role
        if role == "system" and any(turn.role != "system" for turn in turns):
            raise ApiError(
                400,
                f"messages[{index}].role: got {message.role!r} after other messages, expected it first",
                param=f"messages[{index}].role",
            )
        parts = [*_parts(index, message), *_made(index, message)]
        if turns and turns[-1].role == role:
            newline = TextPart(type="text", text="\n")
            turns[-1].parts.extend([(parts[0][0], newline), *parts])
        else:
            turns.append(_Turn(role, parts))
    spoken = [turn.role for turn in turns if turn.role != "system"]
    if not spoken or spoken[0] != "user" or spoken[-1] != "user":
        raise ApiError(
            400,
            f"messages: expected the first and the last turn to be the user's (got {', '.join(spoken) or 'none'})",
            param="messages",
        )
    return turns


def _compose(turns: list[_Turn], found: TurnMedia, late: list[tuple[str, RegionField]]) -> list[Message]:
    messages = []
    for turn in turns:
        pieces = [_piece(at, part, found) for at, part in turn.parts]
        if turn is turns[-1]:
            pieces += [_drawn(at, field, found) for at, field in late]
        if turn.role == "user":
            messages.append(user_message(pieces))
        else:
            text = "".join(piece for piece in pieces if isinstance(piece, str))
            clips = tuple(piece for piece in pieces if isinstance(piece, Clip))
            images = tuple(piece for piece in pieces if not isinstance(piece, str | Clip | DrawnRegion))
            messages.append(Message(role=turn.role, text=text, images=images, clips=clips))  # type: ignore[arg-type]
    return carry_produced(messages)


def _piece(at: str, part: object, found: TurnMedia) -> str | Image | Clip | DrawnRegion:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, RegionPart):
        return _drawn(f"{at}.region", part.region, found)
    medium = found.by_place[at]
    return medium.clip if isinstance(medium, NamedClip) else medium


def _drawn(at: str, field: RegionField, found: TurnMedia) -> DrawnRegion:
    on, index, count = ("image", field.image, len(found.images))
    if field.video is not None:
        on, index, count = ("video", field.video, len(found.clips))
    if index >= count:
        raise ApiError(
            400,
            f"{at}.{on}: got {index}, expected the index of one of {count} {'videos' if on == 'video' else 'pictures'}",
            param=f"{at}.{on}",
        )
    try:
        return field.drawn()
    except ValueError as error:
        raise ApiError(400, f"{at}.{error}", param=at) from error


def _seen(messages: Sequence[Message], args: AppArgs) -> tuple[tuple[int, ...], ...]:
    try:
        return tuple(seen_frames(messages, preset(args.preset).video.max_frames))
    except ValueError as error:
        raise ApiError(400, f"messages: regions: {error}", param="messages") from error


def _sampling(request: ChatRequest, args: AppArgs) -> Sampling:
    asked = request.max_completion_tokens or request.max_tokens
    return Sampling(
        max_tokens=asked or min(args.limits.default_tokens, args.limits.max_tokens),
        temperature=request.temperature or 0.0,
        top_p=1.0 if request.top_p is None else request.top_p,
        # Drawn once, so that a retry gives the same reply and the next request another one.
        seed=secrets.randbits(62) if request.seed is None else request.seed,
        stop=request.stop_words,
    )
