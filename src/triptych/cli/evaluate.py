"""`triptych eval OUT`: how good a model's stages are on a benchmark or a split."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.bars import progress_bars
from triptych.cli.config import argument
from triptych.cli.questions import EngineConfig, Questions, QuestionsConfig
from triptych.cli.rewards import RewardsConfig
from triptych.data.policy import FailurePolicy

if TYPE_CHECKING:
    from triptych.evaluation.summary import EvaluationResult

# What may be said otherwise when an evaluation is gone on with: it changes no prediction.
_FREE = ("out", "data", "decode", "cache", "on_bad_sample", "max_bad_share", "device", "seed")


@dataclass(frozen=True, kw_only=True)
class EvalConfig(QuestionsConfig, EngineConfig, FailurePolicy, RewardsConfig):
    """What is evaluated, and on what."""

    out: Path = argument()
    """Run folder. New, empty, or of the same command: that is gone on with."""
    seed: int = 0
    """Seed of the intervals' bootstrap. The completions are greedy."""

    def __post_init__(self) -> None:
        QuestionsConfig.__post_init__(self)
        EngineConfig.__post_init__(self)
        FailurePolicy.__post_init__(self)


def run(config: EvalConfig) -> None:
    """Evaluate a model: answer, context, reasoning and format, with 95% intervals.

    Completions are greedy. By default they are held to the three stages, and `format_unenforced`
    says how often the model keeps the format by itself. The figures go to OUT/results.json, every
    completion with its scores to OUT/predictions/model.jsonl.

    A command that was interrupted, given again, goes on. Given again when it is done, it asks once
    more for answers and judgements that could not be had. With several GPUs:
    accelerate launch -m triptych eval OUT ...
    """
    from triptych.cli.evaluation_tables import print_result
    from triptych.cli.processes import launched_ranks
    from triptych.cli.questions import (
        folder_to_go_on_with,
        load_engine,
        load_questions,
        settled,
    )
    from triptych.cli.rewards import give_model, load_rewards, print_spend
    from triptych.data.policy import RunSkips, usable_samples
    from triptych.evaluation.baselines import baselines_of
    from triptych.evaluation.runner import evaluate
    from triptych.runs import RunFolder

    ranks = launched_ranks(config.device)
    first = ranks.rank == 0
    rewards = load_rewards(config)
    questions = load_questions(config)
    config = settled(config, questions)
    folder = folder_to_go_on_with(config, _FREE, "evaluated") if first else RunFolder(config.out)
    with load_engine(config, questions) as loaded:
        give_model(rewards, loaded.model)
        folder.write_config(config)
        folder.write_environment(seed=config.seed, data=questions.files)
        samples = usable_samples(
            questions.samples,
            config,
            loaded.outcomes,
            RunSkips(folder, "evaluation"),
            resume=True,
            ranks=ranks,
        )
        with progress_bars(shown=first) as bars:
            task = bars.add_task("samples", total=len(samples))
            result = evaluate(
                loaded.engine,
                samples,
                loaded.sampling,
                rewards,
                batch_size=config.batch_size,
                progress=lambda done, _: bars.update(task, completed=done),
                out=folder.path / "predictions" / "model.jsonl",
                split="all",
                groups=questions.groups,
                published=questions.published,
                ranks=ranks,
                seed=config.seed,
                origin=loaded.origin,
            )
    if first:
        by_id = {one.id: one for one in samples}
        baselines = baselines_of(result.records, by_id, "all")
        results = _results(config, questions, result)
        folder.write_results({**results, "baselines": baselines.to_json()})
        print_result(config, questions, result, baselines=baselines)
        print_spend(rewards, loaded.engine)
        print(f"results: {folder.results_path}")


def _results(
    config: EvalConfig, questions: Questions, result: "EvaluationResult"
) -> dict[str, Any]:
    from triptych.cli.questions import deviations
    from triptych.evaluation.summary import groups_to_json, reasons, summary_to_json

    protocol = questions.protocol
    return {
        "evaluation": {"model": summary_to_json(result.summary)},
        "groups": groups_to_json(result.groups),
        "questions": {
            "asked": len(result.records) + len(result.unanswered),
            "answered": len(result.records),
            "of": questions.total,
        },
        "unanswered": reasons(result.unanswered),
        "unscored": result.unscored,
        "timing": result.timing.to_json() if result.timing else None,
        "protocol": {
            "name": protocol.name if protocol else "house",
            "deviations": deviations(config, protocol) if protocol else [],
        },
    }
