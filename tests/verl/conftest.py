"""verl as `make test-verl` installs it, with our module loaded in the way that verl loads it."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ["VERL_USE_EXTERNAL_MODULES"] = "triptych.integrations.verl"
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
import verl
from hydra import compose, initialize_config_dir
from verl_batches import OURS, ComposeConfig


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_folder() -> Path:
    """The tiny Qwen2.5-VL's tokenizer, saved by the transformers that Triptych trains with."""
    return Path(sys.prefix) / "tiny-tokenizer"


@pytest.fixture(scope="session")
def tokenizer(tiny_folder: Path) -> Any:
    from verl.utils import hf_tokenizer

    return hf_tokenizer(str(tiny_folder))


@pytest.fixture(scope="session")
def config_of() -> ComposeConfig:
    """verl's own configuration of a run with these overrides."""
    folder = Path(verl.__file__).parent / "trainer" / "config"

    def config(overrides: Sequence[str] = ()) -> Any:
        with initialize_config_dir(str(folder), version_base=None):
            return compose("ppo_trainer", overrides=[*OURS, *overrides])

    return config
