"""Questions about a clip, with options, answer and reference; all text is built here."""

import itertools
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from random import Random

from triptych.data.clips.cues import (
    BROWS_EMOTION,
    EMOTIONS,
    HABITUAL_PITCH,
    INTENTIONS,
    MOUTH_EMOTION,
    Brows,
    Cues,
    Mouth,
    Pitch,
    all_cues,
    describe,
    elements,
)
from triptych.data.sample import Media, MediaKind, Reference, Sample
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

NUM_OPTIONS = 4


class Kind(StrEnum):
    """What a question asks; stands in a sample's ``extra["kind"]``."""

    INTENTION = "intention"
    EMOTION = "emotion"
    SINCERITY = "sincerity"


class Alignment(StrEnum):
    """How voice and face agree; stands in a sample's ``extra["alignment"]``."""

    ALIGNED = "aligned"
    """The voice is the one that usually comes with the face."""
    CONFLICT = "conflict"
    """It is not, and an intention question offers what the usual voice would mean."""
    OTHER = "other"
    """It is not, but the intention question leaves the tempting option out."""


QUESTIONS: dict[Kind, str] = {
    Kind.INTENTION: "What does the person feel?",
    Kind.EMOTION: "Which of these does the face show at the end?",
    Kind.SINCERITY: "Is the person sincere?",
}

_RELEVANT: dict[Kind, frozenset[str]] = {
    Kind.INTENTION: frozenset({"expression_end", "pitch"}),
    Kind.EMOTION: frozenset({"expression_end", "brows"}),
    Kind.SINCERITY: frozenset({"expression_end", "pitch"}),
}


def intention_questions(clip: str, cues: Cues, count: int, rng: Random) -> list[Sample]:
    """`count` multiple-choice questions, each with its own option block as far as there are any.

    The four options are the meanings of a 2x2 block {m, m'} x {p, p'} of mouths and pitches, so
    face alone or voice alone leaves two of them: 0.5, where chance is 0.25.
    """
    other_mouths = [mouth for mouth in Mouth if mouth != cues.mouth_end]
    other_pitches = [pitch for pitch in Pitch if pitch != cues.pitch]
    blocks = list(itertools.product(other_mouths, other_pitches))
    rng.shuffle(blocks)
    return [
        _intention_question(f"{clip}/intention-{number}", clip, cues, block, rng)
        for number, block in enumerate(itertools.islice(itertools.cycle(blocks), count), start=1)
    ]


def _intention_question(
    sample_id: str, clip: str, cues: Cues, block: tuple[Mouth, Pitch], rng: Random
) -> Sample:
    other_mouth, other_pitch = block
    cells = list(itertools.product((cues.mouth_end, other_mouth), (cues.pitch, other_pitch)))
    options = [INTENTIONS[cell] for cell in cells]
    rng.shuffle(options)
    letter = OPTION_LETTERS[options.index(cues.intention)]
    tempting = INTENTIONS[cues.mouth_end, HABITUAL_PITCH[cues.mouth_end]]
    if cues.aligned:
        alignment = Alignment.ALIGNED
    else:
        alignment = Alignment.CONFLICT if tempting in options else Alignment.OTHER
    return _sample(
        sample_id,
        clip,
        cues,
        Kind.INTENTION,
        ProblemType.MULTIPLE_CHOICE,
        options,
        letter,
        _intention_reasoning(cues.mouth_end, cues.pitch, letter),
        alignment,
    )


def emotion_question(clip: str, cues: Cues, rng: Random) -> Sample:
    """A multi-select question: the one or two emotions of the face among four options."""
    others = [emotion for emotion in EMOTIONS if emotion not in cues.emotions]
    options = [*cues.emotions, *rng.sample(others, NUM_OPTIONS - len(cues.emotions))]
    rng.shuffle(options)
    letters = [OPTION_LETTERS[options.index(emotion)] for emotion in cues.emotions]
    return _sample(
        f"{clip}/emotion",
        clip,
        cues,
        Kind.EMOTION,
        ProblemType.MULTI_SELECT,
        options,
        ",".join(sorted(letters)),
        _emotion_reasoning(cues.mouth_end, cues.brows, letters),
        Alignment.ALIGNED if cues.aligned else Alignment.CONFLICT,
    )


def sincerity_question(clip: str, cues: Cues) -> Sample:
    """A yes/no question: sincere is whose voice is the one that usually comes with the face."""
    return _sample(
        f"{clip}/sincerity",
        clip,
        cues,
        Kind.SINCERITY,
        ProblemType.YES_NO,
        (),
        "yes" if cues.aligned else "no",
        _sincerity_reasoning(cues.mouth_end, cues.pitch),
        Alignment.ALIGNED if cues.aligned else Alignment.CONFLICT,
    )


def _sample(
    sample_id: str,
    clip: str,
    cues: Cues,
    kind: Kind,
    problem_type: ProblemType,
    options: Sequence[str],
    answer: str,
    reasoning: str,
    alignment: Alignment,
) -> Sample:
    path = Path(f"{clip}.mp4")
    return Sample(
        id=sample_id,
        question=QUESTIONS[kind],
        problem_type=problem_type,
        options=tuple(options),
        answer=answer,
        media=(Media(kind=MediaKind.VIDEO, path=path), Media(kind=MediaKind.AUDIO, path=path)),
        reference=Reference(
            context=describe(cues),
            reasoning=reasoning,
            elements=elements(cues, _RELEVANT[kind]),
        ),
        extra={
            "kind": str(kind),
            "clip": clip,
            "cues": cues.as_dict(),
            "alignment": str(alignment),
        },
    )


def _intention_reasoning(mouth: Mouth, pitch: Pitch, letter: str) -> str:
    meaning = INTENTIONS[mouth, pitch]
    return f"a {mouth} mouth at the end with a {pitch} voice means {meaning} ({letter})."


def _emotion_reasoning(mouth: Mouth, brows: Brows, letters: Sequence[str]) -> str:
    of_mouth = f"the {mouth} mouth shows {MOUTH_EMOTION[mouth]} ({letters[0]})"
    if brows not in BROWS_EMOTION:
        return f"{of_mouth} and the {brows} brows show nothing."
    return f"{of_mouth} and the {brows} brows show {BROWS_EMOTION[brows]} ({letters[1]})."


def _sincerity_reasoning(mouth: Mouth, pitch: Pitch) -> str:
    habitual = HABITUAL_PITCH[mouth]
    verdict = "yes" if pitch == habitual else "no"
    return f"a {mouth} mouth goes with a {habitual} voice and the voice is {pitch}, so {verdict}."


def corpus_lines() -> list[str]:
    """Every sentence that questions, options, answers and references can hold, in a fixed order.

    Training text for a tokenizer: each line is a whole question, option, context, reasoning or
    answer, as it stands in a prompt or completion.
    """
    letters = OPTION_LETTERS[:NUM_OPTIONS]
    pairs = list(itertools.permutations(letters, 2))
    return [
        *QUESTIONS.values(),
        *(f"{letter}. {word}" for letter in letters for word in (*INTENTIONS.values(), *EMOTIONS)),
        *(f"({letter})" for letter in letters),
        *letters,
        *(f"{first},{second}" for first, second in pairs if first < second),
        "yes",
        "no",
        *(describe(cues) for cues in all_cues()),
        *(_intention_reasoning(*cell, letter) for cell in INTENTIONS for letter in letters),
        *(
            _emotion_reasoning(mouth, brows, pair)
            for mouth, brows in itertools.product(Mouth, Brows)
            for pair in pairs
        ),
        *(_sincerity_reasoning(*cell) for cell in INTENTIONS),
    ]
