"""Embeddings that are made once stand for towers that run in every forward."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.media import MediaBudget
from triptych.data.sample import Media, MediaKind, Sample
from triptych.data.sound import own_sound
from triptych.errors import ModelError
from triptych.generation import SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.models.packing import PackedBatch, pack
from triptych.models.prompt import Prompt, PromptEncoder
from triptych.models.towers import embed_inputs

COMPLETIONS = [[25, 26, 27, 28, 29], [301, 302], [40]]
VIDEO, AUDIO, IMAGE = ({f"{kind}_embeds"} for kind in ("video", "audio", "image"))


@pytest.fixture
def questions(samples: list[Sample], tmp_path: Path) -> dict[str, Sample]:
    """One about each mix of media; prompts and clips differ in length."""
    Image.linear_gradient("L").save(tmp_path / "still.png")
    still = Media(kind=MediaKind.IMAGE, path=tmp_path / "still.png")
    (video, sound), (other, _) = samples[0].media, samples[1].media
    film = [video, own_sound(video)]
    part = [item.model_copy(update={"end": 0.5}) for item in film]
    mixes: dict[str, Sequence[Media]] = {
        "video and sound": [video, sound],
        "two films": [*part, other, own_sound(other)],
        "image": [still],
        "all": [sound, still, video, other],
        "text": [],
    }
    question = samples[0].question
    return {
        name: samples[0].model_copy(
            update={"id": name, "media": tuple(media), "question": f"{name}? {question}"}
        )
        for name, media in mixes.items()
    }


def new_encoder(model: OmniModel, **options: Any) -> PromptEncoder:
    return PromptEncoder(
        model.thinker, model.processor, model.family, MediaBudget(fps=4.0), model.format, **options
    )


@pytest.fixture
def frozen(tiny: OmniModel) -> OmniModel:
    tiny.freeze(["vision", "audio"])
    return tiny


@pytest.fixture
def runs(tiny: OmniModel) -> Counter[str]:
    """How often each tower has run."""
    counter: Counter[str] = Counter()
    for tower, path in tiny.family.towers.items():
        tiny.thinker.get_submodule(path).register_forward_hook(
            lambda *_, tower=tower: counter.update([tower])
        )
    return counter


def encode(model: OmniModel, samples: Sequence[Sample], *, embed: bool) -> list[Prompt]:
    return list(model.encoder.encode_all(samples, embed=embed))


def packed_of(model: OmniModel, prompts: Sequence[Prompt]) -> PackedBatch:
    return pack(prompts, [COMPLETIONS] * len(prompts), model.pad_token_id, model.family)


def logps_and_gradients(
    model: OmniModel, prompts: Sequence[Prompt]
) -> tuple[Tensor, dict[str, Tensor]]:
    model.zero_grad()
    logps_N = model(**packed_of(model, prompts).model_inputs()).logps_N
    (logps_N * torch.linspace(-1, 1, len(logps_N))).sum().backward()
    named = model.named_parameters()
    return logps_N.detach(), {name: p.grad for name, p in named if p.grad is not None}


def assert_close(actual: Tensor, expected: Tensor) -> None:
    """Up to the rounding of other batch sizes: some units in the last place of the largest."""
    tolerance = 256 * torch.finfo(expected.dtype).eps * float(expected.abs().max())
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance)


def embeddings_of(prompt: Prompt) -> dict[str, Tensor]:
    return {name: t for name, t in prompt.features.items() if name.endswith("_embeds")}


# --- the same results --------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("in_turns", [False, True])
def test_log_probs_and_gradients_are_those_of_towers_in_the_forward(
    frozen: OmniModel,
    questions: dict[str, Sample],
    runs: Counter[str],
    in_turns: bool,
    dtype: torch.dtype,
) -> None:
    frozen.to(dtype)
    names = ["two films"] if in_turns else list(questions)
    asked = [questions[name] for name in names]
    frozen.encoder = new_encoder(frozen, audio_in_video=in_turns)
    expected, expected_gradients = logps_and_gradients(frozen, encode(frozen, asked, embed=False))
    embedded = encode(frozen, asked, embed=True)
    runs.clear()
    actual, gradients = logps_and_gradients(frozen, embedded)
    assert not runs
    assert_close(actual, expected)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        assert_close(gradient, expected_gradients[name])


def test_one_prompt_alone_gives_the_same_bits(frozen: OmniModel, samples: list[Sample]) -> None:
    """Towers and decoder then compute at the same shapes."""
    expected, _ = logps_and_gradients(frozen, encode(frozen, samples[:1], embed=False))
    actual, _ = logps_and_gradients(frozen, encode(frozen, samples[:1], embed=True))
    assert actual.equal(expected)


@torch.no_grad()
def test_the_decoder_reads_what_the_model_s_own_forward_reads(
    frozen: OmniModel, questions: dict[str, Sample]
) -> None:
    for sample in questions.values():
        raw = frozen.encode(sample)
        row = raw.input_ids[None]
        expected = frozen.thinker(
            input_ids=row, attention_mask=torch.ones_like(row), use_cache=False, **raw.features
        ).logits[0]
        (prompt,) = encode(frozen, [sample], embed=True)
        hidden_LH = frozen.decode(
            prompt.position_ids[:, None], **frozen.embed(row, prompt.features).keywords()
        ).last_hidden_state[0]
        actual = frozen.thinker.get_output_embeddings()(hidden_LH)
        torch.testing.assert_close(actual, expected, rtol=0, atol=2e-5)


def test_greedy_rollouts_are_the_same(
    tiny: OmniModel, questions: dict[str, Sample], runs: Counter[str]
) -> None:
    asked, greedy = list(questions.values()), SamplingConfig(max_new_tokens=12, temperature=0)
    expected = LocalEngine(tiny).generate(asked, 1, greedy)
    tiny.freeze(["vision", "audio"])
    held = encode(tiny, asked, embed=True)
    runs.clear()
    assert LocalEngine(tiny).generate(asked, 1, greedy) == expected
    assert not runs
    assert len(held) == len(asked)


def test_embeddings_stand_in_the_place_of_pixels_and_mels(
    frozen: OmniModel, questions: dict[str, Sample]
) -> None:
    prompts = dict(
        zip(questions, encode(frozen, list(questions.values()), embed=True), strict=True)
    )
    assert embeddings_of(prompts["all"]).keys() == VIDEO | AUDIO | IMAGE
    assert embeddings_of(prompts["image"]).keys() == IMAGE
    assert not prompts["text"].features
    raw = frozen.encode(questions["all"])
    assert prompts["all"].features.keys() - raw.features.keys() == VIDEO | AUDIO | IMAGE
    left = raw.features.keys() & prompts["all"].features.keys()
    assert left == {"video_second_per_grid"}  # for positions alone
    assert prompts["all"].num_bytes < raw.num_bytes / 10


# --- once ----------------------------------------------------------------------------------------


def test_a_frozen_tower_runs_once_for_media_in_use(
    frozen: OmniModel, samples: list[Sample], runs: Counter[str]
) -> None:
    """Across epochs, questions, and whatever else has filled the cache."""
    frozen.encoder = new_encoder(frozen, cache_bytes=0)
    asked = list({sample.media: sample for sample in samples}.values())[:2]
    held = encode(frozen, asked, embed=True)
    assert runs == {"vision": 2, "audio": 2}
    other = asked[0].model_copy(update={"id": "other", "question": "And now?"})
    again = encode(frozen, [*asked, other], embed=True)
    assert runs == {"vision": 2, "audio": 2}
    assert again[2].features["video_embeds"] is held[0].features["video_embeds"]
    assert not again[2].input_ids.equal(held[0].input_ids)
    del held, again
    encode(frozen, samples[:1], embed=True)
    assert runs == {"vision": 3, "audio": 3}


def test_the_encoder_keeps_embeddings_in_place_of_pixels(
    frozen: OmniModel, samples: list[Sample], runs: Counter[str]
) -> None:
    (raw,) = encode(frozen, samples[:1], embed=False)
    (prompt,) = encode(frozen, samples[:1], embed=True)
    assert frozen.encoder._used == prompt.num_bytes < raw.num_bytes
    del prompt
    encode(frozen, samples[:1], embed=True)
    assert runs == {"vision": 1, "audio": 1}
    assert frozen.encode(samples[0]).features.keys() == raw.features.keys()


def test_media_that_were_changed_are_read_again(
    frozen: OmniModel, samples: list[Sample], runs: Counter[str]
) -> None:
    held = encode(frozen, samples[:1], embed=True)
    frozen.encoder.clear_cache()
    assert encode(frozen, samples[:1], embed=True)[0] is not held[0]
    assert runs == {"vision": 2, "audio": 2}


# --- nothing stale -------------------------------------------------------------------------------


def train_a_step(model: OmniModel, tower: str, prompts: Sequence[Prompt]) -> None:
    weights = list(model.thinker.get_submodule(model.family.towers[tower]).parameters())
    optimizer = torch.optim.AdamW(weights, lr=1e-2)
    model(**packed_of(model, prompts).model_inputs()).logps_N.sum().backward()
    optimizer.step()
    model.zero_grad()


def test_a_tower_that_was_trained_for_a_while_is_asked_again(
    frozen: OmniModel, samples: list[Sample]
) -> None:
    asked = samples[:2]
    before = encode(frozen, asked, embed=True)
    visual = frozen.thinker.get_submodule(frozen.family.towers["vision"])
    visual.requires_grad_(True)
    mixed = encode(frozen, asked, embed=True)
    assert [embeddings_of(prompt).keys() for prompt in mixed] == [AUDIO] * 2
    train_a_step(frozen, "vision", mixed)
    visual.requires_grad_(False)
    after = encode(frozen, asked, embed=True)
    assert not after[0].features["video_embeds"].equal(before[0].features["video_embeds"])
    expected, _ = logps_and_gradients(frozen, encode(frozen, asked, embed=False))
    actual, _ = logps_and_gradients(frozen, after)
    assert_close(actual, expected)


def load_other_weights(model: OmniModel) -> None:
    weights = {name: weight * 1.5 for name, weight in model.thinker.state_dict().items()}
    model.thinker.load_state_dict(weights)


def change_one_number(model: OmniModel) -> None:
    with torch.no_grad():
        visual = model.thinker.get_submodule(model.family.towers["vision"])
        next(visual.parameters()).view(-1)[3] += 1


def change_format(model: OmniModel) -> None:
    model.double()


@pytest.mark.parametrize("change", [load_other_weights, change_one_number, change_format])
def test_other_weights_give_other_embeddings(
    frozen: OmniModel, samples: list[Sample], change: Callable[[OmniModel], None]
) -> None:
    before = encode(frozen, samples[:1], embed=True)
    change(frozen)
    after = encode(frozen, samples[:1], embed=True)
    frozen.encoder = new_encoder(frozen)
    expected = encode(frozen, samples[:1], embed=True)
    assert embeddings_of(after[0])["video_embeds"].equal(expected[0].features["video_embeds"])
    assert not after[0].features["video_embeds"].equal(before[0].features["video_embeds"])


def test_weights_that_change_while_prompts_are_being_made(
    frozen: OmniModel, questions: dict[str, Sample]
) -> None:
    """What was remembered, but not yet handed out, is made again, in turns as before."""
    asked = [questions["two films"]] * 4
    with DecodePool(DecodeLimits(workers=2)) as pool:  # so many prompts are begun ahead
        frozen.encoder = new_encoder(frozen, audio_in_video=True, pool=pool)
        (before,) = encode(frozen, asked[:1], embed=True)
        prompts = frozen.encoder.encode_all(asked, embed=True)
        assert next(prompts) is before
        load_other_weights(frozen)
        after = next(prompts)
    assert after.input_ids.equal(before.input_ids)
    assert after.position_ids.equal(before.position_ids)
    assert not after.features["video_embeds"].equal(before.features["video_embeds"])


def test_under_autocast_embeddings_are_others(frozen: OmniModel, samples: list[Sample]) -> None:
    (plain,) = encode(frozen, samples[:1], embed=True)
    with torch.autocast("cpu", torch.bfloat16):
        (mixed,) = encode(frozen, samples[:1], embed=True)
    assert mixed.features["video_embeds"].dtype == torch.bfloat16
    assert encode(frozen, samples[:1], embed=True) == [plain]
    assert plain.features["video_embeds"].dtype == torch.float32


def test_a_trained_tower_runs_in_every_forward_and_learns(
    tiny: OmniModel, samples: list[Sample], runs: Counter[str]
) -> None:
    """Beside a frozen one."""
    tiny.freeze(["audio"])
    asked = samples[:3]
    expected, expected_gradients = logps_and_gradients(tiny, encode(tiny, asked, embed=False))
    prompts = encode(tiny, asked, embed=True)
    runs.clear()
    for _ in range(2):
        actual, gradients = logps_and_gradients(tiny, prompts)
    assert runs == {"vision": 2}
    assert_close(actual, expected)
    visual = tiny.family.towers["vision"]
    assert any(name.startswith(f"thinker.{visual}") for name in gradients)
    for name, gradient in gradients.items():
        assert_close(gradient, expected_gradients[name])


def test_a_tower_of_which_a_part_is_trained_is_trained(
    frozen: OmniModel, samples: list[Sample]
) -> None:
    """As with adapters."""
    visual = frozen.thinker.get_submodule(frozen.family.towers["vision"])
    *_, last = visual.parameters()
    last.requires_grad_(True)
    (prompt,) = encode(frozen, samples[:1], embed=True)
    assert embeddings_of(prompt).keys() == AUDIO
    assert "pixel_values_videos" in prompt.features


def test_frozen_towers_run_without_dropout_and_stay_as_they_were(
    frozen: OmniModel, samples: list[Sample], runs: Counter[str]
) -> None:
    modes = []
    visual = frozen.thinker.get_submodule(frozen.family.towers["vision"])
    visual.register_forward_hook(lambda module, *_: modes.append(module.training))
    frozen.train()
    encode(frozen, samples[:1], embed=True)
    assert modes == [False]
    assert all(module.training for module in frozen.modules())


# --- placeholders --------------------------------------------------------------------------------


@torch.no_grad()
def test_a_placeholder_in_a_completion_is_no_place_for_media(
    frozen: OmniModel, samples: list[Sample]
) -> None:
    (prompt,) = encode(frozen, samples[:1], embed=True)
    video = frozen.config.video_token_id
    packed = pack([prompt], [[[25, video, 26]]], frozen.pad_token_id, frozen.family)
    plain = pack([prompt], [[[25, 27, 26]]], frozen.pad_token_id, frozen.family)
    one, two = (frozen(**each.model_inputs()).logps_N for each in (packed, plain))
    torch.testing.assert_close(one[0], two[0])


@pytest.mark.parametrize("embed", [False, True])
def test_embeddings_and_placeholders_must_match(
    frozen: OmniModel, samples: list[Sample], embed: bool
) -> None:
    (prompt,) = encode(frozen, samples[:1], embed=embed)
    ids = torch.cat([prompt.input_ids, torch.tensor([frozen.config.video_token_id])])
    message = r"video: (\d+) placeholders, but the encoder gives (?!\1)\d+ embeddings"
    with pytest.raises(ModelError, match=message):
        embed_inputs(frozen.thinker, frozen.family, ids, prompt.features)
