"""What the necessity reward says of models of which it is known what they look at.

Tiny models learn two yes/no questions about two faces and two voices. One model sees every face
with every voice; for the other each face has a voice of its own, so that it need not listen. Both
meet the questions with both media and with one, as pretrained omni models have.
"""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from answering import only, train_to_answer

from triptych.data.sample import Media, MediaKind, ProblemType, Sample, read_samples
from triptych.models import OmniModel
from triptych.rewards import sample_columns
from triptych.rewards.necessity import NecessityReward

pytestmark = pytest.mark.slow

VIDEO, AUDIO = MediaKind.VIDEO, MediaKind.AUDIO
VOICE, MOOD = "Is the voice rising?", "Is the person happy?"
MOUTHS = {True: "smiling", False: "frowning"}
PITCHES = {True: "rising", False: "flat"}
STEPS, ROWS = 150, 8
EVEN = 0.5
"""Of an answer that is certain with the medium, and one of two without it: 1 - 1/2."""

Ask = Callable[[str, bool, bool], Sample]


@pytest.fixture(scope="module")
def ask(clips_folder: Path) -> Ask:
    """A question about a face, smiling or frowning, and a voice, rising or flat."""
    files = sorted(clips_folder.glob("*.jsonl"))
    clips = [sample for file in files for sample in read_samples(file)]

    def medium(kind: MediaKind, **cues: str) -> Media:
        found = next(s for s in clips if cues.items() <= s.extra["cues"].items())
        return next(item for item in found.media if item.kind is kind)

    faces = {s: medium(VIDEO, mouth_start=m, mouth_end=m) for s, m in MOUTHS.items()}
    voices = {r: medium(AUDIO, pitch=pitch) for r, pitch in PITCHES.items()}

    def build(question: str, smiles: bool, rises: bool) -> Sample:
        yes = rises and (smiles or question == VOICE)
        return Sample(
            id=f"{question} {smiles} {rises}",
            question=question,
            problem_type=ProblemType.YES_NO,
            answer="yes" if yes else "no",
            media=(faces[smiles], voices[rises]),
        )

    return build


def train(folder: Path, samples: Sequence[Sample]) -> OmniModel:
    """Learns the samples with all of their media, and with one kind of them."""
    views = [view for s in samples for view in (s, only(s, VIDEO), only(s, AUDIO))]
    order = torch.Generator().manual_seed(0)
    draws = [torch.randperm(len(views), generator=order)[:ROWS].tolist() for _ in range(STEPS)]
    return train_to_answer(folder, [[views[i] for i in draw] for draw in draws])


@pytest.fixture(scope="module")
def listener(ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> OmniModel:
    """Every face comes with every voice."""
    samples = [ask(q, *cues) for q in (VOICE, MOOD) for cues in product((True, False), repeat=2)]
    return train(tmp_path_factory.mktemp("listener") / "model", samples)


@pytest.fixture(scope="module")
def shortcut(ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> OmniModel:
    """A smile always comes with a rising voice, a frown with a flat one."""
    samples = [ask(q, both, both) for q in (VOICE, MOOD) for both in (True, False)]
    return train(tmp_path_factory.mktemp("shortcut") / "model", samples)


def necessity(
    model: OmniModel, samples: Sequence[Sample], *withhold: MediaKind, answer: str | None = None
) -> list[float]:
    """The necessity of the samples' own answers, or of another one."""
    texts = [f"<answer>{answer or sample.answer}</answer>" for sample in samples]
    reward = NecessityReward(model, withhold=withhold, rows_per_forward=4)
    columns: dict[str, Any] = sample_columns(samples)
    values = reward(["?"] * len(texts), texts, **columns)
    return [value for value in values if value is not None]


def test_a_question_about_the_voice_needs_the_voice_alone(ask: Ask, listener: OmniModel) -> None:
    samples = [ask(VOICE, *cues) for cues in product((True, False), repeat=2)]
    of_voice, of_face = necessity(listener, samples, AUDIO), necessity(listener, samples, VIDEO)
    assert of_voice == pytest.approx([EVEN] * 4, abs=0.25)
    assert of_face == pytest.approx([0.0] * 4, abs=0.1)


def test_a_question_about_both_needs_both(ask: Ask, listener: OmniModel) -> None:
    happy = ask(MOOD, True, True)
    each = [*necessity(listener, [happy], VIDEO), *necessity(listener, [happy], AUDIO)]
    assert each == pytest.approx([EVEN] * 2, abs=0.25)
    assert necessity(listener, [happy], VIDEO, AUDIO) == pytest.approx([min(each)])
    # Who frowns is not happy, whatever the voice; but the voice rises, so one must see the face.
    frown = [ask(MOOD, False, True)]
    assert necessity(listener, frown, VIDEO) == pytest.approx([EVEN], abs=0.25)
    assert necessity(listener, frown, AUDIO) == pytest.approx([0.0], abs=0.1)


def test_a_shortcut_has_no_need_of_what_it_does_not_use(
    ask: Ask, listener: OmniModel, shortcut: OmniModel
) -> None:
    happy = [ask(MOOD, True, True)]
    assert necessity(shortcut, happy, VIDEO, AUDIO) == pytest.approx([0.0], abs=0.05)
    assert necessity(listener, happy, VIDEO, AUDIO)[0] > 0.25


def test_the_answer_that_the_media_speak_against_earns_nothing(
    ask: Ask, listener: OmniModel
) -> None:
    samples = [ask(VOICE, True, True), ask(VOICE, False, True), ask(MOOD, True, True)]
    assert necessity(listener, samples, AUDIO, answer="no") == pytest.approx([0.0] * 3, abs=1e-6)
