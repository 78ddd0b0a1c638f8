"""What can be seen and heard in a clip, what it means, and how a reference puts it in words."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from triptych.data.sample import Element, MediaKind

TURN_PROBABILITY = 0.4
"""How often the expression turns in mid-clip."""
CHANGE_PROBABILITY = 0.3
"""How often the loudness changes in mid-clip."""


class Mouth(StrEnum):
    """The expression of the mouth."""

    SMILING = "smiling"
    FROWNING = "frowning"
    NEUTRAL = "neutral"


class Brows(StrEnum):
    """The position of the eyebrows; it never tells the intention."""

    RAISED = "raised"
    FURROWED = "furrowed"
    LEVEL = "level"


class Pitch(StrEnum):
    """How the pitch of the voice moves."""

    RISING = "rising"
    FLAT = "flat"
    TREMBLING = "trembling"


class Loudness(StrEnum):
    """How loud the voice is; it never tells the intention."""

    LOUD = "loud"
    SOFT = "soft"


INTENTIONS: dict[tuple[Mouth, Pitch], str] = {
    (Mouth.SMILING, Pitch.RISING): "happy",
    (Mouth.SMILING, Pitch.FLAT): "sarcastic",
    (Mouth.SMILING, Pitch.TREMBLING): "nervous",
    (Mouth.FROWNING, Pitch.RISING): "angry",
    (Mouth.FROWNING, Pitch.FLAT): "bored",
    (Mouth.FROWNING, Pitch.TREMBLING): "afraid",
    (Mouth.NEUTRAL, Pitch.RISING): "curious",
    (Mouth.NEUTRAL, Pitch.FLAT): "calm",
    (Mouth.NEUTRAL, Pitch.TREMBLING): "doubtful",
}
"""What the person feels, by the mouth at the end and the pitch."""

HABITUAL_PITCH: dict[Mouth, Pitch] = {
    Mouth.SMILING: Pitch.RISING,
    Mouth.FROWNING: Pitch.TREMBLING,
    Mouth.NEUTRAL: Pitch.FLAT,
}
"""The voice that usually comes with a face; in biased splits the face gives the voice away."""

MOUTH_EMOTION: dict[Mouth, str] = {
    Mouth.SMILING: "joy",
    Mouth.FROWNING: "sadness",
    Mouth.NEUTRAL: "composure",
}
BROWS_EMOTION: dict[Brows, str] = {Brows.RAISED: "surprise", Brows.FURROWED: "tension"}
EMOTIONS: tuple[str, ...] = (*MOUTH_EMOTION.values(), *BROWS_EMOTION.values())


@dataclass(frozen=True)
class Cues:
    """All that a clip shows and lets hear on purpose; everything else in it is nuisance."""

    mouth_start: Mouth
    mouth_end: Mouth
    brows: Brows
    pitch: Pitch
    loudness_start: Loudness
    loudness_end: Loudness

    @property
    def aligned(self) -> bool:
        """Whether the voice is the one that usually comes with the face."""
        return self.pitch == HABITUAL_PITCH[self.mouth_end]

    @property
    def intention(self) -> str:
        """What the person feels."""
        return INTENTIONS[self.mouth_end, self.pitch]

    @property
    def emotions(self) -> tuple[str, ...]:
        """What the face shows at the end: one emotion of the mouth, at most one of the brows."""
        of_brows = BROWS_EMOTION.get(self.brows)
        return (MOUTH_EMOTION[self.mouth_end], *((of_brows,) if of_brows else ()))

    def as_dict(self) -> dict[str, str]:
        """The cues as plain words, for a sample's `extra`."""
        return {name: str(value) for name, value in vars(self).items()}


def draw_cues(rng: Random, mouth_end: Mouth, pitch: Pitch) -> Cues:
    """Draw what the intention does not depend on."""
    mouth_start = mouth_end
    if rng.random() < TURN_PROBABILITY:
        mouth_start = rng.choice([mouth for mouth in Mouth if mouth != mouth_end])
    loudness_end = rng.choice(list(Loudness))
    loudness_start = loudness_end
    if rng.random() < CHANGE_PROBABILITY:
        loudness_start = next(value for value in Loudness if value != loudness_end)
    brows = rng.choice(list(Brows))
    return Cues(mouth_start, mouth_end, brows, pitch, loudness_start, loudness_end)


def all_cues() -> Iterator[Cues]:
    """Every combination of cues, in a fixed order."""
    for values in itertools.product(Mouth, Mouth, Brows, Pitch, Loudness, Loudness):
        yield Cues(*values)


def describe(cues: Cues) -> str:
    """The reference context: what is seen and heard, in one fixed pattern.

    Start and end are named apart even when they agree: "stays" against "turns" would have to be
    settled by comparing before either value is told, which a tiny model learns late.
    """
    return (
        f"The mouth starts {cues.mouth_start} and ends {cues.mouth_end}, "
        f"the brows are {cues.brows}. The voice is {cues.pitch}, "
        f"starts {cues.loudness_start} and ends {cues.loudness_end}."
    )


# Phrases hold one value word each and tell the cue apart from every other: mouth and loudness
# share "stays", "from" and "to" but no value word, and "stays" speaks of start and end alike.
_START = ("stays {}", "from {}", "starts {}", "{} at first", "{} at the start")
_END = ("stays {}", "to {}", "ends {}", "{} at the end")
_BROWS = ("brows are {}", "{} brows", "brows {}")
_PITCH = ("voice is {}", "{} voice", "voice stays {}", "pitch is {}", "{} pitch")

_ASPECTS: tuple[tuple[str, str, type[StrEnum], tuple[str, ...], MediaKind], ...] = (
    ("expression_start", "mouth_start", Mouth, _START, MediaKind.VIDEO),
    ("expression_end", "mouth_end", Mouth, _END, MediaKind.VIDEO),
    ("brows", "brows", Brows, _BROWS, MediaKind.VIDEO),
    ("pitch", "pitch", Pitch, _PITCH, MediaKind.AUDIO),
    ("loudness_start", "loudness_start", Loudness, _START, MediaKind.AUDIO),
    ("loudness_end", "loudness_end", Loudness, _END, MediaKind.AUDIO),
)
ELEMENT_NAMES: tuple[str, ...] = tuple(name for name, *_ in _ASPECTS)


def elements(cues: Cues, relevant: frozenset[str]) -> tuple[Element, ...]:
    """The things that a good context names; `relevant` lists those that the answer depends on."""
    return tuple(
        Element(
            name=name,
            phrases=_phrases(patterns, getattr(cues, cue)),
            contradictions=tuple(
                phrase
                for value in values
                if value != getattr(cues, cue)
                for phrase in _phrases(patterns, value)
            ),
            relevant=name in relevant,
            medium=medium,
        )
        for name, cue, values, patterns, medium in _ASPECTS
    )


def _phrases(patterns: tuple[str, ...], value: str) -> tuple[str, ...]:
    return tuple(pattern.format(value) for pattern in patterns)
