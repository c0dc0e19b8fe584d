"""Evaluates the assistant on held-out Shapes samples and fills the results table.

    python -m train.evaluate --samples 500 --message hybrid,text,signal

Predictions go to files first and scores are computed from them, so that an interrupted run goes on
(`--resume`) and a new metric needs no new predictions (`--resume --limit 0`).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from train.evaluation.options import parse
from train.evaluation.run import PRESET, evaluate
from vitron.evaluation.table import to_markdown
from vitron.model import Vitron
from vitron.weights import open_weights


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    options = parse(arguments)
    rows = evaluate(
        options,
        open_weights(PRESET, options.weights).revision,
        lambda: Vitron.from_preset(PRESET, options.weights),
    )
    logging.info("%s", to_markdown(rows))


if __name__ == "__main__":
    main()
