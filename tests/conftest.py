"""Settings that all tests share."""

from __future__ import annotations

import hypothesis
import torch

# A shared machine can stall any single example; what counts is that it passes.
hypothesis.settings.register_profile("project", deadline=None, max_examples=60)
hypothesis.settings.load_profile("project")
torch.set_num_threads(1)
