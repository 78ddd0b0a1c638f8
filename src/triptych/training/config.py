"""Settings that supervised and reinforced training share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from triptych.data.policy import FailurePolicy
from triptych.errors import ConfigError
from triptych.models.adapters import LoraSettings
from triptych.training.steps import StepLayout

if TYPE_CHECKING:
    import torch
    from transformers import TrainingArguments  # brings PEFT and bitsandbytes along: seconds

Schedule: TypeAlias = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(FailurePolicy):
    """Settings of the optimizer and of the run; the rest is `SFTConfig`'s and `GRPOConfig`'s."""

    learning_rate: float = 1e-5
    """Highest learning rate."""
    lr_scheduler: Schedule = "constant"
    """What the learning rate does after the warm-up."""
    warmup_steps: float = 0
    """Steps over which the learning rate rises from zero; below 1 a share of all steps."""
    weight_decay: float = 0.0
    """AdamW's weight decay; biases and norms are left out."""
    adam_beta1: float = 0.9
    """AdamW's decay of the gradient's mean."""
    adam_beta2: float = 0.999
    """AdamW's decay of the gradient's square."""
    max_grad_norm: float = 1.0
    """Gradients of a larger norm are scaled down to it; 0 turns this off."""
    seed: int = 0
    """Order of the samples and everything that is drawn."""
    freeze: tuple[str, ...] = ()
    """Modules that are not trained: the media encoders vision and audio, or others by name, such as
    layers.0-3 or embed_tokens."""
    lora: LoraSettings = LoraSettings()
    """Train an adapter (LoRA) in place of the weights; off while its rank is 0."""
    prefetch_steps: int = 1
    """Steps whose media are decoded and processed ahead, beside the rollout and the update; their
    processed media are in memory as long. 0 turns this off; nothing else depends on it."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, more time."""
    bf16: bool = False
    """Compute in bfloat16 (autocast) while the weights keep their own type."""
    stuck_seconds: int = 1200
    """Of several processes: where none has got on for so long, and all wait for each other, the run
    ends and says where each of them stands; 0 never does."""
    log_every: int = 1
    """Steps between two lines of metrics."""
    save_steps: int = 0
    """Steps between two checkpoints, and one at the end; 0 writes none."""
    keep_checkpoints: int = 2
    """How many of the newest checkpoints stay; the best one stays as well."""
    eval_steps: int = 0
    """Steps between two evaluations during training; 0 makes none."""
    best_metric: str | None = None
    """Go back at the end to the checkpoint where this metric of the evaluation was best, such as
    reward/combined. A checkpoint is then written at every evaluation, too."""
    best_is_highest: bool = True
    """Whether a higher value of best_metric is better."""
    report_to: tuple[str, ...] = ()
    """Trackers that also receive the metrics: tensorboard, trackio, wandb ..."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: a value is out of its range, or two settings contradict each other.
        """
        super().__post_init__()
        for name in ("learning_rate", "log_every", "keep_checkpoints"):
            self._require(getattr(self, name) > 0, f"{name} must be above 0")
        for name in (
            "warmup_steps",
            "weight_decay",
            "max_grad_norm",
            "seed",
            "save_steps",
            "eval_steps",
            "prefetch_steps",
            "stuck_seconds",
        ):
            self._require(getattr(self, name) >= 0, f"{name} must not be negative")
        if self.best_metric:
            self._require(self.eval_steps > 0, "best_metric needs evaluations; set eval_steps")
        if self.report_to not in ((), ("none",), ("all",)):
            _check_trackers(self.report_to)

    def _require(self, condition: bool, message: str) -> None:
        if not condition:
            raise ConfigError(message)


def trainer_arguments(
    config: TrainingConfig, layout: StepLayout, folder: Path, device: "torch.device"
) -> "TrainingArguments":
    """The settings in Trainer's own words; checkpoints go to `folder`."""
    from transformers import TrainingArguments

    save_steps = config.eval_steps if config.best_metric else config.save_steps
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=layout.per_micro_batch,
        max_steps=layout.steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type=_scheduler(config),
        warmup_steps=config.warmup_steps,
        weight_decay=config.weight_decay,
        adam_beta1=config.adam_beta1,
        adam_beta2=config.adam_beta2,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch",
        bf16=config.bf16,
        seed=config.seed,
        use_cpu=device.type == "cpu",
        # Later than the watchdog, which says more than the backends do.
        ddp_timeout=max(1800, config.stuck_seconds + 600),
        logging_strategy="steps",
        logging_steps=config.log_every,
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to=list(config.report_to) or "none",
        eval_strategy="steps" if config.eval_steps else "no",
        eval_steps=config.eval_steps or None,
        save_strategy="steps" if save_steps else "no",
        save_steps=save_steps or 500,
        load_best_model_at_end=config.best_metric is not None,
        metric_for_best_model=config.best_metric,
        greater_is_better=config.best_is_highest,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    # One process drives one device. On a machine with several, Trainer would wrap the model in
    # DataParallel, which splits every tensor along its first dimension: nonsense for packed rows.
    arguments._n_gpu = min(1, arguments.n_gpu)
    arguments.gradient_accumulation_steps = layout.accumulation(arguments.world_size)
    return arguments


def _check_trackers(names: Sequence[str]) -> None:
    """Before a run has begun; Trainer would say it with a traceback, in a folder already in use."""
    from transformers.integrations import integration_utils as trackers

    # The last two it leaves out although they are there.
    here = (*trackers.get_available_reporting_integrations(), "azure_ml", "flyte")
    for name in names:
        if name not in trackers.INTEGRATION_TO_CALLBACK:
            known = ", ".join(trackers.INTEGRATION_TO_CALLBACK)
            raise ConfigError(f"report_to: {name} is no tracker; use one of {known}")
        if name not in here:
            raise ConfigError(
                f"report_to: {name} is not installed; pip install it, or leave it out"
            )


def _scheduler(config: TrainingConfig) -> str:
    # Trainer's "constant" passes over the warm-up without a word.
    warm = config.lr_scheduler == "constant" and config.warmup_steps > 0
    return "constant_with_warmup" if warm else config.lr_scheduler
