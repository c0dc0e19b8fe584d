"""Words for motion, and how users ask about clips: templates as in `wording`, where `{}` is what is meant."""

from __future__ import annotations

TOWARD: dict[str, str] = {
    "left": "to the left",
    "right": "to the right",
    "up": "to the top",
    "down": "to the bottom",
    "up left": "to the top left",
    "up right": "to the top right",
    "down left": "to the bottom left",
    "down right": "to the bottom right",
}
"""Directions as captions and instructions name them; the keys are what questions are answered with."""
TOWARD_SPOKEN: dict[str, tuple[str, ...]] = {
    "left": ("to the left", "to the left", "left", "leftward", "toward the left"),
    "right": ("to the right", "to the right", "right", "rightward", "toward the right"),
    "up": ("up", "up", "upward", "to the top", "toward the top"),
    "down": ("down", "down", "downward", "to the bottom", "toward the bottom"),
    "up left": ("to the top left", "up and to the left", "diagonally up left", "to the upper left"),
    "up right": ("to the top right", "up and to the right", "diagonally up right", "to the upper right"),
    "down left": ("to the bottom left", "down and to the left", "diagonally down left", "to the lower left"),
    "down right": ("to the bottom right", "down and to the right", "diagonally down right", "to the lower right"),
}
FROM: dict[str, str] = {
    "right": "from the left",
    "left": "from the right",
    "down": "from the top",
    "up": "from the bottom",
}
"""Where an object comes in that moves in a direction."""
OUT: dict[str, str] = {"right": "on the right", "left": "on the left", "down": "at the bottom", "up": "at the top"}
"""Where an object leaves that moves in a direction."""
ADVERBS: dict[str, str] = {"slow": "slowly", "fast": "fast"}

STAYS = ("stays still", "stays still", "does not move", "stands still", "stays in place", "rests")
MOVES = ("moves", "moves", "moves", "glides", "goes", "travels", "drifts")
COMES_IN = ("comes in", "comes in", "enters", "slides in", "comes into view")
LEAVES = ("leaves", "leaves", "goes out", "slides out", "exits")
APPEARS = ("appears", "appears", "shows up", "pops up")
DISAPPEARS = ("disappears", "disappears", "vanishes", "goes away")
BEHIND = ("behind", "behind", "and passes behind", "and is hidden for a while by")

VIDEO = ("the video", "the video", "the clip", "this video", "this clip")
CAPTION_LONG = (
    "describe the video in detail", "describe this clip with places and speeds", "what happens where in this video?",
    "give a detailed description of the clip", "tell me in detail what happens in the video",
    "write a full caption for the video",
)  # fmt: skip
CAPTION_SHORT = (
    "describe the video", "describe this clip", "what happens in the video?", "what do you see in this clip?",
    "write a caption for the video", "what does the clip show?", "caption this video", "summarize the video",
    "what is going on here?", "tell me what happens in this video",
)  # fmt: skip
TRACK = (
    "track {} through the video with boxes", "track {} with a box", "follow {} in the clip with boxes",
    "where is {} over time?",
    "give the box of {} with its first and last frame", "locate {} in space and time", "find {} in the video",
    "when and where is {} seen?", "give box and frames of {}", "in which frames can {} be seen, and where?",
    "return the track of {}", "ground this in the video: {}", "from which frame to which is {} visible, and where?",
)  # fmt: skip
PLACE = (
    "where is {} in {}?", "give the box of {} in {}", "locate {} in {}", "find {} in {}", "in {1}, where is {0}?",
    "box of {} in {}", "show me where {} is in {}", "what is the bounding box of {} in {}?",
)  # fmt: skip
GROUNDED = (
    "describe the video and give box and frames for every object", "write a grounded caption for the clip",
    "say what happens in the video, when and where, with tracks", "list the objects with boxes and frame numbers",
    "caption the video and link every object to its box and first and last frame",
    "detect all objects of the clip and say in which frames they are seen",
)  # fmt: skip
GROUNDED_QUESTION = (
    "{} First locate what the question is about, then answer.", "{} Give the tracks of what you look at, then answer.",
    "Ground the objects of the question in the video, then answer it: {}", "{} Locate first, then answer.",
    "First find box and frames of what the question names, then answer: {}",
)  # fmt: skip

SEGMENT = (
    "segment {} in the video", "segment {} in every frame", "track {} and give me the masks", "cut {} out of the clip",
    "mask {} through the video", "follow {} with a mask", "outline {} in all frames", "highlight {} in the video",
    "isolate {} in the clip", "give me the masks of {} over time", "extract {} from the video",
    "track {}", "track {} in this clip", "track {} through the video", "follow {} in the clip",
    "trace {} through all frames", "select {} in the whole video",
)  # fmt: skip
SEGMENT_TERSE = (
    "masks of {} in the video", "video mask of {}", "{}, segmented in every frame", "segmentation of {} over time",
    "mask track of {}", "{}: segment it through the clip",
)  # fmt: skip
SEGMENT_REPLIES = (
    "Here are the masks of the {}.", "Sure, the {} is segmented in every frame.",
    "I have tracked the {} through the video.", "This is the {} over time.",
)  # fmt: skip

GENERATE = (
    "make a video of {}", "generate a clip of {}", "generate a short video of {}", "create a video with {}",
    "produce a clip of {}", "show me a video of {}", "render a video of {}", "film {}", "animate {}",
    "make a short clip with {}", "i want to see a video of {}", "a video of {}", "a clip of {}",
)  # fmt: skip
"""Requests for objects: "a red circle that moves up"."""
GENERATE_SENTENCE = (
    "make a video in which {}", "create a video: {}", "create a clip in which {}", "animate this: {}",
    "generate a clip where {}", "film this: {}", "show me a clip where {}", "render a video: {}", "video: {}",
    "generate a video, {}", "a clip in which {}", "i need a video where {}",
)  # fmt: skip
"""Requests for events: "a red circle moves up"."""
GENERATE_REPLIES = (
    "Here is the video.", "Sure, here is the clip.", "This is the video you asked for.", "I have made the clip.",
)  # fmt: skip
ANIMATE = (
    "make {what} move {toward}", "let {what} move {toward}", "animate the picture: {what} moves {toward}",
    "turn this picture into a video in which {what} moves {toward}", "make a video where {what} moves {toward}",
    "bring the image to life and let {what} go {toward}", "now make {what} go {toward}",
    "create a clip from this image with {what} moving {toward}", "have {what} glide {toward}",
    "make a clip that starts with this picture, then {what} moves {toward}", "send {what} {toward}",
)  # fmt: skip
ANIMATE_REPLIES = (
    "Here is your picture as a video.", "Sure, now the {} moves.", "I have animated the {}.",
    "This is the clip that starts with your picture.",
)  # fmt: skip

RECOLOR = (
    "make {what} {color}", "make {what} {color} in the video", "change the color of {what} to {color}",
    "turn {what} {color}", "recolor {what} to {color}", "paint {what} {color} in every frame",
    "color {what} {color}", "give {what} a {color} color in this clip",
)  # fmt: skip
REMOVE = (
    "remove {what}", "remove {what} from the video", "erase {what}", "delete {what} from the clip",
    "get rid of {what}", "take {what} out of the video", "make {what} disappear from every frame", "edit out {what}",
)  # fmt: skip
REPLACE = (
    "replace {what} with {new}", "replace {what} by {new} in the video", "swap {what} for {new}",
    "turn {what} into {new}", "put {new} in the place of {what}", "change {what} to {new}",
    "show {new} instead of {what} in this clip",
)  # fmt: skip
BACKGROUND = (
    "make the background {color}", "change the background to {color}", "change the background of the video to {color}",
    "turn the background {color}", "put the clip on a {color} background", "give the video a {color} background",
)  # fmt: skip
ADD = (
    "add {new}", "add {new} to the video", "put {new} into the clip", "insert {new}", "place {new} in the video",
    "let {new} be in this clip too", "show {new} in the video as well",
)  # fmt: skip
EDIT_REPLIES = (
    "Here is the edited video.", "Done, this is the new clip.", "I have changed the video.", "Here is the result.",
)  # fmt: skip

QUESTIONS: dict[str, tuple[str, ...]] = {
    "direction": (
        "in which direction does {} move?", "where does {} go?", "which way does {} move?",
        "what direction does {} move in?", "tell me the direction in which {} moves",
    ),
    "which_moves": (
        "which object moves {}?", "what moves {}?", "what is moving {}?", "which object goes {}?",
        "name the object that moves {}",
    ),
    "speed": (
        "does {} move slowly or fast?", "how fast does {} move?", "at what speed does {} move, slow or fast?",
    ),
    "moves": ("does {} move?", "is {} moving?", "does {} change its place?", "is {} in motion?"),
    "which_stays": (
        "which object stays still?", "what does not move?", "which object is not moving?", "what stays in place?",
    ),
    "appears_when": (
        "in which frame does {} appear?", "when does {} appear?", "in which frame is {} first seen?",
        "at which frame does {} come into view?",
    ),
    "last_seen": (
        "in which frame is {} last seen?", "what is the last frame that shows {}?", "until which frame is {} seen?",
    ),
    "appears": (
        "does {} appear during the video?", "does {} show up after the start?",
        "does {} come in after the clip has begun?",
    ),
    "disappears": (
        "does {} disappear?", "does {} go away before the end?", "does {} vanish or leave during the clip?",
    ),
    "behind_what": (
        "what does {} pass behind?", "which object hides {} for a while?", "behind what does {} move?",
    ),
    "what_behind": (
        "what passes behind {}?", "which object moves behind {}?", "what is hidden by {} for a while?",
    ),
    "passes_behind": ("does {} pass behind another object?", "is {} ever hidden by another object?"),
    "count_moving": ("how many {} move?", "how many {} are moving?", "count the {} that move"),
    "count": (
        "how many {} are there in the video?", "how many {} does the clip show?", "count the {} in this clip",
    ),
    "first": (
        "which appears first, {} or {}?", "what comes first, {} or {}?", "which is seen earlier, {} or {}?",
    ),
    "faster": ("which moves faster, {} or {}?", "what is faster, {} or {}?"),
    "start": ("where is {} at the start?", "where does {} begin?", "where is {} in the first frame?"),
    "end": ("where is {} at the end?", "where does {} end up?", "where is {} in the last frame?"),
}  # fmt: skip
"""Kind of question -> its wordings."""
