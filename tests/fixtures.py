"""The tiny model and a few clips, made once per test process."""

import copy
import gc
from functools import cache
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.subject import FamilyFolders, Subject, family_parameter
from triptych.data.clips import ClipSizes, make_clips
from triptych.data.media import MediaBudget
from triptych.data.sample import Media, MediaKind, Sample, read_samples
from triptych.models import OmniModel
from triptych.models.families import FAMILIES
from triptych.models.tiny import build_tiny
from triptych.models.tiny.qwen2_5_vl import build_tiny_qwen2_5_vl


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Test processes run side by side; two threads each would only fight for the cores."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _no_garbage_in_what_was_imported() -> None:
    """Trainers collect garbage at each start; they need not search all modules and tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2.5-Omni with random weights, saved."""
    return build_tiny(tmp_path_factory.mktemp("tiny") / "model", seed=0)


@pytest.fixture(scope="session")
def tiny_vl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2.5-VL with random weights, saved."""
    return build_tiny_qwen2_5_vl(tmp_path_factory.mktemp("tiny-vl") / "model", seed=0)


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


@pytest.fixture(scope="session")
def silent_samples(samples: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """The same with a picture in front and without sound, for models that cannot hear."""
    path = tmp_path_factory.mktemp("stills") / "still.png"
    Image.new("RGB", (84, 56), (200, 30, 90)).save(path)
    still = Media(kind=MediaKind.IMAGE, path=path)
    return [
        sample.model_copy(
            update={"media": (still, *(m for m in sample.media if m.kind is not MediaKind.AUDIO))}
        )
        for sample in samples
    ]


@cache
def _loaded(folder: Path) -> OmniModel:
    return OmniModel.from_pretrained(folder, budget=MediaBudget(fps=4.0))


def _load(folder: Path) -> OmniModel:
    """The model in the folder; a copy takes a fifth of the time that loading takes."""
    loaded = _loaded(folder)
    model = OmniModel(
        copy.deepcopy(loaded.thinker),
        copy.deepcopy(loaded.processor),
        loaded.family,
        budget=loaded.encoder.budget,
    )
    model.eval()
    return model


@pytest.fixture
def tiny(tiny_folder: Path) -> OmniModel:
    """The tiny model, loaded afresh: a test may train it."""
    return _load(tiny_folder)


@pytest.fixture
def tiny_vl(tiny_vl_folder: Path) -> OmniModel:
    """The tiny vision-language model, likewise."""
    return _load(tiny_vl_folder)


@pytest.fixture(scope="session")
def family_folders(tmp_path_factory: pytest.TempPathFactory) -> FamilyFolders:
    """The tiny model of each family, by name, built when it is first asked for."""
    return FamilyFolders(tmp_path_factory.mktemp("families"))


@pytest.fixture(params=[family.name for family in FAMILIES if family.audio_in_video])
def omni(request: pytest.FixtureRequest, family_folders: FamilyFolders) -> OmniModel:
    """For what must hold for every family that reads a video and its sound in turns."""
    return _load(family_folders[request.param])


@pytest.fixture(params=[family_parameter(family) for family in FAMILIES])
def subject(
    request: pytest.FixtureRequest,
    family_folders: FamilyFolders,
    samples: list[Sample],
    silent_samples: list[Sample],
) -> Subject:
    """For what must hold for every family."""
    return Subject.of(_load(family_folders[request.param]), samples, silent_samples[0].media[0])
