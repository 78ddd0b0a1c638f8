"""Whether a reference says enough to be compared with.

A stage of a reference is vague when it has fewer than `MIN_CONTENT_WORDS` different content words:
words that are neither stop words nor words of the phrases that commit to nothing ("someone", "some
kind of"; see `lexicon`). Words of one meaning ("smiles", "grinning") count once. Elements are vague
when one of them has no phrase with a word in it: no completion can name it.
"""

import re

from triptych.data.sample import Reference
from triptych.rewards.lexicon import FILLERS, STOP_WORDS
from triptych.rewards.words import concept, read_text

MIN_CONTENT_WORDS = 3

# So many different words, "smiles" and "smiles," taken for two, have enough meanings among them.
_PLENTY = 8 * MIN_CONTENT_WORDS
_LETTER = re.compile(r"[^\W_]")
_EMPTY_WORDS = STOP_WORDS.union(*(filler.split() for filler in FILLERS))


def vagueness(reference: Reference) -> str | None:
    """Why a reference is vague, in words; None when it is not.

    A stage that the reference does not have, or has blank, is not vague.
    """
    for name, text in (("context", reference.context), ("reasoning", reference.reasoning)):
        if text and text.strip() and (words := _content_words(text)) < MIN_CONTENT_WORDS:
            return f"the {name} has {words} content words, fewer than {MIN_CONTENT_WORDS}"
    for element in reference.elements:
        if not any(map(_LETTER.search, element.phrases)):
            return f"element {element.name!r} has no phrase with a word in it"
    return None


def _content_words(text: str) -> int:
    # To read a text as rewards do takes long, and long texts are hardly ever vague.
    seen = set(text.lower().split()) - _EMPTY_WORDS
    if len(seen) >= _PLENTY:
        return len(seen)
    words = set(read_text(text).words) - _EMPTY_WORDS
    return len({meaning for word in words if (meaning := concept(word))})
