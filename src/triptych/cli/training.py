"""What the training commands have in common: the run folder, and measuring while training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.model import load_model
from triptych.runs import RunFolder

if TYPE_CHECKING:
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


def validation_hook(path: Path | None, max_new_tokens: int = 512) -> "Evaluate | None":
    """What measures the live model on a data set, or None without one.

    It gives the means of all metrics, and "combined", the mean of the stage rewards with their
    default weights, to choose a checkpoint by.
    """
    if path is None:
        return None
    from triptych.data.readers import load_samples
    from triptych.evaluation.runner import evaluate
    from triptych.generation import SamplingConfig
    from triptych.generation.local import LocalEngine
    from triptych.rewards.base import DEFAULT_WEIGHTS

    samples = load_samples(path)
    sampling = SamplingConfig(max_new_tokens=max_new_tokens, temperature=0)

    def measure(model: "OmniModel") -> Mapping[str, float]:
        result = evaluate(LocalEngine(model), samples, sampling, split="validation")
        means = result.means("validation")
        weights = {name: w for name, w in DEFAULT_WEIGHTS.items() if name in means}
        total = sum(weight * means[name] for name, weight in weights.items())
        return {**means, "combined": total / sum(weights.values())}

    return measure
