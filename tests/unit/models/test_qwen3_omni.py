"""What is its own in Qwen3-Omni: inputs as the official processor makes them, folders as they are
published, positions between whole numbers, and sound shorter than a piece."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.subject import FamilyFolders
from triptych.data.media import MediaBudget, decode_audio, decode_image, decode_video
from triptych.data.sample import Media, MediaKind, Sample
from triptych.models import OmniModel
from triptych.stages import build_messages

BUDGET = MediaBudget(fps=4.0)


@pytest.fixture
def model(family_folders: FamilyFolders) -> OmniModel:
    return OmniModel.from_pretrained(family_folders["qwen3_omni"], budget=BUDGET).eval()


@pytest.fixture
def sample(samples: list[Sample], silent_samples: list[Sample]) -> Sample:
    """A picture, a video and a sound."""
    media = (silent_samples[0].media[0], *samples[0].media)
    return samples[0].model_copy(update={"media": media})


def test_a_prompt_is_what_the_official_call_gives(model: OmniModel, sample: Sample) -> None:
    processor, (image, clip, sound) = model.processor, sample.media
    messages = build_messages(
        sample.question, sample.problem_type, sample.options, ["image", "video", "audio"]
    )
    official = processor(
        text=[processor.apply_chat_template(messages, add_generation_prompt=True)],
        images=[decode_image(image.path, BUDGET)],
        videos=[decode_video(clip.path, BUDGET).frames],
        audio=[decode_audio(sound.path, BUDGET).samples],
        videos_kwargs={"size": processor.video_processor.size, "fps": 4.0},
        return_tensors="pt",
    )
    prompt = model.encode(sample)
    assert prompt.input_ids.equal(official["input_ids"][0])
    for name, feature in prompt.features.items():
        assert feature.equal(torch.as_tensor(official[name])), name


def test_positions_in_time_are_fractions(model: OmniModel, sample: Sample) -> None:
    """13 a second, of which a patch of two frames spans half a one."""
    prompt = model.encode(sample)
    times = prompt.position_ids[0][prompt.input_ids == model.config.video_token_id].unique()
    assert times.diff().tolist() == [6.5]
    assert prompt.position_ids.is_floating_point()
    assert prompt.next_position == prompt.position_ids.max() + 1


@torch.no_grad()
def test_a_short_sound_does_not_depend_on_what_else_there_is(
    model: OmniModel, samples: list[Sample]
) -> None:
    sound = samples[0].media[1]

    def features(*ends: float | None) -> dict[str, torch.Tensor]:
        media = tuple(sound.model_copy(update={"end": end}) for end in ends)
        prompts = [
            model.encode(samples[0].model_copy(update={"media": (item,)})).features
            for item in media
        ]
        return model.family.collate(prompts)

    both = model.family.embed_media(model.thinker, "audio", features(0.37, None))
    short, whole = (
        model.family.embed_media(model.thinker, "audio", features(end)) for end in (0.37, None)
    )
    torch.testing.assert_close(both, torch.cat([short, whole]), rtol=0, atol=2e-6)


def test_sound_of_any_length_is_taken_whole(
    model: OmniModel, samples: list[Sample], tmp_path: Path
) -> None:
    """Longer than the window of the feature extractor, too, and not cut at whole frames."""
    import wave

    model.processor.feature_extractor.n_samples = 16000
    for count in (16001, 16080, 40123):
        path = tmp_path / f"{count}.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            file.writeframes(b"\x01\x00" * count)
        media = (Media(kind=MediaKind.AUDIO, path=path),)
        prompt = model.encode(samples[0].model_copy(update={"media": media}))
        assert int(prompt.features["feature_attention_mask"].sum()) == count // 160


def test_loads_the_thinker_out_of_a_full_checkpoint(model: OmniModel, tmp_path: Path) -> None:
    """The published folders hold thinker, talker and vocoder under one config."""
    from transformers import Qwen3OmniMoeConfig

    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    full = {f"thinker.{name}": weight for name, weight in weights.items()}
    full["talker.codec_head.weight"] = torch.zeros(2, 2)
    save_file(full, tmp_path / "model.safetensors", metadata={"format": "pt"})
    config = Qwen3OmniMoeConfig(thinker_config=model.config.to_dict()).to_dict()
    (tmp_path / "config.json").write_text(json.dumps(config, default=str))
    loaded = OmniModel.from_pretrained(tmp_path)
    assert loaded.family.name == "qwen3_omni"
    theirs = loaded.thinker.state_dict()
    for name, weight in model.thinker.state_dict().items():
        assert theirs[name].equal(weight), name
