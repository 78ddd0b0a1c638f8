"""What the training commands have in common: the run folder, and measuring while training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.model import load_data, load_model
from triptych.data.policy import FailurePolicy, Ranks, RunSkips, usable_samples
from triptych.runs import RunFolder

if TYPE_CHECKING:
    from triptych.data.sample import Sample
    from triptych.models import OmniModel
    from triptych.training.trainer import Evaluate


def start_run(
    config: Any, out: Path, data: Sequence[Path], *, resume: bool = False
) -> "tuple[RunFolder, OmniModel]":
    """The run folder with config and environment written, and the model that `config` names.

    A folder in use is refused before the model is loaded, and a model that cannot be loaded
    leaves the folder empty, so that the corrected command may use it.
    """
    from triptych.data.readers import data_files

    run = RunFolder.create(out, resume=resume)
    model = load_model(config)
    run.write_config(config)
    run.write_environment(seed=config.seed, data=data_files(data))
    return run, model


def validation_hook(config: Any, run: RunFolder) -> "Evaluate | None":
    """What measures the live model on the validation data of a training command, if it has any.

    Samples that cannot be used are treated as in training: with on_bad_sample = skip they are left
    out, listed in skipped.jsonl under the phase "validation".
    """
    if config.validation is None:
        return None
    return measure_on(load_data(config, config.validation), config, run)


def measure_on(
    samples: "Sequence[Sample]", policy: FailurePolicy, run: RunFolder, max_new_tokens: int = 512
) -> "Evaluate":
    """What measures the live model on samples.

    It gives the means of all metrics, and "combined", the mean of the stage rewards with their
    default weights, to choose a checkpoint by.
    """
    from triptych.evaluation.runner import evaluate
    from triptych.generation import SamplingConfig
    from triptych.generation.local import LocalEngine
    from triptych.rewards.base import DEFAULT_WEIGHTS

    sampling = SamplingConfig(max_new_tokens=max_new_tokens, temperature=0)
    usable: list[Sample] = []

    def measure(model: "OmniModel") -> Mapping[str, float]:
        if not usable:  # settled where all processes are: at the first measurement
            skips = RunSkips(run, "validation")
            usable.extend(
                usable_samples(
                    samples, policy, model.encoder.outcomes, skips, resume=True, ranks=_ranks()
                )
            )
        result = evaluate(LocalEngine(model), usable, sampling, split="validation")
        means = result.means("validation")
        weights = {name: w for name, w in DEFAULT_WEIGHTS.items() if name in means}
        total = sum(weight * means[name] for name, weight in weights.items())
        return {**means, "combined": total / sum(weights.values())}

    return measure


def _ranks() -> Ranks:
    from accelerate import PartialState
    from accelerate.utils import gather_object

    state = PartialState()
    return Ranks(state.process_index, state.num_processes, lambda mine: gather_object([mine]))
