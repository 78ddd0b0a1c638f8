"""Prompts by way of workers and of the disk are the prompts that are made in the process."""

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from triptych.data.decode_worker import Decoded, decode_media
from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.feature_cache import FeatureCache
from triptych.data.media import MediaBudget
from triptych.data.sample import Media, MediaKind, Sample
from triptych.errors import MediaError
from triptych.models import OmniModel
from triptych.models.prompt import Prompt, PromptEncoder

BUDGET = MediaBudget(fps=4.0)


def encoder(
    model: OmniModel,
    budget: MediaBudget = BUDGET,
    pool: DecodePool | None = None,
    cache: FeatureCache | None = None,
) -> PromptEncoder:
    return PromptEncoder(
        model.thinker, model.processor, model.family, budget, model.format, pool=pool, cache=cache
    )


def assert_same(one: Prompt, two: Prompt) -> None:
    assert one.input_ids.equal(two.input_ids)
    assert one.position_ids.equal(two.position_ids)
    assert one.next_position.equal(two.next_position)
    assert one.features.keys() == two.features.keys()
    for name, feature in one.features.items():
        assert feature.dtype == two.features[name].dtype
        assert feature.equal(two.features[name]), name
    assert one.notices == two.notices


def with_media(sample: Sample, *media: Media) -> Sample:
    return sample.model_copy(update={"media": media})


@pytest.fixture
def mixed(samples: list[Sample], tmp_path: Path) -> list[Sample]:
    """Clips, a still, the sound alone, and no media at all."""
    path = tmp_path / "still.png"
    Image.linear_gradient("L").save(path)
    still = Media(kind=MediaKind.IMAGE, path=path)
    return [
        *samples[:4],
        with_media(samples[0], still, *samples[0].media),
        with_media(samples[1], samples[1].media[1]),
        with_media(samples[2]),
        samples[0],
    ]


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "cache", 1 << 30)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The paths of what is decoded in the process, as it happens."""
    paths: list[Path] = []

    def noted(media: Media, budget: MediaBudget) -> Decoded:
        paths.append(media.path)
        return decode_media(media, budget)

    monkeypatch.setattr("triptych.data.decoding.decode_media", noted)
    return paths


def test_workers_change_nothing(tiny: OmniModel, mixed: list[Sample]) -> None:
    budget = MediaBudget(fps=4.0, max_seconds=0.5, max_pixels=2000)  # with notices
    expected = [encoder(tiny, budget).encode(sample) for sample in mixed]
    assert any(prompt.notices for prompt in expected)
    with DecodePool(DecodeLimits(workers=2)) as pool:
        prompts = list(encoder(tiny, budget, pool).encode_all(mixed))
    for one, two in zip(prompts, expected, strict=True):
        assert_same(one, two)


def test_the_disk_changes_nothing(
    tiny: OmniModel, mixed: list[Sample], cache: FeatureCache, decoded: list[Path]
) -> None:
    budget = MediaBudget(fps=4.0, max_seconds=0.5, max_pixels=2000)
    expected = [encoder(tiny, budget).encode(sample) for sample in mixed]
    for times in range(2):
        decoded.clear()
        fresh = encoder(tiny, budget, cache=FeatureCache(cache.folder, 1 << 30))
        for sample, prompt in zip(mixed, expected, strict=True):
            assert_same(fresh.encode(sample), prompt)
        assert bool(decoded) is (times == 0)


def test_questions_about_the_same_media_share_an_entry(
    tiny: OmniModel, samples: list[Sample], cache: FeatureCache, decoded: list[Path]
) -> None:
    other = samples[0].model_copy(update={"question": "Is it <b>bold</b>?", "options": ("x", "y")})
    encoder(tiny, cache=cache).encode(samples[0])
    decoded.clear()
    assert_same(encoder(tiny, cache=cache).encode(other), encoder(tiny).encode(other))
    assert len(list(cache.folder.glob("*.safetensors"))) == 1


def test_moved_files_keep_their_entry_and_notices_name_the_new_place(
    tiny: OmniModel, samples: list[Sample], cache: FeatureCache, tmp_path: Path
) -> None:
    budget = MediaBudget(fps=4.0, max_seconds=0.5)
    encoder(tiny, budget, cache=cache).encode(samples[0])
    path = tmp_path / "moved.mp4"
    shutil.copy(samples[0].media[0].path, path)
    moved = with_media(
        samples[0], *(item.model_copy(update={"path": path}) for item in samples[0].media)
    )
    notices = encoder(tiny, budget, cache=cache).encode(moved).notices
    assert notices
    assert all(notice.startswith(f"{path}: ") for notice in notices)
    assert len(list(cache.folder.glob("*.safetensors"))) == 1


def test_whatever_decides_about_features_gives_an_entry_of_its_own(
    tiny: OmniModel, samples: list[Sample], cache: FeatureCache
) -> None:
    video, audio = samples[0].media
    variants = [
        samples[0],
        with_media(samples[0], video),
        with_media(samples[0], audio, video),
        with_media(samples[0], video, audio.model_copy(update={"start": 0.2})),
        with_media(samples[0], video, audio.model_copy(update={"end": 0.8})),
    ]
    for sample in variants:
        encoder(tiny, cache=cache).encode(sample)
    encoder(tiny, MediaBudget(fps=2.0), cache=cache).encode(samples[0])
    tiny.processor.video_processor.size = {"shortest_edge": 56 * 56, "longest_edge": 56 * 56}
    encoder(tiny, cache=cache).encode(samples[0])
    tiny.tokenizer.add_tokens(["<new>"])
    encoder(tiny, cache=cache).encode(samples[0])
    assert len(list(cache.folder.glob("*.safetensors"))) == len(variants) + 3


def test_a_changed_file_is_another_one(
    tiny: OmniModel, samples: list[Sample], cache: FeatureCache, tmp_path: Path
) -> None:
    path = tmp_path / "clip.mp4"
    prompts = []
    for source in (samples[0], samples[-1]):
        path.unlink(missing_ok=True)
        shutil.copy(source.media[0].path, path)
        sample = with_media(samples[0], Media(kind=MediaKind.VIDEO, path=path))
        prompts.append(encoder(tiny, cache=cache).encode(sample).features["pixel_values_videos"])
    assert not torch.equal(*prompts)


def test_a_damaged_entry_is_made_again(
    tiny: OmniModel, samples: list[Sample], cache: FeatureCache
) -> None:
    expected = encoder(tiny, cache=cache).encode(samples[0])
    (path,) = cache.folder.glob("*.safetensors")
    data = bytearray(path.read_bytes())
    data[-1000] ^= 1
    path.write_bytes(data)
    with DecodePool(DecodeLimits(workers=1)) as pool:
        assert_same(encoder(tiny, pool=pool, cache=cache).encode(samples[0]), expected)
    assert path.read_bytes() != bytes(data)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("kept", [False, True])
def test_what_cannot_be_encoded_is_named_in_its_place(
    tiny: OmniModel, samples: list[Sample], cache: FeatureCache, workers: int, kept: bool
) -> None:
    gone = Media(kind=MediaKind.VIDEO, path=Path("/nowhere/gone.mp4"))
    bad = with_media(samples[1], gone).model_copy(update={"id": "bad"})
    with DecodePool(DecodeLimits(workers=workers)) as pool:
        made = encoder(tiny, pool=pool, cache=cache if kept else None)
        first, second, third = made.outcomes([samples[0], bad, samples[2]])
        with pytest.raises(MediaError, match=r"^sample bad: /nowhere/gone\.mp4: no such file$"):
            list(made.encode_all([samples[0], bad, samples[2]]))
    assert isinstance(first, Prompt)
    assert isinstance(second, MediaError)
    assert str(second.__cause__) == "/nowhere/gone.mp4: no such file"
    assert isinstance(third, Prompt)


def test_a_sample_that_comes_twice_at_once_counts_once_in_memory(
    tiny: OmniModel, samples: list[Sample]
) -> None:
    with DecodePool(DecodeLimits(workers=2)) as pool:
        made = encoder(tiny, pool=pool)
        one, two, three = made.encode_all([samples[0], samples[0], samples[1]])
    assert_same(one, two)
    assert made._used == two.num_bytes + three.num_bytes
