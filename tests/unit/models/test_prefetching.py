"""Prompts that were encoded ahead are those that are encoded when they are asked for."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from triptych.data.decode_worker import Decoded, decode_media
from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.feature_cache import FeatureCache
from triptych.data.media import MediaBudget
from triptych.data.messages import Messages, stage_messages
from triptych.data.sample import Media, MediaKind, Sample
from triptych.errors import ConfigError, MediaError
from triptych.models import OmniModel
from triptych.models.prefetching import Prefetcher
from triptych.models.prompt import Prompt, PromptEncoder

CUT = MediaBudget(fps=4.0, max_seconds=0.5)  # of clips of a second: with notices


@pytest.fixture
def encoder(tiny: OmniModel) -> Iterator[Callable[..., PromptEncoder]]:
    """Builds encoders, and closes them in the end."""
    made: list[PromptEncoder] = []

    def build(**settings: Any) -> PromptEncoder:
        made.append(
            PromptEncoder(tiny.thinker, tiny.processor, tiny.family, CUT, tiny.format, **settings)
        )
        return made[-1]

    yield build
    for one in made:
        one.close()


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The thread and the file of what is decoded in the process, as it happens."""
    seen: list[tuple[str, str]] = []

    def noted(media: Media, budget: MediaBudget) -> Decoded:
        seen.append((threading.current_thread().name, media.path.name))
        return decode_media(media, budget)

    monkeypatch.setattr("triptych.data.decoding.decode_media", noted)
    return seen


def bad(sample: Sample) -> Sample:
    gone = Media(kind=MediaKind.VIDEO, path=Path("/nowhere/gone.mp4"))
    return sample.model_copy(update={"id": "bad", "media": (gone,)})


def assert_same(ones: list[Prompt | MediaError], others: list[Prompt | MediaError]) -> None:
    for one, other in zip(ones, others, strict=True):
        if isinstance(one, MediaError) or isinstance(other, MediaError):
            assert str(one) == str(other)
            continue
        assert one.input_ids.equal(other.input_ids)
        assert one.position_ids.equal(other.position_ids)
        assert one.features.keys() == other.features.keys()
        assert all(map(torch.equal, one.features.values(), other.features.values()))
        assert one.notices == other.notices


@pytest.mark.parametrize(
    ("frozen", "kept", "workers"),
    [((), False, 0), (("vision",), True, 0), (("vision",), False, 1)],
)
def test_what_is_ahead_is_what_is_asked_for(
    tiny: OmniModel,
    samples: list[Sample],
    encoder: Callable[..., PromptEncoder],
    decoded: list[tuple[str, str]],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
    frozen: tuple[str, ...],
    kept: bool,
    workers: int,
) -> None:
    tiny.freeze(frozen)
    asked = [*samples[:3], bad(samples[3]), samples[0]]
    with DecodePool(DecodeLimits(workers=workers)) as pool:
        outcomes, lines = [], []
        for name, ahead in (("now", False), ("ahead", True)):
            cache = FeatureCache(tmp_path / name, 1 << 30) if kept else None
            made = encoder(pool=pool, cache=cache)
            if ahead:
                made.prefetch(asked)
            decoded.clear()
            caplog.clear()
            outcomes.append(list(made.outcomes(asked, embed=True)))
            lines.append(caplog.messages)
    assert_same(*outcomes)
    assert lines[0] == lines[1] != []
    assert not [name for thread, name in decoded if thread == "MainThread"]


def test_a_prompt_is_made_once(
    samples: list[Sample],
    encoder: Callable[..., PromptEncoder],
    decoded: list[tuple[str, str]],
) -> None:
    made = encoder()
    (first,) = made.outcomes(samples[:1], embed=True)
    made.prefetch(samples[:2])
    made.prefetch(samples[1:3])
    prompts = list(made.encode_all(samples[:3], embed=True))
    assert prompts[0] is first  # it was in memory
    items = [item.path.name for sample in samples[:3] for item in sample.media]
    assert sorted(name for _, name in decoded) == sorted(items)
    assert {thread for thread, _ in decoded[len(samples[0].media) :]} == {"prefetching"}


def test_weights_that_change_meanwhile_change_the_embeddings(
    tiny: OmniModel, samples: list[Sample], encoder: Callable[..., PromptEncoder]
) -> None:
    """Although those of the old ones are at hand, in a prompt on the same media."""
    tiny.freeze(("vision",))
    made = encoder()
    held = list(made.encode_all(samples[:1], embed=True))
    asked = [samples[0].model_copy(update={"question": "What else?"})]
    made.prefetch(asked)
    with torch.no_grad():
        for weight in tiny.thinker.get_submodule(tiny.family.towers["vision"]).parameters():
            weight.mul_(1.5)
    assert_same(list(made.outcomes(asked, embed=True)), list(encoder().outcomes(asked, embed=True)))
    assert held


def test_a_closed_encoder_forgets_what_was_ahead_and_has_no_thread(
    samples: list[Sample], encoder: Callable[..., PromptEncoder], decoded: list[tuple[str, str]]
) -> None:
    made = encoder()
    made.prefetch(samples[:6])
    made.close()
    assert "prefetching" not in {thread.name for thread in threading.enumerate()}
    decoded.clear()
    assert list(made.encode_all(samples[:1], embed=True))
    assert [thread for thread, _ in decoded] == ["MainThread"] * len(samples[0].media)


def test_a_sample_that_cannot_be_asked_about_is_an_error_of_those_who_ask(
    samples: list[Sample], encoder: Callable[..., PromptEncoder]
) -> None:
    def messages(sample: Sample) -> Messages:
        if sample is samples[0]:
            raise ConfigError("there is no question")
        return stage_messages()(sample)

    made = encoder(messages=messages)
    made.prefetch(samples[:2])
    assert list(made.encode_all(samples[1:2], embed=True))
    with pytest.raises(ConfigError, match="there is no question"):
        list(made.encode_all(samples[:1], embed=True))


def test_errors_wait_for_those_who_ask() -> None:
    def begin(item: str) -> str:
        return item if item != "b" else 1 / 0  # type: ignore[return-value]

    def finish(item: str) -> str:
        return item.upper() if item != "c" else [][0]

    prefetcher = Prefetcher(begin, finish, ahead=1)
    for name in "abcd":
        prefetcher.add(name, name)
    futures = {name: prefetcher.take(name) for name in "abcde"}
    assert futures.pop("e") is None
    assert prefetcher.take("a") is None  # taken
    for name, error in (("b", ZeroDivisionError), ("c", IndexError)):
        future = futures.pop(name)
        assert future is not None
        with pytest.raises(error):
            future.result(10)
    assert [future.result(10) for future in futures.values() if future] == ["A", "D"]
    prefetcher.close()


def test_items_are_begun_ahead_and_no_further() -> None:
    events: list[str] = []
    go_on = threading.Event()

    def begin(item: int) -> int:
        events.append(f"begin {item}")
        return item

    def finish(item: int) -> int:
        assert go_on.wait(10)
        events.append(f"finish {item}")
        return item

    prefetcher = Prefetcher(begin, finish, ahead=2)
    for item in range(5):
        prefetcher.add(item, item)
    last = prefetcher.take(4)
    go_on.set()
    assert last is not None
    assert last.result(10) == 4
    prefetcher.close()
    for item in range(5):
        before = events[: events.index(f"finish {item}")]
        assert before.count(f"begin {min(item + 2, 4)}") == 1
        assert f"begin {item + 3}" not in before
