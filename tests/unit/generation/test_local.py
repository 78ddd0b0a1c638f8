"""Prefill once and expand must write what plain `generate` writes, token for token."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from triptych.data.sample import Media, MediaKind, Sample
from triptych.generation import Completion, Enforce, SamplingConfig, StopReason
from triptych.generation.engine import SeededSampling, sample_seed, tells_of_groups
from triptych.generation.local import LocalEngine
from triptych.generation.sampling import NotFiniteError, sample_tokens
from triptych.models import OmniModel

GREEDY = SamplingConfig(max_new_tokens=12, temperature=0)


def plain_generate(model: OmniModel, sample: Sample, new_tokens: int) -> list[int]:
    prompt = model.encode(sample)
    ids = prompt.input_ids[None]
    output = model.thinker.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **prompt.features,
        do_sample=False,
        max_new_tokens=new_tokens,
        suppress_tokens=model.banned_ids.tolist(),
    )
    return [int(token) for token in output[0, ids.shape[1] :]]


def test_greedy_equals_generate(tiny: OmniModel, samples: list[Sample]) -> None:
    """Prompts of different length and media in one batch, two completions each."""
    video, audio = samples[0].media
    chosen = [
        samples[0],
        samples[4],
        samples[1].model_copy(update={"media": ()}),
        samples[2].model_copy(update={"media": (audio,)}),
        samples[3].model_copy(update={"media": (video,)}),
    ]
    groups = LocalEngine(tiny).generate(chosen, 2, GREEDY)
    for sample, group in zip(chosen, groups, strict=True):
        expected = plain_generate(tiny, sample, 12)
        assert [list(c.token_ids) for c in group] == [expected, expected]


def test_image_video_and_audio_together(
    tiny: OmniModel, samples: list[Sample], tmp_path: Path
) -> None:
    path = tmp_path / "still.png"
    Image.new("RGB", (84, 56), (200, 30, 90)).save(path)
    still = Media(kind=MediaKind.IMAGE, path=path)
    sample = samples[0].model_copy(update={"media": (still, *samples[0].media)})
    ((completion,),) = LocalEngine(tiny).generate([sample], 1, GREEDY)
    assert list(completion.token_ids) == plain_generate(tiny, sample, 12)


def test_batch_size_does_not_matter(tiny: OmniModel, samples: list[Sample]) -> None:
    one = LocalEngine(tiny, max_sequences=1).generate(samples[:6], 1, GREEDY)
    many = LocalEngine(tiny, max_sequences=64).generate(samples[:6], 1, GREEDY)
    assert one == many


def test_each_group_is_told_of_when_it_is_done(tiny: OmniModel, samples: list[Sample]) -> None:
    engine, sampling = LocalEngine(tiny, max_sequences=4), SamplingConfig(max_new_tokens=4, seed=3)
    events: list[str] = []
    groups: dict[int, list[Completion]] = {}

    def on_group(index: int, group: Sequence[Completion]) -> None:
        events.append("g")
        groups[index] = list(group)

    assert tells_of_groups(engine)
    completions = engine.generate(
        samples[:5], 2, sampling, lambda _: events.append("s"), on_group=on_group
    )
    assert completions == engine.generate(samples[:5], 2, sampling)
    assert [groups[index] for index in range(5)] == completions
    # Two prompts at once, and one at last; each is told of before the next ones take a step.
    assert re.fullmatch("(s+gg){2}s+g", "".join(events))


def test_encoders_and_prompt_run_once_per_group(tiny: OmniModel, samples: list[Sample]) -> None:
    rows: list[int] = []
    tiny.thinker.get_submodule("model.visual").register_forward_hook(
        lambda _module, args, kwargs, _output: rows.append(
            len(kwargs.get("grid_thw", args[-1] if args else ()))
        ),
        with_kwargs=True,
    )
    LocalEngine(tiny).generate(samples[:3], 8, SamplingConfig(max_new_tokens=3))
    assert rows == [3], "the vision tower saw more clips than prompts"


def test_seed_decides_and_global_state_stays(tiny: OmniModel, samples: list[Sample]) -> None:
    engine = LocalEngine(tiny)
    state = torch.get_rng_state()
    first = engine.generate(samples[:2], 4, SamplingConfig(max_new_tokens=8, seed=3))
    again = engine.generate(samples[:2], 4, SamplingConfig(max_new_tokens=8, seed=3))
    other = engine.generate(samples[:2], 4, SamplingConfig(max_new_tokens=8, seed=4))
    assert torch.get_rng_state().equal(state)
    assert first == again
    assert first != other
    assert len({c.token_ids for c in first[0]}) > 1, "completions of a group must differ"


@pytest.mark.parametrize("certain", [True, False])
def test_stop_reasons(
    tiny: OmniModel, samples: list[Sample], certain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end token that is certain, and one that is impossible."""
    end, logits = tiny.end_token_ids[0], tiny.logits
    value = 1e4 if certain else -torch.inf
    monkeypatch.setattr(
        tiny, "logits", lambda hidden: logits(hidden).index_fill(-1, torch.tensor([end]), value)
    )
    ((completion,),) = LocalEngine(tiny).generate(samples[:1], 1, GREEDY)
    if certain:
        assert completion.stop_reason is StopReason.END
        assert completion.token_ids == (end,)
        assert completion.text == ""
    else:
        assert completion.stop_reason is StopReason.LENGTH
        assert len(completion.token_ids) == len(completion.forced) == GREEDY.max_new_tokens
        assert completion.text


def test_the_mode_of_the_model_is_restored(tiny: OmniModel, samples: list[Sample]) -> None:
    tiny.train()
    LocalEngine(tiny).generate(samples[:1], 1, SamplingConfig(max_new_tokens=2))
    assert tiny.training


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingConfig(max_new_tokens=24, seed=3),
        pytest.param(
            SamplingConfig(
                max_new_tokens=40, seed=3, top_k=50, temperature=1.5, enforce=Enforce.STAGES
            ),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["free", "enforced"],
)
def test_what_is_drawn_by_a_sample_of_its_own_seed_does_not_depend_on_its_batch(
    tiny: OmniModel, samples: list[Sample], sampling: SamplingConfig
) -> None:
    chosen = [*samples[:4], samples[4].model_copy(update={"media": ()})]
    alone = replace(sampling, seed_per_sample=True)
    expected = [
        LocalEngine(tiny).generate([sample], 3, replace(sampling, seed=sample_seed(3, sample.id)))[
            0
        ]
        for sample in chosen
    ]
    for size in (6, 64):
        engine = LocalEngine(tiny, max_sequences=size)
        assert engine.generate(chosen[::-1], 3, alone) == expected[::-1]
    assert LocalEngine(tiny).generate(chosen, 3, sampling) != expected
    assert len({one.token_ids for group in expected for one in group}) == 15
    if sampling.enforce is Enforce.STAGES:
        assert all(one.overruled for group in expected for one in group), "nothing was drawn again"


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_logits_that_are_no_numbers_are_an_error_of_their_sample(
    value: float, temperature: float, tiny: OmniModel, samples: list[Sample],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """From the fourth of the six sequences on, which is of the second sample; in the third step."""
    sound, steps = tiny.logits, iter(range(9))

    def broken(hidden: torch.Tensor) -> torch.Tensor:
        logits = sound(hidden)
        if next(steps) == 2:
            logits[3:, 7] = value
        return logits

    monkeypatch.setattr(tiny, "logits", broken)
    alike = [samples[0].model_copy(update={"id": f"q{number}"}) for number in range(3)]
    with pytest.raises(NotFiniteError, match="sample q1: the model's logits are not finite"):
        LocalEngine(tiny).generate(alike, 2, replace(GREEDY, temperature=temperature))
    assert next(steps) == 3


def test_given_seeds_go_with_their_samples(tiny: OmniModel, samples: list[Sample]) -> None:
    """A sample that stands in a step twice is not answered twice by the same words."""
    sampling = SeededSampling(max_new_tokens=12, given_seeds=(5, 6, 5))
    first, second, third = LocalEngine(tiny).generate([samples[0]] * 3, 2, sampling)
    assert first == third != second
    alone = SeededSampling(max_new_tokens=12, given_seeds=(6,))
    assert LocalEngine(tiny).generate(samples[:1], 2, alone) == [second]


def draws(config: SamplingConfig, logits: list[float], count: int = 2000) -> set[int]:
    generator = torch.Generator().manual_seed(0)
    rows = torch.tensor(logits).expand(count, -1)
    return set(sample_tokens(rows, config, generator).tolist())


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (SamplingConfig(), {0, 1, 2, 3}),
        (SamplingConfig(temperature=0), {0}),
        (SamplingConfig(top_k=2), {0, 1}),
        (SamplingConfig(top_p=0.6), {0, 1}),
        (SamplingConfig(top_p=0.01), {0}),
    ],
)
def test_sampling(config: SamplingConfig, expected: set[int]) -> None:
    # Probabilities 0.5, 0.3, 0.15, 0.05.
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert draws(config, logits) == expected
