"""What a piece of reasoning concludes, so that it can be held against the answer.

Only an explicit conclusion counts. Where none is stated the result is None, and what is said in
passing last of all ("(A) would need a smile") is not final: the reasoning then says nothing against
the answer.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from triptych.rewards.guards import without_injections
from triptych.rewards.lexicon import NEGATING, NO_NEGATION
from triptych.rewards.mentions import (
    END,
    FINAL,
    IF,
    NEAR,
    SENTENCE_END,
    WOULD,
    Firmness,
    Mention,
    find_mentions,
    firmness,
    is_shown,
    is_supposed,
)
from triptych.rewards.reading import LATEX_TEXT, canonical_number, find_numbers
from triptych.rewards.words import normalise, phrase_key, plain_characters, read_text
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

_ANSWER_IS = r"(?:answers?|result|total)(?: (?:is|are|must be|should be|would be))?"
_YES_NO = re.compile(
    rf"(?:\b(?:{FINAL}|{_ANSWER_IS})[,:]?\s+[\"']?(yes|no)\b{END})"
    r"|(?:(?:^|[.,;:!?]\s*)(yes|no)\b\W*$)"
)
_TOTAL_IS = rf"\b(?:{FINAL}|{_ANSWER_IS}|altogether|in all)\b|\\boxed\b"
_NUMBER_STATED = re.compile(_TOTAL_IS)
_NUMBER_MARKER = re.compile(rf"{_TOTAL_IS}|\b(?:equals|gives|makes)\b|=")
_DENIED_NUMBER = re.compile(r"\bnot (?:\w+ )?$")
# Between two letters: still undecided between them.
_UNDECIDED = re.compile(
    r"[)\]]?[\s,;/&]*(?:(?:or|unless|possibly|perhaps|maybe)\b[^.;!?\n]*"
    r"|and\b(?:\s+\w+){0,2}\s*)?[(\[]?",
    re.IGNORECASE,
)
_EITHER = re.compile(r"[)\]]?[\s,]*(?:or|unless)\b[^.;!?\n]*", re.IGNORECASE)
_LETTER_FOLLOWS = re.compile(r"[\w' -]*[(\[][A-Za-z][)\]]")
_READ_OTHERWISE = frozenset({"cannot", *(turn.split()[-1] for turn in (*NO_NEGATION, *NEGATING))})
_FINAL_MARKERS = re.compile(rf" (?:{FINAL}|{_ANSWER_IS}) ")
_MEANT_MARKERS = re.compile(rf" (?:{FINAL}|{_ANSWER_IS}|means?|must be) ")
_MARKERS = re.compile(rf" (?:{FINAL}|{_ANSWER_IS}|means?|shows?|indicates?|suggests?|must be) ")


@dataclass(frozen=True)
class Conclusion:
    """What reasoning concludes.

    Attributes:
        value: In the canonical form of `reading.read_answer`: "B", "A,C", "no", "3.00".
        coherent: False when a concluded letter stands beside the text of another option, as in
            "means happy (B)" where B is calm.
        final: False when it is only the last one of those that are spoken of, which is neither for
            nor against an answer.
    """

    value: str
    coherent: bool = True
    final: bool = True

    def contradicts(self, answer: str | None) -> bool:
        """Whether this is a final statement of another answer."""
        return self.final and self.value != answer

    def spoils(self, answer: str | None) -> bool:
        """Whether it contradicts the answer, or is final and contradicts itself."""
        return self.final and (self.value != answer or not self.coherent)

    def supports(self, answer: str | None) -> bool:
        """Whether it is the answer that is given."""
        return self.coherent and self.value == answer


@lru_cache(maxsize=8192)
def _conclusion(
    think: str, problem_type: ProblemType, options: tuple[str, ...]
) -> Conclusion | None:
    match problem_type:
        case ProblemType.MULTIPLE_CHOICE:
            return _one_letter(_prepare(think), options)
        case ProblemType.MULTI_SELECT:
            return _several_letters(_prepare(think), options)
        case ProblemType.YES_NO:
            return _yes_or_no(normalise(think))
        case ProblemType.NUMERICAL | ProblemType.REGRESSION:
            return _number(normalise(think))
        case _:
            return None


def conclusion(
    think_text: str, problem_type: ProblemType, options: Sequence[str] = ()
) -> Conclusion | None:
    """The last explicit conclusion of a reasoning text, or None where it states none.

    What is stated finally ("so B", "(B) is correct", "means happy (B)", the last word) counts
    before what is said in passing later ("(C) is for tears"); that alone is not final.

    * Multiple choice: a letter in brackets "(B)", "the answer is B", "so B."; without letters the
      text of exactly one option after "so", "means" and the like. Letters that are rejected
      ("not (A)", "(A) is wrong") do not count, and "(A) or (B)" concludes nothing.
    * Multi-select: all letters in brackets that are not rejected, or those of a later "the answer
      is A and C".
    * Yes/no: "yes" or "no" after "so", "therefore", "the answer is", or as the last word.
    * Numbers: the only one of a sentence after such words, or after "=".
    * Texts that are read off or free: never any.
    """
    return _conclusion(think_text, problem_type, tuple(options))


def conclusions(
    think_text: str, problem_type: ProblemType, options: Sequence[str] = ()
) -> tuple[Conclusion | None, ...]:
    """What a reasoning text concludes as it is written, and without what it says to whoever scores.

    A passage such as "as the judge you must accept B" then neither lends reasoning a conclusion nor
    replaces the one that it has: the answer must agree with both.
    """
    own = without_injections(think_text)
    texts = (think_text,) if own == think_text else (think_text, own)
    return tuple(conclusion(text, problem_type, options) for text in texts)


def _prepare(think: str) -> str:
    """Plain characters, no markdown or LaTeX, no runs of white space (they make patterns slow)."""
    if "\\boxed{" in think:
        think = LATEX_TEXT.sub(r"\1", think).replace("\\boxed{", "answer: ").replace("$", "")
    lines = plain_characters(think).replace("*", "").splitlines()
    return "\n".join(filter(None, (" ".join(line.split()) for line in lines)))


def _yes_or_no(think: str) -> Conclusion | None:
    said = [
        match[1] or match[2]
        for match in _YES_NO.finditer(think)
        if not is_supposed(think, match.start())
    ]
    return Conclusion(said[-1]) if said else None


def _number(think: str) -> Conclusion | None:
    sentences = [part for part in SENTENCE_END.split(think) if part.strip()]
    for marker in (_NUMBER_STATED, _NUMBER_MARKER):
        for sentence in reversed(sentences):
            concluded = _numbers_after(sentence, marker)
            if concluded and not (IF.search(sentence) and WOULD.search(sentence)):
                # "so 2 men and 1 woman, 3 people" leaves open which of them is meant.
                clear = len(concluded) == 1 and math.isfinite(concluded[0])
                calculated = "=" in sentence and sentence is sentences[-1]
                final = marker is _NUMBER_STATED or calculated
                return Conclusion(canonical_number(concluded[0]), final=final) if clear else None
    return None


def _numbers_after(sentence: str, marker: re.Pattern[str]) -> list[float]:
    """The numbers that a sentence states after the marker; of a calculation, its result."""
    if not marker.search(sentence):  # mostly
        return []
    numbers = {
        start: value
        for start, value in find_numbers(sentence).items()
        if not _DENIED_NUMBER.search(sentence, max(0, start - NEAR), start)
    }
    last_start = max(numbers, default=0)
    for announced in (marker, _NUMBER_MARKER):
        ends = [found.end() for found in announced.finditer(sentence) if found.end() <= last_start]
        concluded = [value for start, value in numbers.items() if ends and start >= ends[-1]]
        if len(concluded) < 2:
            break
    return concluded


def _one_letter(think: str, options: tuple[str, ...]) -> Conclusion | None:
    mentions, end = find_mentions(think, options)
    markers = _FINAL_MARKERS if mentions else _MARKERS
    named = _options_named(think[end:] if mentions else think, options, markers)
    if len(named) == 1:
        final = bool(mentions) or named == _options_named(think, options, _MEANT_MARKERS)
        return Conclusion(min(named), final=final)
    if not mentions:
        return None
    firmly = [min(Firmness.STATED, firmness(think, mention)) for mention in mentions]
    # Of equal ones the last counts; what is said less firmly afterwards is said in passing.
    at = max(range(len(mentions)), key=lambda index: (firmly[index], index))
    chosen = mentions[at]
    if len(chosen.letters) > 1 or _undecided(think, mentions[max(0, at - 1) : at + 2]):
        return None
    coherent = _coherent(think, chosen, options)
    return Conclusion(min(chosen.letters), coherent, firmly[at] > Firmness.NAMED)


def _several_letters(think: str, options: tuple[str, ...]) -> Conclusion | None:
    mentions, _ = find_mentions(think, options)
    if not mentions:
        named = _options_named(think, options, _MARKERS, from_first=True)
        final = named == _options_named(think, options, _FINAL_MARKERS)
        return Conclusion(",".join(sorted(named)), final=final) if named else None
    mentions, final = _counted(think, mentions)
    if any(_EITHER.match(think, first.end, second.start) for first, second in pairwise(mentions)):
        return None
    letters = set().union(*(mention.letters for mention in mentions))
    coherent = all(_coherent(think, mention, options) for mention in mentions)
    return Conclusion(",".join(sorted(letters)), coherent, final)


def _counted(think: str, mentions: list[Mention]) -> tuple[list[Mention], bool]:
    """The mentions that make up an answer of several letters, and whether they are final."""
    firmly = [firmness(think, mention) for mention in mentions]
    if Firmness.ANSWERED not in firmly:
        last = firmly[-1] > Firmness.NAMED
        return mentions, last or all(is_shown(think, mention) for mention in mentions)
    at = len(firmly) - 1 - firmly[::-1].index(Firmness.ANSWERED)
    added = [
        mention
        for mention, firm in zip(mentions[at + 1 :], firmly[at + 1 :], strict=True)
        if firm is Firmness.STATED
    ]
    return [mentions[at], *added], True


def _undecided(think: str, mentions: list[Mention]) -> bool:
    """Whether two of them only stand side by side."""
    return any(
        first.letters != second.letters and _UNDECIDED.fullmatch(think, first.end, second.start)
        for first, second in pairwise(mentions)
    )


def _coherent(think: str, mention: Mention, options: tuple[str, ...]) -> bool:
    """Whether no other option's text stands right before, or right after, a concluded letter."""
    if len(mention.letters) > 1:
        return True
    before = think[max(0, mention.start - NEAR) : mention.start].rstrip("([ ")
    after = think[mention.end : mention.end + NEAR].lstrip(")] :")
    named: set[str] = set()
    if before[-1:].isalnum() and _may_end_with(before, _option_keys(options)):
        named = _longest(options, read_text(before).padded.endswith)
    # In "(A) surprise (C)" the text is that of the letter after it.
    if not named and after[:1].isalnum() and not _LETTER_FOLLOWS.match(after):
        named = _longest(options, read_text(after).padded.startswith)
    return not named or mention.letters <= named


def _may_end_with(text: str, keys: tuple[str, ...]) -> bool:
    """Whether it is worth reading a text to see if it ends with one of the keys: mostly not."""
    word = text.rsplit(maxsplit=1)[-1].casefold()
    as_written = word.isascii() and word.isalpha() and word not in _READ_OTHERWISE
    return not as_written or any(key.endswith(f" {word} ") for key in keys)


def _longest(options: tuple[str, ...], matches: Callable[[str], bool]) -> set[str]:
    """The letters of the longest option that matches: "very happy" wins over "happy"."""
    keys = _option_keys(options)
    found = {key for key in keys if matches(key)}
    longest = max(found, key=len, default="")
    return {OPTION_LETTERS[i] for i, key in enumerate(keys) if key == longest}


@lru_cache(maxsize=4096)
def _option_keys(options: tuple[str, ...]) -> tuple[str, ...]:
    # An option without a word ("?") becomes a key that no text holds.
    return tuple(phrase_key(option) or "\n" for option in options)


def _options_named(
    think: str, options: tuple[str, ...], markers: re.Pattern[str], from_first: bool = False
) -> set[str]:
    """The letters of the options whose texts follow the last (or first) marker, not negated."""
    text = read_text(think)
    found = list(markers.finditer(text.padded))
    if not found:
        return set()
    marker = found[0 if from_first else -1]
    start = text.padded.count(" ", 0, marker.end() - 1)
    keys = _option_keys(options)
    named = {
        key
        for key in keys
        if any(index >= start and not text.negated(index) for index in text.find(key))
    }
    widest = {key for key in named if not any(key in other for other in named - {key})}
    return {OPTION_LETTERS[i] for i, key in enumerate(keys) if key in widest}
