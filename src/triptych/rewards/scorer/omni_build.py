"""From samples to an omni scorer in its folder, evaluated, compared with blindness, described."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from triptych.data.policy import Ranks
from triptych.data.sample import Sample
from triptych.errors import ConfigError, DataError
from triptych.files import write_json
from triptych.rewards.scorer.build import SEEN
from triptych.rewards.scorer.card import Table, markdown, write_card
from triptych.rewards.scorer.corruptions import Pair, split
from triptych.rewards.scorer.omni_config import OmniScorerConfig
from triptych.rewards.scorer.omni_evaluation import (
    MediaShown,
    OmniEvaluation,
    evaluate_omni_scorer,
)
from triptych.rewards.scorer.splits import LEAST_SAMPLES, Splits, fingerprints, make_pairs
from triptych.settings import plain

if TYPE_CHECKING:
    from triptych.models import OmniModel

COMPARISON = "comparison.json"
"""Figures of the scorer with other media and of the one trained without, beside the card."""

_ABOUT = (
    "It sees and hears a clip, reads the question and the context that a model wrote, and says from"
    " 0 to 1 how well the context describes what is there: the share of a reference's key elements"
    " that it would keep, less what it contradicts and adds. It needs no reference."
)


@dataclass(frozen=True)
class OmniFigures:
    """The held-out figures of an omni scorer and of what they have to beat.

    Attributes:
        scorer: Beside the media of each text's own clip.
        other_media: The same scorer beside the media of another clip.
        text_only: A scorer that was trained and is evaluated without media; None where none was.
    """

    scorer: OmniEvaluation
    other_media: OmniEvaluation
    text_only: OmniEvaluation | None

    def to_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def build_omni_scorer(
    out: Path,
    samples: Sequence[Sample],
    config: OmniScorerConfig,
    load_model: "Callable[[], OmniModel]",
    *,
    name: str = "",
    show_progress: bool = False,
    ranks: Ranks | None = None,
) -> OmniFigures:
    """Train an omni scorer and write it with its card. What is evaluated is what was written.

    Args:
        out: An empty folder, or none yet.
        samples: With media and a reference context; those without are left out.
        config: See `OmniScorerConfig`.
        load_model: Gives the model to begin from, afresh at each call: it is trained in place.
        name: What that model is called.
        show_progress: Show bars while training.
        ranks: The processes that share the training; all of them make this call and get the
            figures, the first one writes.

    Raises:
        ConfigError: the samples cannot be split, or the processes cannot share a batch.
        DataError: too few samples have media and a reference context, or nothing was learned.
        MediaError: media of a sample cannot be decoded.
    """
    from triptych.rewards.scorer.omni import OmniScorer  # late, like Trainer below
    from triptych.rewards.scorer.omni_training import calibrate, train_omni_scorer

    ranks = ranks or Ranks()
    splits = make_clip_splits(samples, config)

    def trained(with_media: bool) -> OmniScorer:
        scorer = train_omni_scorer(
            load_model(),
            splits.train,
            splits.samples,
            config,
            name=name,
            with_media=with_media,
            show_progress=show_progress,
            ranks=ranks,
        )
        calibrate(scorer, splits.calibration, splits.samples)
        return scorer

    scorer = trained(with_media=True)
    if ranks.first:
        out.mkdir(parents=True, exist_ok=True)
        scorer.save(out)
        seen = fingerprints([*splits.train, *splits.calibration])
        write_json(out / SEEN, {"sha256_begins": seen})
        encoder, device = scorer.model.encoder, str(scorer.model.device)
        scorer = OmniScorer.load(out, device)
        scorer.model.encoder = encoder  # the same processor: what it has decoded need not be again
    held = (splits.held_out, splits.samples)
    figures = OmniFigures(
        scorer=evaluate_omni_scorer(scorer, *held, seed=config.seed),
        other_media=evaluate_omni_scorer(scorer, *held, MediaShown.OTHER, config.seed),
        text_only=(
            evaluate_omni_scorer(trained(with_media=False), *held, seed=config.seed)
            if config.text_only_baseline
            else None
        ),
    )
    if not ranks.first:
        return figures
    write_json(out / COMPARISON, figures.to_dict())
    about = "\n\n".join(
        [_ABOUT, "## Does it look and listen?", _HOW, markdown(swap_table(figures))]
    )
    write_card(
        out,
        title="A reward model for the context stage, which sees and hears",
        about=about,
        base_model=name if name and not Path(name).exists() else None,
        stage="context",
        settings={f.name: plain(getattr(config, f.name)) for f in fields(OmniScorerConfig)},
        trained_on=splits.train,
        evaluation=figures.scorer.all,
    )
    return figures


_HOW = (
    "How often a faithful text scores higher than one in which a single key element is another "
    "value (AUC), on clips that were not trained on. *Other clip*: the same scorer is shown the "
    "media of another clip. *Text only*: a scorer that was trained and is evaluated without media, "
    "so it knows only which texts are likely by themselves."
)


def swap_table(figures: OmniFigures) -> Table:
    """A row for each key element that was swapped."""
    columns = {"its own clip": figures.scorer, "other clip": figures.other_media}
    if figures.text_only is not None:
        columns["text only"] = figures.text_only
    rows = [
        (
            element.replace("_", " "),
            str(figure.n),
            *(str(column.swapped.get(element, "-")) for column in columns.values()),
        )
        for element, figure in figures.scorer.swapped.items()
    ]
    return ("swapped element", "texts", *columns), rows


def make_clip_splits(samples: Sequence[Sample], config: OmniScorerConfig) -> Splits:
    """Split clips and make the pairs of their contexts; see `splits.make_splits`.

    Clips of one description are kept, since they look and sound different, and stay on one side.

    Raises:
        ConfigError: the samples cannot be split.
        DataError: too few of them have media and a reference context.
    """
    usable = clips_with_references(samples, config.seed)
    if len(usable) < LEAST_SAMPLES:
        raise DataError(
            f"{len(usable)} clips of {len(samples)} samples have media and a reference.context; an "
            f"omni scorer needs {LEAST_SAMPLES} or more"
        )
    train, held_out = split(usable, config.held_out_share, config.seed)
    if len(held_out) < 2:
        raise _too_few_held_out(config, usable, held_out)
    calibration, evaluation = split(held_out, 0.5, config.seed)
    if len({sample.media for sample in evaluation}) < 2:
        raise _too_few_held_out(config, usable, held_out)

    def pairs(part: Sequence[Sample]) -> list[Pair]:
        return make_pairs(part, "context", config.per_kind, config.seed)

    return Splits(
        train=pairs(train),
        calibration=pairs(calibration),
        held_out=pairs(evaluation),
        samples={sample.id: sample for sample in usable},
    )


def _too_few_held_out(
    config: OmniScorerConfig, usable: Sequence[Sample], held_out: Sequence[Sample]
) -> ConfigError:
    return ConfigError(
        f"held_out_share: {config.held_out_share} of {len(usable)} clips is {len(held_out)}; hold "
        "out more: half of them calibrate and half evaluate, which takes two clips or more, since "
        "each text is also scored beside another clip"
    )


def clips_with_references(samples: Iterable[Sample], seed: int) -> list[Sample]:
    """One sample for each clip that has a reference context; of several questions one is drawn."""
    clips: dict[Any, list[Sample]] = {}
    for sample in samples:
        context = (sample.reference.context or "").strip()
        if sample.media and context:
            clips.setdefault((sample.media, context), []).append(sample)
    return [Random(f"{seed}/{asked[0].id}").choice(asked) for asked in clips.values()]
