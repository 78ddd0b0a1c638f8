"""When two questions, options, answers or samples are the same, whatever their writing.

Case, spacing, width of characters and the punctuation at either end of a word make no difference:
"Who smiles?" is "who smiles". Signs within words do: "3.5" is not "35", "x+1" not "x-1".
"""

import unicodedata
from functools import lru_cache
from typing import TypeAlias

from triptych.data.sample import ProblemType, Sample
from triptych.stages.prompt import OPTION_LETTERS

QuestionKey: TypeAlias = tuple[str, tuple[str, ...]]
"""A question, and its options in an order that does not depend on their letters."""

_AROUND_WORDS = ".,;:!?\"'`()[]{}\u2018\u2019\u201c\u201d\u2026\u3002\uff0c\uff1f"

CHOICES = (ProblemType.MULTIPLE_CHOICE, ProblemType.MULTI_SELECT)
"""The problem types whose answers are letters of options."""


@lru_cache(maxsize=1 << 14)
def text_key(text: str) -> str:
    """A text as it is compared.

    >>> text_key("  Who \uff33MILES,  at 3.5? ")
    'who smiles at 3.5'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    words = (word.strip(_AROUND_WORDS) for word in text.casefold().split())
    # A text of signs alone is compared as it is written.
    return " ".join(word for word in words if word) or text.strip()


def question_key(sample: Sample) -> QuestionKey:
    """What a sample asks: the question and its options, in whatever order they stand."""
    return text_key(sample.question), tuple(sorted(map(text_key, sample.options)))


def answer_key(sample: Sample) -> str:
    """What a sample's answer says, by the texts of its options where it has letters."""
    if sample.problem_type not in CHOICES:
        return text_key(sample.answer)
    letters = sample.answer.split(",")
    return " / ".join(sorted(text_key(sample.options[OPTION_LETTERS.index(x)]) for x in letters))
