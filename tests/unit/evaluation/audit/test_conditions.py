"""What becomes of a sample under each condition, and whose media it is given."""

from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.unit.evaluation.audit.truths import clip_questions
from triptych.data.media import MediaBudget
from triptych.data.sample import Element, Media, MediaKind, ProblemType, Reference, Sample
from triptych.errors import ConfigError
from triptych.evaluation.audit import donors as donors_module
from triptych.evaluation.audit.conditions import (
    HEARD,
    SEEN,
    Condition,
    Withhold,
    swapped,
    turned,
    without,
)
from triptych.evaluation.audit.donors import Donor, Donors, answer_text, is_of
from triptych.evaluation.audit.files import AlteredFiles
from triptych.evaluation.audit.kept import chance
from triptych.evaluation.audit.trials import Trials, check_read_in_turns
from triptych.evaluation.metrics import cluster_of
from triptych.rewards.answer import answer_score
from triptych.rewards.words import normalise

VIDEO, AUDIO, IMAGE = MediaKind.VIDEO, MediaKind.AUDIO, MediaKind.IMAGE


def sample(name: str, *media: Media, answer: str = "A", **changes: object) -> Sample:
    fields: dict[str, object] = {
        "id": name,
        "question": "What is it?",
        "problem_type": ProblemType.MULTIPLE_CHOICE,
        "options": (f"{name} one", f"{name} two", f"{name} three"),
        "answer": answer,
        "media": media or (film(name), film(name, AUDIO)),
    }
    return Sample.model_validate({**fields, **changes})


def film(name: str, kind: MediaKind = VIDEO, **seconds: float) -> Media:
    return Media.model_validate({"kind": kind, "path": Path(f"/films/{name}.mp4"), **seconds})


def trials_of(samples: list[Sample], folder: Path) -> Trials:
    return Trials(samples, AlteredFiles(folder, MediaBudget()))


# ---------------------------------------------------------------- media


def test_withheld_media_leave_the_prompt_and_nothing_else_changes() -> None:
    whole = sample("a", film("a"), film("a", AUDIO), film("b", IMAGE))
    assert [item.kind for item in without(whole, SEEN).media] == [AUDIO]
    assert [item.kind for item in without(whole, HEARD).media] == [VIDEO, IMAGE]
    for altered in (without(whole, SEEN), without(whole, SEEN | HEARD)):
        assert cluster_of(altered) == cluster_of(whole)
        assert (altered.id, altered.question, altered.options) == (
            "a",
            "What is it?",
            whole.options,
        )


def test_swapped_media_keep_the_order_of_the_prompt_and_the_seconds_of_the_donor() -> None:
    mine = sample("a", film("a", AUDIO), film("a"), film("a2"))
    theirs = sample(
        "b", film("b", start=1.0, end=2.0), film("b2"), film("b", AUDIO, start=1.5, end=3.0)
    )
    assert swapped(mine, theirs, SEEN).media == (
        film("a", AUDIO), film("b", start=1.0, end=2.0), film("b2")
    )  # fmt: skip
    assert swapped(mine, theirs, HEARD).media == (
        film("b", AUDIO, start=1.5, end=3.0), film("a"), film("a2")
    )  # fmt: skip
    assert cluster_of(swapped(mine, theirs, SEEN | HEARD)) == cluster_of(mine)


def test_conditions_apply_to_samples_that_have_what_is_altered(tmp_path: Path) -> None:
    samples = [
        sample("mute", film("m")),
        sample("heard", film("h", AUDIO), film("p", IMAGE)),
        sample("text", media=()),
    ]
    trials = trials_of(samples, tmp_path)

    def asked(condition: Condition) -> list[str]:
        return [one.id for trial in trials.of(condition) for one in trial.samples]

    assert asked(Condition.FULL) == ["mute", "heard", "text"]
    assert asked(Condition.BLIND) == ["mute", "heard"]
    assert asked(Condition.DEAF) == ["heard"]
    assert asked(Condition.TEXT_ONLY) == ["mute", "heard"] * 3, "in three orders of the options"
    assert asked(Condition.SWAPPED_AUDIO) == [], "no other sample has a sound"
    assert asked(Condition.PERMUTED) == ["mute", "heard", "text"] * 2


# ---------------------------------------------------------------- options


def test_options_turn_and_the_right_letters_turn_with_them() -> None:
    one = sample("a", answer="B")
    assert [turned(one, k).answer for k in range(3)] == ["B", "A", "C"]
    for k in range(3):
        moved = turned(one, k)
        assert answer_text(moved) == answer_text(one) == "a two"
        assert sorted(moved.options) == sorted(one.options)
    several = sample("a", answer="A,C", problem_type=ProblemType.MULTI_SELECT)
    assert turned(several, 1).answer == "B,C"
    assert answer_text(turned(several, 1)) == answer_text(several)


# ---------------------------------------------------------------- donors


def test_donors_say_otherwise() -> None:
    questions = clip_questions(60, all_kinds=True)
    donors = Donors(questions)
    for one in questions:
        for kinds in (SEEN, HEARD, SEEN | HEARD):
            donor = donors.find(one, kinds)
            assert donor is not None
            assert donor.says_otherwise
            assert cluster_of(donor.sample) != cluster_of(one)
            assert answer_text(donor.sample) != answer_text(one)
            for name, cue, medium in (
                ("expression_end", "mouth_end", VIDEO),
                ("pitch", "pitch", AUDIO),
            ):
                element = next(e for e in one.reference.elements if e.name == name)
                if element.relevant and medium in kinds:
                    assert one.extra["cues"][cue] != donor.sample.extra["cues"][cue]


def test_donors_do_not_depend_on_the_order_and_do_on_the_seed() -> None:
    questions = clip_questions(60)
    mixed = Random(1).sample(questions, len(questions))

    def found(pool: list[Sample], seed: int) -> list[str]:
        donors = Donors(pool, seed)
        return [donors.find(one, HEARD).sample.id for one in questions]  # type: ignore[union-attr]

    assert found(questions, 0) == found(mixed, 0)
    assert found(questions, 0) != found(questions, 1)
    most = Counter(found(questions, 0)).most_common(1)[0][1]
    assert most <= 6, "nobody's voice is everybody's"


def test_the_best_donor_there_is_is_named_as_no_more_than_that() -> None:
    def one(name: str, pitch: str, answer: str = "A") -> Sample:
        element = Element(name="pitch", phrases=(f"{pitch} voice",), medium=AUDIO)
        options = ("happy", "sad", "calm")
        return sample(
            name, answer=answer, options=options, reference=Reference(elements=(element,))
        )

    alone = [one("a", "flat"), one("b", "flat")]
    donor = Donors(alone).find(alone[0], HEARD)
    assert donor is not None
    assert (donor.sample.id, donor.says_otherwise) == ("b", False)
    better = [*alone, one("c", "flat", "B")]
    donor = Donors(better).find(alone[0], HEARD)
    assert donor is not None
    assert (donor.sample.id, donor.says_otherwise) == ("c", False)
    best = [*better, one("d", "rising", "B")]
    donor = Donors(best).find(alone[0], HEARD)
    assert donor is not None
    assert (donor.sample.id, donor.says_otherwise) == ("d", True)
    # What is not swapped need not differ: elements of the other medium do not count.
    donor = Donors(better).find(alone[0], SEEN)
    assert donor is not None
    assert (donor.sample.id, donor.says_otherwise) == ("c", True)


def by_comparing_all(
    pool: list[Sample], drawn: list[int], one: Sample, kinds: frozenset[MediaKind]
) -> Donor | None:
    """The rule of `donors` as it is written there, pair by pair."""

    def files(of: Sample) -> list[str]:
        return [str(item.path) for item in of.media if item.kind in kinds]

    def counts(of: Sample) -> list[int]:
        return [sum(item.kind is kind for item in of.media) for kind in kinds]

    best, most = None, -1.0
    for candidate in (pool[index] for index in drawn):
        if cluster_of(candidate) == cluster_of(one) or counts(candidate) != counts(one):
            continue
        if {*files(candidate)} & {*files(one)}:
            continue
        said = {element.name: element.phrases for element in candidate.reference.elements}
        differ = [
            not {*map(normalise, element.phrases)} & {*map(normalise, said[element.name])}
            for element in one.reference.elements
            if element.relevant and element.name in said and is_of(element.medium, kinds)
        ]
        points = (answer_text(candidate) != answer_text(one)) + (
            sum(differ) / len(differ) if differ else 1.0
        )
        if points > most:
            best, most = Donor(candidate, points == 2.0), points
    return best


def random_samples(rng: Random, count: int) -> list[Sample]:
    """Samples that share clips, files, answers, elements and phrases in every way."""

    def element() -> Element:
        name, said = rng.choice("uvw"), [rng.choice(("High", "high ", "low", "none")) for _ in "12"]
        medium, relevant = rng.choice((VIDEO, AUDIO, None)), rng.random() < 0.7
        return Element(name=name, phrases=tuple(said), medium=medium, relevant=relevant)

    return [
        sample(
            str(number),
            *(film(rng.choice("abcdefgh"), rng.choice((VIDEO, AUDIO))) for _ in range(2)),
            answer=rng.choice("AB"),
            options=("happy", "sad"),
            reference=Reference(elements=tuple(element() for _ in range(rng.randrange(4)))),
            extra={"clip": number // 2} if rng.random() < 0.5 else {},
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_donors_are_those_that_comparing_all_pairs_finds(seed: int) -> None:
    alone = sample("alone", *(film(name, IMAGE) for name in "xyz"))
    pool = sorted([alone, *random_samples(Random(seed), 60)], key=lambda one: one.id)
    donors, found = Donors(pool, seed), []
    for kinds in (SEEN, HEARD, SEEN | HEARD):
        for one in pool:
            drawn = donors._drawn(one, kinds).tolist()
            found.append(donors.find(one, kinds))
            assert found[-1] == by_comparing_all(pool, drawn, one, kinds)
    assert {donor and donor.says_otherwise for donor in found} == {None, False, True}


def test_phrases_are_not_read_anew_for_each_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many samples that all say the same have no donor that ends the search."""
    element = Element(name="pitch", phrases=("flat",), medium=AUDIO)
    pool = [sample(f"{i}", reference=Reference(elements=(element,))) for i in range(50)]
    read: list[str] = []

    def count(text: str) -> str:
        read.append(text)
        return normalise(text)

    monkeypatch.setattr(donors_module, "normalise", count)
    donors = Donors(pool)
    assert not any(donor.says_otherwise for one in pool if (donor := donors.find(one, HEARD)))
    assert read.count("flat") <= 2 * len(pool)


def test_nobody_gives_where_nobody_is() -> None:
    assert Donors([]).find(sample("a"), HEARD) is None
    assert Donors([sample("a")]).find(sample("a"), HEARD) is None


def test_no_clip_and_no_file_is_its_own_donor() -> None:
    one = sample("a")
    same_clip = sample("b", film("a"), film("a", AUDIO), answer="B")
    same_sound = sample("c", film("c"), film("a", AUDIO), answer="B")
    other_kinds = sample("d", film("d"), answer="B")
    other_files = sample("e", answer="B", extra={"clip": cluster_of(one)})
    donors = Donors([one, same_clip, same_sound, other_kinds, other_files])
    assert donors.find(one, HEARD) is None
    donor = donors.find(one, SEEN)
    assert donor is not None
    assert donor.sample.id in ("c", "d")


# ---------------------------------------------------------------- chance


def test_chance_is_the_best_that_can_be_had_for_nothing() -> None:
    assert chance(sample("a")) == pytest.approx(1 / 3)
    assert chance(sample("a", problem_type="yes_no", options=(), answer="no")) == 0.5
    assert chance(sample("a", problem_type="free_form", options=(), answer="joy")) == 0.0
    several = sample("a", problem_type="multi_select", options=("v", "w", "x", "y"), answer="A,C")
    everything = answer_score("A,B,C,D", "A,C", several.problem_type, several.options)
    assert chance(several) == pytest.approx(everything) == pytest.approx(2 / 3)


def test_films_that_are_read_in_turns_are_not_taken_apart() -> None:
    check_read_in_turns((Condition.BLIND, Condition.SWAPPED, Condition.PERMUTED), Withhold.REMOVE)
    with pytest.raises(ConfigError, match="swapped_audio would take a video and its sound"):
        check_read_in_turns((Condition.SWAPPED_AUDIO,), Withhold.REMOVE)
    with pytest.raises(ConfigError, match="withhold: blank"):
        check_read_in_turns((Condition.BLIND,), Withhold.BLANK)
