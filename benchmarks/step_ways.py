"""The ways to take a step of GRPO that `benchmarks.step` compares.

All of them write G completions of T tokens for each of N prompts, none of which may end, score them
by the same reward, ask a reference model, and take one step of AdamW; in fp32, on one thread.

Shapes: N prompts of a step, G completions of each, B rows of a forward, P prompt tokens, T
completion tokens, S = P + T, H hidden size, 3 rope axes.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from triptych.data.media import MediaBudget
from triptych.data.sample import Sample
from triptych.generation import Completion, SamplingConfig, StopReason
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel, Prompt
from triptych.rewards import completion_text, score
from triptych.runs import RunFolder
from triptych.training.grpo import GRPOConfig, GRPOTrainer, frozen_copy
from triptych.training.objective import grpo_loss

BETA, CLIP, LEARNING_RATE, MAX_GRAD_NORM = 0.04, 0.2, 1e-5, 1.0
_NOISE = 0.02  # of the weights that stand against the reference when ways are checked


@dataclass(frozen=True)
class Task:
    """A model folder, prompts for as many steps as are taken, and what a step is."""

    folder: Path
    samples: list[Sample]
    prompts: int
    group: int
    tokens: int
    budget: MediaBudget = field(default_factory=MediaBudget)

    def model(self) -> OmniModel:
        """Loaded afresh; no token ends a completion."""
        model = OmniModel.from_pretrained(self.folder, budget=self.budget)
        model.end_token_ids = ()
        return model


class Seconds(NamedTuple):
    """What a step took."""

    cpu: float
    wall: float

    @classmethod
    def now(cls) -> "Seconds":
        return cls(time.process_time(), time.perf_counter())

    def since(self, begun: "Seconds") -> "Seconds":
        return Seconds(self.cpu - begun.cpu, self.wall - begun.wall)


class FirstStep(NamedTuple):
    """What a first step was made of, to be compared.

    Completions and rewards by sample; gradients by weight, as the optimizer receives them, not
    clipped.
    """

    completions: Mapping[str, list[list[int]]]
    rewards: Mapping[str, list[float]]
    loss: float
    gradients: Mapping[str, Tensor]


class Way(Protocol):
    """A trainer with its settings."""

    name: str

    def steps(self, number: int) -> list[Seconds]:
        """Train a fresh model on fresh prompts: the time of this many steps, behind one more."""


class Other(Way, Protocol):
    """One that ours is compared with."""

    def first_step(self) -> FirstStep:
        """A step of a policy that is not the reference any more."""


def vowels(prompts: Any, completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """A reward that tells the completions of a random model apart: the share of vowels."""
    texts = [completion_text(one).lower() for one in completions]
    return [sum(c in "aeiou" for c in text) / max(1, len(text)) for text in texts]


def disturb(thinker: nn.Module) -> None:
    """Move a policy away from its reference, always to the same place."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in thinker.parameters():
            weight.add_(_NOISE * weight.std() * torch.randn(weight.shape, generator=generator))


class Ours:
    """Triptych's own trainer, one group in a forward.

    It prepares the media of a step while the one before runs. So that as much of that is counted as
    there are steps, neither the first step of a run is timed nor the last.
    """

    name = "triptych"

    def __init__(self, task: Task) -> None:
        self.task = task

    def steps(self, number: int) -> list[Seconds]:
        clock = StepClock()
        with self._trainer(self.task.model(), steps=number + 2) as trainer:
            trainer.add_callback(clock)
            trainer.fit()
        return clock.steps[1:-1]

    def replay(self, first: FirstStep, *, all_tokens: bool = False) -> FirstStep:
        """The same step on the completions of another way.

        Args:
            first: of the other way.
            all_tokens: score among all tokens, also those that are never drawn, as others do.
        """
        keeper = GradientKeeper()
        model = self.task.model()
        replay = _Replay(first.completions, model.tokenizer)
        with self._trainer(model, engine=replay, steps=1, max_grad_norm=0.0) as trainer:
            assert isinstance(trainer.reference, OmniModel)
            for one in (model, trainer.reference):
                if all_tokens:
                    one.banned_ids = one.banned_ids[:0]
            disturb(model.thinker)
            trainer.add_callback(keeper)
            trainer.fit()
            rewards: dict[str, list[float]] = defaultdict(list)
            for line in trainer.run.rollouts():
                rewards[line["sample_id"]].append(line["rewards"]["format"])
            (loss,) = [line["loss"] for line in trainer.run.metrics() if "loss" in line]
        named = {name.removeprefix("thinker."): g for name, g in keeper.gradients.items()}
        return FirstStep(first.completions, rewards, loss, named)

    @contextmanager
    def _trainer(
        self, model: OmniModel, *, steps: int, engine: Any = None, **settings: Any
    ) -> Iterator[GRPOTrainer]:
        task = self.task
        # Completions of a random model are invalid, and earn their format reward alone.
        config = GRPOConfig(
            **{
                "max_steps": steps,
                "prompts_per_step": task.prompts,
                "num_generations": task.group,
                "max_new_tokens": task.tokens,
                "learning_rate": LEARNING_RATE,
                "max_grad_norm": MAX_GRAD_NORM,
                "beta": BETA,
                "clip_low": CLIP,
                "clip_high": CLIP,
                "weights": {"format": 1.0},
                "scheme": "uniform",
                **settings,
            }
        )
        samples = task.samples[: steps * task.prompts]
        with TemporaryDirectory(prefix="triptych-step-") as folder:
            run = RunFolder.create(Path(folder) / "run")
            yield GRPOTrainer(model, samples, {"format": vowels}, config, run, engine=engine)


class Naive:
    """A trainer of our own parts, without what they share: the prompt, media and all, stands before
    every completion, in the rollout, under the reference and in the update.
    """

    def __init__(self, task: Task, rows: int) -> None:
        self.task, self.rows, self.name = task, rows, f"naive {rows}"

    def steps(self, number: int) -> list[Seconds]:
        run = _NaiveRun(self.task, self.rows)
        seconds = []
        for step in range(number + 1):
            begun = Seconds.now()
            run.update(self.task.samples[step * self.task.prompts :][: self.task.prompts])
            nn.utils.clip_grad_norm_(run.model.parameters(), MAX_GRAD_NORM)
            run.optimizer.step()
            seconds.append(Seconds.now().since(begun))
        return seconds[1:]

    def first_step(self) -> FirstStep:
        run = _NaiveRun(self.task, self.rows)
        disturb(run.model.thinker)
        return run.update(self.task.samples[: self.task.prompts])


class _NaiveRun:
    """A model on its way, with its reference."""

    def __init__(self, task: Task, rows: int) -> None:
        self.task, self.rows = task, rows
        self.model = task.model()
        self.reference = frozen_copy(self.model)
        self.engine = LocalEngine(self.model)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, weight_decay=0.0
        )

    def update(self, samples: Sequence[Sample]) -> FirstStep:
        """Rollout, rewards and gradients of a step."""
        group = self.task.group
        rows = [sample for sample in samples for _ in range(group)]
        written = self.engine.generate(rows, 1, SamplingConfig(max_new_tokens=self.task.tokens))
        table = score({"vowels": vowels}, rows, [one.text for (one,) in written])
        rewards_NG = table.tensor().reshape(len(samples), group)
        advantages_NG = rewards_NG - rewards_NG.mean(1, keepdim=True)
        ids_NGT = torch.tensor([one.token_ids for (one,) in written]).unflatten(0, (-1, group))
        self.optimizer.zero_grad()
        loss = 0.0
        for sample, ids_GT, advantages_G in zip(samples, ids_NGT, advantages_NG, strict=True):
            prompt = self.model.encode(sample)
            parts = zip(ids_GT.split(self.rows), advantages_G.split(self.rows), strict=True)
            for ids_BT, advantages_B in parts:
                loss += self._backward(prompt, ids_BT, advantages_B, ids_NGT.numel())
        names = [sample.id for sample in samples]
        return FirstStep(
            dict(zip(names, ids_NGT.tolist(), strict=True)),
            dict(zip(names, rewards_NG.tolist(), strict=True)),
            loss,
            {n: w.grad for n, w in self.model.thinker.named_parameters() if w.grad is not None},
        )

    def _backward(
        self, prompt: Prompt, ids_BT: Tensor, advantages_B: Tensor, normalizer: int
    ) -> float:
        with torch.no_grad():
            reference_BT = _logps(self.reference, prompt, ids_BT)
        logps_BT = _logps(self.model, prompt, ids_BT)
        loss = grpo_loss(
            logps_BT, logps_BT.detach(), advantages_B[:, None].expand_as(logps_BT),
            torch.ones_like(ids_BT, dtype=torch.bool), normalizer=normalizer,
            clip_low=CLIP, clip_high=CLIP, ref_logps=reference_BT, beta=BETA,
        ).loss  # fmt: skip
        loss.backward()
        return loss.item()


def _logps(model: OmniModel, prompt: Prompt, ids_BT: Tensor) -> Tensor:
    """Log-probs of completions, each behind a prompt of its own."""
    rows, tokens = ids_BT.shape
    size = len(prompt.input_ids)
    ids_BS = torch.cat([prompt.input_ids.expand(rows, -1), ids_BT], dim=1)
    following_3T = (prompt.next_position + torch.arange(tokens)).expand(3, -1)
    positions_3S = torch.cat([prompt.position_ids, following_3T], dim=1)
    features = model.family.collate([prompt.features] * rows)
    hidden_BSH = model.decode(
        positions_3S[:, None].expand(-1, rows, -1),
        use_cache=False,
        **model.embed(ids_BS, features).keywords(),
    ).last_hidden_state
    states_NH = hidden_BSH[:, size - 1 : -1].flatten(0, 1)
    return model.score(states_NH, ids_BT.flatten()).logps_N.view_as(ids_BT)


class StepClock(TrainerCallback):
    """Times each step from the end of the one before: data, rollout, rewards, reference, update."""

    def __init__(self) -> None:
        self.steps: list[Seconds] = []
        self._begun = Seconds.now()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._begun = Seconds.now()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        now = Seconds.now()
        self.steps.append(now.since(self._begun))
        self._begun = now


class GradientKeeper(TrainerCallback):
    """Keeps the gradients that the optimizer receives."""

    def __init__(self) -> None:
        self.gradients: dict[str, Tensor] = {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        named = kwargs["model"].named_parameters()
        self.gradients = {name: w.grad.clone() for name, w in named if w.grad is not None}


@dataclass(frozen=True)
class _Replay:
    """An engine that writes given completions."""

    completions: Mapping[str, list[list[int]]]
    tokenizer: Any

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig
    ) -> list[list[Completion]]:
        return [[self._completion(ids) for ids in self.completions[one.id]] for one in samples]

    def _completion(self, ids: list[int]) -> Completion:
        text = self.tokenizer.decode(ids, skip_special_tokens=True)  # as TRL reads it
        return Completion(tuple(ids), text, StopReason.LENGTH, (False,) * len(ids))
