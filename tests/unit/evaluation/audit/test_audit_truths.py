"""The audit of engines of which it is known what they need."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.evaluation.audit.truths import (
    AlwaysFirst,
    FaceOnly,
    Guesser,
    Oracle,
    TextPrior,
    TruthEngine,
    VoiceOnly,
    clip_questions,
)
from triptych.data.sample import MediaKind, Sample
from triptych.evaluation.audit import (
    AuditPlan,
    AuditReport,
    Condition,
    make_report,
    run_audit,
    verdicts,
)
from triptych.evaluation.audit.conditions import turned
from triptych.evaluation.audit.kept import kept_under
from triptych.evaluation.audit.observations import Observation, Observations, Outcome
from triptych.evaluation.audit.options import position_bias
from triptych.generation.engine import SamplingConfig
from triptych.stages.prompt import OPTION_LETTERS
from triptych.statistics import Interval

# All but SHUFFLED: there are no files that could be.
CONDITIONS = tuple(one for one in Condition if one is not Condition.SHUFFLED)


FEW = 90
MUTE = (Condition.DEAF, Condition.SWAPPED_VIDEO, Condition.SWAPPED_AUDIO)


@pytest.fixture(scope="module")
def questions() -> list[Sample]:
    return clip_questions(FEW)


@pytest.fixture(scope="module")
def oracle(questions: list[Sample], tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    """The audit of who looks and listens."""
    return audit(Oracle(questions), questions, tmp_path_factory.mktemp("oracle"))


def audit(
    engine: TruthEngine,
    questions: Sequence[Sample],
    folder: Path,
    conditions: tuple[Condition, ...] = CONDITIONS,
) -> AuditReport:
    observations = run_audit(engine, questions, folder, AuditPlan(conditions), rewards={})
    return make_report(observations)


def holds(interval: Interval | None, value: float) -> bool:
    assert interval is not None
    assert interval.low is not None
    assert interval.high is not None
    return interval.low <= value <= interval.high


def kept(report: AuditReport, condition: Condition) -> Interval:
    figures = report.conditions[condition].kept
    assert figures is not None
    assert figures.kept is not None
    return figures.kept


def test_who_looks_and_listens_has_an_index_of_0(oracle: AuditReport) -> None:
    report = oracle
    full = report.conditions[Condition.FULL].kept
    assert full is not None
    assert full.accuracy.mean == 1.0
    assert full.chance == 0.25
    assert report.index is not None
    assert set(report.index.media) == {MediaKind.VIDEO, MediaKind.AUDIO}
    assert all(holds(interval, 0.0) for interval in report.index.media.values())
    assert holds(report.index.shortcut, 0.0)
    for condition in (Condition.BLIND, Condition.DEAF):
        # One of the two gives a half, which is a third of the way from 0.25 to 1.
        assert holds(kept(report, condition), 1 / 3), condition
    assert holds(kept(report, Condition.TEXT_ONLY), 0.0)
    assert report.conditions[Condition.SWAPPED_AUDIO].alike == 0
    said = " ".join(verdicts(report))
    assert "it looks" in said
    assert "it listens" in said
    assert "it follows the wrong media" in said
    assert "does not" not in said


def test_who_never_listens_has_an_audio_index_of_1(questions: list[Sample], tmp_path: Path) -> None:
    report = audit(FaceOnly(questions), questions, tmp_path, MUTE)
    assert report.index is not None
    audio, video = report.index.media[MediaKind.AUDIO], report.index.media[MediaKind.VIDEO]
    assert audio is not None
    assert (audio.mean, audio.low, audio.high) == (1.0, 1.0, 1.0)
    assert video is not None
    assert video.high is not None
    assert video.high < 0.8
    assert report.index.shortcut == Interval(1.0, 1.0, 1.0, FEW)
    assert report.index.least_needed is MediaKind.AUDIO
    assert kept(report, Condition.DEAF).mean == 1.0
    said = " ".join(verdicts(report))
    assert "without the sound: it does not listen" in said
    assert "does not look" not in said


def test_who_never_looks_has_a_video_index_of_1(questions: list[Sample], tmp_path: Path) -> None:
    report = audit(VoiceOnly(questions), questions, tmp_path, MUTE)
    assert report.index is not None
    assert report.index.least_needed is MediaKind.VIDEO
    assert report.index.shortcut is not None
    assert report.index.shortcut.mean == 1.0


def test_who_knows_the_answers_by_heart_needs_no_media(
    questions: list[Sample], tmp_path: Path
) -> None:
    report = audit(TextPrior(questions), questions, tmp_path)
    assert kept(report, Condition.TEXT_ONLY).mean == 1.0
    assert kept(report, Condition.SWAPPED).mean == 1.0
    assert report.text is not None
    full = report.conditions[Condition.FULL].kept
    assert full is not None
    assert report.text.share.mean == full.accuracy.mean
    assert report.text.luck == pytest.approx(0.25**4)
    assert report.position is not None
    assert report.position.consistency is not None
    assert report.position.consistency.mean == 1.0
    for found in report.perception.values():
        assert found.described.mean == 1.0
        assert found.unchanged is not None
        assert found.unchanged.mean == 1.0
    assert any("needs neither to look nor to listen" in line for line in verdicts(report))


def test_who_sees_and_hears_imagines_nothing(oracle: AuditReport) -> None:
    for condition in (Condition.BLIND, Condition.DEAF, Condition.TEXT_ONLY):
        found = oracle.perception[condition]
        assert found.described.mean == 0.0
        assert found.by_elements == FEW
        assert found.unchanged is not None
        assert found.unchanged.mean == 0.0


@pytest.mark.parametrize("clips", [1, 2, 5, 6])
def test_of_five_clips_nothing_is_said(questions: list[Sample], clips: int) -> None:
    """Clips that tell nothing all point one way with probability 2 ** (1 - clips)."""
    asked = questions[:clips]
    right = Observation({one.id: Outcome(1.0, place=0) for one in asked})
    keys = [(condition, turn) for condition in Condition for turn in range(4)]
    said = verdicts(make_report(Observations(asked, dict.fromkeys(keys, right))))
    if clips < 6:
        assert said == [f"Too few clips, {clips}: from 6 on something can be said."]
    else:
        assert any("it does not listen" in line for line in said)
        assert any("from their text alone" in line for line in said)


def test_what_few_clips_tell_is_not_spoken_of(questions: list[Sample]) -> None:
    """Of all but five the answers without sound, and in other orders, are missing."""
    right = {one.id: Outcome(1.0, place=0) for one in questions}
    few = {one.id: Outcome(1.0, place=0) for one in questions[:5]}
    trials = {(condition, 0): right for condition in (Condition.FULL, Condition.BLIND)}
    trials |= {(Condition.DEAF, 0): few}
    trials |= {(Condition.TEXT_ONLY, turn): few for turn in range(4)}
    trials |= {(Condition.PERMUTED, turn): few for turn in range(1, 4)}
    observed = Observations(questions, {key: Observation(one) for key, one in trials.items()})
    assert verdicts(make_report(observed)) == [
        "Keeps 100% [100%, 100%] of its accuracy above chance without the pictures: it does not "
        "look.",
        "Too few clips, 5, to say what it keeps without the sound.",
        "Too few clips, 5, to say what it keeps from the question alone.",
        "Too few clips, 5, to say what it answers from the text alone.",
        "Too few clips, 5, to say which letters it prefers.",
    ]


@pytest.mark.parametrize(
    ("context", "described"),
    [
        ("A person with a broad smile and furrowed eyebrows looks at the camera.", 1.0),
        ("I see no video.", 0.0),
        ("I cannot see whether the mouth stays smiling.", 0.0),
        ("The voice is flat.", 0.0),
    ],
)
def test_what_is_imagined_in_other_words_than_the_elements_counts(
    questions: list[Sample], tmp_path: Path, context: str, described: float
) -> None:
    class Imagining(AlwaysFirst):
        def context(self, sample: Sample) -> str:
            return context

    few = questions[:8]
    report = audit(Imagining(few), few, tmp_path, (Condition.BLIND,))

    found = report.perception[Condition.BLIND]
    assert found.described.mean == described
    assert found.by_elements == len(few)


def test_who_always_says_a_is_found_out(questions: list[Sample], tmp_path: Path) -> None:
    report = audit(
        AlwaysFirst(questions), questions, tmp_path, (Condition.PERMUTED, Condition.DEAF)
    )
    bias = report.position
    assert bias is not None
    assert bias.distance.mean == pytest.approx(0.75)
    assert [place.chosen for place in bias.places] == [1.0, 0.0, 0.0, 0.0]
    assert [place.right for place in bias.places] == pytest.approx([0.25] * 4)
    assert bias.consistency is not None
    assert bias.consistency.mean == 0.0
    assert bias.accuracy.mean == pytest.approx(0.25)
    figures = report.conditions[Condition.DEAF].kept
    assert figures is not None
    assert figures.kept is None
    said = verdicts(report)
    assert "not told apart from chance" in said[0]
    assert "It prefers the letter A: chosen in 100% of the answers, right in 25%." in said
    assert sum("avoids" in line for line in said) == 3


def test_guessing_is_at_chance_in_95_of_100_seeds(questions: list[Sample]) -> None:
    inside = 0
    for seed in range(100):
        engine = Guesser(questions, seed)
        outcomes = {
            one.id: Outcome(float(f"<answer>{one.answer}</answer>" in group[0].text))
            for one, group in zip(
                questions, engine.generate(questions, 1, SamplingConfig()), strict=True
            )
        }
        observations = Observations(questions, {(Condition.FULL, 0): Observation(outcomes)})
        found = kept_under(observations, Condition.FULL, questions)
        assert found is not None
        inside += holds(found.accuracy, 0.25)
    assert inside >= 95


def test_guessing_keeps_nothing_and_says_so(questions: list[Sample], tmp_path: Path) -> None:
    report = audit(Guesser(questions, 1), questions, tmp_path)
    assert report.index is not None
    assert report.index.shortcut is None
    assert all(interval is None for interval in report.index.media.values())
    assert report.text is not None
    assert report.text.share.mean < 0.05
    assert [line for line in verdicts(report) if "not told apart from chance" not in line] == []


def test_one_guess_kept_to_is_no_knowledge(oracle: AuditReport) -> None:
    """Without media the oracle takes one option by the question's id, in whatever place."""
    assert oracle.text is not None
    assert holds(oracle.text.share, 0.25)
    assert oracle.text.steady_luck == 0.25
    assert not any("text alone" in line for line in verdicts(oracle))


def test_the_right_place_moves_with_the_options(questions: list[Sample]) -> None:
    """Only one order can be read, and there the right option is always chosen."""
    unread = {one.id: Outcome(0.0) for one in questions}
    read = {
        one.id: Outcome(1.0, place=turned(one, 1).options.index(right_option(one)))
        for one in questions
    }
    trials = {(Condition.FULL, 0): unread, (Condition.PERMUTED, 1): read}
    trials |= {(Condition.PERMUTED, turn): unread for turn in (2, 3)}
    observed = Observations(questions, {key: Observation(one) for key, one in trials.items()})
    bias = position_bias(observed, questions)
    assert bias is not None
    assert bias.distance.mean == 0.0
    assert all(place.chosen == place.right for place in bias.places)
    assert bias.unread == 3 * len(questions)
    assert bias.consistency is None


def right_option(sample: Sample) -> str:
    return sample.options[OPTION_LETTERS.index(sample.answer)]
