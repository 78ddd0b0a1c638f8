"""One step's rollout: completions of its prompts, read, laid out for the update, and scored.

Shapes: N groups (one per prompt), G completions per group, T tokens of the longest completion,
K rewards, R = completions of one micro-batch in order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.generation import Completion, StopReason
from triptych.models.omni import OmniModel
from triptych.models.packing import PackedBatch, pack
from triptych.models.prompt import Prompt
from triptych.rewards.base import RewardTable
from triptych.rewards.combine import apply_gate
from triptych.stages import StagedOutput, parse, stage_ids
from triptych.stages.grammar import Choice, StageGrammar

GrammarOf: TypeAlias = Callable[[Sample], StageGrammar]
"""What the completions of a sample were held to."""


@dataclass(frozen=True)
class ReadCompletions:
    """N groups of G completions, as far as that does not depend on rewards.

    Attributes:
        valid_NG: whether a completion keeps the format and ends by itself.
        stage_ids_NGT: region of each token; 0 on padding.
        mask_NGT: True on tokens that are trained: neither padding nor forced by a grammar.
        lengths_NG: tokens of each completion.
    """

    samples: tuple[Sample, ...]
    completions: tuple[tuple[Completion, ...], ...]
    outputs: tuple[tuple[StagedOutput, ...], ...]
    valid_NG: Tensor
    stage_ids_NGT: Tensor
    mask_NGT: Tensor
    lengths_NG: Tensor

    @property
    def num_tokens(self) -> int:
        """Trained tokens."""
        return int(self.mask_NGT.sum())

    @property
    def cut_NG(self) -> Tensor:
        """Which completions went on to their longest length."""
        return _cut(self.completions)

    @property
    def truncated_share(self) -> float:
        return float(self.cut_NG.float().mean())


@dataclass(frozen=True)
class Rollout(ReadCompletions):
    """N groups of G completions with what they earned.

    Attributes:
        table: rewards of the N*G completions in order, as scored.
        rewards_NGK: the same, NaN where unscored, with the gate applied; what did not end has no
            format reward, whatever its text.
    """

    table: RewardTable
    rewards_NGK: Tensor

    @classmethod
    def of(cls, read: ReadCompletions, table: RewardTable, *, gate: bool = False) -> "Rollout":
        """Completions with their rewards."""
        rewards_NGK = table.tensor().reshape(*read.valid_NG.shape, -1)
        if "format" in table.names:
            # Of what is whole and goes on all the same; it would earn what an end earns.
            endless_NG = read.cut_NG & _keeps_format(read.outputs)
            rewards_NGK[..., table.names.index("format")].masked_fill_(endless_NG, 0.0)
        if gate:
            rewards_NGK = apply_gate(rewards_NGK, table.names)
        return cls(**vars(read), table=table, rewards_NGK=rewards_NGK)


def read_completions(
    model: OmniModel, samples: Sequence[Sample], completions: Sequence[Sequence[Completion]]
) -> ReadCompletions:
    """Parse completions, and find the stage of each token.

    Raises:
        ConfigError: the groups differ in size.
    """
    sizes = {len(group) for group in completions}
    if len(sizes) != 1:
        raise ConfigError(
            f"the engine returned groups of {sorted(sizes)} completions, not of one size"
        )
    flat = [one for group in completions for one in group]
    outputs = [parse(one.text, model.format) for one in flat]
    regions = [
        torch.tensor(stage_ids(one.token_ids, model.tokenizer, model.format)) for one in flat
    ]
    trained = [~torch.tensor(one.forced, dtype=torch.bool) for one in flat]
    shape = (len(samples), sizes.pop())
    grouped = tuple(tuple(outputs[i : i + shape[1]]) for i in range(0, len(flat), shape[1]))
    return ReadCompletions(
        samples=tuple(samples),
        completions=tuple(tuple(group) for group in completions),
        outputs=grouped,
        valid_NG=_keeps_format(grouped) & ~_cut(completions),
        stage_ids_NGT=pad_sequence(regions, batch_first=True).reshape(*shape, -1),
        mask_NGT=pad_sequence(trained, batch_first=True).reshape(*shape, -1),
        lengths_NG=torch.tensor([len(one.token_ids) for one in flat]).reshape(shape),
    )


def _cut(completions: Sequence[Sequence[Completion]]) -> Tensor:
    return torch.tensor(
        [[one.stop_reason is StopReason.LENGTH for one in group] for group in completions]
    )


def _keeps_format(outputs: Sequence[Sequence[StagedOutput]]) -> Tensor:
    return torch.tensor([[output.valid for output in group] for group in outputs])


def records(
    rollout: Rollout, *, step: int, phase: str, places: Sequence[int]
) -> Iterator[dict[str, Any]]:
    """Lines for rollouts.jsonl, one per completion; `places` number the groups in their step."""
    size = rollout.mask_NGT.shape[1]
    for n, sample in enumerate(rollout.samples):
        for g in range(size):
            output, completion = rollout.outputs[n][g], rollout.completions[n][g]
            yield {
                "step": step,
                "phase": phase,
                "sample_id": sample.id,
                "group": places[n],
                "media": [str(media.path) for media in sample.media],
                "question": sample.question,
                "problem_type": str(sample.problem_type),
                "options": list(sample.options),
                "answer": sample.answer,
                **{key: sample.extra[key] for key in ("kind", "alignment") if key in sample.extra},
                "text": output.text,
                "bodies": dict(output.bodies),
                "violations": [
                    {"kind": str(v.kind), "stage": v.stage, "position": v.position}
                    for v in output.violations
                ],
                "rewards": rollout.table.row(n * size + g),
                "stop_reason": str(completion.stop_reason),
                "forced": sum(completion.forced),
                "overruled": completion.overruled,
            }


@dataclass(frozen=True)
class MicroBatch:
    """Some groups of a rollout, as one forward of the update takes them.

    `old_logps_RT` is None where the policy that wrote the completions is the one that learns.
    """

    token_ids: list[list[list[int]]]
    sample_ids: list[str]
    packed: PackedBatch
    advantages_RT: Tensor
    mask_RT: Tensor
    stage_ids_RT: Tensor
    old_logps_RT: Tensor | None = None
    ref_logps_RT: Tensor | None = None

    def to(self, device: torch.device | str) -> "MicroBatch":
        tensors = {key: value.to(device) for key, value in self._tensors().items()}
        return replace(self, packed=self.packed.to(device), **tensors)

    def states(self) -> Iterator[dict[str, Any]]:
        """Of each group all but the packed prompt, in plain types.

        That is made again: the prompt from its sample, what was allowed from the grammar.
        """
        first = 0
        for ids, sample_id in zip(self.token_ids, self.sample_ids, strict=True):
            here, longest = slice(first, first + len(ids)), max(map(len, ids))
            first += len(ids)
            # Copies: a view would be saved with all that it is a view of.
            tensors = {
                key: value[here, :longest].cpu().clone() for key, value in self._tensors().items()
            }
            yield {"token_ids": ids, "sample_id": sample_id, **tensors}

    @classmethod
    def from_states(
        cls,
        states: Sequence[Mapping[str, Any]],
        model: OmniModel,
        samples: Sequence[Sample],
        prompts: Sequence[Prompt],
        grammar_of: GrammarOf | None = None,
    ) -> "MicroBatch":
        """A micro-batch of some groups' `states`; `prompts` are those of `samples`.

        Raises:
            ConfigError: `samples` are not those of the states, or the grammars not those that
                their completions were held to.
        """
        ids, before = [sample.id for sample in samples], [state["sample_id"] for state in states]
        if ids != before:
            raise ConfigError(
                f"the checkpoint stopped in the middle of a rollout on {before}, but the data now "
                f"bring {ids}; resume with the data, seed and batch sizes of the run"
            )
        token_ids = [state["token_ids"] for state in states]
        tensors = {
            key: pad_sequence([row for state in states for row in state[key]], batch_first=True)
            for key, value in states[0].items()
            if isinstance(value, Tensor)
        }
        packed = _pack(model, samples, prompts, token_ids, grammar_of)
        return cls(token_ids=token_ids, sample_ids=ids, packed=packed, **tensors)

    def _tensors(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if isinstance(value, Tensor)}


def pack_groups(
    model: OmniModel,
    read: ReadCompletions,
    prompts: Sequence[Prompt],
    sizes: Sequence[int],
    grammar_of: GrammarOf | None = None,
) -> list[PackedBatch]:
    """Lay out completions for forwards of `sizes` groups.

    `prompts` are those of the samples. `grammar_of` is given where the rollout was enforced: its
    tokens are then scored among those that were allowed.

    Raises:
        ConfigError: a completion holds a token that its grammar does not allow.
    """
    return [
        _pack(model, read.samples[here], prompts[here], _token_ids(read, here), grammar_of)
        for here in _slices(sizes)
    ]


def micro_batches(
    rollout: Rollout, packed: Sequence[PackedBatch], advantages_NGT: Tensor
) -> list[MicroBatch]:
    """Cut a rollout into the micro-batches that it was packed for."""
    batches = []
    for here, batch in zip(_slices([len(b.group_sizes_B) for b in packed]), packed, strict=True):
        longest = int(rollout.lengths_NG[here].max())
        batches.append(
            MicroBatch(
                token_ids=_token_ids(rollout, here),
                sample_ids=[sample.id for sample in rollout.samples[here]],
                packed=batch,
                advantages_RT=advantages_NGT[here, :, :longest].flatten(0, 1),
                mask_RT=rollout.mask_NGT[here, :, :longest].flatten(0, 1),
                stage_ids_RT=rollout.stage_ids_NGT[here, :, :longest].flatten(0, 1),
            )
        )
    return batches


def _slices(sizes: Sequence[int]) -> list[slice]:
    ends = list(accumulate(sizes))
    return [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]


def _token_ids(read: ReadCompletions, here: slice) -> list[list[list[int]]]:
    return [[list(one.token_ids) for one in group] for group in read.completions[here]]


def _pack(
    model: OmniModel,
    samples: Sequence[Sample],
    prompts: Sequence[Prompt],
    token_ids: Sequence[Sequence[Sequence[int]]],
    grammar_of: GrammarOf | None,
) -> PackedBatch:
    choices = None
    if grammar_of is not None:
        pairs = zip(samples, token_ids, strict=True)
        choices = [_replay(grammar_of(sample), group, sample) for sample, group in pairs]
    return pack(prompts, token_ids, model.pad_token_id, model.family, choices)


def _replay(
    grammar: StageGrammar, group: Sequence[Sequence[int]], sample: Sample
) -> list[list[Choice]]:
    try:
        return [grammar.replay(ids) for ids in group]
    except ValueError as error:
        raise ConfigError(
            f"sample {sample.id}: a completion is not one that `enforce` and its budgets allow "
            f"({error}); use an engine that enforces them, and go on with a run as it began"
        ) from error
