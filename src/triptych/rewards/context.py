"""The context reward, as a rule: how much of the reference a context says, and how plainly.

    reward = max(0, named - contradicted) / elements * plainness * brevity

* `named` and `contradicted` count key elements (`elements.py`). A contradicted element costs as
  much as a named one earns, so guessing a two-valued cue gains nothing over leaving it out, and
  naming every value of a cue loses.
* `plainness` is 1 minus the words that commit to nothing ("someone", "some kind of") beyond those
  of the reference, per word of the reference: no padding makes their share smaller.
* `brevity` is 1 up to one and a half times the length of the reference and falls as 1/length
  beyond, so that neither repetition nor long invention is free.

What a context copies from the question or the options, what it says again and what it says to
whoever scores (`guards`) names nothing; it counts as length, and contradicts like all else.
Elements that the reference itself only has in the words of the question or an option are not
asked for. So nothing that is added to a context pays, unless it names an element.

Coverage follows the context reward of HumanOmniV2 (arXiv 2506.21277), where a judge compares with
the reference; this rule needs no judge and sees words, not meaning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

from triptych.data.sample import Reference
from triptych.rewards.base import LogUnscored, Unscored, rows, settle, staged
from triptych.rewards.elements import (
    ElementStatus,
    KeyElement,
    PreparedReference,
    find_elements,
    prepare_all,
)
from triptych.rewards.guards import clean
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
    question: Sequence[str | None] | None = None,
    options: Sequence[Sequence[str] | None] | None = None,
    log_unscored: LogUnscored | None = None,
    **_: Any,
) -> list[float | None]:
    """Reward the context stage; see the head of the module. An absent or blank one is 0.

    Returns:
        One value in [0, 1] per completion; None where the sample has no reference context, or one
        that says no more than its question and options.

    Raises:
        DataError: a reference is malformed, or a column has the wrong length.
    """
    table = rows(completions, reference=reference, question=question, options=options)
    prepared = prepare_all(reference)
    return settle(
        (
            score_context(
                staged(completion).context,
                prepared[id(wanted)],
                asked or "",
                tuple(choices or ()),
            )
            for completion, wanted, asked, choices in table
        ),
        log_unscored,
    )


def score_context(
    context: str, reference: PreparedReference, question: str, options: tuple[str, ...]
) -> float | Unscored:
    """The reward of one context."""
    wanted = _wanted(reference, question, options)
    if not wanted.elements:
        return Unscored.NO_REFERENCE
    written = read_text(context)
    said = _said(context, question, options)
    if said.reads_as(written):  # nearly always
        statuses = wanted.statuses(said)
    else:
        statuses = tuple(_status(one, said, written, wanted.context) for one in wanted.elements)
    surplus = statuses.count(ElementStatus.NAMED) - statuses.count(ElementStatus.CONTRADICTED)
    if surplus <= 0:
        return 0.0
    coverage = surplus / len(wanted.elements)
    return coverage * _plainness(said, wanted) * _brevity(written, wanted)


@lru_cache(maxsize=4096)
def _wanted(
    reference: PreparedReference, question: str, options: tuple[str, ...]
) -> PreparedReference:
    """A reference without the elements that it has in the words of question and options only."""
    context = reference.context
    said = _said(reference.source.context or "", question, options)
    if said.reads_as(context):
        return reference
    if not reference.stated:
        return replace(reference, elements=find_elements(said))
    return replace(
        reference,
        elements=tuple(
            element
            for element in reference.stated
            if element.status(said) == element.status(context)
        ),
    )


def _said(context: str, question: str, options: tuple[str, ...]) -> Text:
    return read_text(clean(context, question, options))


def _status(element: KeyElement, said: Text, written: Text, reference: Text) -> ElementStatus:
    """What a context says of an element, where only a contradiction counts wherever it stands.

    Unless the reference contradicts itself in the same way.
    """
    status = element.status(said)
    if status != ElementStatus.CONTRADICTED:
        contradicted = element.status(written) == ElementStatus.CONTRADICTED
        if contradicted and element.status(reference) != ElementStatus.CONTRADICTED:
            return ElementStatus.CONTRADICTED
    return status


def _plainness(said: Text, reference: PreparedReference) -> float:
    excess = _fillers(said) - _fillers(reference.context)
    return 1.0 - min(1.0, max(0.0, excess) / _expected_words(reference))


def _fillers(text: Text) -> float:
    return text.filler_share * text.num_words


def _brevity(written: Text, reference: PreparedReference) -> float:
    allowed = max(MIN_ALLOWED_WORDS, LENGTH_ALLOWANCE * _expected_words(reference))
    return min(1.0, allowed / written.num_words)


def _expected_words(reference: PreparedReference) -> int:
    return reference.context.num_words or WORDS_PER_ELEMENT * len(reference.elements)
