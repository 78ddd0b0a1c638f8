"""Group relative policy optimisation with stage credit; the unit of work is a group.

A step: G completions for each prompt (rollout), a reward of each kind for every completion, the
credit matrix that turns rewards into advantages of tokens, and one or several updates. A judge is
asked about a group when the group is there; while it replies, the rollout goes on, and log-probs
are computed. All replies are in before the update: it is always on the policy that wrote.

Where this departs from GRPO as published (DeepSeekMath, arXiv 2402.03300):

* Rewards are compared within the group one by one, and each reaches the tokens that the credit
  scheme names. The textbook compares their sum and gives it to every token; `scheme="uniform"`
  does that, up to invalid completions and unscored rewards.
* Differences are not divided by the group's standard deviation (`scale="none"`): that would blow
  up groups that nearly agree. `scale="group"` with `scale_by="sum"` divides as the textbook does.
* Token-level loss over the whole global batch, not a mean of per-completion means: a token counts
  the same in a short and in a long completion, and the split into micro-batches does not matter.
* An invalid completion earns its format signal alone; a reward that could not be scored is left
  out of its group, never taken for zero.
* The weight of the penalty for leaving the reference falls to a quarter until half of the run.
* Log-probs are those of the distribution that was sampled from: at the rollout's temperature, and
  without the ids that the engine never draws.
* Truncated completions are not masked out: they are invalid, and pay by their format reward.

Enforced rollouts (`enforce`). A token t after the prefix s is drawn from those that a grammar
allows there, A(s). With pi the model at the rollout's temperature:

    pi_G(t|s) = pi(t|s) 1[t in A(s)] / Z(s),    Z(s) = sum of pi(t|s) over A(s)

Completions x are samples of pi_G, so it is their expected reward under pi_G that can be raised,
and its gradient is that of any policy, whatever the baseline b (the mean of a group of G, which
holds x itself, only shortens it to (G - 1) / G):

    grad E[R(x)] = E[(R(x) - b) sum_t grad log pi_G(x_t|s_t)],    x ~ pi_G

* Policy, old policy and reference are therefore all scored over the allowed tokens; the penalty
  then estimates the divergence of the two enforced models. With log pi = log pi_G + log Z in its
  place, the gradient would be biased by E[(R(x) - b) sum_t grad log Z(s_t)].
* A forced token, the only one in A(s), has log pi_G = 0 for every value of the parameters: no
  gradient, and a ratio of 1. To leave it out is exact, no approximation; it only changes the number
  of tokens that the loss is divided by.
* Nothing here teaches the model to keep the format by itself: pi_G does not depend on how likely
  pi finds what is not allowed.

Shapes: N groups, G completions per group, K rewards, R completions of a micro-batch, T tokens.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor, nn

from triptych.data.sample import Sample
from triptych.data.source import source_of
from triptych.generation import Completion, Engine
from triptych.generation.engine import OnGroup, tells_of_groups
from triptych.generation.local import LocalEngine
from triptych.models.omni import OmniModel
from triptych.models.packing import PackedBatch
from triptych.rewards.base import RewardFunction
from triptych.runs import RunFolder
from triptych.stages.grammar import StageGrammar
from triptych.training.credit import credit_matrix, reward_advantages, spread
from triptych.training.grpo_config import GRPOConfig
from triptych.training.memory import of_groups
from triptych.training.objective import grpo_loss, kl_coefficient
from triptych.training.reference import Reference, check_reference, frozen_copy, reference_of
from triptych.training.reward_calls import RewardCalls
from triptych.training.rollout import (
    MicroBatch,
    Rollout,
    micro_batches,
    pack_groups,
    read_completions,
    records,
)
from triptych.training.rollout_metrics import (
    observe_enforcement,
    observe_lengths,
    observe_rewards,
    observe_tokens,
    observe_weights,
    regions,
)
from triptych.training.sharding import is_sharded
from triptych.training.step_rewards import refuse_unscored_step
from triptych.training.steps import place_seed
from triptych.training.timeline import OVERLAPPED
from triptych.training.trainer import Evaluate, StageTrainer, TrainResult

__all__ = ["GRPOConfig", "GRPOTrainer", "frozen_copy", "train_grpo"]

_log = logging.getLogger(__name__)


def train_grpo(
    model: OmniModel,
    samples: Sequence[Sample],
    rewards: Mapping[str, RewardFunction],
    config: GRPOConfig,
    run: RunFolder,
    *,
    phase: str = "grpo",
    engine: Engine | None = None,
    evaluate: Evaluate | None = None,
    resume: bool = False,
) -> TrainResult:
    """Reinforce `model` in place; the weights are saved too, to ``RUN/models/PHASE``.

    Args:
        model: the cold-started model; what it is now is the reference, so pass it also when
            resuming, not a checkpoint.
        samples: the prompts, with what the rewards compare with.
        rewards: reward functions by name; each needs a weight in the config.
        config: see `GRPOConfig`.
        run: receives metrics, rollouts and checkpoints.
        phase: names the metrics and the folders.
        engine: writes the completions; by default the live model itself.
        evaluate: measures the model every `eval_steps`.
        resume: go on from the last checkpoint in the run folder, if there is one.

    Raises:
        ConfigError: rewards, weights and credit do not fit together, or no completion fits the
            budgets of its stages.
        RewardError: a reward function fails, or scores too few completions.
        MediaError: a sample's media cannot be decoded.
    """
    trainer = GRPOTrainer(
        model, samples, rewards, config, run, phase=phase, engine=engine, evaluate=evaluate
    )
    return trainer.fit(resume=resume)


class GRPOTrainer(StageTrainer):
    """See the head of the module."""

    def __init__(
        self,
        model: OmniModel,
        samples: Sequence[Sample],
        rewards: Mapping[str, RewardFunction],
        config: GRPOConfig,
        run: RunFolder,
        *,
        phase: str = "grpo",
        engine: Engine | None = None,
        evaluate: Evaluate | None = None,
    ) -> None:
        self.config, self.rewards = config, dict(rewards)
        self.reward_names = tuple(rewards)
        self.weights = config.reward_weights(self.reward_names)
        self.weights.check_sources(map(source_of, samples))
        self.matrix_K4 = credit_matrix(config.scheme, self.reward_names, config.credit_rows)
        super().__init__(
            model, samples, config, config.layout(), run, phase=phase, evaluate=evaluate
        )
        local = LocalEngine(model, config.rollout_sequences)
        self.engine, self._grammars = engine or local, local.grammars
        self._grammar_of = self._grammar if config.enforced else None
        if config.enforced:
            self._prepare_enforcement(samples)
        self.reference = reference_of(model) if config.beta else None
        self._batches: list[MicroBatch] = []
        self._restored: dict[int, dict[str, Any]] = {}

    def completion_tokens(self, sample: Sample) -> int:
        """The most tokens that follow the prompt of a sample."""
        return self.config.max_new_tokens

    def frozen_models(self) -> Sequence[OmniModel]:
        """The reference, where it is a model of its own."""
        return [self.reference] if isinstance(self.reference, OmniModel) else []

    # --- one optimizer step, in the order in which Trainer calls it ----------------------------

    def step_inputs(self, samples: Sequence[Sequence[Sample]]) -> tuple[list[Any], Tensor]:
        """The micro-batches of an optimizer step, and the trained tokens of all ranks' ones."""
        if self.state.global_step % self.config.num_iterations == 0:
            self._batches = self._roll_out(samples)
        elif self._restored:
            self._batches = [
                MicroBatch.from_states(
                    [self._restored[place] for place in places],
                    self.omni, part, self.prompts(part), self._grammar_of,
                )
                for places, part in zip(self._places(), samples, strict=True)
            ]  # fmt: skip
        self._restored = {}
        packed = [batch.packed for batch in self._batches]
        tokens = sum(int(batch.mask_RT.sum()) for batch in self._batches)
        normalizer = self.duty.begin_step(packed, tokens)
        return [{"batch": batch} for batch in self._batches], normalizer.clamp(min=1)

    def _roll_out(self, samples: Sequence[Sequence[Sample]]) -> list[MicroBatch]:
        step, config = self.state.global_step, self.config
        if self.reference is not None and not is_sharded(self.omni):  # which replaces weights
            check_reference(self.omni, self.reference)
        asked = [sample for part in samples for sample in part]
        # Held to the end: while they are, their frozen towers do not run again, in the rollout or
        # wherever else.
        prompts = self.prompts(asked)
        sizes = [len(part) for part in samples]
        with RewardCalls(self.rewards, asked, self.asking) as calls:
            places = list(chain.from_iterable(self._places()))
            completions = self._complete(asked, places, calls.begin)
            read = read_completions(self.omni, asked, completions)
            with self.clock("reward"):
                calls.run_sync(completions)
            # While a judge replies.
            packed = pack_groups(self.omni, read, prompts, sizes, self._grammar_of)
            logps = [self._fixed_logps(batch) for batch in packed]
            with self.clock("reward"):
                table = calls.table()
        if calls.overlapped:
            self.timeline.seconds[OVERLAPPED] += calls.overlapped
        rollout = Rollout.of(read, table, gate=config.gate)
        weights_N1K = self.weights.at(step, [source_of(sample) for sample in rollout.samples])
        advantages_NGK, advantages_NGT = self.credit(rollout, weights_N1K)
        self._observe_rollout(rollout, weights_N1K, advantages_NGK, advantages_NGT)
        if self._is_written(step):
            self._write(rollout, places)
        refuse_unscored_step(rollout.table, weights_N1K, config.max_unscored_share)
        batches = micro_batches(rollout, packed, advantages_NGT)
        return [replace(batch, **fixed) for batch, fixed in zip(batches, logps, strict=True)]

    def _complete(
        self, asked: Sequence[Sample], places: Sequence[int], on_group: OnGroup
    ) -> list[list[Completion]]:
        """A group of completions for each sample; `on_group` is told of each, if the engine can."""
        size, config = self.config.num_generations, self.config
        step = self.state.global_step
        sampling = config.sampling([place_seed(config.seed, step, place) for place in places])
        with self.clock("rollout"), self.asking():
            if tells_of_groups(self.engine):
                return self.engine.generate(asked, size, sampling, on_group=on_group)
            return self.engine.generate(asked, size, sampling)

    def credit(self, rollout: Rollout, weights_N1K: Tensor) -> tuple[Tensor, Tensor]:
        """Advantages of this rank's rewards (N, G, K) and tokens (N, G, T)."""
        config, device = self.config, self.args.device
        # Of all ranks, since scale="batch" looks at the whole step.
        rewards_NGK, valid_NG, all_weights_N1K = (
            self.accelerator.gather(of_rank.to(device)).cpu()
            for of_rank in (rollout.rewards_NGK, rollout.valid_NG, weights_N1K)
        )
        everywhere_NGK = reward_advantages(
            rewards_NGK, valid_NG, weights_K=all_weights_N1K, names=self.reward_names,
            scale=config.scale, scale_by=config.scale_by, clip=config.clip_advantage,
        )  # fmt: skip
        first = self.accelerator.process_index * len(rollout.samples)
        advantages_NGK = everywhere_NGK[first : first + len(rollout.samples)]
        return advantages_NGK, spread(
            advantages_NGK,
            rollout.valid_NG,
            rollout.stage_ids_NGT,
            rollout.mask_NGT,
            weights_K=weights_N1K,
            matrix_K4=self.matrix_K4,
            names=self.reward_names,
            balance=config.balance,
        )

    def _fixed_logps(self, packed: PackedBatch) -> dict[str, Any]:
        """The log-probs that the update compares with, as far as it needs them; by their names."""
        logps = {}
        if self.config.num_iterations > 1:
            with self.clock("old_policy"):
                logps["old_logps_RT"] = self._logps(self.omni, packed)
        if self.reference is not None:
            with self.clock("reference"):
                logps["ref_logps_RT"] = self._logps(self.reference, packed)
        return logps

    @torch.no_grad()
    def _logps(self, model: Reference, packed: PackedBatch) -> Tensor:
        """As the rollout was written: without dropout."""
        packed, training = packed.to(self.args.device), self.omni.training
        self.omni.eval()
        with self.accelerator.autocast():
            output = model(**packed.model_inputs(), temperature=self.config.temperature)
        self.omni.train(training)
        return packed.unpack(output.logps_N)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        config = self.config
        batch: MicroBatch = inputs["batch"].to(self.args.device)
        output = model(
            **batch.packed.model_inputs(),
            temperature=config.temperature,
            idle=self.duty.idle(batch.packed),
        )
        logps_RT = batch.packed.unpack(output.logps_N)
        old_RT = logps_RT.detach() if batch.old_logps_RT is None else batch.old_logps_RT
        beta = kl_coefficient(self.state.global_step, self.args.max_steps, config.beta)
        loss, metrics = grpo_loss(
            logps_RT, old_RT, batch.advantages_RT, batch.mask_RT,
            normalizer=num_items_in_batch, clip_low=config.clip_low, clip_high=config.clip_high,
            ref_logps=batch.ref_logps_RT, beta=beta,
        )  # fmt: skip
        num_tokens = batch.mask_RT.sum()
        for name, value in metrics.items():
            self.averages.add(name, value * num_items_in_batch, num_tokens)
        self.averages.add("beta", beta)
        self._observe_entropy(batch, batch.packed.unpack(output.entropies_N))
        # Gradients are averaged over processes, the normaliser counts the tokens of all of them.
        return loss * self.accelerator.num_processes

    # --- metrics -----------------------------------------------------------------------------

    def _observe_rollout(
        self,
        rollout: Rollout,
        weights_N1K: Tensor,
        advantages_NGK: Tensor,
        advantages_NGT: Tensor,
    ) -> None:
        averages, stages = self.averages, self.omni.format.names
        observe_rewards(averages, rollout, advantages_NGK, weights_N1K)
        observe_weights(averages, self.reward_names, self.weights.varying(), weights_N1K)
        observe_tokens(averages, rollout, advantages_NGT, stages)
        observe_lengths(averages, rollout, stages)
        if self.config.enforced:
            observe_enforcement(averages, rollout)

    def _observe_entropy(self, batch: MicroBatch, entropies_RT: Tensor) -> None:
        stages = self.omni.format.names
        for name, here_RT in regions(batch.stage_ids_RT, batch.mask_RT, stages):
            self.averages.add(f"entropy/{name}", (entropies_RT * here_RT).sum(), here_RT.sum())

    # --- sampling, checkpoints ---------------------------------------------------------------

    def _places(self) -> list[list[int]]:
        """Where this rank's groups stand in the step, micro-batch by micro-batch."""
        return self.layout.places(self.accelerator.process_index, self.accelerator.num_processes)

    def _write(self, rollout: Rollout, places: Sequence[int]) -> None:
        """Add the rollout of all ranks to rollouts.jsonl, in the order of the step."""
        most = self.config.rollout_groups or self.layout.per_step
        # Numbered as the metrics are: by the step that this rollout leads to.
        step = self.state.global_step + 1
        lines = gather_object(
            [line for line in records(rollout, step=step, phase=self.phase, places=places)
             if line["group"] < most]
        )  # fmt: skip
        self.run.append_rollouts(sorted(lines, key=itemgetter("group")))

    def memory_advice(self, phase: str) -> tuple[str, list[str]]:
        """See `StageTrainer.memory_advice`."""
        return of_groups(self.config, phase, self.accelerator.num_processes)

    def _grammar(self, sample: Sample) -> StageGrammar:
        """What the completions of a sample are held to."""
        grammar = self._grammars.for_sample(sample, self.config.sampling())
        assert grammar is not None, "asked for only where something is enforced"
        return grammar

    def _prepare_enforcement(self, samples: Sequence[Sample]) -> None:
        """Compile every grammar: budgets that nothing fits are refused before the first rollout."""
        for sample in samples:
            self._grammar(sample)
        pointless = "format" in self.rewards and self.weights.ever_counts("format")
        if pointless and self.is_world_process_zero():
            _log.warning(
                "enforce is %s: every completion keeps the format, so the format reward teaches "
                "nothing (no_signal/format); the metric `unchanged` says how often the model keeps "
                "format and budgets by itself",
                self.config.enforce,
            )

    def _is_written(self, step: int) -> bool:
        every, repeats = self.config.rollouts_every, self.config.num_iterations
        return every > 0 and (step // repeats) % every == 0

    def save_extra(self, folder: Path) -> None:
        """The rollout, where further updates on it follow; each group by its place in the step."""
        if self.state.global_step % self.config.num_iterations:
            states = chain.from_iterable(batch.states() for batch in self._batches)
            kept = dict(zip(chain.from_iterable(self._places()), states, strict=True))
            torch.save(kept, folder / f"rollout_{self.accelerator.process_index}.pt")

    def load_extra(self, folder: Path) -> None:
        """The rollout of all ranks: which of it is this one's depends on how many there are now."""
        self._restored = {}
        for file in folder.glob("rollout_*.pt"):
            self._restored |= torch.load(file, "cpu", weights_only=True)
