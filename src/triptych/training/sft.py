"""Cold start: supervised fine-tuning on reference completions.

The target is the reference context, the reference reasoning and the answer between their tags,
then the end token; the loss is the mean negative log-prob of the target's tokens. The prompt is
read, not learned.

Shapes: N completion tokens of a micro-batch.
"""

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from triptych.data.sample import Sample
from triptych.errors import DataError
from triptych.models.omni import OmniModel
from triptych.models.packing import PackedBatch, pack
from triptych.models.prompt import Prompt
from triptych.runs import RunFolder
from triptych.stages import StageFormat, stage_ids
from triptych.training.memory import below
from triptych.training.sft_config import SFTConfig
from triptych.training.steps import StepLayout
from triptych.training.trainer import Evaluate, StageTrainer, TrainResult

__all__ = ["SFTConfig", "SFTTrainer", "target_ids", "target_text", "train_sft"]


def train_sft(
    model: OmniModel,
    samples: Sequence[Sample],
    config: SFTConfig,
    run: RunFolder,
    *,
    phase: str = "sft",
    evaluate: Evaluate | None = None,
    resume: bool = False,
) -> TrainResult:
    """Fine-tune `model` in place; the weights are saved too, to ``RUN/models/PHASE``.

    Args:
        model: what to begin from, also when resuming.
        samples: each with a reference context, a reference reasoning and an answer.
        config: see `SFTConfig`.
        run: receives metrics and checkpoints.
        phase: names the metrics and the folders.
        evaluate: measures the model every `eval_steps`.
        resume: go on from the last checkpoint in the run folder, if there is one.

    Raises:
        DataError: a sample has no full reference, or one that cannot be written in the format.
        MediaError: a sample's media cannot be decoded.
    """
    return SFTTrainer(model, samples, config, run, phase=phase, evaluate=evaluate).fit(
        resume=resume
    )


class SFTTrainer(StageTrainer):
    """Supervised training on reference completions."""

    def __init__(
        self,
        model: OmniModel,
        samples: Sequence[Sample],
        config: SFTConfig,
        run: RunFolder,
        *,
        phase: str = "sft",
        evaluate: Evaluate | None = None,
    ) -> None:
        # All targets first: a reference that is missing should not end the run in its second hour.
        self._targets = _targets(model, samples)
        self._config = config
        layout = config.layout(len(samples))
        super().__init__(model, samples, config, layout, run, phase=phase, evaluate=evaluate)

    def layout_of(self, num_samples: int) -> StepLayout:
        """The run goes so many times through the samples that it has."""
        return self._config.layout(num_samples)

    def completion_tokens(self, sample: Sample) -> int:
        """The tokens of its target."""
        return len(self._targets[sample.id].token_ids)

    def step_inputs(self, samples: Sequence[Sequence[Sample]]) -> tuple[list[Any], Tensor]:
        """The micro-batches of an optimizer step, and the number of its target tokens."""
        prompts = iter(self.prompts(list(chain.from_iterable(samples))))
        batches = [self._pack(list(islice(prompts, len(part))), part) for part in samples]
        packed = [batch["packed"] for batch in batches]
        normalizer = self.duty.begin_step(packed, sum(batch.num_tokens for batch in packed))
        return batches, normalizer

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        packed: PackedBatch = inputs["packed"].to(self.args.device)
        logps_N = model(**packed.model_inputs(), idle=self.duty.idle(packed)).logps_N
        for region, name in enumerate(("tags", *self.omni.format.names)):
            here_N = inputs["regions_N"] == region
            self.averages.add(f"loss/{name}", -(logps_N.detach() * here_N).sum(), here_N.sum())
        # Gradients are averaged over processes, the normaliser counts the tokens of all of them.
        return -logps_N.sum() / num_items_in_batch * self.accelerator.num_processes

    def memory_advice(self, phase: str) -> tuple[str, list[str]]:
        """See `StageTrainer.memory_advice`."""
        samples = self.layout.per_micro_batch
        return f"micro-batches of {samples} samples", below(micro_batch_size=samples)

    def _pack(self, prompts: Sequence[Prompt], samples: Sequence[Sample]) -> dict[str, Any]:
        targets = [self._targets[sample.id] for sample in samples]
        return {
            "packed": pack(
                prompts, [[t.token_ids] for t in targets], self.omni.pad_token_id, self.omni.family
            ),
            "regions_N": torch.tensor([region for t in targets for region in t.regions]),
        }


class Target(NamedTuple):
    """What the model should write for a sample, and the stage of each token."""

    token_ids: list[int]
    regions: list[int]


def _targets(model: OmniModel, samples: Sequence[Sample]) -> dict[str, Target]:
    """The targets by sample id. A sample may stand in the data twice, an id for two may not."""
    by_id: dict[str, Sample] = {}
    for sample in samples:
        if by_id.setdefault(sample.id, sample) != sample:
            raise DataError(f"sample {sample.id}: two different samples have this id; rename one")
    targets = {}
    for sample in by_id.values():
        ids = target_ids(model, sample)
        targets[sample.id] = Target(ids, stage_ids(ids, model.tokenizer, model.format))
    return targets


def target_ids(model: OmniModel, sample: Sample) -> list[int]:
    """What the model should write: the reference completion and the end token.

    Raises:
        DataError: see `target_text`; or it holds the text of a token that ends a completion or
            stands for media.
    """
    text = target_text(model.format, sample)
    ids: list[int] = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    if held := {*model.banned_ids.tolist(), *model.end_token_ids}.intersection(ids):
        token = model.tokenizer.decode([min(held)])
        raise DataError(
            f"sample {sample.id}: the reference or the answer holds {token!r}, which the tokenizer "
            "takes for a token of its own; take it out"
        )
    return [*ids, model.end_token_ids[0]]


def target_text(fmt: StageFormat, sample: Sample) -> str:
    """The reference completion of a sample.

    Raises:
        DataError: the sample has no reference context or reasoning, or a body that the format
            does not allow.
    """
    bodies = {
        "context": sample.reference.context,
        "think": sample.reference.reasoning,
        "answer": sample.answer,
    }
    given = {name: body for name, body in bodies.items() if body}
    if missing := [name for name in bodies if name not in given]:
        fields = {"context": "reference.context", "think": "reference.reasoning"}
        raise DataError(
            f"sample {sample.id}: {fields[missing[0]]}: missing; the cold start learns from full "
            "references, so add it or leave the sample out"
        )
    try:
        return fmt.render(given)
    except ValueError as error:
        raise DataError(f"sample {sample.id}: its reference cannot be rendered: {error}") from error
