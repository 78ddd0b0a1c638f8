"""Where reasoning speaks of options by their letters, and how firmly.

"The answer is (B), since (A) would need a smile" speaks of two letters and concludes one of them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import lru_cache

from triptych.rewards.reading import letters_of

NEAR = 400
"""How many characters around a letter are looked at; options are shorter than that."""

FINAL = r"(?:so(?! far\b)|therefore|thus|hence|consequently|conclude[sd]?(?: that)?|in conclusion)"
SENTENCE_END = re.compile(r"[.;!?\n](?!\d)")

END = (
    r"(?=\s*(?:[.,;:!?()\"'}]|$|(?:because|since|as|given|but|rather than|instead of|and not)\b)"
    r"|\s*\n)"
)
_JOINT = r"\s*(?:,\s*and\b|,|&|/|\band\b)\s*"
_CHOSEN = (
    r"(?:correct|right|best|closest|most (?:likely|plausible|fitting)) (?:\w+ )?"
    r"(?:answer|option|choice|letter|one|match|fit|description|explanation)s?"
)
_RIGHT = (
    r"(?:is|are|must be|seems?|remains?|fits?|match(?:es)?)(?: clearly| the)*(?: best| better"
    r"| correct| right| only| most| likely| plausible| fitting| suitable| true)*"
    r"(?: (?:answer|option|choice|one|fit))?\b"
    r"|the (?:best|right|correct|only|most \w+) (?:answer|option|choice|one|fit|match)\b"
    r"|(?:is|does|fits),? (?:too|as well|also)\b"
)
# A letter is rejected by what stands just before or just after it: "not calm (B)", "(B) is wrong".
_REJECTED_BEFORE = re.compile(
    r"(?:\b(?:not|neither|nor|never|(?<!less likely )(?<!less plausible )than|instead of|over"
    r"|versus|vs\.?|unlike|compared (?:to|with)|rules? out|ruling out|excludes?|excluding)|n't)"
    r"\s+(?:(?!but\b)\w+\s+){0,2}[(\[]?$",
    re.IGNORECASE,
)
_MOST_REJECTING = 5
_VERB = r"(?:is|are|was|can|could|does|do|did|would|seems?)"
_WORDING = (
    r"(?:\s+(?!(?:since|because|as|but|and|so|she|he|it|they|who|which|that|this|what|where|why"
    r"|fits?|match(?:es)?|explains?|means?|captures?|describes?)\b)\w+){0,3}"
)
"""The text of the option beside its letter."""
_REJECTED_AFTER = re.compile(
    rf"[)\]]?(?:(?:{_WORDING}\s*\b{_VERB}\s+|\s*\b)"
    r"(?:(?:be|both|all|also|clearly|thus|therefore)\s+)*"
    r"(?:wrong|incorrect|false|ruled out|excluded|eliminated|unlikely|implausible|missing|absent"
    r"|less (?:likely|plausible|fitting)|contradicted|lack|fail)\b"
    rf"|{_WORDING}\s*(?:{_VERB}\s*(?:not\b|n?'t\b)|\b(?:cannot|lacks|fails)\b"
    r"|\bwould (?:need|require|call for|mean|imply|show)\b)"
    r"|[.,;!]?\s*(?:but\s+)?\b(?:that|this|it|which)\s+(?:is|was|would be|must be)\s+"
    r"(?:wrong|incorrect|false|a mistake|not (?:right|correct|true))\b)",
    re.IGNORECASE,
)
# "not (A) or (D)": the second letter is rejected with the first.
_REJECTED_TOO = re.compile(r"[)\]]?,?\s+(?:and|or|nor)\s+[(\[]?", re.IGNORECASE)
# "If the voice were rising, it would be (A)"; "although (A) looks tempting"; "Could it be (A)?"
IF = re.compile(r"(?<!\bas )(?<!\beven )\bif\b", re.IGNORECASE)
WOULD = re.compile(r"\b(?:would|were|might|could|had)\b", re.IGNORECASE)
_CONCEDED = re.compile(r"\b(?:although|though|despite)\b[^,]*$", re.IGNORECASE)
_ASKED = re.compile(
    r"[^.;!?\n]{0,400}\?(?!\W*(?:yes|right|indeed|exactly|correct|it (?:is|does)))", re.I
)
_MAY_SUPPOSE = re.compile(r"\?|\b(?:if|although|though|despite)\b", re.IGNORECASE)
_SUPPOSING = ("?", "if", "though", "despite")

# What makes of a letter in brackets a statement, up to the bracket: words that announce it, and
# then, without another letter or a turn of thought, at most the text of the option.
_TURN = (
    r"since|because|while|whereas|than|though|although|but|unlike|not|between|if|may|might|could"
    r"|would|can"
)
_UP_TO = rf"[,:]?(?:\s+(?!(?i:{_TURN})\b|[A-Z]\b)[\w'\"-]+:?){{0,12}}\s*[(\[]?$"
_ANSWERED_BEFORE = re.compile(
    rf"\b(?i:answers?(?=\s*[:=]|\s+(?:\w+\s+){{0,3}}(?:is|are|be)\b)|final answer|{_CHOSEN}"
    rf"|choose|chose|pick|select|go with|leaves){_UP_TO}"
)
_SO_BEFORE = re.compile(rf"(?:(?:^|[,:-])\s*(?i:(?:and )?so)|(?!(?i:so))\b(?i:{FINAL})){_UP_TO}")
_ANSWERING = (
    *("answer", "option", "choice", "letter", "one", "match", "fit", "descri", "expla"),
    *("choose", "chose", "pick", "select", "go with", "leaves"),
)
_CONCLUDING = ("so", "there", "thus", "hence", "consequent", "conclu")
_CORRECTED_BEFORE = re.compile(
    r"(?:^|,)\W*(?:but |oh )?(?:wait|no(?=[,:])|actually|hmm+|on second thought)\b[^.;!?\n]*$",
    re.IGNORECASE,
)
_MEANT_BEFORE = re.compile(rf"\b(?i:means?|must be|it is|it's|this is|corresponds? to){_UP_TO}")
_SHOWN_BEFORE = re.compile(rf"\b(?i:means?|is|shows?|indicates?|suggests?|signals?){_UP_TO}")
_RIGHT_AFTER = re.compile(
    rf"[)\]]{_WORDING}\s+(?i:{_RIGHT})(?<! is)(?<! are)(?<! be)(?<! the)(?<! most)"
    rf"(?:{END}| (?:and|better than)\b)"
)
_MERELY_POSSIBLE = re.compile(r"\b(?:would|might|could|may)\b[^,:]*$", re.IGNORECASE)
_SAID_OF = re.compile(r"[)\]]?\s+(?:is|are|was|has|may|might|could|can|would|needs?|says)\b", re.I)
# The last word: of the text, or of what comes before a sentence that rejects others.
_LAST = re.compile(r"\W*$")
_OTHERS_NEXT = re.compile(r"[)\]]?[.;,!]?\s*(?:\w+ ){0,3}[(\[]?")
_ONE_SENTENCE = re.compile(r"[^.;!?\n]*\W*")
_SHORT = 12
_BY_THE_WAY = re.compile(r"\b(?:as in|like|of|for|from|in)\s+[(\[]?$", re.IGNORECASE)


class Firmness(IntEnum):
    """How firmly a letter is said."""

    NAMED = 0
    """In passing: an option that is looked at."""
    MEANT = 1
    """As what something means ("a smile means happy (A)"), or as the last word of the text."""
    STATED = 2
    """As the right one: "so B", "(B) is correct"."""
    ANSWERED = 3
    """As the whole answer: "the answer is B"."""


@dataclass(frozen=True)
class Mention:
    """Letters said at one place of the reasoning.

    Attributes:
        letters: that are said together.
        start: of the first one in the text.
        end: of the last one.
        firmness: by its own words; `firmness` also reads what stands around a bracket.
        bracketed: said in brackets.
        last: the last word of the text, or followed only by what rejects others.
    """

    letters: frozenset[str]
    start: int
    end: int
    firmness: Firmness
    bracketed: bool
    last: bool = False


_FIRMNESS_OF = {
    "bracketed": Firmness.NAMED,
    "named": Firmness.NAMED,
    "meant": Firmness.MEANT,
    "right": Firmness.STATED,
    "said": Firmness.ANSWERED,
    "but": Firmness.ANSWERED,
    "alone": Firmness.ANSWERED,
}
"""By the group of `_mention_pattern` that found it."""


def firmness(think: str, mention: Mention) -> Firmness:
    """How firmly a mention is said, by its own words and by those around it."""
    if not mention.bracketed:
        return max(mention.firmness, Firmness.MEANT) if mention.last else mention.firmness
    before = _sentence_before(think, mention.start)
    lower = before.lower()
    if _search(_ANSWERED_BEFORE, before, lower, _ANSWERING) or _CORRECTED_BEFORE.search(before):
        return Firmness.ANSWERED
    if _RIGHT_AFTER.match(think, mention.end):
        return Firmness.STATED
    if _search(_SO_BEFORE, before, lower, _CONCLUDING) and not _SAID_OF.match(think, mention.end):
        return Firmness.STATED
    if _MERELY_POSSIBLE.search(before):
        return Firmness.NAMED
    return Firmness.MEANT if mention.last or _MEANT_BEFORE.search(before) else Firmness.NAMED


def _search(pattern: re.Pattern[str], text: str, lower: str, parts: tuple[str, ...]) -> bool:
    """Whether a pattern is in a text; slow patterns are tried only where a word of theirs is."""
    return any(part in lower for part in parts) and pattern.search(text) is not None


def is_shown(think: str, mention: Mention) -> bool:
    """Whether something shows what a letter stands for: "the smile shows joy (A)"."""
    return _SHOWN_BEFORE.search(_sentence_before(think, mention.start)) is not None


def _sentence_before(think: str, start: int) -> str:
    return SENTENCE_END.split(think[max(0, start - NEAR) : start])[-1]


def _bracketed(allowed: str) -> str:
    either = f"[{allowed}{allowed.lower()}]"
    more = (
        rf"(?:[)\]](?:,\s*[(\[]{either}[)\]]){{0,8}},?\s*(?:&|\band\b)\s*[(\[]{either}(?=[)\]]))?"
    )
    return rf"[(\[](?P<bracketed>{either}(?:{_JOINT}{either})*{more})[)\]]"


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
        rf"[{allowed}]\b(?:(?<![\w(\[].)(?:{END}|\W*$)"
        r"|(?<!\w.) (?i:is|are|must|seem|remain|fit|match|does|the))"
    )


@lru_cache(maxsize=64)
def _mention_pattern(allowed: str) -> re.Pattern[str]:
    """Letters in brackets, letters after words that announce them, or a letter on its own.

    Outside brackets only capitals count, and only where their phrase ends: "a" is a word, and so
    are "A" and "I" at the start of a sentence.
    """
    run = f"[{allowed}](?:{_JOINT}[{allowed}])*"
    # Not a part of "A, C and D", of which something else is said.
    whole = f"(?>{run})"
    final = (
        rf"(?i:{FINAL}|answers?(?: (?:is|are|must be|should be|would be))?|choose|pick"
        rf"|{_CHOSEN}(?: (?:is|are|must be))?"
        r"|go with|actually|wait|no|(?<!not )only)\b"
    )
    meant = (
        r"(?i:(?:letters?|one|it|this) (?:is|are|must be)"
        r"|it's|means|obviously|clearly|definitely|surely)\b"
    )
    other = (
        r"(?i:options?|choices?|letters?|(?:options?|choices?) (?:is|are|must be)"
        r"|(?:is|could|can) it(?: be)?|(?<!or )(?:possibly|perhaps|maybe))\b"
    )
    link = r"[\s,:=]*(?i:(?:(?:it|that|this|the answer) (?:is|must be)|options?)\s+)?"
    return re.compile(
        rf"{_bracketed(allowed)}"
        rf"|\b(?:{final}{link}(?P<said>{run})\b{END}"
        rf"|{meant}{link}(?P<meant>{run})\b{END}"
        rf"|{other}{link}(?P<named>{whole})\b{END}"
        rf"|not {run},? but (?:rather )?(?P<but>{run})\b{END}"
        rf"|(?P<right>{run})(?: \([^()\n]{{1,60}}\))? "
        rf"(?i:{_RIGHT})(?<! is)(?<! are)(?<! be)(?<! the)(?<! most){END})"
        rf"|(?:^|[.!?\n])\s*(?P<alone>{run})(?:\W*$|[.)]?[ ]?\n|,? (?:because|since)\b)"
    )


def find_mentions(think: str, options: tuple[str, ...]) -> tuple[list[Mention], int]:
    """Where letters are said, in order; a letter that is rejected later is taken back.

    Also where the last letter ends, whether it is accepted, rejected or only supposed.
    """
    accepted: list[Mention] = []
    plain = not _may_suppose(think)
    allowed = letters_of(options)
    loose = _loose_pattern(allowed).search(think) is not None
    # The letters in brackets alone are found much faster.
    pattern = _mention_pattern(allowed) if loose else _bracketed_pattern(allowed)
    rejected: list[int] = []
    end, rejected_until = 0, -1
    for match in pattern.finditer(think):
        group = match.lastgroup or ""
        start, end = match.span(group)
        letters = frozenset(re.findall(r"\b[A-Z]\b", match[group].upper()))
        if not plain and (is_supposed(think, start) or _ASKED.match(think, end)):
            continue
        before = _rejected_before(think, start) or (
            rejected_until >= 0 and _REJECTED_TOO.fullmatch(think, rejected_until, start)
        )
        rejected_until = end if before else -1
        if before or _REJECTED_AFTER.match(think, end):
            rejected.append(start)
            accepted = [mention for mention in accepted if not mention.letters <= letters]
        else:
            bracketed = group == "bracketed"
            accepted.append(Mention(letters, start, end, _FIRMNESS_OF[group], bracketed))
    if accepted and _is_last(think, accepted[-1], rejected):
        accepted[-1] = replace(accepted[-1], last=True)
    return accepted, end


def _is_last(think: str, mention: Mention, rejected: Sequence[int]) -> bool:
    if not _LAST.match(think, mention.end):
        other = next((start for start in rejected if start > mention.end), None)
        if (
            other is None
            or not _OTHERS_NEXT.fullmatch(think, mention.end, other)
            or not _ONE_SENTENCE.fullmatch(think, other)
        ):
            return False
    return not _BY_THE_WAY.search(think, max(0, mention.start - _SHORT), mention.start)


def _rejected_before(think: str, start: int) -> bool:
    near = max(0, start - NEAR)
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


def is_supposed(think: str, start: int) -> bool:
    """Whether what is said at `start` is only supposed, or conceded, in its sentence."""
    before = _sentence_before(think, start)
    if _CONCEDED.search(before):
        return True
    found = IF.search(before)
    after = SENTENCE_END.split(think[start : start + NEAR], maxsplit=1)[0]
    return found is not None and WOULD.search(before + after, found.end()) is not None
