"""Results as JSON: masks, pictures, invocations, and OpenAI's chat objects around an answer."""

from __future__ import annotations

import base64
import time
from typing import Any

from deployments.messages import Done
from deployments.schema_parts import MaskFormat
from vitron.media import encode_png
from vitron.regions import mask_to_png, mask_to_rle
from vitron.types import BoolMask, Detection, Image, Invocation


def detection(item: Detection, mask_format: MaskFormat) -> dict[str, Any]:
    """Describe one segmented object."""
    box = [round(float(value), 6) for value in item.box]
    return {"mask": mask(item.mask, mask_format), "box": box, "score": round(float(item.score), 6)}


def picture(image: Image) -> dict[str, str]:
    """Describe one picture as OpenAI does."""
    return {"b64_json": base64.b64encode(encode_png(image)).decode("ascii")}


def mask(area: BoolMask, mask_format: MaskFormat) -> Any:
    """Describe a mask."""
    if mask_format == "png":
        return base64.b64encode(mask_to_png(area)).decode("ascii")
    return mask_to_rle(area)


def invocation(asked: Invocation) -> dict[str, Any]:
    """Describe what the LLM asked of a specialist."""
    return {
        "module": asked.module.value,
        "instruction": asked.instruction,
        "regions": [
            {
                "label": region.label,
                "box": list(region.box),
                "span": None if region.span is None else list(region.span),
            }
            for region in asked.regions
        ],
    }


def usage(done: Done) -> dict[str, Any]:
    """Count the tokens of a reply as OpenAI does."""
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.completion_tokens,
        "total_tokens": done.prompt_tokens + done.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": done.cached_tokens},
    }


class ChatWriter:
    """Writes the objects of one chat answer; they share id, time and model."""

    def __init__(self, request_id: str, model: str) -> None:
        """Begin an answer."""
        self._head = {
            "id": f"chatcmpl-{request_id}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": None,
        }

    def completion(self, text: str, done: Done, vitron: dict[str, Any]) -> dict[str, Any]:
        """Write a whole answer."""
        message = {"role": "assistant", "content": text, "refusal": None, "vitron": vitron}
        choice = {
            "index": 0,
            "message": message,
            "finish_reason": done.finish_reason,
            "logprobs": None,
        }
        return {
            **self._head,
            "object": "chat.completion",
            "choices": [choice],
            "usage": usage(done),
        }

    def chunk(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        """Write one piece of a streamed answer."""
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": None}
        return {**self._head, "object": "chat.completion.chunk", "choices": [choice]}

    def usage_chunk(self, done: Done) -> dict[str, Any]:
        """Write the last piece, without choices, of a stream that asked for usage."""
        return {
            **self._head,
            "object": "chat.completion.chunk",
            "choices": [],
            "usage": usage(done),
        }
