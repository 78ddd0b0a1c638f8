"""The model reads every modality, in the forward that trains it, and loads from real folders."""

import copy
import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from triptych.data.media import Audio, MediaBudget, decode_audio
from triptych.data.sample import Media, MediaKind, Sample
from triptych.errors import MediaError, ModelError
from triptych.models import OmniModel, OmniOutput
from triptych.models.families import family_for
from triptych.models.packing import PackedBatch, pack
from triptych.models.prompt import PromptEncoder
from triptych.models.tiny import build_tiny
from triptych.training.sft import target_ids


def packed_reference(model: OmniModel, sample: Sample) -> PackedBatch:
    target = target_ids(model, sample)
    return pack([model.encode(sample)], [[target]], model.pad_token_id, model.family)


def logps(model: OmniModel, packed: PackedBatch) -> Tensor:
    with torch.no_grad():
        output: OmniOutput = model(**packed.model_inputs())
    return output.logps_N


def test_both_towers_run_in_the_training_forward(tiny: OmniModel, samples: list[Sample]) -> None:
    calls: list[str] = []
    for tower, path in tiny.family.towers.items():
        tiny.thinker.get_submodule(path).register_forward_hook(
            lambda *_, tower=tower: calls.append(tower)
        )
    tiny(**packed_reference(tiny, samples[0]).model_inputs())
    assert sorted(calls) == ["audio", "vision"]


def test_one_pixel_changes_the_log_probs(tiny: OmniModel, samples: list[Sample]) -> None:
    packed = packed_reference(tiny, samples[0])
    before = logps(tiny, packed)
    packed.features["pixel_values_videos"][0, 0] += 1.0
    assert not torch.equal(logps(tiny, packed), before)


def test_one_audio_sample_changes_the_log_probs(
    tiny: OmniModel, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    import triptych.data.decode_worker as decode_worker

    before = logps(tiny, packed_reference(tiny, samples[0]))

    def with_a_click(path: Path, budget: MediaBudget, **window: float | None) -> Audio:
        audio = decode_audio(path, budget, **window)
        audio.samples[8000] += 0.5
        return audio

    monkeypatch.setattr(decode_worker, "decode_audio", with_a_click)
    tiny.encoder.clear_cache()
    assert not torch.equal(logps(tiny, packed_reference(tiny, samples[0])), before)


def test_saved_and_loaded_is_the_same_model(
    tiny: OmniModel, samples: list[Sample], tmp_path: Path
) -> None:
    tiny.save_pretrained(tmp_path / "copy")
    loaded = OmniModel.from_pretrained(tmp_path / "copy", budget=MediaBudget(fps=4.0))
    assert loaded.tokenizer.get_vocab() == tiny.tokenizer.get_vocab()
    ours, theirs = packed_reference(tiny, samples[0]), packed_reference(loaded, samples[0])
    assert ours.input_ids_L.equal(theirs.input_ids_L)
    assert logps(loaded, theirs).equal(logps(tiny, ours))


def test_loads_the_thinker_out_of_a_full_checkpoint(
    tiny: OmniModel, samples: list[Sample], tmp_path: Path
) -> None:
    """The published folders hold thinker, talker and vocoder under one config."""
    from transformers import Qwen2_5OmniConfig

    folder = tmp_path / "full"
    tiny.save_pretrained(folder)
    weights = load_file(folder / "model.safetensors")
    full = {f"thinker.{name}": weight for name, weight in weights.items()}
    full["talker.codec_head.weight"] = torch.zeros(2, 2)
    save_file(full, folder / "model.safetensors", metadata={"format": "pt"})
    config = Qwen2_5OmniConfig(thinker_config=tiny.config.to_dict()).to_dict()
    (folder / "config.json").write_text(json.dumps(config, default=str))
    loaded = OmniModel.from_pretrained(folder, budget=MediaBudget(fps=4.0))
    assert loaded.family.name == "qwen2_5_omni"
    packed = packed_reference(tiny, samples[0])
    assert logps(loaded, packed).equal(logps(tiny, packed))


def test_the_same_seed_builds_the_same_folder(tmp_path: Path, tiny_folder: Path) -> None:
    again = build_tiny(tmp_path / "again", seed=0)
    other = build_tiny(tmp_path / "other", seed=1)
    for name in ("model.safetensors", "tokenizer.json", "processor_config.json"):
        assert (again / name).read_bytes() == (tiny_folder / name).read_bytes()
    assert (other / "model.safetensors").read_bytes() != (again / "model.safetensors").read_bytes()


def test_stage_tags_as_special_tokens(tiny: OmniModel, samples: list[Sample]) -> None:
    before = logps(tiny, packed_reference(tiny, samples[0]))
    assert tiny.add_stage_tokens() == 6
    assert tiny.add_stage_tokens() == 0
    assert tiny.thinker.get_input_embeddings().weight.shape[0] >= len(tiny.tokenizer)
    ids = tiny.tokenizer("<context>x</context>")["input_ids"]
    assert ids[0] == tiny.tokenizer.convert_tokens_to_ids("<context>")
    packed = packed_reference(tiny, samples[0].model_copy(update={"question": "New?"}))
    after = logps(tiny, packed)
    assert len(after) < len(before)
    assert after.isfinite().all()


@pytest.mark.parametrize("padded", [False, True])
def test_stage_tokens_begin_as_the_tokens_that_they_stand_for(
    padded: bool, tiny: OmniModel
) -> None:
    if padded:  # as Qwen's embeddings are
        tiny.thinker.resize_token_embeddings(len(tiny.tokenizer) + 64)
    was = tiny.tokenizer("</think>")["input_ids"]
    ends = (tiny.thinker.get_input_embeddings(), tiny.thinker.get_output_embeddings())
    with torch.no_grad():
        for end in ends:
            end.weight[len(tiny.tokenizer) :] = 0
    expected = [end.weight[was].mean(0) for end in ends]
    tiny.add_stage_tokens()
    (now,) = tiny.tokenizer("</think>")["input_ids"]
    ends = (tiny.thinker.get_input_embeddings(), tiny.thinker.get_output_embeddings())
    for end, row in zip(ends, expected, strict=True):
        torch.testing.assert_close(end.weight[now], row)
        with torch.no_grad():
            end.weight[now] = 7
    tiny.add_stage_tokens()
    assert (ends[0].weight[now] == 7).all(), "what was trained stays"


def test_media_ids_and_padding_rows_can_never_be_chosen(tiny: OmniModel) -> None:
    tiny.thinker.resize_token_embeddings(len(tiny.tokenizer) + 10)
    model = OmniModel(tiny.thinker, tiny.processor, tiny.family)
    logits = model.logits(torch.randn(1, model.config.get_text_config().hidden_size))
    for token in ("<|IMAGE|>", "<|VIDEO|>", "<|AUDIO|>", "<|audio_bos|>", "<|vision_eos|>"):
        assert logits[0, model.tokenizer.convert_tokens_to_ids(token)] == -torch.inf
    assert (logits[0, len(model.tokenizer) :] == -torch.inf).all()
    assert logits[0, model.end_token_ids[0]].isfinite()


def test_frozen_towers_get_no_gradient(tiny: OmniModel, samples: list[Sample]) -> None:
    tiny.freeze(["vision", "audio"])
    tiny(**packed_reference(tiny, samples[0]).model_inputs()).logps_N.sum().backward()
    with_gradient = {n for n, p in tiny.named_parameters() if p.grad is not None}
    assert with_gradient
    assert not any(".visual." in n or ".audio_tower." in n for n in with_gradient)
    with pytest.raises(ModelError, match="no module 'nose'; it has: vision, audio"):
        tiny.freeze(["nose"])


def test_entropy_and_temperature(tiny: OmniModel, samples: list[Sample]) -> None:
    packed = packed_reference(tiny, samples[0])
    hot, cold = (tiny(**packed.model_inputs(), temperature=t) for t in (1.0, 0.5))
    choices = len(tiny.tokenizer) - len(tiny.banned_ids)
    assert (hot.entropies_N > 0).all()
    assert (hot.entropies_N <= torch.tensor(float(choices)).log() + 1e-4).all()
    assert (cold.entropies_N < hot.entropies_N).all()


def test_time_positions_follow_the_true_frame_rate(
    tiny_folder: Path, samples: list[Sample]
) -> None:
    """25 positions a second, two frames a patch: 12 apart at 4 frames a second, 6 at 8."""
    for fps, apart in ((4.0, 12), (8.0, 6)):
        model = OmniModel.from_pretrained(tiny_folder, budget=MediaBudget(fps=fps))
        prompt = model.encode(samples[0])
        video = prompt.input_ids == model.config.video_token_id
        times = prompt.position_ids[0][video].unique()
        assert times.diff().tolist() == [apart] * (int(fps) // 2 - 1)


def test_prompts_are_kept_by_what_they_say(tiny: OmniModel, samples: list[Sample]) -> None:
    other = samples[0].model_copy(update={"options": tuple(reversed(samples[0].options))})
    first, second = tiny.encode(samples[0]), tiny.encode(other)
    assert not first.input_ids.equal(second.input_ids)
    assert tiny.encode(samples[0]) is first


def test_the_oldest_prompts_make_room(tiny: OmniModel, samples: list[Sample]) -> None:
    size = tiny.encode(samples[0]).num_bytes
    encoder = PromptEncoder(
        tiny.thinker, tiny.processor, tiny.family, MediaBudget(fps=4.0), tiny.format,
        cache_bytes=int(2.5 * size),
    )  # fmt: skip
    first, second, third = (encoder.encode(sample) for sample in samples[:3])
    assert encoder.encode(samples[2]) is third
    assert encoder.encode(samples[1]) is second
    assert encoder.encode(samples[0]) is not first


def test_a_trainers_autocast_does_not_reach_the_features(
    tiny: OmniModel, samples: list[Sample]
) -> None:
    plain = tiny.encode(samples[0])
    tiny.encoder.clear_cache()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = tiny.encode(samples[0])
    for name, feature in plain.features.items():
        assert mixed.features[name].equal(feature), name


def test_what_the_budget_cuts_is_told_but_not_without_end(
    tiny_folder: Path, samples: list[Sample], caplog: pytest.LogCaptureFixture
) -> None:
    short = MediaBudget(fps=4.0, max_seconds=0.5)
    model = OmniModel.from_pretrained(tiny_folder, budget=short)
    notices = [notice for sample in samples for notice in model.encode(sample).notices]
    told = [record.getMessage() for record in caplog.records]
    assert len(notices) > 11
    assert told[0] == f"sample {samples[0].id}: {notices[0]}"
    assert len(told) == 11
    assert "further media" in told[-1]


def test_an_image_that_is_made_smaller_is_told(
    tiny_folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    path = tmp_path / "large.png"
    Image.new("RGB", (200, 100)).save(path)
    model = OmniModel.from_pretrained(tiny_folder, budget=MediaBudget(max_pixels=10_000))
    still = Media(kind=MediaKind.IMAGE, path=path)
    (notice,) = model.encode(samples[0].model_copy(update={"media": (still,)})).notices
    assert "large.png" in notice


class TestErrors:
    def test_folder_without_processor(self, tiny_folder: Path, tmp_path: Path) -> None:
        for name in ("config.json", "model.safetensors"):
            shutil.copy(tiny_folder / name, tmp_path)
        with pytest.raises(ModelError, match=r"no usable processor.*copy the tokenizer"):
            OmniModel.from_pretrained(tmp_path)

    def test_folder_without_weights(self, tiny_folder: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_folder, tmp_path / "model")
        (tmp_path / "model" / "model.safetensors").unlink()
        with pytest.raises(ModelError, match="no weights"):
            OmniModel.from_pretrained(tmp_path / "model")

    def test_weights_that_were_cut_off(self, tiny_folder: Path, tmp_path: Path) -> None:
        shutil.copytree(tiny_folder, tmp_path / "model")
        weights = tmp_path / "model" / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1])
        with pytest.raises(ModelError, match=r"/model/model\.safetensors: broken weights .*again"):
            OmniModel.from_pretrained(tmp_path / "model")

    def test_a_run_folder_names_its_models(self, tmp_path: Path) -> None:
        for name in ("sft", "grpo"):
            (tmp_path / "models" / name).mkdir(parents=True)
            (tmp_path / "models" / name / "config.json").write_text("{}")
        with pytest.raises(ModelError, match=r"a run folder.*: .*/models/grpo, .*/models/sft$"):
            OmniModel.from_pretrained(tmp_path)

    def test_empty_folder(self, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="no model here"):
            OmniModel.from_pretrained(tmp_path)

    def test_unknown_family(self) -> None:
        with pytest.raises(ModelError, match=r"'bert' is not supported; .*: .*qwen2_5_omni, "):
            family_for("bert")

    def test_a_decoder_without_its_encoders(self, tiny: OmniModel) -> None:
        """As older versions of transformers lay the model out."""
        del tiny.thinker.model.audio_tower
        with pytest.raises(ModelError, match=r"no audio encoder at model\.audio_tower, so media"):
            OmniModel(tiny.thinker, tiny.processor, tiny.family)

    def test_missing_clip_names_sample_and_file(
        self, tiny: OmniModel, samples: list[Sample], tmp_path: Path
    ) -> None:
        media = tuple(
            m.model_copy(update={"path": tmp_path / "gone.mp4"}) for m in samples[0].media
        )
        with pytest.raises(MediaError, match=rf"{samples[0].id}.*gone\.mp4"):
            tiny.encode(samples[0].model_copy(update={"media": media}))

    def test_audio_longer_than_the_extractor_takes(
        self, tiny: OmniModel, samples: list[Sample], tmp_path: Path
    ) -> None:
        """The extractor would cut it without a word."""
        import wave

        path = tmp_path / "long.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16000)
            file.writeframes(b"\x01\x00" * 16000 * 6)
        (audio,) = [m for m in samples[0].media if m.kind == MediaKind.AUDIO]
        long = samples[0].model_copy(update={"media": (audio.model_copy(update={"path": path}),)})
        with pytest.raises(MediaError, match="longer than the 4 s that this model takes"):
            tiny.encode(long)


def test_a_copy_is_a_model_of_its_own(tiny: OmniModel, samples: list[Sample]) -> None:
    tiny.freeze(["vision", "audio"])
    (embedded,) = tiny.encoder.encode_all(samples[:1], embed=True)
    before = logps(tiny, packed_reference(tiny, samples[0]))
    copied = copy.deepcopy(tiny)
    with torch.no_grad():
        for weight in tiny.parameters():
            weight.add_(1)
    assert logps(copied, packed_reference(copied, samples[0])).equal(before)
    (again,) = copied.encoder.encode_all(samples[:1], embed=True)
    assert again is not embedded
    assert again.features.keys() == embedded.features.keys()
    assert all(value.equal(embedded.features[name]) for name, value in again.features.items())
    kept = tiny.encoder.encode(samples[0])
    copied.encoder.clear_cache()
    assert tiny.encoder.encode(samples[0]) is kept
