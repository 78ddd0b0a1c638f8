"""What is its own in Qwen2-Audio: inputs as the official processor makes them, positions that count
tokens, windows of fixed length, and no eyes."""

from pathlib import Path

import pytest
import torch

from tests.subject import FamilyFolders
from triptych.data.media import Audio, MediaBudget, decode_audio
from triptych.data.sample import Sample
from triptych.errors import ConfigError, MediaError
from triptych.models import OmniModel
from triptych.models.families.base import DecodedMedia
from triptych.stages import build_messages


@pytest.fixture
def model(family_folders: FamilyFolders) -> OmniModel:
    return OmniModel.from_pretrained(family_folders["qwen2_audio"]).eval()


def test_a_prompt_is_what_the_official_call_gives(model: OmniModel, samples: list[Sample]) -> None:
    sound = samples[0].media[1]
    sample, processor = samples[0].model_copy(update={"media": (sound,)}), model.processor
    messages = build_messages(sample.question, sample.problem_type, sample.options, ["audio"])
    official = processor(
        text=[processor.apply_chat_template(messages, add_generation_prompt=True)],
        audio=[decode_audio(sound.path, MediaBudget()).samples],
        return_tensors="pt",
    )
    prompt = model.encode(sample)
    assert prompt.input_ids.equal(official["input_ids"][0])
    assert prompt.features.keys() == official.keys() - {"input_ids", "attention_mask"}
    for name, feature in prompt.features.items():
        assert feature.equal(official[name]), name
    assert prompt.position_ids.equal(torch.arange(len(prompt.input_ids)).expand(3, -1))


def test_sound_longer_than_the_window_is_refused(model: OmniModel) -> None:
    """The extractor would cut it without a word."""
    audio = Audio(torch.zeros(5 * 16000).numpy())
    messages = [{"role": "user", "content": [{"type": "audio"}]}]
    with pytest.raises(MediaError, match=r"audio of 5\.0 s is longer than the 4 s"):
        model.family.encode(model.processor, messages, DecodedMedia(audios=[audio]))


def test_pictures_are_refused(model: OmniModel, samples: list[Sample]) -> None:
    with pytest.raises(ConfigError, match=r"qwen2_audio cannot see .*: it takes audio, no video"):
        model.encode(samples[0])


def test_a_folder_loads_with_the_official_classes(model: OmniModel, tmp_path: Path) -> None:
    from transformers import Qwen2AudioForConditionalGeneration, Qwen2AudioProcessor

    model.save_pretrained(tmp_path)
    theirs = Qwen2AudioForConditionalGeneration.from_pretrained(tmp_path).state_dict()
    assert all(theirs[name].equal(w) for name, w in model.thinker.state_dict().items())
    assert type(Qwen2AudioProcessor.from_pretrained(tmp_path)) is type(model.processor)
