"""How users ask and how the assistant replies: templates that combine into hundreds of wordings."""

from __future__ import annotations

import numpy as np

Rng = np.random.Generator

# Polite, terse and question leads; the flag says whether a question mark belongs at the end.
_LEADS: tuple[tuple[str, bool], ...] = (
    ("", False), ("", False), ("", False), ("please ", False), ("please, ", False),
    ("can you ", True), ("could you ", True), ("could you please ", True), ("would you ", True),
    ("i want you to ", False), ("i would like you to ", False), ("i need you to ", False),
    ("now ", False), ("kindly ", False), ("hey, ", False), ("hi, please ", False),
    ("will you ", True), ("help me ", False), ("go ahead and ", False), ("just ", False),
)  # fmt: skip
BARE = 0.3
"""Share of requests without any lead or tail: most people type just that."""
_TAILS = ("", "", "", "", "", " please", " for me", ", thanks", " now", ", please")

SEGMENT = (
    "segment {}", "segment {}", "mask {}", "cut out {}", "outline {}", "highlight {}",
    "extract {}", "isolate {}", "trace {}", "select {}", "separate {} from the rest",
    "give me the mask of {}", "show me the mask of {}", "make a mask of {}",
    "find the pixels of {}", "get the segmentation of {}", "mark all pixels of {}", "draw the outline of {}",
    "segment out {}", "crop out {}", "produce a segmentation mask for {}", "show exactly where {} is",
)  # fmt: skip
SEGMENT_TERSE = (
    "mask of {}", "segmentation of {}", "{}, segmented", "outline of {}", "pixels of {}",
    "a mask for {}", "mask for {}", "which pixels belong to {}?", "{}: segment it",
)  # fmt: skip
SEGMENT_REPLIES = (
    "Here is the mask of the {}.", "Sure, the {} is segmented.", "This is the {}.",
    "I have segmented the {}.",
)  # fmt: skip

MARKED_ANY = (
    "<region>", "this <region>", "this one <region>", "the object <region>", "this object <region>",
    "the thing i marked <region>", "what i marked <region>", "the one under <region>",
    "the object i drew on <region>", "this thing here <region>", "whatever is at <region>",
)  # fmt: skip
MARKED_NOUN = (
    "this {} <region>", "the {} <region>", "the {} i marked <region>", "the {} at <region>",
    "this {} here <region>", "the {} under my mark <region>",
)  # fmt: skip

REFERENCE = (
    "find the object like <region> in the second image and segment it",
    "segment in the second picture what looks like <region>",
    "segment the same kind of object as <region> in the other image",
    "take <region> as a reference and mask the matching object in the second image",
    "where is something like <region> in the second picture? segment it",
    "using <region> as an example, cut out its counterpart in image two",
    "outline the object of the second image that matches <region>",
    "highlight the one in the second image that is like <region>",
    "mask the object in the last image that has the color and shape of <region>",
    "look at <region> and segment the same thing in the other picture",
    "segment its twin in the second image: <region>",
    "<region> is in the second image too, give me its mask there",
)  # fmt: skip
REFERENCE_REPLIES = (
    "Here is the matching object in the second image.",
    "I have segmented the object that is like it.",
    "This is its counterpart in the second image.",
)  # fmt: skip

GENERATE = (
    "draw {}", "draw {}", "generate {}", "paint {}", "create {}", "make {}", "imagine {}",
    "show me {}", "render {}", "produce {}", "sketch {}", "design {}",
)  # fmt: skip
GENERATE_OBJECTS = (
    "{}", "{}", "a picture of {}", "an image of {}", "an image with {}", "a scene with {}",
)  # fmt: skip
GENERATE_TERSE = (
    "{}", "{}", "a picture of {}", "an image of {}", "i want to see {}", "i need a picture of {}",
    "picture: {}", "image of {}", "let me see {}", "how about a picture of {}?",
)  # fmt: skip
GENERATE_REPLIES = (
    "Here is the picture.", "Sure, here it is.", "This is the image you asked for.",
    "I have drawn it for you.",
)  # fmt: skip

ANOTHER = (
    "draw another one like {}", "make one more like {}", "create something similar to {}",
    "generate an object that looks like {}", "paint another one that matches {}",
    "draw a new picture with one like {}", "give me another image of {}", "produce a copy of {}",
    "show me one more of {}", "make a twin of {}", "create a second one of the kind of {}",
)  # fmt: skip
SAME_COLOR = (
    "draw a {noun} in the same color as {what}", "make a {noun} with the color of {what}",
    "create a {noun} that has the same color as {what}", "paint a {noun} colored like {what}",
    "generate a {noun} in the color of {what}", "produce a {noun} with that color: {what}",
    "show me a {noun} of the same color as {what}",
)  # fmt: skip
SAME_SHAPE = (
    "draw a {noun} object with the same shape as {what}", "make a {noun} one shaped like {what}",
    "create something {noun} that has the shape of {what}", "paint {what} in {noun} instead",
    "generate a {noun} version of {what}", "show me {what} but {noun}",
    "design a {noun} object of the same shape as {what}",
)  # fmt: skip
LIKE_WHOLE = (
    "make a picture like this one", "draw a similar picture", "generate another image like this",
    "create a new image with the same content", "paint this scene again", "recreate this picture",
    "can you draw something like this?", "give me a variation of this image",
    "i want another picture like it", "redraw the image",
)  # fmt: skip

CAPTION_LONG = (
    "describe the picture in detail", "describe this image with all positions",
    "what is where in this picture?", "give a detailed description of the image",
    "tell me in detail what you see", "write a full caption with positions",
    "explain what is in the image and where",
)  # fmt: skip
CAPTION_SHORT = (
    "describe the picture", "describe this image briefly", "what do you see?",
    "what is in the picture?", "write a caption for this image", "what does the image show?",
    "give a short caption", "caption this", "what is shown here?", "summarize the picture",
)  # fmt: skip
REGION_CAPTION = (
    "describe {}", "describe {} in a few words", "what can you say about {}?",
    "give a caption for {}", "write a short description of {}", "tell me about {}", "caption {}",
    "how would you describe {}?",
)  # fmt: skip
GROUNDED = (
    "describe the image and give a box for every object",
    "describe the picture with bounding boxes", "caption the image and locate each object",
    "what is in the picture, and where? give the boxes", "list the objects with their coordinates",
    "detect all objects and describe the scene", "write a grounded caption",
    "describe what you see and ground every object",
)  # fmt: skip
REC = (
    "where is {}? give the box", "give the bounding box of {}", "locate {}", "find {}",
    "what are the coordinates of {}?", "detect {}", "give me the box around {}",
    "point out {} with a box", "return the bounding box for {}", "ground this: {}",
    "box of {}", "which box contains {}?",
)  # fmt: skip
GROUNDED_QUESTION = (
    "{} find it first, then answer", "{} first locate what is asked about, then answer",
    "locate first, then answer: {}", "{} give the boxes first, then the answer",
    "{} show with boxes what you look at, then answer", "find the objects in question, then answer: {}",
    "answer with the boxes of what you look at: {}", "{} ground the objects first, then answer",
)  # fmt: skip
NOTHING_FOUND = "nothing like that is there"

SIZE_WORDS = {
    "small": ("small", "small", "little", "tiny"),
    "large": ("large", "large", "big", "huge"),
}
PLACE_WORDS = {
    "top left": ("at the top left", "in the top left corner", "in the upper left"),
    "top": ("at the top", "near the top", "at the upper edge"),
    "top right": ("at the top right", "in the top right corner", "in the upper right"),
    "left": ("on the left", "on the left side", "at the left edge"),
    "center": ("in the center", "in the middle", "right in the middle"),
    "right": ("on the right", "on the right side", "at the right edge"),
    "bottom left": ("at the bottom left", "in the bottom left corner", "in the lower left"),
    "bottom": ("at the bottom", "near the bottom", "at the lower edge"),
    "bottom right": ("at the bottom right", "in the bottom right corner", "in the lower right"),
}
BACKGROUND_WORDS = (
    "{} on a {} background", "{} on a {} background", "{} against a {} background",
    "{} over a {} background", "{} with a {} background", "{}, {} background",
    "{}, the background should be {}", "{} on {}",
)  # fmt: skip


IMAGE_EDITS: dict[str, tuple[str, ...]] = {
    "recolor": (
        "make {what} {color}", "make {what} {color} in the picture", "change the color of {what} to {color}",
        "turn {what} {color}", "recolor {what} to {color}", "paint {what} {color}", "color {what} {color}",
        "give {what} a {color} color", "i want {what} to be {color}",
    ),
    "remove": (
        "remove {what}", "remove {what} from the picture", "erase {what}", "delete {what} from the image",
        "get rid of {what}", "take {what} out of the picture", "make {what} disappear", "edit out {what}",
        "show the picture without {what}",
    ),
    "replace": (
        "replace {what} with {new}", "replace {what} by {new}", "swap {what} for {new}", "turn {what} into {new}",
        "put {new} in the place of {what}", "change {what} to {new}", "show {new} instead of {what}",
    ),
    "move": (
        "move {what} to {place}", "put {what} at {place}", "shift {what} to {place}", "place {what} at {place} instead",
        "bring {what} to {place} of the picture", "relocate {what} to {place}",
    ),
    "background": (
        "make the background {color}", "change the background to {color}", "turn the background {color}",
        "put it on a {color} background", "give the picture a {color} background", "paint the background {color}",
        "change the background color to {color}", "set the background to {color}", "i want a {color} background",
    ),
    "add": (
        "add {new}", "add {new} to the picture", "put {new} into the image", "insert {new}",
        "place {new} in the picture", "also show {new}", "draw {new} into this picture",
    ),
}  # fmt: skip
EDIT_REPLIES = (
    "Here is the edited picture.", "Done, this is the new image.", "I have changed the picture.", "Here is the result.",
)  # fmt: skip


def pick(options: tuple[str, ...], rng: Rng) -> str:
    """One of the options at random."""
    return options[int(rng.integers(len(options)))]


def command(patterns: tuple[str, ...], rng: Rng, **words: str) -> str:
    """A request built from a verb pattern, a lead and a tail.

    Words fill the pattern by name; a single "what" may also stand as a bare "{}".
    """
    lead, question = _LEADS[int(rng.integers(len(_LEADS)))]
    body = pick(patterns, rng).format(words.get("what", ""), **words)
    if body.endswith("?") or rng.random() < BARE:
        return polish(body, rng)
    text = f"{lead}{body}{pick(_TAILS, rng)}"
    return polish(f"{text}?" if question and rng.random() < 0.8 else text, rng)


def polish(text: str, rng: Rng) -> str:
    """Writes a sentence as users do: capital letter and full stop now and then."""
    if rng.random() < 0.5:
        text = text[0].upper() + text[1:]
    if text[-1] not in "?.!:" and rng.random() < 0.4:
        text += "."
    return text
