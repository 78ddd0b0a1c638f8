"""The context reward, as a rule: how much of the reference a context says, and how plainly.

    reward = max(0, named - contradicted) / elements * plainness * brevity

* `named` and `contradicted` count key elements (`elements.py`). A contradicted element costs as
  much as a named one earns, so guessing a two-valued cue gains nothing over leaving it out, and
  naming every value of a cue loses.
* `plainness` is 1 minus the share of words that commit to nothing ("someone", "some kind of"),
  as far as it exceeds the reference's own share.
* `brevity` is 1 up to one and a half times the length of the reference and falls as 1/length
  beyond, so that neither repetition nor long invention is free.

Coverage follows the context reward of HumanOmniV2 (arXiv 2506.21277), where a judge compares with
the reference; this rule needs no judge and sees words, not meaning.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from triptych.data.sample import Reference
from triptych.rewards.base import LogUnscored, Unscored, rows, settle, staged
from triptych.rewards.elements import ElementStatus, PreparedReference, as_reference, prepare
from triptych.rewards.words import Text, read_text

LENGTH_ALLOWANCE = 1.5
MIN_ALLOWED_WORDS = 12
WORDS_PER_ELEMENT = 6
"""How long a reference is taken to be that has elements and no text."""


def context_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    *,
    reference: Sequence[Reference | Mapping[str, Any] | None],
    log_unscored: LogUnscored | None = None,
    **_: Any,
) -> list[float | None]:
    """Reward the context stage; see the head of the module. An absent or blank one is 0.

    Returns:
        One value in [0, 1] per completion; None where the sample has no reference context.

    Raises:
        DataError: a reference is malformed, or a column has the wrong length.
    """
    table = rows(completions, reference=reference)
    prepared = prepare_all(reference)
    return settle(
        (
            score_context(read_text(staged(completion).context), prepared[id(wanted)])
            for completion, wanted in table
        ),
        log_unscored,
    )


def prepare_all(
    references: Sequence[Reference | Mapping[str, Any] | None],
) -> dict[int, PreparedReference]:
    """Each distinct reference object of a column prepared, by its `id`."""
    distinct = {id(reference): reference for reference in references}
    return {key: prepare(as_reference(value)) for key, value in distinct.items()}


def score_context(text: Text, reference: PreparedReference) -> float | Unscored:
    """The reward of one context."""
    if not reference.elements:
        return Unscored.NO_REFERENCE
    counts = Counter(element.status(text) for element in reference.elements)
    surplus = counts[ElementStatus.NAMED] - counts[ElementStatus.CONTRADICTED]
    if surplus <= 0:
        return 0.0
    coverage = surplus / len(reference.elements)
    return coverage * _plainness(text, reference) * _brevity(text, reference)


def _plainness(text: Text, reference: PreparedReference) -> float:
    return 1.0 - max(0.0, text.filler_share - reference.context.filler_share)


def _brevity(text: Text, reference: PreparedReference) -> float:
    expected = reference.context.num_words or WORDS_PER_ELEMENT * len(reference.elements)
    return min(1.0, max(MIN_ALLOWED_WORDS, LENGTH_ALLOWANCE * expected) / text.num_words)
