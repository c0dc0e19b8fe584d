"""How people ask about real pictures and videos, and how the assistant replies. Patterns; `{}` is what is meant.

Leads ("could you ...?"), tails and capitals are added by `train.data.shapes.wording.command`, which makes hundreds of
wordings of every pool.
"""

from __future__ import annotations

CAPTION = (
    "describe the picture", "describe this image", "describe the image in a sentence", "write a caption for this photo",
    "caption the picture", "tell me what the picture shows", "say what is in this image", "what is in the picture?",
    "what does this photo show?", "give a short description of the image", "summarize what you see",
    "what can be seen here?",
)  # fmt: skip
REGION_CAPTION = (
    "describe {}", "describe {} in a few words", "tell me what {} is", "give a short description of {}",
    "write a caption for {}", "what is {}?", "what do you see in {}?", "say what is shown in {}", "caption {}",
    "how would you refer to {}?",
)  # fmt: skip
REGION = (
    "<region>", "the region <region>", "this region <region>", "the object <region>", "the marked area <region>",
    "the part i marked <region>", "what i marked <region>", "the place <region>",
)  # fmt: skip
REC = (
    "where is {}?", "locate {}", "give the bounding box of {}", "find {} and give the box", "point out {} with a box",
    "what are the coordinates of {}?", "return the box of {}", "ground this phrase: {}", "detect {}",
    "identify the target object of this query and output its bounding box: {}", "tell me where {} is as a box",
    "show me where {} is, as coordinates",
)  # fmt: skip
DETECT = (
    "detect every {}", "find every {} and give its box", "give a box for each {}", "locate each {} in the image",
    "list the boxes of each {}", "mark every {} with coordinates", "box each {} that you see",
    "return the coordinates of every {}", "point out each {} with a box",
)  # fmt: skip
GROUNDED_CAPTION = (
    "describe the image and give a box for everything you name", "write a grounded caption",
    "caption the image and link its parts to bounding boxes", "describe the picture and locate what you mention",
    "generate a caption and link each part of it to an area of the image", "describe what you see with coordinates",
    "tell me what is in the picture and where, with boxes", "caption this and ground every phrase",
)  # fmt: skip
SEGMENT = (
    "segment {}", "mask {}", "cut out {}", "outline {}", "highlight {}", "isolate {}", "segment out {}",
    "give me the mask of {}", "make a mask for {}", "produce a segmentation mask of {}", "mark the pixels of {}",
    "separate {} from the rest of the image", "show exactly where {} is",
)  # fmt: skip
SEGMENT_REPLIES = (
    "Sure, here is the mask.", "I have segmented it.", "Here it is.", "This is the part you asked for.",
    "The segmentation is below.", "Here is its outline.",
)  # fmt: skip
ABSENT_REPLIES = (
    "There is nothing like that in the picture.", "I cannot find that in the image.",
    "Nothing in this picture fits that description.", "The image does not show that.",
)  # fmt: skip
GENERATE = (
    "draw {}", "generate {}", "paint {}", "create {}", "make an image of {}", "generate a picture of {}",
    "show me a picture of this: {}", "render {}", "imagine {}", "produce an image that shows {}",
    "create a photo that fits this caption: {}", "make me a picture: {}",
)  # fmt: skip
GENERATE_REPLIES = (
    "Here is the picture.", "Sure, here is the image you asked for.", "I have made it for you.", "This is the result.",
)  # fmt: skip
EDIT = (
    "{}", "{}", "{}", "edit the picture: {}", "change the image as follows: {}", "apply this edit: {}",
    "modify the photo: {}", "make this change: {}", "follow this instruction on the image: {}", "edit this: {}",
)  # fmt: skip
EDIT_REPLIES = (
    "Here is the edited picture.", "Done, this is the new image.", "I have changed it.", "Sure, here is the result.",
)  # fmt: skip
QUESTION = (
    "{}", "{}", "{}", "{} Answer with a word or a short phrase.", "{} A short answer is enough.",
    "Look at the picture and answer briefly: {}", "Question: {} Short answer, please.", "Answer in a few words: {}",
)  # fmt: skip
GROUNDED_QUESTION = (
    "{} First locate what the question is about, then answer.", "{} Give the boxes of what you look at, then answer.",
    "Ground the objects of the question, then answer it: {}", "{} Answer with coordinates of the objects first.",
    "First find the things that the question names, then answer: {}",
)  # fmt: skip

VIDEO_CAPTION = (
    "describe the video", "describe this clip in a sentence", "write a caption for the video", "caption the clip",
    "tell me what happens in the video", "what happens in this video?", "what does the clip show?",
    "summarize the video", "say what is going on in this clip", "give a short description of the video",
)  # fmt: skip
VIDEO_QUESTION = (
    "{}", "{}", "{}", "{} Answer with a word or a short phrase.", "Watch the video and answer briefly: {}",
    "Question about the video: {}", "Answer in a few words: {}", "{} A short answer is enough.",
)  # fmt: skip
TRACK = (
    "track {}", "track {} through the video", "follow {} in the clip", "where is {} over time?",
    "give the box of {} with its first and last frame", "locate {} in space and time", "find {} in the video",
    "mark {} and the frames in which it is seen", "when and where is {} visible?",
    "return box and frame span of {}", "tell me from which frame to which frame {} is seen, and where",
)  # fmt: skip
VIDEO_GROUNDED_CAPTION = (
    "describe the clip and say where and when you see what you name", "write a grounded caption for the video",
    "caption the video and give box and frame span of what you mention",
    "describe the video and link its parts to boxes with their first and last frame",
    "generate a caption for the clip and ground it in space and time",
    "tell me what happens in the video, with coordinates and frame numbers",
)  # fmt: skip
TRACK_MASKS = (
    "segment {} in the video", "mask {} in every frame", "cut out {} from the clip", "outline {} through the video",
    "follow {} with a mask", "track {} and give its masks", "isolate {} in all frames", "highlight {} in the clip",
)  # fmt: skip
TRACK_MASKS_REPLIES = (
    "Sure, here are the masks.", "I have followed it through the video.", "Here it is in every frame.",
    "This is its outline over the clip.",
)  # fmt: skip
VIDEO_GENERATE = (
    "make a video of {}", "generate a clip that shows {}", "create a video: {}", "film this: {}", "animate {}",
    "generate a short video of {}", "produce a clip of {}", "show me a video of {}", "make a clip with {}",
)  # fmt: skip
VIDEO_GENERATE_REPLIES = (
    "Here is the video.", "Sure, here is the clip you asked for.", "I have made it for you.", "This is the result.",
)  # fmt: skip
