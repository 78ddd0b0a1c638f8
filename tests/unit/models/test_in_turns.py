"""With `audio_in_video` a model reads films as its own forward does when it is told so."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from triptych.data.clips.mp4 import write_mp4
from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.feature_cache import FeatureCache
from triptych.data.media import MediaBudget
from triptych.data.sample import Media, MediaKind, Sample
from triptych.data.sound import own_sound
from triptych.errors import ConfigError, MediaError
from triptych.generation import SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.models.families.qwen2_5_omni import Qwen25Omni
from triptych.models.packing import pack
from triptych.models.prompt import PromptEncoder

BUDGET = MediaBudget(fps=4.0)
COMPLETIONS = [[25, 26, 27, 28, 29], [301, 302], [40, 41, 42]]  # no placeholders


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> list[Media]:
    """Two films with sound, longer than the two seconds of a turn."""
    folder, rng = tmp_path_factory.mktemp("films"), np.random.default_rng(0)
    paths = []
    for seconds in (3.5, 2.5):
        path = folder / f"{seconds}.mp4"
        pictures = rng.integers(0, 255, (int(seconds * 4), 56, 56, 3), np.uint8)
        voice = np.sin(np.arange(int(seconds * 16_000)) / rng.uniform(10, 30)).astype(np.float32)
        write_mp4(path, pictures, fps=4, voice_N=voice)
        paths.append(path)
    return [Media(kind=MediaKind.VIDEO, path=path) for path in paths]


@pytest.fixture
def questions(films: list[Media], samples: list[Sample], tmp_path: Path) -> dict[str, Sample]:
    """One about each mix of media; of the films first come the names of those in turns."""
    from PIL import Image

    Image.linear_gradient("L").save(tmp_path / "still.png")
    still = Media(kind=MediaKind.IMAGE, path=tmp_path / "still.png")
    narration = samples[1].media[1]
    one, two = ([film, own_sound(film)] for film in films)
    part = [item.model_copy(update={"start": 0.5, "end": 3.0}) for item in one]
    mixes: dict[str, list[Media]] = {
        "film": one,
        "part of a film": part,
        "still and two films": [still, *one, *two],
        "narration first": [narration, *two],
        "narration last": [*two, narration],
        "video alone": one[:1],
        "two videos alone": [one[0], two[0]],
        "sound alone": one[1:],
        "still and sound": [still, narration],
        "text": [],
    }
    return {
        name: samples[0].model_copy(update={"id": name, "media": tuple(media)})
        for name, media in mixes.items()
    }


IN_TURNS = ("film", "part of a film", "still and two films", "narration first", "narration last")


@pytest.fixture
def model(omni: OmniModel) -> OmniModel:
    omni.encoder = encoder(omni)
    return omni


def encoder(model: OmniModel, *, audio_in_video: bool = True, **options: Any) -> PromptEncoder:
    return PromptEncoder(
        model.thinker, model.processor, model.family, BUDGET, model.format,
        audio_in_video=audio_in_video, **options,
    )  # fmt: skip


def naive_logps(model: OmniModel, sample: Sample, group: Sequence[list[int]]) -> list[Tensor]:
    """One after the other by the model's own forward, which finds positions of its own."""
    prompt, logps = model.encode(sample), []
    for completion in group:
        ids = torch.cat([prompt.input_ids, torch.tensor(completion)])[None]
        logits_TV = model.thinker(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            use_cache=False,
            use_audio_in_video=sample.id in IN_TURNS,
            **prompt.features,
        ).logits[0, len(prompt.input_ids) - 1 : -1]
        logits_TV = logits_TV.index_fill(-1, model.banned_ids, -torch.inf)
        targets = torch.tensor(completion)[:, None]
        logps.append(torch.log_softmax(logits_TV, -1).gather(-1, targets)[:, 0])
    return logps


def packed_logps(model: OmniModel, samples: Sequence[Sample]) -> list[Tensor]:
    prompts = [model.encode(sample) for sample in samples]
    packed = pack(prompts, [COMPLETIONS] * len(prompts), model.pad_token_id, model.family)
    return list(model(**packed.model_inputs()).logps_N.split(packed.lengths_R.tolist()))


@torch.no_grad()
def test_packed_rows_are_scored_as_the_model_scores_films(
    model: OmniModel, questions: dict[str, Sample]
) -> None:
    packed = packed_logps(model, list(questions.values()))
    naive = [
        one for sample in questions.values() for one in naive_logps(model, sample, COMPLETIONS)
    ]
    for ours, expected in zip(packed, naive, strict=True):
        torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_one_after_the_other_is_something_else(
    model: OmniModel, questions: dict[str, Sample]
) -> None:
    """The control for the test above, and for nothing else being touched."""
    apart = encoder(model, audio_in_video=False)
    for name, sample in questions.items():
        one, two = model.encode(sample), apart.encode(sample)
        assert one.input_ids.sort().values.equal(two.input_ids.sort().values)
        assert one.input_ids.equal(two.input_ids) is (name not in IN_TURNS)
        assert one.position_ids.equal(two.position_ids) is (name not in IN_TURNS)
    turns = packed_logps(model, [questions[name] for name in IN_TURNS])
    model.encoder = apart
    assert all(
        (one - two).abs().max() > 1e-4
        for one, two in zip(
            turns, packed_logps(model, [questions[name] for name in IN_TURNS]), strict=True
        )
    )


def test_completions_are_those_of_generate(model: OmniModel, questions: dict[str, Sample]) -> None:
    """All mixes in one batch, padded to the longest."""
    greedy = SamplingConfig(max_new_tokens=10, temperature=0)
    groups = LocalEngine(model).generate(list(questions.values()), 2, greedy)
    for sample, group in zip(questions.values(), groups, strict=True):
        prompt = model.encode(sample)
        ids = prompt.input_ids[None]
        output = model.thinker.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            use_audio_in_video=sample.id in IN_TURNS,
            do_sample=False,
            max_new_tokens=10,
            suppress_tokens=model.banned_ids.tolist(),
            **prompt.features,
        )
        expected = tuple(output[0, ids.shape[1] :].tolist())
        assert [one.token_ids for one in group] == [expected, expected], sample.id


def test_workers_and_disk_change_nothing_and_keep_the_two_ways_apart(
    model: OmniModel, questions: dict[str, Sample], tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "cache", 1 << 30)
    with DecodePool(DecodeLimits(workers=1)) as pool:
        for _ in ("fresh", "warm"):
            for in_turns in (True, False):
                plain = encoder(model, audio_in_video=in_turns)
                kept = encoder(model, audio_in_video=in_turns, pool=pool, cache=cache)
                for sample, one in zip(
                    questions.values(), kept.encode_all(questions.values()), strict=True
                ):
                    two = plain.encode(sample)
                    assert one.input_ids.equal(two.input_ids), sample.id
                    assert one.position_ids.equal(two.position_ids), sample.id
                    assert one.next_position.equal(two.next_position)
                    assert all(one.features[k].equal(two.features[k]) for k in two.features)
    with_media = len(questions) - 1
    # What reads the same either way is kept once.
    assert len(list(cache.folder.glob("*.safetensors"))) == with_media + len(IN_TURNS)


@pytest.mark.parametrize("kept", [False, True])
def test_a_film_that_cannot_be_read_in_turns_is_named(
    model: OmniModel, films: list[Media], samples: list[Sample], tmp_path: Path, kept: bool
) -> None:
    one, two = films
    later = own_sound(one).model_copy(update={"start": 1.0})
    cache = FeatureCache(tmp_path / "cache", 1 << 30) if kept else None
    reader = encoder(model, cache=cache)
    for media, named in (
        ([one, own_sound(one), two], two),
        ([two, one, own_sound(one)], two),
        ([one, two, own_sound(one), own_sound(two)], one),
        ([one, own_sound(two)], one),
        ([one, later], one),
        ([own_sound(one), one], one),
    ):
        sample = samples[0].model_copy(update={"media": tuple(media)})
        with pytest.raises(MediaError) as error:
            reader.encode(sample)
        assert str(error.value).startswith(f"sample {sample.id}: {named.path}: its own sound")
        assert "leave out audio_in_video" in str(error.value)
        encoder(model, audio_in_video=False).encode(sample)


def test_a_family_that_cannot_refuses_at_once(tiny: OmniModel) -> None:
    class Slides(Qwen25Omni):
        name: ClassVar[str] = "slides"
        audio_in_video: ClassVar[bool] = False

    tiny.family = Slides()
    with pytest.raises(ConfigError, match=r"slides cannot read .* in turns; leave out audio_in_vi"):
        encoder(tiny)
    encoder(tiny, audio_in_video=False)
