"""`triptych eval OUT`: how good a model's stages are on a split."""

from dataclasses import dataclass
from pathlib import Path

from triptych.cli.config import argument
from triptych.cli.model import EnforcementConfig, load_data
from triptych.cli.rewards import RewardsConfig
from triptych.data.policy import FailurePolicy


@dataclass(frozen=True, kw_only=True)
class EvalConfig(EnforcementConfig, FailurePolicy, RewardsConfig):
    """What is evaluated, and on what."""

    out: Path = argument()
    """Run folder; must be new or empty."""
    data: Path
    """Data set, in any form that `triptych data convert` reads."""
    max_new_tokens: int = 1024
    """Longest completion, in tokens; one that is not enforced counts as truncated there."""
    batch_size: int = 16
    """Samples that are answered together."""
    seed: int = 0
    """Seed of the intervals' bootstrap. The completions are greedy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        FailurePolicy.__post_init__(self)


def run(config: EvalConfig) -> None:
    """Evaluate a model: answer, context, reasoning and format, with 95% intervals.

    Completions are greedy. By default they are held to the three stages, and `format_unenforced`
    says how often the model keeps the format by itself. The figures go to OUT/results.json, every
    completion with its scores to OUT/predictions/model.jsonl.
    """
    from triptych.cli.rewards import load_rewards, print_spend
    from triptych.cli.tables import print_evaluation
    from triptych.cli.training import start_run
    from triptych.data.policy import RunSkips, usable_samples
    from triptych.evaluation.runner import evaluate
    from triptych.evaluation.summary import summary_to_json
    from triptych.generation import SamplingConfig
    from triptych.generation.local import LocalEngine
    from triptych.rewards import use_model

    rewards = load_rewards(config)
    samples = load_data(config, config.data)
    run_folder, model = start_run(config, config.out, [config.data])
    use_model(rewards, model)
    skips = RunSkips(run_folder, "evaluation")
    samples = usable_samples(samples, config, model.encoder.outcomes, skips)
    result = evaluate(
        LocalEngine(model, max_sequences=config.batch_size),
        samples,
        SamplingConfig(
            max_new_tokens=config.max_new_tokens,
            temperature=0,
            enforce=config.enforce,
            min_stage_tokens=config.min_stage_tokens,
            max_stage_tokens=config.max_stage_tokens,
        ),
        rewards,
        batch_size=config.batch_size,
        out=run_folder.path / "predictions" / "model.jsonl",
        split="all",
    )
    run_folder.update_results(
        {"evaluation": {"model": summary_to_json(result.summary)}, "unscored": result.unscored}
    )
    print_evaluation({"model": result.summary})
    print_spend(rewards)
    print(f"results: {run_folder.results_path}")
