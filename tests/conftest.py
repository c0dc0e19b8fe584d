"""Settings that all tests share."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

import hypothesis
import torch

# A shared machine can stall any single example; what counts is that it passes.
hypothesis.settings.register_profile("project", deadline=None, max_examples=60)
hypothesis.settings.load_profile("project")
torch.set_num_threads(1)
# Jobs and files of tests go to a folder of their own, not to the user's.
os.environ["VITRON_HOME"] = tempfile.mkdtemp(prefix="vitron-tests-")
atexit.register(shutil.rmtree, os.environ["VITRON_HOME"], ignore_errors=True)
