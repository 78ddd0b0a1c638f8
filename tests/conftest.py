"""The tiny model and a few clips, made once per test process."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from pathlib import Path

import pytest
import torch

from triptych.data.clips import ClipSizes, make_clips
from triptych.data.media import MediaBudget
from triptych.data.sample import Sample, read_samples
from triptych.models import OmniModel
from triptych.models.tiny import build_tiny


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Test processes run side by side; two threads each would only fight for the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2.5-Omni with random weights, saved."""
    return build_tiny(tmp_path_factory.mktemp("tiny") / "model", seed=0)


@pytest.fixture(scope="session")
def clips_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A handful of clips in every split."""
    folder = tmp_path_factory.mktemp("data") / "clips"
    sizes = ClipSizes(cold_start=6, rl_biased=10, rl_balanced=6, validation=6, test_balanced=6)
    return make_clips(folder, seed=0, sizes=sizes, jobs=1).folder


@pytest.fixture(scope="session")
def samples(clips_folder: Path) -> list[Sample]:
    """The cold-start split: three kinds of questions with full references."""
    return read_samples(clips_folder / "cold-start.jsonl")


@pytest.fixture
def tiny(tiny_folder: Path) -> OmniModel:
    """The tiny model, loaded afresh: a test may train it."""
    model = OmniModel.from_pretrained(tiny_folder, budget=MediaBudget(fps=4.0))
    model.eval()
    return model
