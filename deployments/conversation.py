"""A chat request's messages to the conversation the model reads, and the pictures in it."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from deployments.args import AppArgs
from deployments.errors import ApiError
from deployments.media_fetch import MediaFetcher
from deployments.messages import ChatCall, Sampling
from deployments.schema import ChatMessage, ChatRequest, ImagePart, RegionField, TextPart
from vitron.media import ImageLimits, MediaError, decode_image, parse_data_url
from vitron.prompt import user_message
from vitron.types import DrawnRegion, Image, Message


class Conversation(NamedTuple):
    """What a chat request asks, and its pictures in order."""

    call: ChatCall
    images: list[Image]


class PictureReader:
    """Pictures from URLs: data URLs are decoded, others fetched; both bounded."""

    def __init__(self, args: AppArgs, fetcher: MediaFetcher) -> None:
        """Keep the limits."""
        limits = args.limits
        self._fetcher = fetcher
        self._limits = ImageLimits(max_bytes=limits.max_image_bytes, max_pixels=limits.max_image_pixels)

    async def read_url(self, url: str, param: str) -> Image:
        """Return the picture at `url`; errors name the field `param`."""
        try:
            if url[:5].lower() == "data:":
                return await asyncio.to_thread(self._from_data_url, url)
            data = await self._fetcher.fetch(url)
            return await asyncio.to_thread(decode_image, data, self._limits)
        except MediaError as error:
            raise ApiError(error.status, error.message, param=param, code=error.code) from error
        except ApiError as error:
            error.param = param
            raise

    async def read_bytes(self, data: bytes, param: str) -> Image:
        """Return the picture encoded in `data`; errors name the field `param`."""
        try:
            return await asyncio.to_thread(decode_image, data, self._limits)
        except MediaError as error:
            raise ApiError(error.status, error.message, param=param, code=error.code) from error

    def _from_data_url(self, url: str) -> Image:
        return decode_image(parse_data_url(url, self._limits).data, self._limits)


async def read_conversation(
    request: ChatRequest, args: AppArgs, pictures: PictureReader, request_id: str
) -> Conversation:
    """Check a chat request against the limits, read its pictures, and compose the conversation."""
    _check_limits(request, args)
    turns = _merged(request.messages)
    urls = [(at, part.image_url.url) for turn in turns for at, part in turn.parts if isinstance(part, ImagePart)]
    images = await asyncio.gather(*[pictures.read_url(url, at) for at, url in urls])
    messages, counts = _compose(turns, images, request.vitron.regions)
    call = ChatCall(
        request_id=request_id,
        messages=tuple(messages),
        images_per_message=tuple(counts),
        sampling=_sampling(request, args),
        message=request.vitron.message or args.message,
        options=request.vitron.options,
    )
    return Conversation(call, list(images))


class _Turn(NamedTuple):
    role: str
    parts: list[tuple[str, object]]
    """Each part with its place in the request, for error messages."""


def _check_limits(request: ChatRequest, args: AppArgs) -> None:
    limits = args.limits
    parts = [part for message in request.messages for _, part in _parts(0, message)]
    counts = {
        "messages": (len(request.messages), limits.max_messages),
        "messages: pictures": (sum(map(_shows, parts)), limits.max_images),
        "messages: characters": (
            sum(len(part.text) for part in parts if isinstance(part, TextPart)),
            limits.max_text_chars,
        ),
        "messages: regions": (
            sum(getattr(part, "type", "") == "region" for part in parts) + len(request.vitron.regions),
            limits.max_regions,
        ),
        "max_tokens": (
            request.max_completion_tokens or request.max_tokens or 1,
            limits.max_tokens,
        ),
    }
    for name, (count, most) in counts.items():
        if count > most:
            param = name.partition(":")[0]
            raise ApiError(400, f"{name}: got {count}, expected at most {most}", param=param)


def _parts(index: int, message: ChatMessage) -> list[tuple[str, object]]:
    at = f"messages[{index}].content"
    if message.content is None or isinstance(message.content, str):
        return [(at, TextPart(type="text", text=message.content or ""))]
    return [(f"{at}[{place}]", part) for place, part in enumerate(message.content)]


def _shows(part: object) -> bool:
    return isinstance(part, ImagePart)


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
        parts = _parts(index, message)
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


def _compose(
    turns: list[_Turn], images: list[Image], late_regions: list[RegionField]
) -> tuple[list[Message], list[int]]:
    messages, counts, left = [], [], iter(images)
    for turn in turns:
        pieces = [_piece(at, part, left, len(images)) for at, part in turn.parts]
        if turn is turns[-1]:
            pieces += [
                _drawn(f"vitron.regions[{place}]", field, len(images)) for place, field in enumerate(late_regions)
            ]
        if turn.role == "user":
            message = user_message(pieces)
            counts.append(len(message.images))
            messages.append(dataclasses.replace(message, images=()))
        else:
            text = "".join(piece for piece in pieces if isinstance(piece, str))
            messages.append(Message(role=turn.role, text=text))  # type: ignore[arg-type]
            counts.append(0)
    return messages, counts


def _piece(at: str, part: object, images: object, count: int) -> str | Image | DrawnRegion:
    if isinstance(part, TextPart):
        return part.text
    if isinstance(part, ImagePart):
        return next(images)  # type: ignore[call-overload]
    return _drawn(f"{at}.region", part.region, count)  # type: ignore[attr-defined]


def _drawn(at: str, field: RegionField, count: int) -> DrawnRegion:
    if field.image >= count:
        raise ApiError(
            400,
            f"{at}.image: got {field.image}, expected the index of one of {count} pictures",
            param=f"{at}.image",
        )
    try:
        return field.drawn()
    except ValueError as error:
        raise ApiError(400, f"{at}.{error}", param=at) from error


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
