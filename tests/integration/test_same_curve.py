"""A run that shares its prompts has the curve of one that does not, step by step.

Three ways to the same update: attention in blocks, attention under a mask (both with two groups in
a forward), and no sharing at all: each completion behind its own copy of prompt and media, in a
forward of its own under plain causal attention. The rollouts are replayed: the ways agree to about
1e-7, and one token that was sampled otherwise for it would set two live runs apart for good,
without telling anything about the update.

Shapes: P prompt tokens, L tokens of a packed row, N completion tokens, 3 rope axes.
"""

from collections.abc import Callable, Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from triptych.data.media import MediaBudget
from triptych.data.sample import Sample
from triptych.models import LoadOptions, OmniModel, OmniOutput
from triptych.models.log_probs import AllowedTokens
from triptych.models.prefix_attention import Attention
from triptych.models.prefix_layout import Layout
from triptych.runs import RunFolder
from triptych.training.grpo import GRPOTrainer
from triptych.training.sft import SFTConfig, train_sft

Build = Callable[..., GRPOTrainer]
STEPS = 30
MOST = 1e-5
"""Largest difference of two losses at a step; 5e-7 was seen."""


class Unshared(OmniModel):
    """Runs the prompt before every completion, each row alone."""

    shift = 0
    """Added to the positions of completions: a small error."""

    def forward(
        self,
        input_ids_L: Tensor,
        position_ids_3L: Tensor,
        layout: Layout,
        features: dict[str, Tensor],
        source_N: Tensor,
        targets_N: Tensor,
        allowed: AllowedTokens | None = None,
        temperature: float = 1.0,
        idle: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> OmniOutput:
        assert not idle
        (group,) = layout  # whose media all features are
        ends = accumulate(group.completions, initial=group.prompt)
        prompt = torch.arange(group.prompt)
        states = []
        for start, end in pairwise(ends):
            row = torch.cat([prompt, torch.arange(start, end)])
            positions_3P = position_ids_3L[:, row].clone()
            positions_3P[:, group.prompt :] += self.shift
            hidden_1PH = self.decode(
                positions_3P[:, None],
                use_cache=False,
                **self.embed(input_ids_L[None, row], features).keywords(),
            ).last_hidden_state
            states.append(hidden_1PH[0, group.prompt - 1 : -1])
        return self.score(torch.cat(states), targets_N, allowed, temperature)


class Shifted(Unshared):
    """The same with every completion one position late."""

    shift = 1


WAYS: tuple[Attention | type[Unshared], ...] = (*Attention, Unshared, Shifted)


def load(folder: Path, way: Attention | type[Unshared]) -> OmniModel:
    attention = way if isinstance(way, Attention) else Attention.MASK
    model = OmniModel.from_pretrained(
        folder, options=LoadOptions(attention=attention), budget=MediaBudget(fps=4.0)
    )
    if not isinstance(way, Attention):
        model.__class__ = way
    return model


def groups_of(way: Attention | type[Unshared]) -> int:
    """Prompts of a micro-batch; two of them stand in one row where they can."""
    return 2 if isinstance(way, Attention) else 1


def losses(run: RunFolder) -> Tensor:
    """Loss and norm of the gradient at each step, (steps, 2)."""
    lines = [line for line in run.metrics() if "loss" in line]
    return torch.tensor([[line["loss"], line["grad_norm"]] for line in lines])


def assert_same(curves: dict[Any, Tensor]) -> None:
    """All but the wrong one, whose error must show."""
    expected = curves[Unshared]
    assert len(expected) == STEPS
    assert expected[:, 0].unique().numel() > STEPS / 2, "the curve goes somewhere"
    for attention in Attention:
        assert (curves[attention] - expected).abs()[:, 0].max() < MOST
        assert (curves[attention] / expected - 1).abs()[:, 1].max() < 10 * MOST
    assert (curves[Shifted] - expected).abs()[:, 0].max() > 100 * MOST


@pytest.mark.slow
def test_reinforcement(
    tiny_folder: Path, samples: list[Sample], replay_trainer: Build, tmp_path: Path
) -> None:
    """Two updates on each rollout: the ratio moves away from 1, and the loss shows it."""
    curves = {}
    for number, way in enumerate(WAYS):
        run = RunFolder.create(tmp_path / str(number))
        trainer = replay_trainer(
            load(tiny_folder, way), samples, folder=run, max_steps=STEPS, num_iterations=2,
            prompts_per_step=2, groups_per_micro_batch=groups_of(way),
        )  # fmt: skip
        if not isinstance(way, Attention):
            assert isinstance(trainer.reference, OmniModel)
            trainer.reference.__class__ = way
        trainer.fit()
        curves[way] = losses(run)
    assert_same(curves)


@pytest.mark.slow
def test_cold_start(tiny_folder: Path, samples: list[Sample], tmp_path: Path) -> None:
    curves = {}
    for number, way in enumerate(WAYS):
        run = RunFolder.create(tmp_path / str(number))
        config = SFTConfig(
            max_steps=STEPS, batch_size=2, micro_batch_size=groups_of(way), learning_rate=1e-3
        )
        train_sft(load(tiny_folder, way), samples, config, run)
        curves[way] = losses(run)
    assert_same(curves)
