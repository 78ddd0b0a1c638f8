"""From completions to what the update reads."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from tests.unit.training.scored_rollouts import scored
from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.generation import Completion, Enforce, SamplingConfig, StopReason
from triptych.generation.enforcement import Grammars
from triptych.models import OmniModel
from triptych.models.prompt import Prompt
from triptych.rewards import RewardError, RewardTable, Unscored, rule_rewards
from triptych.rewards.unscored import refuse_unscored
from triptych.stages.grammar import StageGrammar
from triptych.training.rollout import (
    GrammarOf,
    MicroBatch,
    Rollout,
    micro_batches,
    pack_groups,
    read_completions,
    records,
)

TEXT = "<context>a smiling face</context><think>so B</think><answer>B</answer>"


def completion(
    model: OmniModel, text: str, forced: Sequence[int] = (), stop: StopReason = StopReason.END
) -> Completion:
    ids = model.tokenizer(text)["input_ids"]
    flags = tuple(index in forced for index in range(len(ids)))
    return Completion(tuple(ids), text, stop, flags, overruled=len(forced))


@pytest.fixture
def rollout(tiny: OmniModel, samples: list[Sample]) -> Rollout:
    groups = [
        [completion(tiny, TEXT, forced=[0, 1]), completion(tiny, "<context>a")],
        [completion(tiny, TEXT + TEXT), completion(tiny, "x")],
        [completion(tiny, "hm"), completion(tiny, TEXT)],
    ]
    return scored(tiny, samples[:3], groups, rule_rewards())


def test_tokens_validity_and_rewards_line_up(tiny: OmniModel, rollout: Rollout) -> None:
    assert rollout.rewards_NGK.shape == (3, 2, 4)
    assert rollout.valid_NG.tolist() == [[True, False], [False, False], [False, True]]
    assert rollout.truncated_share == 0.0
    longest = int(rollout.lengths_NG.max())
    assert rollout.mask_NGT.shape == (3, 2, longest)
    trained = rollout.lengths_NG.clone()
    trained[0, 0] -= 2  # forced
    assert torch.equal(rollout.mask_NGT.sum(-1), trained)
    assert not rollout.mask_NGT[0, 0, :2].any()
    assert rollout.num_tokens == int(trained.sum())
    ids = rollout.completions[0][0].token_ids
    for region, body in ((1, "a smiling face"), (2, "so B"), (3, "B")):
        here = [
            i
            for i, r in zip(ids, rollout.stage_ids_NGT[0, 0].tolist(), strict=False)
            if r == region
        ]
        assert body in tiny.tokenizer.decode(here)


def test_what_does_not_end_by_itself_is_invalid_whatever_its_text(
    tiny: OmniModel, samples: list[Sample]
) -> None:
    endless = completion(tiny, TEXT + "\n" * 9, stop=StopReason.LENGTH)
    groups = [[completion(tiny, TEXT), endless]]
    rollout = scored(tiny, samples[:1], groups, rule_rewards())
    assert rollout.valid_NG.tolist() == [[True, False]]
    assert rollout.truncated_share == 0.5
    (ended, cut), (*_, format_reward) = rollout.rewards_NGK[0], rollout.table.names
    assert format_reward == "format"
    assert ended[3] == 1
    assert cut[3] == 0
    assert cut[:3].equal(ended[:3])


def test_the_gate_changes_rewards_but_not_the_record(
    tiny: OmniModel, samples: list[Sample]
) -> None:
    def full(prompts: object, completions: Sequence[object], **columns: object) -> list[float]:
        return [1.0 for _ in completions]

    def none(prompts: object, completions: Sequence[object], **columns: object) -> list[float]:
        return [0.1 for _ in completions]

    rewards = {"context": none, "reasoning": full, "answer": full, "format": full}
    group = [completion(tiny, TEXT), completion(tiny, TEXT)]
    gated = scored(tiny, samples[:1], [group], rewards, gate=True)
    torch.testing.assert_close(gated.rewards_NGK[0, 0], torch.tensor([0.1, 0.0, 0.0, 1.0]))
    assert gated.table.row(0) == {"context": 0.1, "reasoning": 1.0, "answer": 1.0, "format": 1.0}


def test_groups_of_different_size_are_refused(tiny: OmniModel, samples: list[Sample]) -> None:
    one = completion(tiny, TEXT)
    with pytest.raises(ConfigError, match=r"groups of \[1, 2\] completions"):
        read_completions(tiny, samples[:2], [[one], [one, one]])


def test_records_hold_what_a_reader_needs(rollout: Rollout, samples: list[Sample]) -> None:
    lines = list(records(rollout, step=7, phase="rl", places=[1, 3, 5]))
    assert [line["group"] for line in lines] == [1, 1, 3, 3, 5, 5]
    line = lines[0]
    assert (line["step"], line["phase"], line["sample_id"]) == (7, "rl", samples[0].id)
    assert line["media"] == [str(media.path) for media in samples[0].media]
    assert line["bodies"] == {"context": "a smiling face", "think": "so B", "answer": "B"}
    assert line["rewards"].keys() == rule_rewards().keys()
    assert line["kind"] == samples[0].extra["kind"]
    assert [(row["forced"], row["overruled"]) for row in lines[:2]] == [(2, 2), (0, 0)]
    assert lines[1]["violations"][0] == {"kind": "truncated", "stage": "context", "position": 0}


def prompts_of(model: OmniModel, rollout: Rollout) -> list[Prompt]:
    return [model.encode(sample) for sample in rollout.samples]


def test_micro_batches_cut_the_rollout(tiny: OmniModel, rollout: Rollout) -> None:
    numbered = torch.arange(rollout.mask_NGT.numel()).reshape(rollout.mask_NGT.shape).float()
    packed = pack_groups(tiny, rollout, prompts_of(tiny, rollout), [1, 2])
    batches = micro_batches(rollout, packed, numbered)
    assert [batch.packed.group_sizes_B for batch in batches] == [(2,), (2, 2)]
    for batch, here in zip(batches, (slice(0, 1), slice(1, 3)), strict=True):
        rows, longest = batch.packed.completion_mask_RT.shape
        assert batch.advantages_RT.shape == batch.mask_RT.shape == (rows, longest)
        assert torch.equal(batch.advantages_RT, numbered[here, :, :longest].flatten(0, 1))
        assert not (batch.mask_RT & ~batch.packed.completion_mask_RT).any()


@pytest.mark.parametrize("sizes", [[3], [1, 2], [1, 1, 1]])
def test_states_bring_micro_batches_back_however_they_were_cut(
    sizes: list[int], tiny: OmniModel, rollout: Rollout, samples: list[Sample]
) -> None:
    prompts = prompts_of(tiny, rollout)
    written = micro_batches(
        rollout, pack_groups(tiny, rollout, prompts, sizes), rollout.mask_NGT.float()
    )
    states = [state for batch in written for state in batch.states()]
    assert all(state["mask_RT"].untyped_storage().nbytes() <= 2 * 200 for state in states)
    (batch,) = micro_batches(
        rollout, pack_groups(tiny, rollout, prompts, [3]), rollout.mask_NGT.float()
    )
    again = MicroBatch.from_states(states, tiny, samples[:3], prompts)
    for name, value in batch.packed.model_inputs().items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(again.packed.model_inputs()[name], value)
    for name in ("advantages_RT", "mask_RT", "stage_ids_RT"):
        assert torch.equal(getattr(again, name), getattr(batch, name)), name
    with pytest.raises(ConfigError, match="resume with the data"):
        MicroBatch.from_states(states, tiny, samples[1:4], prompts)


@pytest.fixture
def grammar_of(tiny: OmniModel) -> GrammarOf:
    grammars = Grammars(tiny)

    def of(sample: Sample) -> StageGrammar:
        sampling = SamplingConfig(max_new_tokens=200, enforce=Enforce.STAGES_AND_ANSWER)
        grammar = grammars.for_sample(sample, sampling)
        assert grammar is not None
        return grammar

    return of


def test_what_was_allowed_is_read_from_the_grammars(
    tiny: OmniModel, samples: list[Sample], grammar_of: GrammarOf
) -> None:
    """Of two questions with options, and again from the state, which holds no masks."""
    chosen = [sample for sample in samples if len(sample.options) > 1][:2]
    groups = [[completion(tiny, TEXT), completion(tiny, "<context>a")]] * 2
    rollout = scored(tiny, chosen, groups, rule_rewards())
    prompts = prompts_of(tiny, rollout)
    packed = pack_groups(tiny, rollout, prompts, [2], grammar_of)
    (batch,) = micro_batches(rollout, packed, rollout.mask_NGT.float())
    allowed = batch.packed.allowed
    assert allowed is not None
    expected = [
        choice.mask_V
        for sample, group in zip(chosen, groups, strict=True)
        for one in group
        for choice in grammar_of(sample).replay(one.token_ids)
    ]
    assert torch.equal(allowed.masks_UV[allowed.index_N], torch.tensor(np.stack(expected)))
    states = list(batch.states())
    assert states[0].keys() == {
        "token_ids", "sample_id", "advantages_RT", "mask_RT", "stage_ids_RT",
    }  # fmt: skip
    again = MicroBatch.from_states(states, tiny, chosen, prompts, grammar_of).packed.allowed
    assert again is not None
    assert all(map(torch.equal, again, allowed))
    (free,) = pack_groups(tiny, rollout, prompts, [2])
    assert free.allowed is None


def test_a_completion_that_was_not_enforced_is_refused(
    tiny: OmniModel, rollout: Rollout, samples: list[Sample], grammar_of: GrammarOf
) -> None:
    message = rf"sample {samples[1].id}: a completion is not one that `enforce` .* use an engine"
    with pytest.raises(ConfigError, match=message):
        pack_groups(tiny, rollout, prompts_of(tiny, rollout), [1, 2], grammar_of)


def missing_context(reason: Unscored, groups: int = 2) -> RewardTable:
    """Of groups of four completions each, three of the first group lack the context reward."""
    values: list[list[float | None]] = [[None, 1.0]] * 3 + [[0.5, 1.0]] * (4 * groups - 3)
    return RewardTable(("context", "format"), values, {(g, 0): reason for g in range(3)})


def test_missing_rewards_are_refused_unless_they_do_not_apply_or_count() -> None:
    weights_N1K = torch.full((1, 1, 2), 0.5)
    for reason in (Unscored.FAILED, Unscored.NO_REFERENCE, Unscored.UNEXPLAINED):
        table = missing_context(reason, groups=1)
        with pytest.raises(RewardError, match=rf"'context': 3 of 4 .* \({reason} 3\)"):
            refuse_unscored(table, weights_N1K, 0.5)
        refuse_unscored(table, weights_N1K, 0.75)
        refuse_unscored(table, torch.tensor([[[0.0, 0.5]]]), 0.5)
    refuse_unscored(missing_context(Unscored.NOT_APPLICABLE, groups=1), weights_N1K, 0.5)


def test_only_groups_in_which_a_reward_counts_are_asked_for_it() -> None:
    table = missing_context(Unscored.NO_REFERENCE)
    both = torch.full((2, 1, 2), 0.5)
    refuse_unscored(table, both, 0.5)  # 3 of 8
    first, second = both.clone(), both.clone()
    second[0, 0, 0] = 0.0  # the first group's source has no weight for the context
    first[1, 0, 0] = 0.0
    refuse_unscored(table, second, 0.0)
    with pytest.raises(RewardError, match="'context': 3 of 4 completions"):
        refuse_unscored(table, first, 0.5)
    refuse_unscored(table, both * torch.tensor([0.0, 1.0]), 0.0)
