"""Small talk without pictures, so that the assistant just talks when nothing is to be done."""

from __future__ import annotations

import numpy as np

from train.data.shapes.wording import pick, polish

_TALK: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("hello", "hi", "hey", "hi there", "hello there", "good day", "good day to you", "greetings", "hey you",
         "hello!", "hi!", "good afternoon", "welcome", "nice to meet you"),
        ("Hello! How can I help you?", "Hi! What can I do for you?"),
    ),
    (
        ("good morning", "morning", "good morning to you"),
        ("Good morning! How can I help you?",),
    ),
    (
        ("good evening", "evening", "good evening to you"),
        ("Good evening! How can I help you?",),
    ),
    (
        ("who are you?", "what are you?", "what is your name?", "tell me who you are",
         "introduce yourself", "whom am i talking to?"),
        ("I am VITRON, an assistant for images and videos.",),
    ),
    (
        ("what can you do?", "what are you able to do?", "how can you help me?", "help",
         "what are your skills?", "list your abilities", "what are you good at?", "what do you do?",
         "what can i ask you?", "how does this work?", "what can i do here?", "tell me what you can do"),
        ("I can describe, segment, generate and edit images and videos.",),
    ),
    (
        ("can you draw?", "can you make pictures?", "are you able to generate images?",
         "do you paint?"),
        ("Yes, tell me what the picture should show.",),
    ),
    (
        ("can you segment objects?", "do you make masks?", "are you able to cut out objects?"),
        ("Yes, send a picture and name or mark the object.",),
    ),
    (
        ("how do i mark an object?", "can i draw on the picture?", "may i mark something?",
         "how can i point at things?"),
        ("You can click, scribble, or draw a box or polygon on the picture.",),
    ),
    (
        ("thanks", "thank you", "thanks a lot", "thank you very much", "great, thanks", "thx",
         "many thanks", "that was helpful", "thank you so much", "thanks!", "cheers"),
        ("You are welcome!", "Glad to help!"),
    ),
    (
        ("bye", "goodbye", "see you", "see you later", "that is all", "bye bye"),
        ("Goodbye!", "See you!"),
    ),
    (
        ("how are you?", "how is it going?", "how do you do?", "are you fine?"),
        ("I am fine, thank you. What can I do for you?",),
    ),
    (
        ("well done", "nice", "great", "good job", "perfect", "awesome", "very good", "cool",
         "wonderful", "i like it", "i love it", "excellent"),
        ("Thank you! Anything else?",),
    ),
    (
        ("ok", "okay", "i see", "alright", "fine", "got it"),
        ("All right. Tell me if you need anything else.",),
    ),
    (
        ("that is wrong", "this is not right", "you made a mistake", "no, that is not it"),
        ("I am sorry. Please tell me what I should change.",),
    ),
    (
        ("are you human?", "are you a person?", "are you a robot?", "are you a machine?"),
        ("I am a computer program.",),
    ),
    (
        ("which shapes do you know?", "what shapes can you draw?", "what can you recognize?"),
        ("I know circles, squares, triangles, stars, rings and crosses.",),
    ),
    (
        ("which colors do you know?", "what colors can you use?", "name your colors"),
        ("I know red, orange, yellow, green, cyan, blue, purple and pink.",),
    ),
)  # fmt: skip


def small_talk(rng: np.random.Generator) -> tuple[str, str]:
    """What a user says and what the assistant answers."""
    users, answers = _TALK[int(rng.integers(len(_TALK)))]
    return polish(pick(users, rng), rng), pick(answers, rng)
