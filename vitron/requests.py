"""How the prompt of an endpoint is put to the assistant.

An endpoint already says what is to be made; the assistant is only asked in words. A prompt that does not ask by
itself ("a red circle moves up") is put into the words that the assistant is trained on.
"""

from __future__ import annotations

import re

_MAKES = re.compile(
    r"\b(video|clip|film|animate|animation|movie|make|create|generate|render|produce|show|let|have|bring)\b", re.I
)
_SEGMENTS = re.compile(
    r"\b(segment|mask|masks|track|follow|cut|outline|isolate|highlight|extract|trace|select)\b", re.I
)
WHAT_IS_DRAWN = "this"


def ask_video(prompt: str) -> str:
    """Ask for a video of what `prompt` describes."""
    return prompt if _MAKES.search(prompt) else f"create a video: {prompt}"


def ask_animation(prompt: str) -> str:
    """Ask for a video that begins with the picture of the same turn."""
    return prompt if _MAKES.search(prompt) else f"animate the picture: {prompt}"


def ask_tracks(prompt: str) -> str:
    """Ask for the masks of what `prompt` names in every frame; "": of what is drawn."""
    what = prompt.strip() or WHAT_IS_DRAWN
    return what if _SEGMENTS.search(what) else f"segment {what} in the video"
