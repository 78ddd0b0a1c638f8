"""Training pairs of reward models, made from references: texts that are wrong on purpose, each with
a target that says how good it still is.

**The target of a context** is read off the text as it stands, whatever was done to it::

    target = max(0, named - contradicted) / (elements + added)

`named` and `contradicted` count the key elements of the reference (`rewards.elements`: those that
the sample states, else those found in its reference text), so the first half is the share of them
that is kept minus the share that is contradicted. `added` counts claims that the reference does not
know; they cost as precision does, so that making things up is not free (`measure`). Length, order
and choice of words cost nothing. A corruption that did not take, as one that dropped what is said
elsewhere again, is not given out; nor is a "faithful" text that lost or gained anything.

**The target of reasoning** follows a table (`reasoning`).

**Wording gives nothing away.** Three quarters of all texts, right or wrong, are put in other words
first: clauses in another order, sentences joined or parted, synonyms, frames around it. Wrong texts
are as long as right ones as far as their kind allows (what is cut off is shorter).

A reference in the plain pattern of the synthetic clips is taken apart into facts and written anew
(`facts`); any other is handled as prose, on its surface (`prose`).
"""

from triptych.rewards.scorer.corruptions.context import CONTEXT_VARIANTS, context_pairs
from triptych.rewards.scorer.corruptions.pair import Corruption, Pair, Stage
from triptych.rewards.scorer.corruptions.reasoning import REASONING_VARIANTS, reasoning_pairs
from triptych.rewards.scorer.corruptions.split import split

__all__ = [
    "CONTEXT_VARIANTS",
    "REASONING_VARIANTS",
    "Corruption",
    "Pair",
    "Stage",
    "context_pairs",
    "reasoning_pairs",
    "split",
]
