"""The model card of a scorer: what it was trained on, and how good it is on what it was not."""

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from triptych.files import write_json, write_text
from triptych.rewards.scorer.base import Stage
from triptych.rewards.scorer.corruptions import Pair
from triptych.rewards.scorer.evaluation import Evaluation
from triptych.rewards.scorer.measures import BINS
from triptych.statistics import Interval

CARD = "README.md"
FIGURES = "evaluation.json"

Table: TypeAlias = tuple[Sequence[str], Sequence[Sequence[str]]]
"""A header, and rows of as many cells."""

_PACKAGES = ("triptych", "torch", "transformers", "tokenizers", "numpy")


def kind_table(evaluation: Evaluation) -> Table:
    """A row for each kind of text."""
    header = ("kind of text", "texts", "target", "score", "AUC", "AUC within a reference")
    rows = [
        (
            kind.replace("_", " "),
            str(figures.count),
            f"{figures.target:.2f}",
            _cell(figures.score),
            _cell(figures.auc),
            _cell(figures.auc_within),
        )
        for kind, figures in evaluation.kinds.items()
    ]
    return header, rows


def figure_table(evaluation: Evaluation) -> Table:
    """A row for each figure over all texts."""
    rows = [
        ("rank correlation with the target (Spearman)", _cell(evaluation.rank_correlation)),
        (f"calibration error ({BINS} equal bins)", _cell(evaluation.calibration_error)),
        ("mean absolute error", _cell(evaluation.absolute_error)),
        (
            "length bias (rank correlation of score and words, given the target)",
            _cell(evaluation.length_bias),
        ),
        ("references", str(evaluation.references)),
        *((f"unscored: {cause}", str(count)) for cause, count in evaluation.unscored.items()),
    ]
    return ("over all texts", "value"), rows


def _cell(figure: Interval | None) -> str:
    if figure is None:
        return "-"
    if figure.low is None or figure.high is None:
        return f"{figure.mean:.3f}"
    return f"{figure.mean:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def write_card(
    folder: Path,
    *,
    title: str,
    about: str,
    base_model: str | None,
    stage: Stage,
    settings: Mapping[str, Any],
    trained_on: Sequence[Pair],
    evaluation: Evaluation,
) -> None:
    """Write the card, and its figures as JSON beside it.

    Args:
        folder: the scorer's.
        title: one line.
        about: what goes in and what comes out, in Markdown.
        base_model: hub id of what it was trained from, if there is one.
        stage: the stage that it scores.
        settings: of the training; plain values.
        trained_on: the pairs of the training.
        evaluation: on held-out references.
    """
    counts = Counter(str(pair.kind) for pair in trained_on)
    versions = {name: version(name) for name in _PACKAGES}
    references = len({pair.reference for pair in trained_on})
    record = {
        "stage": stage,
        "settings": dict(settings),
        "trained_on": {"references": references, "texts": dict(counts)},
        "versions": versions,
        "evaluation": evaluation.to_dict(),
    }
    write_json(folder / FIGURES, record)
    lines = [
        _front_matter(base_model),
        f"# {title}",
        about,
        "## Evaluation",
        f"On texts made from {evaluation.references} references that it was neither trained nor "
        "calibrated on, with 95% intervals that draw whole references. *AUC*: how often a faithful "
        "text scores higher than one of that kind; *within a reference*: where both belong to one. "
        "*Target*: what the score should be.",
        markdown(kind_table(evaluation)),
        markdown(figure_table(evaluation)),
        "## Training",
        f"{len(trained_on)} texts made from {references} references: "
        + ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in counts.items())
        + ".",
        markdown((("setting", "value"), [(name, str(settings[name])) for name in settings])),
        ", ".join(f"{name} {number}" for name, number in versions.items()) + ".",
        "## Use",
        f"```bash\ntriptych reward score {folder.name} DATA --completions COMPLETIONS --out FILE\n"
        f"triptych reward evaluate {folder.name} --data DATA\n```",
    ]
    write_text(folder / CARD, "\n\n".join(lines) + "\n")


def _front_matter(base_model: str | None) -> str:
    base = [f"base_model: {base_model}"] if base_model else []
    lines = ["library_name: transformers", *base, "tags:", "- triptych", "- reward-model"]
    return "\n".join(["---", *lines, "---"])


def markdown(table: Table) -> str:
    """The table in Markdown."""
    header, rows = table
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
