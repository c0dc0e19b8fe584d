"""Fig. 4: what reaches the specialist. The same requests by instruction alone, by signal alone, and by both.

The module's name is always taken from the text, as nothing else could name it; "signal" leaves out everything else
that the text says.
"""

from __future__ import annotations

from functools import partial
from typing import get_args

from train.ablations.rows import label
from train.ablations.served import Requests, executable, open_assistant
from train.ablations.study import Options, Part, Say
from vitron.types import MessageMode

NAME = "message"
ABOUT = "message passing by text, by signal and by both (Fig. 4)"
TRAINS = False


def parts(options: Options, say: Say) -> list[Part]:
    """Return one part for each task that these weights can carry out, and each way to pass the message."""
    assistant = open_assistant(options.preset, options.start, say)
    # Where the evaluation files its own answers, so that what it has asked is not asked again.
    requests = Requests(assistant, options.predictions / options.preset / label(options.start), say)
    return [
        Part(message, seed, partial(requests.carry_out, task, message, options.n, seed), task)
        for seed in options.seeds
        for task in executable(assistant, options.tasks)
        for message in get_args(MessageMode)
    ]
