"""`triptych generate OUT`: a model's completions of a whole data set."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from triptych.cli.bars import progress_bars
from triptych.cli.config import argument
from triptych.cli.model import EnforcementConfig, ModelConfig, check_at_least, load_data, load_model
from triptych.data.policy import FailurePolicy
from triptych.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class GenerateConfig(EnforcementConfig, FailurePolicy, ModelConfig):
    """What is completed, how often, and how."""

    out: Path = argument()
    """JSONL file for the completions. One that the same command was interrupted at is gone on
    with."""
    data: Path
    """Data set, in any form that `triptych data convert` reads."""
    num_generations: int = 1
    """Completions of each sample."""
    max_new_tokens: int = 512
    """Longest completion, in tokens."""
    temperature: float = 1.0
    """Softmax temperature; 0 always takes the most likely token."""
    top_p: float = 1.0
    """Keep the most likely tokens that together hold this much probability; 1 keeps all."""
    top_k: int = 0
    """Keep this many most likely tokens; 0 keeps all."""
    seed: int = 0
    """Seed of the sampling; every sample draws by a seed of its own, made from it and its id."""
    batch_size: int = 16
    """Completions that are written together. It is a matter of speed and memory: what is drawn for
    a sample does not depend on its neighbours."""

    def __post_init__(self) -> None:
        super().__post_init__()
        FailurePolicy.__post_init__(self)
        check_at_least(1, self, "num_generations", "max_new_tokens", "batch_size")
        check_at_least(0, self, "temperature")
        if self.num_generations > 1 and self.temperature == 0:
            raise ConfigError(
                f"num_generations is {self.num_generations}, but all completions are the same at "
                "temperature 0; raise it"
            )


def run(config: GenerateConfig) -> None:
    """Write a model's completions of every sample as JSONL: text, stages, violations.

    Lines are written as they are done. An interrupted command, started again, goes on behind the
    last whole line, and leaves the same file as one that was never interrupted. With several GPUs:
    accelerate launch -m triptych generate OUT ...
    """
    from triptych.cli.processes import launched_ranks
    from triptych.data.policy import FileSkips, usable_samples
    from triptych.generation import SamplingConfig
    from triptych.generation.completions import weights_digest, write_completions
    from triptych.generation.local import LocalEngine
    from triptych.models.screening import screen
    from triptych.origin import check_origin

    ranks = launched_ranks(config.device)
    samples = load_data(config, config.data)
    origin = _origin(config)
    check_origin(config.out, origin)  # before a large model is loaded
    model = load_model(config)
    model.requires_grad_(False)  # its media encoders then run once for all questions about a clip
    skips = FileSkips(config.out.with_name(f"{config.out.name}.skipped.jsonl"))
    samples = usable_samples(
        samples,
        config,
        lambda samples: screen(model, samples, lambda _: config.max_new_tokens),
        skips,
        resume=config.out.exists(),
        ranks=ranks,
    )
    sampling = SamplingConfig(
        max_new_tokens=config.max_new_tokens,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
        seed=config.seed,
        enforce=config.enforce,
        min_stage_tokens=config.min_stage_tokens,
        max_stage_tokens=config.max_stage_tokens,
    )
    with progress_bars(shown=ranks.first) as bars:
        task = bars.add_task("samples", total=len(samples))
        found = write_completions(
            LocalEngine(model, max_sequences=config.batch_size),
            samples,
            config.num_generations,
            sampling,
            config.out,
            {**origin, "weights_sha256": weights_digest(model)},
            batch_size=max(1, config.batch_size // config.num_generations),
            progress=lambda done: bars.update(task, completed=done),
            ranks=ranks,
        )
    if not ranks.first:
        return
    kept = f", {found} of them there already" if found else ""
    print(f"completions of {len(samples)} samples{kept}: {config.out}")


def _origin(config: GenerateConfig) -> dict[str, Any]:
    """What the completions are made from, save the weights: the settings, and the data."""
    from triptych.data.readers import data_files
    from triptych.runs import data_fingerprint
    from triptych.settings import plain

    settings = plain(config)
    for name in ("out", "data", "decode", "cache", "on_bad_sample", "max_bad_share"):
        del settings[name]
    prints = data_fingerprint(data_files([config.data]))
    return {**settings, "data_sha256": " ".join(prints.values())}
