"""What is its own in Phi-4-multimodal: inputs as the official processor makes them, a projector for
each prompt, one adapter for all, sounds that stand alone, and no texts of two ropes."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from tests.subject import FamilyFolders
from triptych.data.feature_cache import FeatureCache
from triptych.data.media import Audio, MediaBudget
from triptych.data.messages import stage_messages
from triptych.data.sample import Media, MediaKind, Sample
from triptych.errors import ConfigError, MediaError, ModelError
from triptych.generation import SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.models.families.base import DecodedMedia, EncodedPrompt
from triptych.models.kept_features import KeptFeatures
from triptych.models.packing import pack
from triptych.planning.headers import length_by_headers
from triptych.planning.plan import Subject
from triptych.stages import DEFAULT_FORMAT

LIMIT = 2048  # of the toy
PROJECTORS = {True: "vision_speech", False: "speech"}  # beside images, or not


@pytest.fixture
def folder(family_folders: FamilyFolders) -> Path:
    return family_folders["phi4_multimodal"]


@pytest.fixture
def model(folder: Path) -> OmniModel:
    return OmniModel.from_pretrained(folder).eval()


def picture(width: int, height: int) -> Image.Image:
    """Stripes of all colours, the same on every machine."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 5 + y, x * 3 + y * 7, (x + y) * 2 + x * y // 64], axis=-1)
    return Image.fromarray((pixels % 256).astype(np.uint8))


def sound(seconds: float, pitch: float = 200.0) -> Audio:
    time = np.arange(int(16000 * seconds)) / 16000
    return Audio((0.3 * np.sin(2 * np.pi * pitch * time * (1 + time))).astype(np.float32))


def encoded(model: OmniModel, *media: Image.Image | Audio) -> EncodedPrompt:
    images = [item for item in media if isinstance(item, Image.Image)]
    audios = [item for item in media if isinstance(item, Audio)]
    kinds = ["audio" if isinstance(item, Audio) else "image" for item in media]
    parts: list[dict[str, Any]] = [{"type": kind} for kind in kinds]
    messages = [{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]
    return model.family.encode(model.processor, messages, DecodedMedia(images, (), audios))


def embedded(model: OmniModel, kind: str, prompts: Sequence[EncodedPrompt]) -> Tensor:
    features = model.family.collate([prompt.features for prompt in prompts])
    names = model.family.media_inputs[kind].features
    reads = {name: features[name] for name in names}
    return model.family.embed_media(model.thinker, kind, reads)


def audio_tower(model: OmniModel) -> Any:
    return model.thinker.get_submodule(model.family.towers["audio"])


def about(sample: Sample, *media: Media) -> Sample:
    return sample.model_copy(update={"media": media})


# --- inputs ---------------------------------------------------------------------------------------


def official(model: OmniModel, *media: Image.Image | Audio) -> Any:
    marks = ["<|audio|>" if isinstance(item, Audio) else "<|image|>" for item in media]
    return model.processor(
        text=[f"<|user|>{''.join(marks)}What is it?<|end|><|assistant|>"],
        images=[item for item in media if isinstance(item, Image.Image)] or None,
        audio=[item.samples for item in media if isinstance(item, Audio)] or None,
        return_tensors="pt",
    )


@pytest.mark.parametrize(
    "media",
    [
        (picture(84, 56), sound(1.0)),
        (sound(0.7), picture(900, 500), picture(60, 60)),
        (picture(3000, 300),),
        (sound(2.0),),
    ],
)
def test_a_prompt_is_what_the_official_call_gives(
    model: OmniModel, media: tuple[Image.Image | Audio, ...]
) -> None:
    theirs, ours = official(model, *media), encoded(model, *media)
    assert ours.input_ids_P.equal(theirs["input_ids"][0])
    names = theirs.keys() - {"input_ids", "attention_mask", "token_type_ids"}
    assert names <= ours.features.keys()
    for name in names:
        assert ours.features[name].equal(theirs[name]), name
    positions_3P, following = model.family.positions(model.thinker, ours)
    assert positions_3P.equal(torch.arange(len(ours.input_ids_P)).expand(3, -1))
    assert following == len(ours.input_ids_P)


def test_of_sounds_together_the_official_call_gives_the_same_and_padding(model: OmniModel) -> None:
    media = (sound(0.52), sound(1.3, 300.0), sound(0.9, 150.0))
    theirs, ours = official(model, *media), encoded(model, *media)
    assert ours.input_ids_P.equal(theirs["input_ids"][0])
    heard = theirs["audio_attention_mask"]
    assert ours.features["audio_attention_mask"].equal(heard)
    for name in ("audio_input_features", "audio_embed_sizes"):
        given, expected = ours.features[name], theirs[name]
        if given.ndim == 3:
            given, expected = given[heard], expected[heard]
        torch.testing.assert_close(given, expected, rtol=0, atol=1e-5)


def test_the_published_chat_template_knows_no_parts(model: OmniModel) -> None:
    media = (picture(84, 56), sound(0.5))
    expected = encoded(model, *media).input_ids_P
    model.tokenizer.chat_template = (
        "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + "
        "'<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    assert encoded(model, *media).input_ids_P.equal(expected)


def test_what_cannot_be_read_is_an_error_of_the_sample(model: OmniModel) -> None:
    with pytest.raises(MediaError, match=r"an image cannot be cut into tiles: .*1792( x |, )8"):
        encoded(model, picture(4000, 20))
    with pytest.raises(MediaError, match=r"audio of 160 samples is shorter than the 400"):
        encoded(model, sound(0.01))


def test_videos_are_refused(model: OmniModel, samples: list[Sample]) -> None:
    with pytest.raises(ConfigError, match=r"cannot see .*: it takes image and audio, no video"):
        model.encode(samples[0])


def test_what_the_disk_keeps_depends_on_how_sound_is_processed(
    model: OmniModel, samples: list[Sample], tmp_path: Path
) -> None:
    def key() -> str:
        kept = KeptFeatures(cache, model.processor, model.family, model.encoder.budget)
        return kept.key(samples[0].media)

    cache = FeatureCache(tmp_path, 1 << 20)
    before = key()
    assert key() == before
    model.processor.audio_processor.preemphasis = 0.5
    assert key() != before


# --- towers ---------------------------------------------------------------------------------------


@torch.no_grad()
def test_each_item_is_read_as_if_it_stood_alone(model: OmniModel) -> None:
    """Of different sizes, in one prompt and in a row of several; the control is the model's own
    forward, which lets sounds hear their padding."""
    pictures = [picture(84, 56), picture(900, 500), picture(448, 700)]
    sounds = [sound(0.5), sound(1.7, 300.0), sound(42.0, 110.0), sound(1.7, 150.0)]
    for kind, media in (("image", pictures), ("audio", sounds)):
        alone = [embedded(model, kind, [encoded(model, item)]) for item in media]
        assert len({len(one) for one in alone}) == 3
        together = embedded(model, kind, [encoded(model, *media)])
        joined = embedded(model, kind, [encoded(model, *media[:2]), encoded(model, *media[2:])])
        torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=0)
        torch.testing.assert_close(joined, torch.cat(alone), rtol=0, atol=0)
    both = encoded(model, *sounds[:2]).features
    own = audio_tower(model).encoder(both["audio_input_features"], both["audio_attention_mask"])
    first = audio_tower(model).encoder(both["audio_input_features"][:1, :48], None)
    assert both["audio_attention_mask"][0].sum() == 48
    assert (own[0, :6] - first[0]).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("beside", [True, False])
def test_the_projector_is_that_of_each_prompt(model: OmniModel, beside: bool) -> None:
    """In a row with both kinds of prompts, too; the family suite compares them with transformers'
    forward."""
    with_image, without = encoded(model, picture(84, 56), sound(1.0)), encoded(model, sound(0.6))
    row = [with_image, without]
    before = embedded(model, "audio", row)
    getattr(audio_tower(model), f"up_proj_for_{PROJECTORS[beside]}").weight.mul_(1.5)
    changed = (embedded(model, "audio", row) - before).abs().amax(1) > 1e-4
    counts = [int(prompt.features["audio_embed_sizes"]) for prompt in row]
    assert changed.tolist() == [beside] * counts[0] + [not beside] * counts[1]


def test_both_projectors_have_gradients_wherever_sound_is_read(model: OmniModel) -> None:
    embedded(model, "audio", [encoded(model, sound(0.6))]).square().sum().backward()
    for beside, name in PROJECTORS.items():
        for end in ("up", "down"):
            gradient = getattr(audio_tower(model), f"{end}_proj_for_{name}").weight.grad
            assert gradient is not None
            assert bool(gradient.any()) is not beside


@torch.no_grad()
def test_in_training_windows_of_sound_are_where_they_are_in_a_rollout(model: OmniModel) -> None:
    """The control: transformers' encoder draws their borders in training."""
    tower, prompt = audio_tower(model), encoded(model, sound(3.0))
    tower.encoder.config.chunk_size, tower.encoder.config.left_chunk = 7, 1
    mels = prompt.features["audio_input_features"]
    expected = embedded(model, "audio", [prompt])
    model.train()
    drawn = []
    for seed in range(8):
        np.random.seed(seed)  # what transformers draws from
        drawn.append(tower.encoder(mels, None))
        np.random.seed(seed)
        assert embedded(model, "audio", [prompt]).equal(expected)
    assert any(not one.equal(drawn[0]) for one in drawn)
    assert all(part.training for part in tower.modules())


# --- the decoder ----------------------------------------------------------------------------------


def test_longer_texts_are_refused_before_they_are_written(
    model: OmniModel, samples: list[Sample]
) -> None:
    sample = about(samples[0])
    prompt = model.encode(sample)
    room = LIMIT - len(prompt.input_ids)
    message = rf"a prompt of {len(prompt.input_ids)} tokens and a completion of {room + 1} are 2049"
    whose = rf"sample {sample.id}: {message}, and phi4_multimodal takes 2048; lower max_new_tokens"
    with pytest.raises(ConfigError, match=whose):
        LocalEngine(model).generate([sample], 2, SamplingConfig(max_new_tokens=room + 1))
    for length in (room, room + 1):
        row = pack([prompt], [[[25], [26] * length]], model.pad_token_id, model.family)
        if length == room:
            assert model(**row.model_inputs()).logps_N.isfinite().all()
            continue
        with pytest.raises(ConfigError, match=message):
            model(**row.model_inputs())
    long = sample.model_copy(update={"question": "calm face " * LIMIT, "id": "long-one"})
    with pytest.raises(MediaError, match=r"sample long-one: a prompt of \d+ tokens, and phi4"):
        model.encode(long)


@torch.no_grad()
def test_beyond_the_limit_earlier_tokens_would_turn_otherwise(model: OmniModel) -> None:
    """The reason for it. Where the rope has one set of frequencies there is no limit."""
    ids = torch.randint(20, 300, (1, LIMIT + 1), generator=torch.Generator().manual_seed(0))
    within, beyond = (
        model.thinker.model(input_ids=ids[:, :length]).last_hidden_state[:, :LIMIT]
        for length in (LIMIT, LIMIT + 1)
    )
    assert (within - beyond).abs().max() > 1e-2
    config = copy.deepcopy(model.config)
    assert model.family.longest(config) == LIMIT
    config.rope_parameters = {"rope_type": "default", "rope_theta": 10000.0}
    assert model.family.longest(config) is None


@pytest.mark.parametrize(("window", "refused"), [(262144, False), (1024, True)])
def test_a_window_is_refused_unless_no_text_reaches_beyond_it(
    folder: Path, tmp_path: Path, window: int, refused: bool
) -> None:
    for file in folder.iterdir():
        text = file.read_bytes()
        if file.name == "config.json":
            text = text.replace(b'"sliding_window": null', f'"sliding_window": {window}'.encode())
            assert str(window).encode() in text
        (tmp_path / file.name).write_bytes(text)
    if refused:
        with pytest.raises(ModelError, match=r"looks back 1024 tokens.*sliding_window to null"):
            OmniModel.from_pretrained(tmp_path)
    else:
        assert OmniModel.from_pretrained(tmp_path).config.sliding_window is None


def test_lengths_are_planned_with_its_processor_only(
    model: OmniModel, samples: list[Sample], tmp_path: Path
) -> None:
    """Headers of media tell how long prompts of Qwen's models are."""
    model.config.save_pretrained(tmp_path)
    subject = Subject.of(str(tmp_path))
    assert (subject.sizes.towers["vision"].layers, subject.sizes.towers["audio"].layers) == (3, 2)
    messages = stage_messages(DEFAULT_FORMAT)
    with pytest.raises(ModelError, match="known from the model's processor only"):
        length_by_headers(
            samples[0], messages, subject.thinker.config, subject.sizes, MediaBudget()
        )


# --- folders --------------------------------------------------------------------------------------


def test_weights_with_adapters_beside_them_are_refused_and_merged_as_documented(
    model: OmniModel, folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    peft = pytest.importorskip("peft")
    from transformers import Phi4MultimodalForCausalLM

    published, merged = tmp_path / "published", tmp_path / "merged"
    sample = about(samples[0], samples[0].media[1])
    row = pack([model.encode(sample)], [[[25, 26, 27]]], model.pad_token_id, model.family)
    before = model(**row.model_inputs()).logps_N
    model.save_pretrained(published)
    config = peft.LoraConfig(
        r=4,
        lora_alpha=8,
        target_modules=r"model.*((layers.*self_attn\.(qkv|o)_proj)|(layers.*mlp\.(gate_up|down)_proj))",
    )
    base = Phi4MultimodalForCausalLM.from_pretrained(published)
    adapted = peft.get_peft_model(base, config)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.1)
    adapted.save_pretrained(published / "vision-lora")
    with pytest.raises(ModelError, match=r"published: these weights count on .* \(vision-lora\)"):
        OmniModel.from_pretrained(published)

    # As in docs/families.md.
    thinker = Phi4MultimodalForCausalLM.from_pretrained(published)
    thinker = peft.PeftModel.from_pretrained(thinker, published, subfolder="vision-lora")
    thinker.merge_and_unload().save_pretrained(merged)
    model.processor.save_pretrained(merged)

    loaded = OmniModel.from_pretrained(merged).eval()
    found = loaded(**row.model_inputs()).logps_N
    active = OmniModel(adapted.get_base_model().eval(), model.processor, model.family)
    torch.testing.assert_close(found, active(**row.model_inputs()).logps_N, rtol=0, atol=2e-5)
    assert (found - before).abs().max() > 1e-2


def test_a_folder_loads_with_the_official_classes(model: OmniModel, tmp_path: Path) -> None:
    from transformers import Phi4MultimodalForCausalLM

    model.save_pretrained(tmp_path)
    theirs = Phi4MultimodalForCausalLM.from_pretrained(tmp_path).state_dict()
    assert all(theirs[name].equal(w) for name, w in model.thinker.state_dict().items())
    pytest.importorskip("torchvision", reason="the official image processor needs torchvision")
    from transformers import Phi4MultimodalProcessor

    theirs_processor = Phi4MultimodalProcessor.from_pretrained(tmp_path)
    assert theirs_processor.image_processor.dynamic_hd == 4
    media = (picture(500, 300), sound(0.6))
    expected = encoded(model, *media).features
    model.processor = theirs_processor
    for name, feature in encoded(model, *media).features.items():
        assert feature.equal(expected[name]), name


def test_too_many_pictures_are_an_error_of_their_sample(
    model: OmniModel, samples: list[Sample], tmp_path: Path
) -> None:
    """Five large pictures are more than the positions reach; the sample is named."""
    media = []
    for number in range(5):
        path = tmp_path / f"{number}.png"
        picture(400, 300 + number).save(path)
        media.append(Media(kind=MediaKind.IMAGE, path=path))
    with pytest.raises(MediaError, match=rf"sample {samples[0].id}: a prompt of \d{{4}} tokens"):
        model.encode(about(samples[0], *media))
