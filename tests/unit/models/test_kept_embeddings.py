"""Embeddings of frozen towers on disk: no tower runs again, and nothing else can be told apart."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from triptych.cli.model import CacheConfig
from triptych.data.feature_cache import FeatureCache
from triptych.data.media import MediaBudget
from triptych.data.sample import Media, MediaKind, Sample
from triptych.data.sound import own_sound
from triptych.errors import ConfigError
from triptych.models import OmniModel
from triptych.models.prompt import Prompt, PromptEncoder

BUDGET = MediaBudget(fps=4.0, max_seconds=0.5, max_pixels=2000)  # with notices


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache", 1 << 30, embeddings=True)


@pytest.fixture
def frozen(tiny: OmniModel) -> OmniModel:
    tiny.freeze(["vision", "audio"])
    return tiny


@pytest.fixture
def questions(samples: list[Sample], tmp_path: Path) -> list[Sample]:
    """About a film and a sound, about a picture, and about text alone."""
    Image.linear_gradient("L").save(tmp_path / "still.png")
    still = Media(kind=MediaKind.IMAGE, path=tmp_path / "still.png")
    (video, _), (other, _) = samples[0].media, samples[1].media
    mixes: tuple[list[Media], ...] = ([video, own_sound(video)], [still, other], [])
    return [
        samples[0].model_copy(update={"id": f"q{number}", "media": tuple(media)})
        for number, media in enumerate(mixes)
    ]


@pytest.fixture
def runs(tiny: OmniModel) -> Counter[str]:
    """How often each tower has run."""
    counter: Counter[str] = Counter()
    for tower, path in tiny.family.towers.items():
        tiny.thinker.get_submodule(path).register_forward_hook(
            lambda *_, tower=tower: counter.update([tower])
        )
    return counter


def new_encoder(
    model: OmniModel, cache: FeatureCache | None, *, in_turns: bool = False
) -> PromptEncoder:
    return PromptEncoder(
        model.thinker, model.processor, model.family, BUDGET, model.format,
        cache=cache, audio_in_video=in_turns,
    )  # fmt: skip


def embedded(
    model: OmniModel,
    samples: list[Sample],
    cache: FeatureCache | None = None,
    *,
    in_turns: bool = False,
) -> list[Prompt]:
    """As a process of its own would make them."""
    encoder = new_encoder(model, cache, in_turns=in_turns)
    return list(encoder.encode_all(samples, embed=True))


def assert_same(some: list[Prompt], others: list[Prompt]) -> None:
    for one, other in zip(some, others, strict=True):
        assert one.input_ids.equal(other.input_ids)
        assert one.position_ids.equal(other.position_ids)
        assert one.next_position.equal(other.next_position)
        assert one.notices == other.notices
        assert one.features.keys() == other.features.keys()
        assert all(one.features[name].equal(other.features[name]) for name in one.features)


@pytest.mark.parametrize("in_turns", [False, True])
def test_a_later_run_decodes_nothing_and_runs_no_tower(
    frozen: OmniModel,
    questions: list[Sample],
    cache: FeatureCache,
    runs: Counter[str],
    monkeypatch: pytest.MonkeyPatch,
    in_turns: bool,
) -> None:
    expected = embedded(frozen, questions, in_turns=in_turns)
    assert any(prompt.notices for prompt in expected)
    assert_same(embedded(frozen, questions, cache, in_turns=in_turns), expected)
    assert len(list(cache.folder.glob("*.safetensors"))) == 2
    runs.clear()
    monkeypatch.delattr("triptych.data.decoding.decode_media")
    asked_otherwise = [one.model_copy(update={"question": "Who is it?"}) for one in questions]
    assert_same(embedded(frozen, questions, cache, in_turns=in_turns), expected)
    embedded(frozen, asked_otherwise, cache, in_turns=in_turns)
    assert not runs


def test_features_that_are_there_already_are_not_decoded_again(
    frozen: OmniModel,
    questions: list[Sample],
    cache: FeatureCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a run without embeddings, or of the look at all samples before a run."""
    expected = embedded(frozen, questions)
    embedded(frozen, questions, FeatureCache(cache.folder, 1 << 30))
    monkeypatch.delattr("triptych.data.decoding.decode_media")
    assert_same(embedded(frozen, questions, cache), expected)
    assert len(list(cache.folder.glob("*.safetensors"))) == 4


def test_features_in_memory_are_embedded_and_kept(
    frozen: OmniModel, questions: list[Sample], cache: FeatureCache
) -> None:
    encoder = new_encoder(frozen, cache)
    for sample in questions:
        encoder.encode(sample)
    assert_same(list(encoder.encode_all(questions, embed=True)), embedded(frozen, questions))
    assert len(list(cache.folder.glob("*.safetensors"))) == 4


def change_one_number(model: OmniModel) -> None:
    with torch.no_grad():
        next(model.thinker.get_submodule("model.visual").parameters()).view(-1)[0] += 1


def train_the_towers(model: OmniModel) -> None:
    model.thinker.requires_grad_(True)


@pytest.mark.parametrize(
    "change", [change_one_number, lambda model: model.to(torch.bfloat16), train_the_towers]
)
def test_what_other_towers_made_is_not_found(
    frozen: OmniModel,
    questions: list[Sample],
    cache: FeatureCache,
    change: Callable[[OmniModel], None],
) -> None:
    encoder = new_encoder(frozen, cache)
    list(encoder.encode_all(questions, embed=True))
    change(frozen)
    assert_same(list(encoder.encode_all(questions, embed=True)), embedded(frozen, questions))
    assert len(list(cache.folder.glob("*.safetensors"))) == 4


def test_autocast_gives_entries_of_its_own(
    frozen: OmniModel, questions: list[Sample], cache: FeatureCache
) -> None:
    embedded(frozen, questions, cache)
    with torch.autocast("cpu", torch.bfloat16):
        expected = embedded(frozen, questions)
        assert_same(embedded(frozen, questions, cache), expected)
        assert_same(embedded(frozen, questions, cache), expected)


def test_what_a_trained_tower_reads_stays_beside_embeddings(
    tiny: OmniModel, questions: list[Sample], cache: FeatureCache, runs: Counter[str]
) -> None:
    tiny.freeze(["vision"])
    expected = embedded(tiny, questions)
    assert {"video_embeds", "input_features"} <= expected[0].features.keys()
    assert_same(embedded(tiny, questions, cache), expected)
    runs.clear()
    assert_same(embedded(tiny, questions, cache), expected)
    assert not runs


def test_a_damaged_entry_is_made_once_more(
    frozen: OmniModel, questions: list[Sample], cache: FeatureCache
) -> None:
    expected = embedded(frozen, questions, cache)
    for path in cache.folder.glob("*.safetensors"):
        data = bytearray(path.read_bytes())
        data[-100] ^= 1
        path.write_bytes(data)
    assert_same(embedded(frozen, questions, cache), expected)
    assert_same(embedded(frozen, questions, cache), expected)


def test_nothing_can_be_kept_without_a_folder(tmp_path: Path) -> None:
    assert CacheConfig().open() is None
    cache = CacheConfig(folder=tmp_path, max_gib=2.0, embeddings=True).open()
    assert cache is not None
    assert (cache.embeddings, cache.max_bytes) == (True, 2 << 30)
    with pytest.raises(ConfigError, match=r"cache.embeddings .*cache.folder"):
        CacheConfig(embeddings=True)
