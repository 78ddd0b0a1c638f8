"""A trained scorer as a reward function."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from triptych.data.sample import Media, Reference
from triptych.errors import ConfigError
from triptych.rewards.base import LogUnscored, RewardFunction, rows, settle, staged
from triptych.rewards.columns import as_media
from triptych.rewards.elements import as_reference
from triptych.rewards.scorer.base import Candidate, Scorer, Stage, read_scorer_file
from triptych.rewards.scorer.load import load_scorer


def scorer_reward(
    scorer: Scorer | str | Path, stage: Stage | None = None, device: str = "auto"
) -> RewardFunction:
    """The reward function of a scorer, with TRL's signature.

    A context is held against the reference context (a scorer that looks: against the media),
    reasoning against the model's own context, as by the rule: whether that is right is the context
    reward's business. An absent or blank stage is 0.

    Args:
        scorer: a scorer, or the folder of one.
        stage: what it is used for; checked before the weights are read.
        device: where a scorer from a folder runs.

    Raises:
        ConfigError: the scorer is one of another stage, or the folder holds none.
        DataError: its scorer.json is broken.
    """
    found = (
        read_scorer_file(Path(scorer))["stage"] if isinstance(scorer, str | Path) else scorer.stage
    )
    if stage and found != stage:
        raise ConfigError(
            f"reward {stage!r}: the scorer {scorer} scores {found}; train one with --stage {stage}"
        )
    ready = load_scorer(scorer, device) if isinstance(scorer, str | Path) else scorer

    def reward(
        prompts: Sequence[Any],
        completions: Sequence[Any],
        *,
        reference: Sequence[Reference | Mapping[str, Any] | None] | None = None,
        question: Sequence[str | None] | None = None,
        problem_type: Sequence[str | None] | None = None,
        options: Sequence[Sequence[str] | None] | None = None,
        media: Sequence[Sequence[Media | Mapping[str, Any]] | None] | None = None,
        log_unscored: LogUnscored | None = None,
        **_: Any,
    ) -> list[float | None]:
        table = rows(
            completions,
            reference=reference,
            question=question,
            problem_type=problem_type,
            options=options,
            media=media,
        )
        return settle(ready.score(list(_candidates(table, ready))), log_unscored)

    reward.__name__ = f"{found}_scorer_reward"  # TRL logs a reward by its name
    return reward


def _candidates(table: Iterable[tuple[Any, ...]], scorer: Scorer) -> Iterator[Candidate]:
    """What the scorer is given of each completion."""
    references: dict[int, str] = {}  # completions of one sample share theirs
    for completion, wanted, asked, kind, choices, shown in table:
        output = staged(completion)
        if scorer.stage == "reasoning":
            text, against = output.think, output.context
        else:
            if id(wanted) not in references:
                references[id(wanted)] = as_reference(wanted).context or ""
            text, against = output.context, references[id(wanted)]
        yield Candidate(
            text=text,
            reference=against,
            question=asked or "",
            problem_type=kind or "",
            options=tuple(choices or ()),
            answer=output.answer,
            media=() if scorer.needs_reference else as_media(shown),
        )
