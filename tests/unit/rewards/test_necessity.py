"""The necessity reward against its definition, with random weights: they owe something to all."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from triptych.data.media import MediaBudget
from triptych.data.sample import Media, MediaKind, Sample
from triptych.errors import ConfigError, DataError
from triptych.models import OmniModel, OmniOutput
from triptych.models.families import family_for
from triptych.models.tiny import (
    MEDIA_TOKENS,
    TURN_TOKENS,
    TinyConfig,
    build_processor,
    build_thinker,
)
from triptych.rewards import Unscored, resolve, sample_columns, score, use_model
from triptych.rewards.necessity import NecessityReward, necessity
from triptych.stages import stage_ids

VIDEO, AUDIO = MediaKind.VIDEO, MediaKind.AUDIO
WORDS = "a long answer."
"""Owes something to either medium, as it happens."""


def written(answer: str, context: str = "the voice is flat.", think: str = "so.") -> str:
    return f"<context>{context}</context><think>{think}</think><answer>{answer}</answer>"


def rewards(
    reward: NecessityReward, samples: Sequence[Sample], completions: Sequence[Any]
) -> list[float | None]:
    columns: dict[str, Any] = sample_columns(samples)
    return reward(["?"] * len(completions), completions, **columns)


def without(sample: Sample, kind: MediaKind) -> Sample:
    return sample.model_copy(update={"media": tuple(m for m in sample.media if m.kind != kind)})


def mean_logp(model: OmniModel, sample: Sample, text: str, region: int) -> float:
    """By the model's own forward, one text at a time."""
    prompt = model.encode(sample)
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    row = torch.cat([prompt.input_ids, torch.tensor(ids)])[None]
    with torch.no_grad():
        logits = model.thinker(
            input_ids=row, attention_mask=torch.ones_like(row), use_cache=False, **prompt.features
        ).logits[0]
    logits = logits.index_fill(-1, model.banned_ids, -torch.inf)
    logps = torch.log_softmax(logits[len(prompt.input_ids) - 1 : -1], -1)
    chosen = logps[range(len(ids)), ids]
    regions = torch.tensor(stage_ids(ids, model.tokenizer, model.format))
    return float(chosen[regions == region].mean())


@pytest.mark.parametrize(("of", "region"), [("answer", 3), ("context", 1)])
def test_the_reward_is_its_definition(
    tiny: OmniModel, samples: list[Sample], of: str, region: int
) -> None:
    sample, text = samples[0], f"<{of}>{WORDS}</{of}>"
    full = mean_logp(tiny, sample, text, region)
    owed = {
        kind: 1 - math.exp(-max(0.0, full - mean_logp(tiny, without(sample, kind), text, region)))
        for kind in (VIDEO, AUDIO)
    }
    assert min(owed.values()) > 0.1
    completion = written(WORDS, context=WORDS)
    for kind in (VIDEO, AUDIO):
        alone = NecessityReward(tiny, of=of, withhold=(kind,))
        assert rewards(alone, [sample], [completion]) == [pytest.approx(owed[kind], abs=1e-5)]
    both = rewards(NecessityReward(tiny, of=of), [sample], [completion])
    assert both == [pytest.approx(min(owed.values()), abs=1e-5)]


def test_a_group_in_one_row_is_each_by_itself_in_any_order(
    tiny: OmniModel, samples: list[Sample]
) -> None:
    answers = ["A", "B", "A,C", "yes", WORDS, "A", "no"]
    pairs = [(sample, written(answer)) for sample in samples[:3] for answer in answers]
    pairs[5], pairs[9] = pairs[9], pairs[5]  # completions of a prompt need not stand together
    shown, texts = [sample for sample, _ in pairs], [text for _, text in pairs]
    reward = NecessityReward(tiny, withhold=(AUDIO,))
    together = rewards(reward, shown, texts)
    alone = [rewards(reward, [sample], [text])[0] for sample, text in pairs]
    assert len({value for value in alone if value}) > len(answers) // 2
    assert together == pytest.approx(alone, abs=1e-5)
    assert rewards(reward, shown[::-1], texts[::-1])[::-1] == pytest.approx(together, abs=1e-5)
    for size in (1, 100):
        one = NecessityReward(tiny, withhold=(AUDIO,), rows_per_forward=size)
        assert rewards(one, shown, texts) == pytest.approx(together, abs=1e-5)


def test_nothing_that_was_written_before_the_answer_is_in_view(
    tiny: OmniModel, samples: list[Sample]
) -> None:
    texts = [written(WORDS), written(WORDS, context=WORDS, think=f"so it is {WORDS}")]
    first, second = rewards(NecessityReward(tiny), [samples[0]] * 2, [*texts])
    assert first == second != 0.0


def test_the_same_text_is_scored_once(
    tiny: OmniModel, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens: list[int] = []
    forward = tiny.forward

    def counted(**inputs: Any) -> OmniOutput:
        assert not torch.is_grad_enabled()
        tokens.append(len(inputs["targets_N"]))
        return forward(**inputs)

    monkeypatch.setattr(tiny, "forward", counted)
    reward = NecessityReward(tiny, rows_per_forward=1)
    rewards(reward, [samples[0]] * 8, [written(letter) for letter in "ABABABAB"])
    rewards(reward, [samples[0]] * 2, [written(letter) for letter in "AB"])
    assert len(tokens) == 6, "in full, without video, without audio; twice"
    assert tokens[:3] == tokens[3:]


def test_a_sample_without_what_is_withheld_is_not_applicable(
    tiny: OmniModel, samples: list[Sample]
) -> None:
    silent = without(samples[0], AUDIO)
    text_only = without(silent, VIDEO)
    table = score(
        {"necessity": NecessityReward(tiny, withhold=(AUDIO,))},
        [samples[0], silent, text_only],
        [written("A")] * 3,
    )
    assert [row[0] is None for row in table.values_GK] == [False, True, True]
    assert table.reasons == {(1, 0): Unscored.NOT_APPLICABLE, (2, 0): Unscored.NOT_APPLICABLE}
    # Without audio, only the video is withheld.
    of_video = rewards(NecessityReward(tiny, withhold=(VIDEO,)), [silent], [written("A")])
    assert rewards(NecessityReward(tiny), [silent], [written("A")]) == pytest.approx(of_video)


def test_what_cannot_be_decoded_fails_by_name_and_alone(
    tiny: OmniModel, samples: list[Sample], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no film")
    broken = samples[0].model_copy(
        update={"id": "bad", "media": (Media(kind=VIDEO, path=tmp_path / "broken.mp4"),)}
    )
    with caplog.at_level(logging.WARNING):
        table = score(
            {"necessity": NecessityReward(tiny)},
            [samples[0], broken, samples[1]],
            [written("A")] * 3,
        )
    assert [row[0] is None for row in table.values_GK] == [False, True, False]
    assert table.reasons == {(1, 0): Unscored.FAILED}
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 1
    assert "sample bad" in told[0]
    assert "broken.mp4" in told[0]


@pytest.mark.parametrize("completion", ["", "B", "<answer></answer>", "<answer> \n</answer>"])
def test_what_was_not_written_owes_nothing(
    tiny: OmniModel, samples: list[Sample], completion: str
) -> None:
    assert rewards(NecessityReward(tiny), samples[:1], [completion]) == [0.0]


def test_a_text_that_spells_a_placeholder_is_read_as_letters(
    tiny: OmniModel, samples: list[Sample]
) -> None:
    (value,) = rewards(NecessityReward(tiny), samples[:1], [written("<|AUDIO|>")])
    assert value is not None
    assert 0.0 <= value <= 1.0


def test_it_takes_what_trl_passes(tiny: OmniModel, samples: list[Sample]) -> None:
    sample = samples[0]
    plain = NecessityReward(tiny)(
        prompts=[[{"role": "user", "content": sample.question}]],
        completions=[[{"role": "assistant", "content": written(WORDS)}]],
        completion_ids=[[1, 2]],
        trainer_state=None,
        question=[sample.question],
        problem_type=["multiple_choice"],
        options=[list(sample.options)],
        media=[[{"kind": str(m.kind), "path": str(m.path), "start": None} for m in sample.media]],
    )
    assert plain == pytest.approx(rewards(NecessityReward(tiny), [sample], [written(WORDS)]))


def test_the_model_is_left_as_it_was(tiny: OmniModel, samples: list[Sample]) -> None:
    tiny.train()
    tiny.thinker.lm_head.eval()
    modes = {name: module.training for name, module in tiny.named_modules()}
    state = torch.get_rng_state()
    rewards(NecessityReward(tiny), samples[:1], [written("A")])
    assert {name: module.training for name, module in tiny.named_modules()} == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None for parameter in tiny.parameters())
    with pytest.raises(ValueError, match="needs options"):
        rewards(
            NecessityReward(tiny),
            [samples[0].model_copy(update={"options": ()})],
            [written("A")],
        )
    assert {name: module.training for name, module in tiny.named_modules()} == modes


def test_dropout_plays_no_part(tiny: OmniModel, samples: list[Sample]) -> None:
    calm = rewards(NecessityReward(tiny), samples[:1], [written(WORDS)])
    for layer in tiny.thinker.model.language_model.layers:
        layer.self_attn.attention_dropout = 0.9
    tiny.train()
    assert rewards(NecessityReward(tiny), samples[:1], [written(WORDS)]) == calm


def test_it_runs_under_autocast(tiny: OmniModel, samples: list[Sample]) -> None:
    exact = rewards(NecessityReward(tiny), samples[:1], [written(WORDS)])
    with torch.autocast("cpu", torch.bfloat16):
        rough = rewards(NecessityReward(tiny), samples[:1], [written(WORDS)])
    assert rough == pytest.approx(exact, abs=0.1)


def test_the_weights_are_those_of_now(tiny: OmniModel, samples: list[Sample]) -> None:
    reward = resolve({"mine": "necessity"})["mine"]
    use_model({"mine": reward}, tiny)
    columns = sample_columns(samples[:1])
    before = reward(prompts=["?"], completions=[written(WORDS)], **columns)
    with torch.no_grad():
        tiny.thinker.lm_head.weight.mul_(3.0)
    after = reward(prompts=["?"], completions=[written(WORDS)], **columns)
    assert after != before


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Every byte is a token; no token reaches across a tag."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = Tokenizer(models.BPE({char: i for i, char in enumerate(sorted(alphabet))}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=MEDIA_TOKENS,
    )
    fast.add_special_tokens({"additional_special_tokens": [*TURN_TOKENS]})
    return fast


def test_any_tokenizer_will_do(samples: list[Sample]) -> None:
    tokenizer = byte_tokenizer()
    model = OmniModel(
        build_thinker(tokenizer, TinyConfig(), seed=0),
        build_processor(tokenizer, TinyConfig()),
        family_for("qwen2_5_omni_thinker"),
        budget=MediaBudget(fps=4.0),
    ).eval()
    full = mean_logp(model, samples[0], "<answer>A,C</answer>", region=3)
    lacking = mean_logp(model, without(samples[0], AUDIO), "<answer>A,C</answer>", region=3)
    (value,) = rewards(NecessityReward(model, withhold=(AUDIO,)), samples[:1], [written("A,C")])
    assert value == pytest.approx(necessity(full, lacking), abs=1e-5)


@settings(max_examples=200)
@given(st.floats(-1e3, 0.0), st.floats(-1e3, 0.0))
@example(0.0, -1e3)
@example(-5.0, -5.0)
def test_a_share_lies_between_nothing_and_all(logp: float, logp_without: float) -> None:
    value = necessity(logp, logp_without)
    assert 0.0 <= value <= 1.0
    assert (value > 0.0) == (logp - logp_without > 0.0)


def test_what_is_no_number_stays_none() -> None:
    assert math.isnan(necessity(math.nan, -1.0))
    assert math.isnan(necessity(-1.0, math.nan))


def test_without_a_model_it_says_what_to_do(samples: list[Sample]) -> None:
    with pytest.raises(ConfigError, match=r"use_model\(model\)"):
        rewards(NecessityReward(), samples[:1], [written("A")])


def test_a_column_of_the_wrong_length_is_named(tiny: OmniModel, samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="column 'question' has 1 values for 2 completions"):
        rewards(NecessityReward(tiny), samples[:1], [written("A")] * 2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: NecessityReward(of="think"), "'think': use one of answer, context"),
        (lambda: NecessityReward(withhold=()), "name one or more of image, video, audio"),
        (lambda: NecessityReward(withhold=("voice",)), r"\['voice'\]; name one or more"),
        (lambda: NecessityReward(rows_per_forward=0), "0; use 1 or more"),
    ],
)
def test_settings_out_of_range_are_refused(
    build: Callable[[], NecessityReward], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        build()


def test_it_has_a_name_for_logs() -> None:
    assert NecessityReward(of="context").__name__ == "necessity_of_context"
