import itertools
import re
from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from triptych.data.clips import corpus_lines, text_only_samples
from triptych.data.clips.cues import (
    ELEMENT_NAMES,
    HABITUAL_PITCH,
    INTENTIONS,
    Brows,
    Cues,
    Loudness,
    Mouth,
    Pitch,
    all_cues,
    describe,
    elements,
)
from triptych.data.clips.questions import emotion_question, intention_questions, sincerity_question
from triptych.data.sample import Sample
from triptych.stages.prompt import OPTION_LETTERS

EVERY_CUES = list(all_cues())


def right_options(sample: Sample) -> list[str]:
    return [sample.options[OPTION_LETTERS.index(letter)] for letter in sample.answer.split(",")]


def every_question() -> list[Sample]:
    samples: list[Sample] = []
    for number, cues in enumerate(EVERY_CUES):
        rng, clip = Random(number), f"clip-{number}"
        samples += intention_questions(clip, cues, 4, rng)
        samples += [emotion_question(clip, cues, rng), sincerity_question(clip, cues)]
    return samples


def says(text: str, phrase: str) -> bool:
    words = re.findall(r"\w+|[.,]", text.lower())
    wanted = phrase.split()
    return any(words[i : i + len(wanted)] == wanted for i in range(len(words)))


def test_the_reference_context_names_every_element_and_contradicts_none() -> None:
    for cues in EVERY_CUES:
        context = describe(cues)
        made = elements(cues, frozenset({"pitch"}))
        assert tuple(element.name for element in made) == ELEMENT_NAMES
        assert [element.name for element in made if element.relevant] == ["pitch"]
        for element in made:
            assert any(says(context, phrase) for phrase in element.phrases), element.name
            assert not any(says(context, phrase) for phrase in element.contradictions)


def test_the_context_of_other_cues_contradicts_just_the_elements_that_differ() -> None:
    cases = Random(0).sample(list(itertools.product(EVERY_CUES, EVERY_CUES)), 300)
    for cues, other in cases:
        context = describe(other)
        differing = [
            element.name
            for element, cue in zip(elements(cues, frozenset()), vars(cues), strict=True)
            if getattr(cues, cue) is not getattr(other, cue)
        ]
        contradicted = [
            element.name
            for element in elements(cues, frozenset())
            if any(says(context, phrase) for phrase in element.contradictions)
        ]
        assert contradicted == differing


def test_contexts_read_as_documented() -> None:
    steady = Cues(Mouth.SMILING, Mouth.SMILING, Brows.RAISED, Pitch.RISING, *[Loudness.LOUD] * 2)
    assert describe(steady) == (
        "The mouth starts smiling and ends smiling, the brows are raised. "
        "The voice is rising, starts loud and ends loud."
    )
    turning = replace(
        steady, mouth_start=Mouth.NEUTRAL, brows=Brows.LEVEL, loudness_end=Loudness.SOFT
    )
    assert describe(turning) == (
        "The mouth starts neutral and ends smiling, the brows are level. "
        "The voice is rising, starts loud and ends soft."
    )


def test_phrases_belong_to_one_element_and_one_side() -> None:
    for cues in EVERY_CUES:
        for element in elements(cues, frozenset()):
            assert not set(element.phrases) & set(element.contradictions)
        by_name = {element.name: set(element.phrases) for element in elements(cues, frozenset())}
        faces = by_name["expression_start"] | by_name["expression_end"]
        assert not faces & (by_name["loudness_start"] | by_name["loudness_end"])


def test_intention_options_are_a_block_that_one_modality_halves() -> None:
    meaning = {word: cell for cell, word in INTENTIONS.items()}
    for cues in EVERY_CUES:
        questions = intention_questions("clip", cues, 4, Random(0))
        assert len({frozenset(question.options) for question in questions}) == 4
        for question in questions:
            cells = [meaning[option] for option in question.options]
            assert right_options(question) == [cues.intention]
            assert len(set(cells)) == 4
            assert sum(mouth is cues.mouth_end for mouth, _ in cells) == 2
            assert sum(pitch is cues.pitch for _, pitch in cells) == 2


def test_conflict_means_that_the_tempting_option_is_offered() -> None:
    for question in every_question():
        cues = Cues(**question.extra["cues"])
        tempting = INTENTIONS[cues.mouth_end, HABITUAL_PITCH[cues.mouth_end]]
        match question.extra["alignment"]:
            case "aligned":
                assert cues.aligned
            case "conflict":
                assert not cues.aligned
                assert question.extra["kind"] != "intention" or tempting in question.options
            case "other":
                assert not cues.aligned
                assert question.extra["kind"] == "intention"
                assert tempting not in question.options
            case unknown:
                pytest.fail(f"{unknown!r}")


def test_emotion_answers_are_what_mouth_and_brows_show() -> None:
    mouths = {"smiling": "joy", "frowning": "sadness", "neutral": "composure"}
    brows = {"raised": ["surprise"], "furrowed": ["tension"], "level": []}
    for cues in EVERY_CUES:
        question = emotion_question("clip", cues, Random(1))
        shown = [mouths[cues.mouth_end], *brows[cues.brows]]
        assert sorted(right_options(question)) == sorted(shown)
        assert len(set(question.options)) == 4


def test_sincere_is_whose_voice_is_the_habitual_one() -> None:
    answers = {
        (cues.mouth_end, cues.pitch): sincerity_question("clip", cues).answer for cues in EVERY_CUES
    }
    sincere = {(str(m), str(p)) for (m, p), answer in answers.items() if answer == "yes"}
    assert sincere == {("smiling", "rising"), ("frowning", "trembling"), ("neutral", "flat")}


def test_reasoning_is_short_and_states_the_answer() -> None:
    for question in every_question():
        reasoning = question.reference.reasoning or ""
        assert len(reasoning.split()) < 20
        if question.options:
            for letter, option in zip(
                question.answer.split(","), right_options(question), strict=True
            ):
                assert f"{option} ({letter})" in reasoning
        else:
            assert reasoning.endswith(f"so {question.answer}.")


def test_what_is_relevant_depends_on_the_question() -> None:
    relevant = {
        question.extra["kind"]: {e.name for e in question.reference.elements if e.relevant}
        for question in every_question()
    }
    assert relevant == {
        "intention": {"expression_end", "pitch"},
        "emotion": {"expression_end", "brows"},
        "sincerity": {"expression_end", "pitch"},
    }


def test_the_corpus_holds_every_text_of_every_question() -> None:
    corpus = set(corpus_lines())
    assert corpus_lines() == corpus_lines()
    for question in every_question():
        assert question.question in corpus
        assert question.answer in corpus
        assert question.reference.context in corpus
        assert question.reference.reasoning in corpus
        for letter, option in zip(OPTION_LETTERS, question.options, strict=False):
            assert f"{letter}. {option}" in corpus


def test_text_only_samples_say_what_a_clip_would_show() -> None:
    samples = text_only_samples(120, seed=5)
    assert samples == text_only_samples(120, seed=5)
    assert samples[:30] == text_only_samples(30, seed=5)
    assert samples != text_only_samples(120, seed=6)
    assert Counter(s.extra["kind"] for s in samples) == {
        "look-up": 90,
        "intention": 20,
        "emotion": 5,
        "sincerity": 5,
    }
    assert all(sample.media == () for sample in samples)
    for description in samples[::4]:
        assert description.question.startswith(f"{description.reference.context} ")


def test_look_ups_name_the_right_letters() -> None:
    look_ups = [s for s in text_only_samples(60, seed=2) if s.extra["kind"] == "look-up"]
    assert len(look_ups) == 45
    for look_up in look_ups:
        letters = dict(zip(look_up.options, OPTION_LETTERS, strict=False))
        named = re.findall(r"(\w+) \((\w)\)", str(look_up.reference.context))
        assert len(named) == 20
        assert all(letters[word] == letter for word, letter in named)
        word = look_up.question.removeprefix("Which letter stands for ").removesuffix("?")
        assert look_up.answer == letters[word]
