"""`triptych score PREDICTIONS`: the scores of predictions that some other program wrote."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.bars import progress_bars
from triptych.cli.config import argument
from triptych.cli.model import check_at_least
from triptych.cli.questions import QuestionsConfig
from triptych.errors import DataError
from triptych.evaluation.rescoring import Stages

if TYPE_CHECKING:
    from triptych.cli.questions import Questions
    from triptych.evaluation.baselines import Baselines
    from triptych.evaluation.metrics import Published
    from triptych.evaluation.precomputed import Precomputed
    from triptych.evaluation.rescoring import Turn
    from triptych.evaluation.summary import EvaluationResult

_NAMED = 3  # ids that a message names


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """What is scored, and against what."""

    predictions: Path = argument()
    """JSONL or JSON file of predictions, with an id and a text each."""
    out: Path
    """Run folder; must be new or empty."""
    data: Path | None = None
    """Data set that was asked, in any form that `triptych data convert` reads; of a benchmark, the
    file with its questions or the folder that holds it."""
    benchmark: str | None = None
    """Benchmark that was asked, by name (intent_bench, daily_omni, worldsense, clips): its groups,
    its published metric and its published results."""
    published: bool = False
    """Of a data set of your own, score answers by the metric of HumanOmniV2's published evaluation,
    too: `answer.published`. A benchmark that has one always is."""
    stages: Stages = Stages.AUTO
    """What the predictions are: completions with stages, or plain answers. By default they have
    stages if any of them has an answer stage."""
    allow_missing: bool = False
    """Go on where samples have no prediction. They are counted, and are in no mean."""
    text_field: str | None = None
    """Field with the text, where it is none of the usual ones, or several are there."""
    id_field: str | None = None
    """Field with the id of the sample, where it is none of the usual ones, or not the first."""
    seed: int = 0
    """Seed of the intervals' bootstrap."""
    workers: int | None = None
    """Processes that score; by default one for each core."""

    def __post_init__(self) -> None:
        QuestionsConfig(data=self.data, benchmark=self.benchmark)
        if self.workers is not None:
            check_at_least(1, self, "workers")


def run(config: ScoreConfig) -> None:
    """Score predictions that are there already, without a model: the figures of `triptych eval`.

    The predictions may be of `triptych generate` or `eval`, of HumanOmniV2's evaluation, of
    lmms-eval or of an OpenAI batch, or any JSONL with an id and a text. Of several completions of a
    sample every one counts. The figures go to OUT/results.json, every prediction with its scores to
    OUT/predictions/model.jsonl.
    """
    from triptych.evaluation.rescoring import rare_collections

    with rare_collections():
        _run(config)


def _run(config: ScoreConfig) -> None:
    from triptych.cli.questions import load_questions
    from triptych.evaluation.baselines import baselines_of
    from triptych.evaluation.precomputed import read_precomputed
    from triptych.evaluation.rescoring import (
        Rescorer,
        available_cores,
        turns_of,
        without_answer_stage,
    )
    from triptych.runs import RunFolder, data_fingerprint

    questions = load_questions(
        QuestionsConfig(data=config.data, benchmark=config.benchmark), need_media=False
    )
    precomputed = read_precomputed(
        config.predictions, questions.samples, config.text_field, config.id_field
    )
    _check_missing(config, questions, precomputed)
    turns = turns_of(questions.samples, precomputed)
    bare = without_answer_stage(turns)
    plain = config.stages is Stages.NONE or (
        config.stages is Stages.AUTO and len(bare) == len(turns)
    )
    folder = RunFolder.create(config.out)
    folder.write_config(config)
    folder.write_environment(seed=config.seed, data=questions.files)
    rescorer = Rescorer(
        plain, questions.groups, _published(config, questions), config.workers or available_cores()
    )
    with progress_bars() as bars:
        task = bars.add_task("predictions", total=len(turns))
        result = rescorer.run(
            turns,
            questions.samples,
            precomputed,
            folder.path / "predictions" / "model.jsonl",
            lambda done: bars.advance(task, done),
            config.seed,
        )
    results = _results(questions, precomputed, result, plain, bare)
    asked = {turn.id: turn.sample for turn in turns}
    baselines = baselines_of(result.records, asked, "all")
    results |= {
        "baselines": baselines.to_json(),
        # Not beside the data in environment.json, which says what was answered.
        "predictions": data_fingerprint([config.predictions]),
    }
    folder.write_results(results)
    _print(questions, result, baselines, list(_notices(config, turns, precomputed, plain, bare)))
    print(f"results: {folder.results_path}")


def _check_missing(config: ScoreConfig, questions: "Questions", found: "Precomputed") -> None:
    """Refuse predictions of a part of the samples, unless that is meant.

    Raises:
        DataError: a sample has none.
    """
    if found.missing and not config.allow_missing:
        raise DataError(
            f"{config.predictions}: has nothing for {len(found.missing)} of "
            f"{len(questions.samples)} samples ({_named(found.missing)}); add them, or leave them "
            "out of every mean by --allow-missing"
        )


def _named(ids: Sequence[str]) -> str:
    return ", ".join(ids[:_NAMED]) + (", ..." if len(ids) > _NAMED else "")


def _published(config: ScoreConfig, questions: "Questions") -> "Published | None":
    from triptych.evaluation.benchmarks import BENCHMARKS

    asked = config.published or questions.benchmark is not None
    protocol = (questions.benchmark or BENCHMARKS["samples"]).protocol
    return protocol.score if asked and protocol else None


def _results(
    questions: "Questions",
    precomputed: "Precomputed",
    result: "EvaluationResult",
    plain: bool,
    bare: Sequence[str],
) -> dict[str, Any]:
    from triptych.evaluation.summary import groups_to_json, reasons, summary_to_json

    return {
        "evaluation": {"model": summary_to_json(result.summary)},
        "groups": groups_to_json(result.groups),
        "questions": {
            "answered": len(result.records),
            "of": questions.total,
            "missing": len(precomputed.missing),
        },
        "stages": {"read": "none" if plain else "required", "without_answer_stage": len(bare)},
        "unanswered": reasons(result.unanswered),
        "unscored": result.unscored,
    }


def _notices(
    config: ScoreConfig,
    turns: "Sequence[Turn]",
    precomputed: "Precomputed",
    plain: bool,
    bare: Sequence[str],
) -> Iterator[str]:
    """What one must know to take the figures for what they are."""
    if precomputed.missing:
        yield (
            f"{len(precomputed.missing)} samples have no prediction and are in no mean "
            f"({_named(precomputed.missing)})"
        )
    if precomputed.unanswered:
        ids = list(precomputed.unanswered)
        yield (
            f"{len(ids)} samples have an error in place of a prediction and are in no mean "
            f"({_named(ids)})"
        )
    if plain and bare:
        yield (
            f"{len(bare)} of {len(turns)} predictions have no answer stage and are scored as "
            "answers, whole or by what they finally state; context and reasoning are not scored"
        )
    if not plain and bare:
        yield (
            f"{len(bare)} of {len(turns)} predictions have no answer stage, so no answer: they "
            f"score 0 ({_named(bare)}). If they are plain answers, say --stages none"
        )


def _print(
    questions: "Questions",
    result: "EvaluationResult",
    baselines: "Baselines",
    notices: Sequence[str],
) -> None:
    from triptych.cli.evaluation_tables import print_figures, print_known
    from triptych.cli.tables import plain_text, wide_console

    console = wide_console()
    print_figures(result, baselines, console)
    if questions.benchmark:
        print_known(questions.benchmark, result, console)
    for line in notices:
        console.print(plain_text(line, "yellow"), soft_wrap=True)
