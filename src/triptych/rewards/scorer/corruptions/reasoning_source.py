"""A sample's reference reasoning, ready to be corrupted."""

from functools import lru_cache
from random import Random

from triptych.data.sample import Reference, Sample
from triptych.rewards.conclusion import conclusion
from triptych.rewards.reading import read_answer
from triptych.rewards.reasoning import claims
from triptych.rewards.scorer.corruptions.measure import Measure
from triptych.rewards.scorer.corruptions.pair import Corruption, Pair
from triptych.rewards.scorer.corruptions.phrases import CONCLUSIONS
from triptych.rewards.scorer.corruptions.prose import ProseDraft
from triptych.rewards.scorer.corruptions.source import ContextSource
from triptych.rewards.scorer.corruptions.wording import WORD
from triptych.rewards.words import PERCEIVED_CONCEPTS, concept
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

CHOICES = (ProblemType.MULTIPLE_CHOICE, ProblemType.MULTI_SELECT)

_TRIES = 6


class ReasoningSource:
    """A sample's reasoning with the context that it has to follow from.

    Attributes:
        usable: Whether there are both, and both claim something.
        context_cuts: Beginnings of the context.
        exchanges: The words that exclude each other.
        stated: Whether the sample states its key elements.
        cues: The concepts by which two clips differ: the values of stated elements, else those of
            the lexicon that are seen or heard.
        in_context: The concepts of the context.
        evidence: Those that the reasoning names: the cues among them where elements are stated,
            else all.
    """

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        self.context = (sample.reference.context or "").strip()
        self.text = (sample.reference.reasoning or "").strip()
        self.answer = sample.answer
        source = ContextSource(sample)
        self.context_cuts = [cut.written() for cut in source.draft.cuts()]
        self.exchanges, self.stated = source.exchanges, bool(source.values)
        words = {word for pair in source.values.items() for word in (pair[0], *pair[1])}
        self.cues = frozenset(filter(None, map(concept, words))) or PERCEIVED_CONCEPTS
        self.in_context = claimed_concepts(self.context)
        evidence = claimed_concepts(self.text) & self.in_context
        self.evidence = evidence & self.cues if self.stated else evidence
        self.usable = bool(self.in_context and claimed_concepts(self.text))
        options = " ".join((*sample.options, sample.answer))
        self._fixed = frozenset(match[0].lower() for match in WORD.finditer(options))

    def said(self, answer: str) -> str:
        """An answer as it is said in a sentence."""
        if self.sample.problem_type in CHOICES:
            return " and ".join(f"({letter})" for letter in answer.split(","))
        return answer.rstrip(".!")

    def concluded(self, text: str) -> str | None:
        """The answer that a text concludes explicitly."""
        found = conclusion(text, self.sample.problem_type, self.sample.options)
        return found.value if found and found.coherent else None

    def with_conclusion(self, text: str, rng: Random) -> str:
        """The text, with the answer at its end where it does not conclude it already."""
        if self.concluded(text) == self.canonical(self.answer):
            return text
        return f"{closed(text)} {rng.choice(CONCLUSIONS).format(self.said(self.answer))}"

    def canonical(self, answer: str) -> str | None:
        """An answer as `concluded` gives it."""
        return read_answer(answer, self.sample.problem_type, self.sample.options)

    def other_answers(self) -> list[str]:
        """Answers of the same form that are wrong."""
        sample = self.sample
        match sample.problem_type:
            case ProblemType.MULTIPLE_CHOICE:
                return [x for x in OPTION_LETTERS[: len(sample.options)] if x != sample.answer]
            case ProblemType.MULTI_SELECT:
                letters = OPTION_LETTERS[: len(sample.options)]
                right = sample.answer.split(",")
                rest = [letter for letter in letters if letter not in right]
                return [",".join(rest[i : i + len(right)]) for i in range(len(rest))]
            case ProblemType.YES_NO:
                return ["no" if sample.answer == "yes" else "yes"]
            case _:
                return []

    def pair(self, kind: Corruption, text: str, target: float, answer: str | None = None) -> Pair:
        """The pair of one text, with the sample's own answer where none is given."""
        return Pair(
            sample_id=self.sample.id,
            stage="reasoning",
            kind=kind,
            text=text,
            target=target,
            reference=self.context,
            question=self.sample.question,
            options=self.sample.options,
            answer=self.sample.answer if answer is None else answer,
        )

    def reworded(self, rng: Random, text: str | None = None) -> str:
        """The reasoning, or a text made from it, in other words; those of options are kept."""
        text = self.text if text is None else text
        draft, measure = _prepared(text)
        for _ in range(_TRIES):
            words = draft.rephrased(rng, self._fixed)
            if measure.read(words).faithful and self.concluded(words) == self.concluded(text):
                return words
        return text


@lru_cache(maxsize=64)
def _prepared(text: str) -> tuple[ProseDraft, Measure]:
    """A text taken apart, and what its wordings have to keep: each concept, in its clause."""
    return ProseDraft.read(text), Measure(Reference(context=text))


def closed(text: str) -> str:
    """The text with a full stop, if no sentence ends there yet."""
    return text if text.rstrip("\"')\u201d\u2019").endswith((".", "!", "?")) else f"{text}."


def claimed_concepts(text: str) -> frozenset[str]:
    """What a text claims of the clip, as concepts."""
    read = claims(text)
    return frozenset(name for word in read.words if (name := concept(word)))
