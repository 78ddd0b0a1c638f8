"""`triptych reward train | score | evaluate`: trained reward models."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from triptych.cli.config import argument, several
from triptych.errors import ConfigError, DataError
from triptych.rewards.scorer.config import ScorerConfig

if TYPE_CHECKING:
    from triptych.data.sample import Sample
    from triptych.rewards import RewardTable
    from triptych.rewards.scorer.card import Table
    from triptych.rewards.scorer.evaluation import Evaluation

Device: TypeAlias = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig(ScorerConfig):
    """What a scorer is trained on, and how."""

    out: Path = argument()
    """Folder for the scorer; must be new or empty."""
    data: tuple[Path, ...] = several()
    """Data sets with references, in any form that `triptych data convert` reads."""
    device: Device = "auto"
    """Where the model runs; auto takes a GPU when there is one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data:
            raise ConfigError("data: no data set is named; add --data FILE")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig:
    """Which completions are scored."""

    scorer: Path = argument()
    """Folder of a trained scorer."""
    data: Path
    """Data set of the completions, with what the scorer compares with."""
    completions: Path
    """JSONL file of completions: of `triptych generate`, the predictions of `triptych eval`, or the
    rollouts.jsonl of a run."""
    out: Path
    """JSONL file for the scores, a line for each line of the completions."""
    device: Device = "auto"
    """Where the scorer runs; auto takes a GPU when there is one."""


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """What a scorer is evaluated on."""

    scorer: Path = argument()
    """Folder of a trained scorer."""
    data: tuple[Path, ...] = several()
    """Data sets with references. Those that the scorer was trained on are left out."""
    per_kind: int = 1
    """How many texts of each kind are made from a reference: so many times as by default."""
    seed: int = 0
    """What is made of the references, and the intervals."""
    out: Path | None = None
    """JSON file for the figures."""
    device: Device = "auto"
    """Where the scorer runs; auto takes a GPU when there is one."""

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError("data: no data set is named; add --data FILE")
        if self.per_kind < 1:
            raise ConfigError(f"per_kind is {self.per_kind}; use 1 or more")


def train(config: TrainConfig) -> None:
    """Train a reward model of one stage from references.

    From each reference texts are made that keep all of it, lack a part, or are wrong in a known
    way, each with a target from 0 to 1. An encoder learns the target of a text beside its
    reference. Clips and references that are held out calibrate and evaluate it. With several GPUs:
    accelerate launch -m triptych reward train OUT ...
    """
    from triptych.cli.processes import launched_ranks

    ranks = launched_ranks(config.device)
    ranks.settle(lambda: refuse_used_folder(config.out))
    from triptych.rewards.scorer.build import build_text_scorer

    evaluation = build_text_scorer(
        config.out,
        _load(config.data),
        config,
        device=config.device,
        show_progress=ranks.first and is_watched(),
        ranks=ranks,
    )
    if not ranks.first:
        return
    _print_evaluation(evaluation)
    print(f"trained scorer: {config.out}")


def evaluate(config: EvaluateConfig) -> None:
    """Measure a trained scorer on references that it was not trained on.

    From each reference texts are made that are right, and texts that are wrong in a known way; the
    figures say how well the scores tell them apart, and how far they can be taken at their word.
    """
    from triptych.files import write_json
    from triptych.rewards.scorer.build import evaluate_on

    evaluation, left_out = evaluate_on(
        config.scorer, _load(config.data), config.per_kind, config.seed, config.device
    )
    _print_evaluation(evaluation)
    if left_out:
        print(f"left out: {left_out} references that the scorer was trained or calibrated on")
    if config.out:
        write_json(config.out, evaluation.to_dict())
        print(f"figures: {config.out}")


def score(config: ScoreConfig) -> None:
    """Score completions with a trained scorer.

    Each line of OUT belongs to a line of the completions: sample_id, scores (null where one could
    not be scored) and unscored (why, null where it was).
    """
    from triptych.files import read_lines, write_lines
    from triptych.rewards import score as score_all
    from triptych.rewards.scorer import load_scorer, scorer_reward

    scorer = load_scorer(config.scorer, config.device)
    samples = {sample.id: sample for sample in _load([config.data])}
    if not config.completions.is_file():
        raise DataError(f"{config.completions}: no such file; name a JSONL file of completions")
    lines = [
        _texts(record, samples, f"{config.completions}:{number}")
        for number, record in enumerate(read_lines(config.completions), start=1)
    ]
    table = score_all(
        {scorer.stage: scorer_reward(scorer)},
        [samples[name] for name, texts in lines for _ in texts],
        [text for _, texts in lines for text in texts],
    )
    numbers = iter(range(len(table)))
    records = [_score_record(name, table, [next(numbers) for _ in texts]) for name, texts in lines]
    write_lines(config.out, records)
    count = sum(table.unscored_counts().values())
    print(f"scored {len(table) - count} of {len(table)} completions: {config.out}")


def _score_record(sample_id: str, table: "RewardTable", rows: Sequence[int]) -> dict[str, Any]:
    return {
        "sample_id": sample_id,
        "scores": [table.values_GK[row][0] for row in rows],
        "unscored": [table.reasons.get((row, 0)) for row in rows],
    }


def _texts(
    record: Mapping[str, Any], samples: "Mapping[str, Sample]", where: str
) -> tuple[str, list[str]]:
    """The sample's id and the texts of one line."""
    from triptych.evaluation.precomputed import ID_FIELDS

    field = next((name for name in ID_FIELDS if record.get(name) is not None), None)
    if field is None:
        raise DataError(f"{where}: sample_id: missing; give each line the id of its sample")
    name = str(record[field])
    if name not in samples:
        raise DataError(
            f"{where}: {field}: {name!r} is not in the data; name the data set of the completions"
        )
    try:
        return name, [str(one["text"]) for one in record.get("completions", [record])]
    except (KeyError, TypeError) as error:
        raise DataError(
            f'{where}: holds neither "text" nor "completions" with texts; name a file of '
            "`triptych generate`, predictions or rollouts"
        ) from error


def _load(paths: Iterable[Path]) -> "list[Sample]":
    from triptych.data.readers import load_samples

    return [sample for path in paths for sample in load_samples(path)]


def refuse_used_folder(folder: Path) -> None:
    """Raises ConfigError where a scorer would be written over something."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder}: exists and is not an empty folder; name a new one")


def is_watched() -> bool:
    """Whether a person sees what is written to stderr, such as a progress bar."""
    from rich.console import Console

    return Console(stderr=True).is_terminal


def _print_evaluation(evaluation: "Evaluation") -> None:
    from triptych.rewards.scorer.card import figure_table, kind_table

    for table in (kind_table(evaluation), figure_table(evaluation)):
        print_table(table)


def print_table(table: "Table") -> None:
    """Print a table of the model card."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable

    from triptych.cli.tables import wide_console

    header, rows = table
    shown = RichTable(box=SIMPLE_HEAD)
    for place, name in enumerate(header):
        shown.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    wide_console().print(shown)
