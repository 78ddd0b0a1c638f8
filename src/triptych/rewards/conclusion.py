"""What a piece of reasoning concludes, so that it can be held against the answer.

Only an explicit conclusion counts. Where none is stated the result is None: the reasoning then
says nothing about the answer, which is neither agreement nor contradiction.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from triptych.rewards.guards import without_injections
from triptych.rewards.lexicon import NO_NEGATION
from triptych.rewards.reading import canonical_number, find_numbers, letters_of
from triptych.rewards.words import normalise, phrase_key, plain_characters, read_text
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

_NEAR = 400
"""How many characters around a letter are looked at; options are shorter than that."""

_FINAL = r"(?:so|therefore|thus|hence|consequently|conclude[sd]?(?: that)?|in conclusion)"
_ANSWER_IS = r"(?:answers?|result|total)(?: (?:is|are|must be|should be|would be))?"
_END = r"(?=\s*(?:[.,;:!?)\"'}]|$|(?:because|since|as|given|but|rather than|instead of|and not)\b))"
_JOINT = r"\s*(?:,\s*and\b|,|&|/|\band\b)\s*"
_YES_NO = re.compile(
    rf"(?:\b(?:{_FINAL}|{_ANSWER_IS})[,:]?\s+[\"']?(yes|no)\b{_END})"
    r"|(?:(?:^|[.,;:!?]\s*)(yes|no)\b\W*$)"
)
_NUMBER_MARKER = re.compile(rf"\b(?:{_FINAL}|{_ANSWER_IS}|equals|gives|makes)\b|=")
_SENTENCE_END = re.compile(r"[.;!?\n](?!\d)")
# A letter is rejected by what stands just before or just after it: "not calm (B)", "(B) is wrong".
_REJECTED_BEFORE = re.compile(
    r"(?:\b(?:not|neither|nor|never|than|instead of|over|versus|vs\.?|unlike|compared (?:to|with)"
    r"|rules? out|ruling out)|n't)"
    r"\s+(?:(?!but\b)\w+\s+){0,2}[(\[]?$",
    re.IGNORECASE,
)
_MOST_REJECTING = 5
_VERB = r"(?:is|are|was|can|could|does|do|did|would|seems)"
_REJECTED_AFTER = re.compile(
    rf"[)\]]?\s*(?:{_VERB}\s*(?:not\b|n?'t\b)"
    rf"|(?:{_VERB}\s+)?(?:wrong|incorrect|false|ruled out|excluded|unlikely)\b"
    r"|[.,;!]?\s*(?:but\s+)?(?:that|this|it|which)\s+(?:is|was|would be|must be)\s+"
    r"(?:wrong|incorrect|false|a mistake|not (?:right|correct|true))\b)",
    re.IGNORECASE,
)
# "If the voice were rising, it would be (A)"; "although (A) looks tempting"; "Could it be (A)?"
_IF = re.compile(r"(?<!\bas )(?<!\beven )\bif\b", re.IGNORECASE)
_WOULD = re.compile(r"\b(?:would|were|might|could|had)\b", re.IGNORECASE)
_CONCEDED = re.compile(r"\b(?:although|though|despite)\b[^,]*$", re.IGNORECASE)
_ASKED = re.compile(
    r"[^.;!?\n]{0,400}\?(?!\W*(?:yes|right|indeed|exactly|correct|it (?:is|does)))", re.I
)
_MAY_SUPPOSE = re.compile(r"\?|\b(?:if|although|though|despite)\b", re.IGNORECASE)
_SUPPOSING = ("?", "if", "though", "despite")
_DENIED_NUMBER = re.compile(r"\bnot (?:\w+ )?$")
# Between two letters: still undecided between them.
_UNDECIDED = re.compile(
    r"[)\]]?[\s,;/&]*(?:(?:or|unless|possibly|perhaps|maybe)\b[^.;!?\n]*"
    r"|and\b(?:\s+\w+){0,2}\s*)?[(\[]?",
    re.IGNORECASE,
)
_EITHER = re.compile(r"[)\]]?[\s,]*(?:or|unless)\b[^.;!?\n]*", re.IGNORECASE)
_LETTER_FOLLOWS = re.compile(r"[\w' -]*[(\[][A-Za-z][)\]]")
_READ_OTHERWISE = frozenset({"cannot", *(idiom.split()[-1] for idiom in NO_NEGATION)})
_FINAL_MARKERS = re.compile(rf" (?:{_FINAL}|{_ANSWER_IS}) ")
_MARKERS = re.compile(rf" (?:{_FINAL}|{_ANSWER_IS}|means?|shows?|indicates?|suggests?|must be) ")


@dataclass(frozen=True)
class Conclusion:
    """What reasoning concludes.

    Attributes:
        value: In the canonical form of `reading.read_answer`: "B", "A,C", "no", "3.00".
        coherent: False when a concluded letter stands beside the text of another option, as in
            "means happy (B)" where B is calm.
    """

    value: str
    coherent: bool = True


@dataclass(frozen=True)
class _Mention:
    """Letters said at one place of the reasoning."""

    letters: frozenset[str]
    start: int
    end: int
    final: bool
    """Said as the answer ("so B", "the answer is B"), not only in passing."""


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
    """Plain characters, no markdown stars, no runs of white space (they make patterns slow)."""
    lines = plain_characters(think).replace("*", "").splitlines()
    return "\n".join(filter(None, (" ".join(line.split()) for line in lines)))


def _yes_or_no(think: str) -> Conclusion | None:
    said = [
        match[1] or match[2]
        for match in _YES_NO.finditer(think)
        if not _supposed(think, match.start())
    ]
    return Conclusion(said[-1]) if said else None


def _number(think: str) -> Conclusion | None:
    for sentence in reversed(_SENTENCE_END.split(think)):
        if _IF.search(sentence) and _WOULD.search(sentence):
            continue
        numbers = {
            start: value
            for start, value in find_numbers(sentence).items()
            if not _DENIED_NUMBER.search(sentence, max(0, start - _NEAR), start)
        }
        last_start = max(numbers, default=0)
        markers = [m.end() for m in _NUMBER_MARKER.finditer(sentence) if m.end() <= last_start]
        if markers:
            concluded = [value for start, value in numbers.items() if start >= markers[-1]]
            # "so 2 men and 1 woman, 3 people" leaves open which of them is meant.
            clear = len(concluded) == 1 and math.isfinite(concluded[0])
            return Conclusion(canonical_number(concluded[0])) if clear else None
    return None


def _one_letter(think: str, options: tuple[str, ...]) -> Conclusion | None:
    mentions = _mentions(think, options)
    tail = think[mentions[-1].end :] if mentions else think
    named = _options_named(tail, options, _FINAL_MARKERS if mentions else _MARKERS)
    if len(named) == 1:
        return Conclusion(min(named))
    if not mentions or len(mentions[-1].letters) > 1 or _undecided(think, mentions):
        return None
    return Conclusion(min(mentions[-1].letters), _coherent(think, mentions[-1], options))


def _several_letters(think: str, options: tuple[str, ...]) -> Conclusion | None:
    mentions = _mentions(think, options)
    if not mentions:
        named = _options_named(think, options, _MARKERS, from_first=True)
        return Conclusion(",".join(sorted(named))) if named else None
    if mentions[-1].final:
        mentions = mentions[-1:]
    if any(_EITHER.match(think, first.end, second.start) for first, second in pairwise(mentions)):
        return None
    letters = set().union(*(mention.letters for mention in mentions))
    coherent = all(_coherent(think, mention, options) for mention in mentions)
    return Conclusion(",".join(sorted(letters)), coherent)


def _bracketed(allowed: str) -> str:
    either = f"[{allowed}{allowed.lower()}]"
    return rf"[(\[](?P<bracketed>{either}(?:{_JOINT}{either})*)[)\]]"


@lru_cache(maxsize=64)
def _bracketed_pattern(allowed: str) -> re.Pattern[str]:
    """The letters in brackets of `_mention_pattern` alone."""
    return re.compile(_bracketed(allowed))


@lru_cache(maxsize=64)
def _loose_pattern(allowed: str) -> re.Pattern[str]:
    """What every mention outside brackets holds: a capital that ends its phrase, or is the subject.

    The letter is looked for first and what stands before it afterwards, which is fast.
    """
    return re.compile(
        rf"[{allowed}]\b(?:(?<![\w(\[].)(?:{_END}|\W*$)"
        r"|(?<!\w.) (?i:is|are|must|seem|remain|fit|does))"
    )


@lru_cache(maxsize=64)
def _mention_pattern(allowed: str) -> re.Pattern[str]:
    """Letters in brackets, letters after words that announce them, or a letter on its own.

    Outside brackets only capitals count, and only where their phrase ends: "a" is a word, and so
    are "A" and "I" at the start of a sentence.
    """
    run = f"[{allowed}](?:{_JOINT}[{allowed}])*"
    final = (
        rf"(?P<final>\b(?i:{_FINAL}|answers?(?: (?:is|are|must be|should be|would be))?|choose|pick"
        r"|go with|actually|wait|no|(?<!not )only)\b|\\boxed\{)"
    )
    other = (
        r"\b(?i:options?|choices?|letters?|(?:options?|choices?|letters?|one|it|this) "
        r"(?:is|are|must be)|(?:is|could|can) it(?: be)?|it's|means|obviously|clearly|definitely"
        r"|surely|(?<!or )(?:possibly|perhaps|maybe))\b"
    )
    right = (
        r"(?:is|are|must be|seems?|remains?|fits?)(?: clearly| the)*(?: best| better| correct"
        r"| right| only| most likely| likely| true)*(?: (?:answer|option|choice|one|fit))?\b"
        r"|(?:is|does|fits),? (?:too|as well|also)\b"
    )
    link = r"[\s,:=]*(?i:(?:(?:it|that|this|the answer) (?:is|must be)|options?)\s+)?"
    return re.compile(
        rf"{_bracketed(allowed)}"
        rf"|(?:{final}|{other}){link}(?P<said>{run})\b{_END}"
        rf"|\bnot {run},? but (?:rather )?(?P<but>{run})\b{_END}"
        rf"|\b(?P<right>{run}) (?i:{right})(?<! is)(?<! are)(?<! be)(?<! the){_END}"
        rf"|(?:^|[.!?\n])\s*(?P<alone>{run})\W*$"
    )


def _mentions(think: str, options: tuple[str, ...]) -> list[_Mention]:
    """Where letters are concluded, in order; a letter that is rejected later is taken back."""
    accepted: list[_Mention] = []
    plain = not _may_suppose(think)
    allowed = letters_of(options)
    loose = _loose_pattern(allowed).search(think) is not None
    # The letters in brackets alone are found much faster.
    pattern = _mention_pattern(allowed) if loose else _bracketed_pattern(allowed)
    for match in pattern.finditer(think):
        group = match.lastgroup or ""
        start, end = match.span(group)
        letters = frozenset(re.findall(r"\b[A-Z]\b", match[group].upper()))
        if not plain and (_supposed(think, start) or _ASKED.match(think, end)):
            continue
        if _REJECTED_AFTER.match(think, end) or _rejected_before(think, start):
            accepted = [mention for mention in accepted if not mention.letters <= letters]
        else:
            final = group in ("alone", "but") or (group == "said" and match["final"] is not None)
            accepted.append(_Mention(letters, start, end, final))
    return accepted


def _rejected_before(think: str, start: int) -> bool:
    near = max(0, start - _NEAR)
    # The pattern spans so many words, and takes its time for each place where it may begin.
    earlier, *words = think[near:start].rsplit(maxsplit=_MOST_REJECTING) or [""]
    if len(words) == _MOST_REJECTING:
        near += len(earlier)
    return _REJECTED_BEFORE.search(think, near, start) is not None


def _may_suppose(text: str) -> bool:
    if text.isascii():  # nearly always, and much cheaper than the pattern
        lower = text.lower()
        if not any(part in lower for part in _SUPPOSING):
            return False
    return _MAY_SUPPOSE.search(text) is not None


def _supposed(think: str, start: int) -> bool:
    """Whether what is said at `start` is only supposed, or conceded, in its sentence."""
    before = _SENTENCE_END.split(think[max(0, start - _NEAR) : start])[-1]
    if _CONCEDED.search(before):
        return True
    found = _IF.search(before)
    after = _SENTENCE_END.split(think[start : start + _NEAR], maxsplit=1)[0]
    return found is not None and _WOULD.search(before + after, found.end()) is not None


def _undecided(think: str, mentions: list[_Mention]) -> bool:
    """Whether the last letter is only one of several side by side."""
    if len(mentions) < 2 or mentions[-2].letters == mentions[-1].letters:
        return False
    return _UNDECIDED.fullmatch(think, mentions[-2].end, mentions[-1].start) is not None


def _coherent(think: str, mention: _Mention, options: tuple[str, ...]) -> bool:
    """Whether no other option's text stands right before, or right after, a concluded letter."""
    if len(mention.letters) > 1:
        return True
    before = think[max(0, mention.start - _NEAR) : mention.start].rstrip("([ ")
    after = think[mention.end : mention.end + _NEAR].lstrip(")] :")
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
