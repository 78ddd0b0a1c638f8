"""What the training commands have in common: the run folder, and measuring while training."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.model import load_data, load_model
from triptych.cli.processes import current_ranks
from triptych.data.policy import FailurePolicy, RunSkips, usable_samples
from triptych.errors import ConfigError
from triptych.runs import RunFolder
from triptych.training.grpo_config import GRPOConfig

_FIXED = (
    *("learning_rate", "lr_scheduler", "warmup_steps", "weight_decay", "adam_beta1", "adam_beta2"),
    *("freeze", "lora", "quantize", "stage_tokens", "seed", "batch_size", "prompts_per_step"),
)
"""Settings that a checkpoint brings along, or that its place in the data depends on."""

_FREE = (
    *("out", "resume", "dry_run", "train", "validation", "model", "device", "decode", "cache"),
    *("prefetch_steps", "stuck_seconds", "log_every", "save_steps", "keep_checkpoints"),
    *("report_to", "max_steps", "num_epochs", "micro_batch_size", "groups_per_micro_batch"),
    *("rollout_sequences", "gradient_checkpointing", "attention", "rollouts_every"),
    *("rollout_groups", "on_bad_sample", "max_bad_share"),
)
"""Settings that change nothing of what is learned. Data and weights are compared elsewhere."""

if TYPE_CHECKING:
    from triptych.data.sample import Sample
    from triptych.generation import SamplingConfig
    from triptych.models import OmniModel
    from triptych.training.trainer import Evaluate
    from triptych.training.validation import Scoring


def start_run(
    config: Any, out: Path, data: Sequence[Path], *, resume: bool = False
) -> "tuple[RunFolder, OmniModel]":
    """The run folder with config and environment written, and the model that `config` names.

    A folder in use is refused before the model is loaded, and a model that cannot be loaded
    leaves the folder empty, so that the corrected command may use it.
    """
    from triptych.data.readers import data_files

    run = RunFolder.create(out, resume=resume)
    if resume:
        run.check_settings(config, fixed=_FIXED, free=_FREE)
    model = load_model(config)
    run.write_config(config)
    run.write_environment(seed=config.seed, data=data_files(data))
    return run, model


def check_validation(config: Any) -> None:
    """Refuse validation data of a training command that nothing is measured on.

    Raises:
        ConfigError: there are such data.
    """
    if config.validation is not None and not config.eval_steps:
        raise ConfigError("validation is measured on every eval_steps, which is 0; set eval_steps")


def validation_hook(
    config: Any, run: RunFolder, scoring: "Scoring | None" = None
) -> "Evaluate | None":
    """What measures the live model on the validation data of a training command, if it has any.

    Completions are greedy, as long as the config allows and held to what the config enforces.
    Samples that cannot be used are treated as in training: with on_bad_sample = skip they are left
    out, listed in skipped.jsonl under the phase "validation".
    """
    from triptych.generation import SamplingConfig
    from triptych.training.memory import validation_prompts

    if config.validation is None:
        return None
    if isinstance(config, GRPOConfig):
        sampling = replace(config.sampling(), temperature=0)
    else:
        sampling = SamplingConfig(max_new_tokens=config.max_new_tokens, temperature=0)
    samples = load_data(config, config.validation)
    at_once = partial(validation_prompts, config)
    return measure_on(samples, config, run, sampling, scoring, at_once=at_once)


def measure_on(
    samples: "Sequence[Sample]",
    policy: FailurePolicy,
    run: RunFolder,
    sampling: "SamplingConfig",
    scoring: "Scoring | None" = None,
    *,
    at_once: Callable[[int], int] = lambda _: 64,
) -> "Evaluate":
    """What measures the live model on samples.

    It gives the means of all metrics of an evaluation, and those that training logs of its rollouts
    (`reward/NAME`, `reward/combined`, `unscored/NAME`), to choose a checkpoint by.

    Args:
        samples: what to answer.
        policy: what is done about those that cannot be used.
        run: where it is listed which these are.
        sampling: how they are answered.
        scoring: the rewards, by rule and with their default weights if it is left out.
        at_once: how many of them each of some processes answers at once.
    """
    from triptych.evaluation.runner import evaluate
    from triptych.generation.local import LocalEngine
    from triptych.models.screening import screen
    from triptych.training.validation import Scoring

    scoring = scoring or Scoring.by_rule()
    usable: list[Sample] = []

    def measure(model: "OmniModel") -> Mapping[str, float]:
        if not usable:  # settled where all processes are: at the first measurement
            skips = RunSkips(run, "validation")
            usable.extend(
                usable_samples(
                    samples,
                    policy,
                    lambda samples: screen(model, samples, lambda _: sampling.max_new_tokens),
                    skips,
                    resume=True,
                    ranks=current_ranks(),
                )
            )
        ranks = current_ranks()
        result = evaluate(
            LocalEngine(model, at_once(ranks.count)), usable, sampling, scoring.rewards,
            split="validation", ranks=ranks,
        )  # fmt: skip
        return {**result.means("validation"), **scoring.means(usable, result.records)}

    return measure
