"""Descriptions in short plain clauses ("The mouth starts smiling and ends neutral"), as facts.

Such a text can be written anew from its facts, so its paraphrases vary more than those of prose.
"""

import re
from dataclasses import dataclass, replace
from random import Random
from typing import Self

from triptych.rewards.scorer.corruptions.draft import Exchanges
from triptych.rewards.scorer.corruptions.phrases import CLOSINGS, LEADS, capitalised

_BREAK = re.compile(r",\s*(?:and\s+)?|\s+and\s+")
_CLAUSE = re.compile(
    r"(?:the\s+(?P<subject>\w+)\s+)?(?P<verb>starts|ends|stays|is|are)\s+(?P<value>\w+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Fact:
    """One value of one thing: at the start, at the end, or ("is", "are") all along.

    Attributes:
        sentence: Number of the sentence where the reference has it.
    """

    subject: str
    verb: str
    value: str
    sentence: int


@dataclass(frozen=True)
class FactDraft:
    """A description as facts, and sentences that were added to it."""

    facts: tuple[Fact, ...]
    additions: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Self | None:
        """The facts of a text; None where one of its clauses is no plain fact."""
        facts: list[Fact] = []
        for number, sentence in enumerate(text.strip().rstrip(".").split(". ")):
            for clause in _BREAK.split(sentence):
                match = _CLAUSE.fullmatch(clause)
                if not match or not (match["subject"] or facts):
                    return None
                subject = (match["subject"] or facts[-1].subject).lower()
                said, value = match["verb"].lower(), match["value"].lower()
                verbs = ("starts", "ends") if said == "stays" else (said,)
                facts += [Fact(subject, verb, value, number) for verb in verbs]
        return cls(tuple(facts)) if facts else None

    def drops(self) -> list[Self]:
        if len(self.facts) == 1:
            return []
        return [
            replace(self, facts=self.facts[:i] + self.facts[i + 1 :])
            for i in range(len(self.facts))
        ]

    def swaps(self, exchanges: Exchanges) -> list[Self]:
        return [
            replace(self, facts=(*self.facts[:i], replace(fact, value=other), *self.facts[i + 1 :]))
            for i, fact in enumerate(self.facts)
            for other in exchanges.get(fact.value, ())
        ]

    def cuts(self) -> list[Self]:
        return [replace(self, facts=self.facts[:count]) for count in range(1, len(self.facts))]

    def with_addition(self, sentence: str) -> Self:
        return replace(self, additions=(*self.additions, sentence))

    def written(self) -> str:
        sentences: dict[int, list[str]] = {}
        for subject, facts in self._by_subject():
            sentences.setdefault(facts[0].sentence, []).append(_plain(subject, facts))
        written = (*map(", ".join, sentences.values()), *self.additions)
        return " ".join(f"{capitalised(sentence)}." for sentence in written)

    def rewritten(self, rng: Random) -> str:
        groups = self._by_subject()
        rng.shuffle(groups)
        nominal = rng.random() < 0.35
        write = _nominal if nominal else _clause
        parts = [write(subject, facts, rng) for subject, facts in groups]
        for sentence in self.additions:
            parts.insert(rng.randint(0, len(parts)), sentence[:1].lower() + sentence[1:])
        if nominal:
            return _listed(parts, rng)
        joint = rng.choice((". ", ". ", "; ", ", and "))
        text = joint.join(map(capitalised, parts) if joint == ". " else parts)
        if rng.random() < 0.4:
            text = rng.choice(LEADS) + text[:1].lower() + text[1:]
        closing = f" {rng.choice(CLOSINGS)}" if rng.random() < 0.25 else ""
        return f"{capitalised(text)}.{closing}"

    def _by_subject(self) -> list[tuple[str, tuple[Fact, ...]]]:
        subjects = dict.fromkeys(fact.subject for fact in self.facts)
        return [(name, tuple(f for f in self.facts if f.subject == name)) for name in subjects]


def _plain(subject: str, facts: tuple[Fact, ...]) -> str:
    predicates = [f"{fact.verb} {fact.value}" for fact in facts]
    head = f"{', '.join(predicates[:-1])} and " if len(predicates) > 1 else ""
    return f"the {subject} {head}{predicates[-1]}"


def _states(facts: tuple[Fact, ...]) -> list[Fact]:
    return [fact for fact in facts if fact.verb in ("is", "are")]


def _course(facts: tuple[Fact, ...], rng: Random, verb: str = "is ") -> str:
    """How something goes from start to end, as a predicate; "" where nothing is said of it."""
    start = next((fact.value for fact in facts if fact.verb == "starts"), None)
    end = next((fact.value for fact in facts if fact.verb == "ends"), None)
    if start is None and end is None:
        return ""
    if start is None:
        return rng.choice((f"ends {end}", f"{verb}{end} at the end"))
    if end is None:
        return rng.choice((f"starts {start}", f"{verb}{start} at first"))
    both = [
        f"starts {start} and ends {end}",
        f"{verb}{start} at first and {end} at the end",
        f"{verb}{start} at the start and {end} at the end",
        f"starts {start}, then ends {end}",
    ]
    if start == end:
        both += [f"stays {start}"] * 3 + [f"stays {start} from start to end"]
    else:
        both += [f"goes from {start} to {end}", f"turns from {start} to {end}"] * 2
    return rng.choice(both)


def _clause(subject: str, facts: tuple[Fact, ...], rng: Random) -> str:
    course = _course(facts, rng)
    states = _states(facts)
    if not states:
        return f"the {subject} {course}"
    verb, values = states[0].verb, " and ".join(fact.value for fact in states)
    article = "a " if verb == "is" else ""
    if course:
        return rng.choice(
            (
                f"the {subject} {verb} {values}, {course}",
                f"the {subject} {verb} {values} and {course}",
                f"the {values} {subject} {course}",
                f"the {subject} {course}, and the {subject} {verb} {values}",
                f"there {verb} {article}{values} {subject} that {course}",
            )
        )
    return rng.choice(
        (
            f"the {subject} {verb} {values}",
            f"there {verb} {article}{values} {subject}",
            f"one can see or hear {article}{values} {subject}",
        )
    )


def _nominal(subject: str, facts: tuple[Fact, ...], rng: Random) -> str:
    """Without a verb, as in a list: "raised brows"."""
    course = _course(facts, rng, verb="")
    states = _states(facts)
    if not states:
        return rng.choice((f"{subject}: {course}", f"a {subject} that {_course(facts, rng)}"))
    noun = f"{' and '.join(fact.value for fact in states)} {subject}"
    return rng.choice((f"{noun}, {course}", f"{noun} ({course})")) if course else noun


def _listed(parts: list[str], rng: Random) -> str:
    joint = rng.choice(("; ", "; ", ". ", " / "))
    text = joint.join(map(capitalised, parts) if joint == ". " else parts)
    lead = rng.choice(("", "", "Seen and heard: ", "What we see and hear: "))
    return capitalised(lead + text) + rng.choice(("", "."))
