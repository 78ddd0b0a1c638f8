"""The reasoning reward, as a rule: does the reasoning rest on what the model itself saw and heard,
and does it lead to the answer?

    reward = grounded * (1/2 + 1/2 * concluded)

and 0 where the stated conclusion is another answer, or puts a letter to another option's text.

* `concluded` is 1 when the reasoning states the answer that is then given, else 0.
* `grounded` looks at the evidence that the reasoning names, and holds it against the model's *own*
  context, not the reference: whether the context is right is the context reward's business.

      grounded = max(0, held - invented / 2) / (held + invented) * complete * own_words

  Evidence is held when the context says it, invented when the context lacks or denies it. An
  invented cue costs half of what a held one earns: naming all three values of a three-valued cue
  earns nothing, while one slip in two still ranks above pure invention.
  `complete`: evidence from the voice alone does not do where the answer needs the face as well.
  `own_words`: a copy of the context is no reasoning, in whatever order. Text that repeats it in
  runs of `COPIED_RUN` words may make up half of the reasoning and costs beyond. So do content words
  of the context: `FREE_WORDS` different ones are free, others want a word of the reasoning's own
  for every `WORDS_PER_OWN`.

The product is deliberate: a conclusion drawn from nothing ("obviously B") is worth nothing, however
well it agrees with the answer.

**What is evidence.** With stated elements: their cue words ("smiling", "rising"; see
`StatedElement`). A cue that several elements share is taken for the one whose phrase is used ("from
smiling"), else for the one that the answer depends on. `complete` is the share of the relevant
elements that the reference reasoning uses (all relevant ones where there is none) of which a cue is
named. Without stated elements: content words of the reference context and the lexicon's words for
things seen and heard, leaving out the texts of options; `complete` wants `MIN_EVIDENCE` words.

**What does not count.** What is copied from the question or the options, said again, or said to
whoever scores (`guards`), in the reasoning as in the context.

**What is not claimed.** In "X goes with Y" and "X means Y" only X is evidence; a clause with
"if" or "would" claims nothing; neither does "not rising", unless the context says rising: then it
is invented.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from string import ascii_lowercase
from typing import Any

from triptych.data.sample import Reference
from triptych.rewards.answer import known_type
from triptych.rewards.base import LogUnscored, Unscored, rows, settle, staged
from triptych.rewards.conclusion import conclusions
from triptych.rewards.elements import PreparedReference, StatedElement, prepare_all
from triptych.rewards.guards import clean, without_injections
from triptych.rewards.lexicon import (
    HYPOTHETICAL_WORDS,
    NEGATORS,
    PRESENTING_WORDS,
    RULE_MARKERS,
    STOP_WORDS,
)
from triptych.rewards.reading import read_answer
from triptych.rewards.words import (
    PERCEIVED_CONCEPTS,
    SENTENCE_END,
    Text,
    phrase_key,
    read_text,
    stem,
)
from triptych.stages.format import StagedOutput
from triptych.stages.prompt import ProblemType

COPIED_RUN = 6
FREE_WORDS = 6
WORDS_PER_OWN = 4
"""Reasoning that people wrote about prose (tests/golden/rewards) wants up to 2.75."""
MIN_EVIDENCE = 3

_RULES = tuple(tuple(marker.split()) for marker in RULE_MARKERS)
_RULE_STARTS = frozenset(marker[0] for marker in _RULES)
_SUPPOSING = _RULE_STARTS | HYPOTHETICAL_WORDS
# The letters are those of options.
_SAYING_NOTHING = (
    STOP_WORDS | NEGATORS | PRESENTING_WORDS | frozenset({SENTENCE_END, *ascii_lowercase})
)
# So many words of the context too many, and nothing is earned.
_SURPLUS = 3
_TEXT_TYPES = (ProblemType.OCR, ProblemType.FREE_FORM)


def reasoning_reward(
    prompts: Sequence[Any],
    completions: Sequence[Any],
    *,
    problem_type: Sequence[str],
    reference: Sequence[Reference | Mapping[str, Any] | None],
    question: Sequence[str | None] | None = None,
    options: Sequence[Sequence[str] | None] | None = None,
    log_unscored: LogUnscored | None = None,
    **_: Any,
) -> list[float | None]:
    """Reward the think stage; see the head of the module. An absent or blank one is 0.

    Returns:
        One value in [0, 1] per completion; None where the sample has no reference to tell
        evidence from other words.

    Raises:
        DataError: a problem type is unknown, a reference is malformed, or a column has the wrong
            length.
    """
    table = rows(
        completions,
        problem_type=problem_type,
        reference=reference,
        question=question,
        options=options,
    )
    prepared = prepare_all(reference)
    return settle(
        (
            score_reasoning(
                staged(completion),
                known_type(kind),
                asked or "",
                tuple(choices or ()),
                prepared[id(wanted)],
            )
            for completion, kind, wanted, asked, choices in table
        ),
        log_unscored,
    )


def score_reasoning(
    output: StagedOutput,
    problem_type: ProblemType,
    question: str,
    options: tuple[str, ...],
    reference: PreparedReference,
) -> float | Unscored:
    """The reward of one completion."""
    if not reference.elements and not reference.source.reasoning:
        return Unscored.NO_REFERENCE
    concluded = _concluded(output, problem_type, options)
    if concluded is None:
        return 0.0
    think = clean(output.think, question, options)
    context = read_text(clean(output.context, question, options))
    evidence = _evidence(claims(think), context, options, reference)
    grounded = evidence.score * _own_words(read_text(think), context)
    return grounded * (0.5 + 0.5 * concluded)


def _concluded(
    output: StagedOutput, problem_type: ProblemType, options: tuple[str, ...]
) -> float | None:
    """How far the reasoning states the answer; None where it states another one."""
    if problem_type in _TEXT_TYPES:
        # No conclusion can be told from the text, so agreement is all there is.
        said = {stem(word) for word in read_text(without_injections(output.think)).words}
        wanted = {stem(word) for word in read_text(output.answer).words} - {SENTENCE_END}
        return len(wanted & said) / len(wanted) if wanted else 0.0
    concluded = conclusions(output.think, problem_type, options)
    value = read_answer(output.answer, problem_type, options)
    if any(stated and stated.spoils(value) for stated in concluded):
        return None if output.answer else 0.0
    return float(all(stated and stated.supports(value) for stated in concluded))


@lru_cache(maxsize=2048)
def claims(think: str) -> Text:
    """What a reasoning text claims of the clip, without what rules and hypotheses suppose."""
    text = read_text(think)
    if text.vocabulary.isdisjoint(_SUPPOSING):  # often
        return text
    keep: list[bool] = []
    for length in Counter(text.clauses).values():  # in order, for clauses are numbered in order
        claimed = _claimed_until(text.words[len(keep) : len(keep) + length])
        keep += [True] * claimed + [False] * (length - claimed)
    return text.kept(keep)


def _claimed_until(clause: tuple[str, ...]) -> int:
    """How many words of a clause are claimed: all, none, or those before a rule's marker."""
    if not HYPOTHETICAL_WORDS.isdisjoint(clause):
        return 0
    if _RULE_STARTS.isdisjoint(clause):  # nearly always
        return len(clause)
    for index in range(len(clause)):
        if any(clause[index : index + len(marker)] == marker for marker in _RULES):
            return index
    return len(clause)


@dataclass(frozen=True)
class _Evidence:
    """How many pieces of evidence the context holds, how many it does not, and completeness."""

    held: int
    invented: int
    complete: float

    @property
    def score(self) -> float:
        if not self.held:
            return 0.0
        share = (self.held - self.invented / 2) / (self.held + self.invented)
        return max(0.0, share) * self.complete


def _evidence(
    claimed: Text, context: Text, options: tuple[str, ...], reference: PreparedReference
) -> _Evidence:
    if reference.stated:
        return _stated_evidence(claimed, context, reference)
    return _found_evidence(claimed, context, options, reference)


def _stated_evidence(claimed: Text, context: Text, reference: PreparedReference) -> _Evidence:
    loose = context.affirmed
    held = invented = 0
    for cue, elements in _cue_claims(claimed, reference):
        if any(cue in (element.asserted_cues(context) or loose) for element in elements):
            held += 1
        else:
            invented += 1
    invented += len(claimed.denied & loose & reference.cues)
    used = _used_elements(claimed, reference.stated)
    required = _required_elements(reference)
    complete = len(used & required) / len(required) if required else 1.0
    return _Evidence(held, invented, complete)


def _cue_claims(
    claimed: Text, reference: PreparedReference
) -> Iterator[tuple[str, list[StatedElement]]]:
    """Each cue that is claimed, with the elements that it may speak of."""
    asserted = [(element, element.asserted_cues(claimed)) for element in reference.stated]
    for cue in claimed.affirmed & reference.cues:
        sharing = [element for element in reference.stated if cue in element.cues]
        by_phrase = [element for element, cues in asserted if cue in cues]
        by_relevance = [element for element in sharing if element.relevant]
        yield cue, by_phrase or by_relevance or sharing


def _used_elements(claimed: Text, elements: tuple[StatedElement, ...]) -> frozenset[StatedElement]:
    return frozenset(one for one in elements if not one.cues.isdisjoint(claimed.stems))


@lru_cache(maxsize=4096)
def _required_elements(reference: PreparedReference) -> frozenset[StatedElement]:
    """The relevant elements that a complete reasoning uses."""
    relevant = tuple(element for element in reference.stated if element.relevant)
    used = _used_elements(claims(reference.source.reasoning or ""), relevant)
    return used or frozenset(relevant)


def _found_evidence(
    claimed: Text, context: Text, options: tuple[str, ...], reference: PreparedReference
) -> _Evidence:
    source = (
        reference.context
        if reference.context.words
        else read_text(reference.source.reasoning or "")
    )
    vocabulary = PERCEIVED_CONCEPTS | _concepts(source)
    named = _concepts(_without_options(claimed, options)) & vocabulary
    said = _concepts(context)
    held, invented = len(named & said), len(named - said)
    return _Evidence(held, invented, min(1.0, (held + invented) / MIN_EVIDENCE))


def _concepts(text: Text) -> frozenset[str]:
    """The concepts that a text affirms."""
    return text.affirmed_concepts


def _without_options(text: Text, options: tuple[str, ...]) -> Text:
    """Without the texts of options: they are what is concluded, not what it is concluded from."""
    keep = [True] * len(text.words)
    for key in filter(None, map(phrase_key, options)):
        for start in text.find(key):
            length = key.count(" ") - 1
            keep[start : start + length] = [False] * length
    return text.kept(keep)


def _own_words(think: Text, context: Text) -> float:
    """1 while the reasoning repeats neither the wording nor the words of the context, down to 0."""
    return min(_own_wording(think, context), _own_vocabulary(think, context))


def _own_vocabulary(think: Text, context: Text) -> float:
    """1 while few content words are the context's for each that is not, falling to 0."""
    content = think.vocabulary - _SAYING_NOTHING
    borrowed = len(content & context.vocabulary)
    surplus = borrowed - FREE_WORDS - WORDS_PER_OWN * (len(content) - borrowed)
    return 1.0 - min(1.0, max(0.0, surplus / _SURPLUS))


def _own_wording(think: Text, context: Text) -> float:
    """1 while at most half of the reasoning repeats the context word for word, falling to 0."""
    words, source = think.words, context.words
    if not _may_copy(words, context.padded):  # mostly
        return 1.0
    runs = set(_runs(source))
    copied: set[int] = set()
    for start, run in enumerate(_runs(words)):
        if run in runs:
            copied.update(range(start, start + COPIED_RUN))
    return min(1.0, 2.0 * (1.0 - len(copied) / len(words)))


def _may_copy(words: tuple[str, ...], padded: str) -> bool:
    """Whether a text has any of the short runs of which every run of `COPIED_RUN` words has one."""
    step = COPIED_RUN // 2
    length = COPIED_RUN + 1 - step
    return any(
        f" {' '.join(words[start : start + length])} " in padded
        for start in range(0, len(words) - COPIED_RUN + step, step)
    )


def _runs(words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every run of `COPIED_RUN` words."""
    return zip(*(words[start:] for start in range(COPIED_RUN)), strict=False)
