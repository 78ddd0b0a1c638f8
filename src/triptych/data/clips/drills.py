"""Text-only drills: what a pretrained language model brings along, and a tiny one must be taught.

One in four is a description: the question itself holds the description of a clip, so options,
letters and the table of intentions can be learned apart from seeing and hearing. The others are
look-ups: they name letters for words again and again. Matching a word to the letter of its option
is what a very small model finds hardest, and one look-up per completion is too thin a signal.
"""

import itertools
from collections.abc import Iterator
from random import Random

from triptych.data.clips.cues import EMOTIONS, HABITUAL_PITCH, INTENTIONS, describe, draw_cues
from triptych.data.clips.questions import (
    NUM_OPTIONS,
    Kind,
    emotion_question,
    intention_questions,
    sincerity_question,
)
from triptych.data.sample import Reference, Sample
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

_LOOK_UPS = 20
"""Words whose letter one look-up drill names."""
_EVERY = 4
"""One description, then look-ups, in each round of this many drills."""


def text_only_samples(n: int, seed: int) -> list[Sample]:
    """`n` drills without media."""
    descriptions = _descriptions(Random(f"{seed}/text-only"))
    look_ups = _look_ups(Random(f"{seed}/look-up"))
    return [next(look_ups if number % _EVERY else descriptions) for number in range(n)]


def _descriptions(rng: Random) -> Iterator[Sample]:
    """Of six drills four ask for the intention, one for the emotion, one for sincerity."""
    cells = list(INTENTIONS)
    for number in itertools.count():
        clip = f"text-only/{number:05d}"
        kind = (*(Kind.INTENTION,) * 4, Kind.EMOTION, Kind.SINCERITY)[number % 6]
        if kind is Kind.SINCERITY:  # half yes, half no; free draws would give a third yes
            aligned = rng.random() < 0.5
            cells_of_kind = [c for c in cells if (c[1] is HABITUAL_PITCH[c[0]]) is aligned]
            sample = sincerity_question(clip, cues := draw_cues(rng, *rng.choice(cells_of_kind)))
        else:
            cues = draw_cues(rng, *rng.choice(cells))
            if kind is Kind.INTENTION:
                (sample,) = intention_questions(clip, cues, 1, rng)
            else:
                sample = emotion_question(clip, cues, rng)
        question = f"{describe(cues)} {sample.question}"
        yield sample.model_copy(update={"question": question, "media": ()})


def _look_ups(rng: Random) -> Iterator[Sample]:
    for number in itertools.count():
        words = list(INTENTIONS.values()) if rng.random() < 0.7 else list(EMOTIONS)
        options = rng.sample(words, NUM_OPTIONS)
        lettered = [f"{word} ({OPTION_LETTERS[i]})" for i, word in enumerate(options)]
        chosen = rng.randrange(NUM_OPTIONS)
        letter = OPTION_LETTERS[chosen]
        yield Sample(
            id=f"look-up/{number:05d}",
            question=f"Which letter stands for {options[chosen]}?",
            problem_type=ProblemType.MULTIPLE_CHOICE,
            options=tuple(options),
            answer=letter,
            media=(),
            reference=Reference(
                context=f"the options are {', '.join(rng.choices(lettered, k=_LOOK_UPS))}.",
                reasoning=f"{options[chosen]} is ({letter}).",
            ),
            extra={"kind": "look-up"},
        )
