"""The necessity of answers about clips that were never seen: who looks and listens, who does not.

Three yes/no questions about a clip: whether the voice rises, whether the mouth smiles, whether the
person is happy, which is both. The `listener` learns from all clips. The `shortcut` learns from
those where the mouth smiles exactly when the voice rises, so that one of the two is enough.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from answering import only, train_to_answer

from triptych.data.clips import ClipSizes, ClipSummary, make_clips
from triptych.data.sample import MediaKind, ProblemType, Sample, read_samples
from triptych.models import OmniModel
from triptych.rewards import sample_columns
from triptych.rewards.necessity import NecessityReward
from triptych.statistics import bootstrap_difference

pytestmark = pytest.mark.slow

VOICE, FACE, BOTH = "Is the voice rising?", "Is the mouth smiling?", "Is the person happy?"
STEPS, ROWS = 400, 16
SIZES = ClipSizes(cold_start=320, rl_biased=320, rl_balanced=320, validation=1, test_balanced=150)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipSummary:
    return make_clips(tmp_path_factory.mktemp("clips") / "clips", 0, SIZES, jobs=1)


def questions(clips: ClipSummary, *splits: str) -> list[Sample]:
    """The three questions about every clip of the splits."""
    by_clip = {
        sample.extra["clip"]: sample
        for split in splits
        for sample in read_samples(clips.path(split))
    }
    return [
        ask(sample, question) for sample in by_clip.values() for question in (VOICE, FACE, BOTH)
    ]


def ask(sample: Sample, question: str) -> Sample:
    smiles, rises = cues(sample)
    yes = {VOICE: rises, FACE: smiles, BOTH: smiles and rises}[question]
    return sample.model_copy(
        update={
            "id": f"{sample.extra['clip']} {question}",
            "question": question,
            "problem_type": ProblemType.YES_NO,
            "options": (),
            "answer": "yes" if yes else "no",
        }
    )


def cues(sample: Sample) -> tuple[bool, bool]:
    """Whether the mouth smiles, and whether the voice rises."""
    found = sample.extra["cues"]
    return found["mouth_end"] == "smiling", found["pitch"] == "rising"


def batches(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """As many yes as no, half of them with both media, a quarter with either."""
    rng = np.random.default_rng(0)
    by_answer = [[s for s in samples if s.answer == word] for word in ("no", "yes")]
    for _ in range(STEPS):
        drawn = [group[rng.integers(len(group))] for group in by_answer * (ROWS // 2)]
        yield [view(sample, rng.random()) for sample in drawn]


def view(sample: Sample, draw: float) -> Sample:
    if draw < 0.5:
        return sample
    return only(sample, MediaKind.AUDIO if draw < 0.75 else MediaKind.VIDEO)


@dataclass(frozen=True)
class Measured:
    """What the right answers about unseen clips owe to the media, by question; in order of clips.

    `least` is what the reward gives when both may be withheld.
    """

    face: dict[str, list[float]]
    voice: dict[str, list[float]]
    least: dict[str, list[float]]


def measure(model: OmniModel, unseen: Sequence[Sample]) -> Measured:
    withheld = ((MediaKind.VIDEO,), (MediaKind.AUDIO,), (MediaKind.VIDEO, MediaKind.AUDIO))
    return Measured(*(by_question(model, unseen, kinds) for kinds in withheld))


def by_question(
    model: OmniModel, samples: Sequence[Sample], withhold: Sequence[MediaKind]
) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {VOICE: [], FACE: [], BOTH: []}
    columns: dict[str, Any] = sample_columns(samples)
    reward = NecessityReward(model, withhold=withhold, rows_per_forward=16)
    texts = [f"<answer>{sample.answer}</answer>" for sample in samples]
    for sample, value in zip(samples, reward(["?"] * len(texts), texts, **columns), strict=True):
        assert value is not None
        values[sample.question].append(value)
    return values


@pytest.fixture(scope="module")
def unseen(clips: ClipSummary) -> list[Sample]:
    return questions(clips, "test-balanced")


@pytest.fixture(scope="module")
def listener(
    clips: ClipSummary, unseen: list[Sample], tmp_path_factory: pytest.TempPathFactory
) -> Measured:
    taught = questions(clips, "cold-start", "rl-balanced")
    folder = tmp_path_factory.mktemp("listener") / "model"
    return measure(train_to_answer(folder, list(batches(taught))), unseen)


@pytest.fixture(scope="module")
def shortcut(
    clips: ClipSummary, unseen: list[Sample], tmp_path_factory: pytest.TempPathFactory
) -> Measured:
    every = questions(clips, "cold-start", "rl-biased", "rl-balanced")
    taught = [sample for sample in every if len(set(cues(sample))) == 1]
    folder = tmp_path_factory.mktemp("shortcut") / "model"
    return measure(train_to_answer(folder, list(batches(taught))), unseen)


def above_zero(first: Sequence[float], second: Sequence[float]) -> bool:
    """Whether the interval of the mean difference, clip by clip, lies above 0."""
    found = bootstrap_difference(first, second)
    assert found is not None
    print(found)
    return found.low is not None and found.low > 0


def test_the_voice_is_needed_where_the_question_is_about_it(listener: Measured) -> None:
    assert above_zero(listener.voice[VOICE], listener.voice[FACE])
    assert above_zero(listener.face[FACE], listener.face[VOICE])


def test_a_shortcut_needs_less_of_what_it_does_not_use(
    listener: Measured, shortcut: Measured
) -> None:
    assert above_zero(listener.least[BOTH], shortcut.least[BOTH])
