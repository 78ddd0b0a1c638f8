"""What a training pair of a reward model is."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypeAlias

Stage: TypeAlias = Literal["context", "reasoning"]


class Corruption(StrEnum):
    """What was done to a reference to make the text of a pair."""

    FAITHFUL = "faithful"
    """Nothing, or it was said in other words. Target 1."""

    TRUNCATED = "truncated"
    """Cut after some of its clauses."""

    DROPPED = "dropped"
    """One clause left out, the rest kept."""

    SWAPPED = "swapped"
    """One attribute exchanged for another value: frowning for smiling, three for two."""

    HALLUCINATED = "hallucinated"
    """Something added that the reference does not say."""

    MIXED = "mixed"
    """Several of these at once, so that targets in between occur, at every length."""

    VAGUE = "vague"
    """A description that would fit any clip."""

    OTHER_SAMPLE = "other_sample"
    """The reference of another sample."""

    EMPTY = "empty"
    """Nothing at all."""

    PERMUTED = "permuted"
    """Reasoning: the conclusion no longer comes last."""

    FOREIGN_EVIDENCE = "foreign_evidence"
    """Reasoning: evidence that the context does not hold, in place of some that it does or added
    to it."""

    CONTRADICTED_ANSWER = "contradicted_answer"
    """Reasoning: it concludes one answer, and another one is given."""

    NON_SEQUITUR = "non_sequitur"
    """Reasoning: the answer that it concludes and that is given does not follow from its
    evidence."""

    SHORTCUT = "shortcut"
    """Reasoning: the answer is asserted without evidence ("obviously B")."""

    COPIED_CONTEXT = "copied_context"
    """Reasoning: the context again, where reasoning should stand."""


@dataclass(frozen=True)
class Pair:
    """A text with how good it is, and what it has to be held against. Plain: `asdict` gives JSON.

    Attributes:
        sample_id: The sample that it was made from.
        stage: The stage in which a model might have written the text.
        kind: What is wrong with it.
        text: The text.
        target: How good it is, in [0, 1]; the head of the package states the formula.
        reference: For a context the reference context; for reasoning the context that it has to
            follow from.
        question, options: Of the sample.
        answer: The answer that is given after the reasoning: a letter, or a text. It is the
            sample's own, save where an answer was made to be wrong.
        elements: The names of the key elements that are missing or contradicted, sorted; of
            contexts only.
    """

    sample_id: str
    stage: Stage
    kind: Corruption
    text: str
    target: float
    reference: str
    question: str
    options: tuple[str, ...]
    answer: str
    elements: tuple[str, ...] = ()
