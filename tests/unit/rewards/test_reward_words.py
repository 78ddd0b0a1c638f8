import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.rewards.words import (
    SENTENCE_END,
    concept,
    normalise,
    phrase_key,
    read_text,
    rivals,
    stem,
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The VOICE  is\trising.", "the voice is rising"),
        ("Voice:rising, and LOUD!", "voice rising and loud"),
        ("isn\u2019t smiling", "is not smiling"),
        ("cannot smile; can't smile", "can not smile . ca not smile"),
        ("the man's hat", "the man hat"),
        ("One. Two?! Three...", "one . two . three"),
        ("costs 1,234.50 dollars", "costs 1,234.50 dollars"),
        ("high-pitched", "high pitched"),
        ("\uff26\uff55\uff4c\uff4c width", "full width"),
        ("\u4ed6\u5728\u5fae\u7b11", "\u4ed6 \u5728 \u5fae \u7b11"),
        ("a \u2014 b - c / d (e)", "a b c d e"),
        ("", ""),
        (" .!? ", ""),
    ],
)
def test_text_is_read_as_plain_words(text: str, words: str) -> None:
    assert " ".join(read_text(text).words) == words


def test_a_phrase_is_found_by_whole_words_and_not_across_sentences() -> None:
    text = read_text("It is raised. Brows stay level, and the voice is rising.")

    assert text.find(phrase_key("the VOICE is  rising")) == [8]
    assert text.find(phrase_key("raised brows")) == []
    assert text.find(phrase_key("ice is")) == []
    assert read_text("so so so").find(phrase_key("so so")) == [0, 1]


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        ("the mouth is not really smiling", True),
        ("no one is smiling", True),
        ("never once smiling", True),
        ("the mouth isn't smiling", True),
        ("neither frowning nor smiling", True),
        ("the voice is not flat and the mouth is smiling", False),
        ("not flat, smiling", False),
        ("It is not flat. It is smiling", False),
        ("not only smiling", False),
        ("there is no doubt that he is smiling", False),
        ("smiling, not frowning", False),
        ("frowning rather than smiling", True),
        ("frowning instead of smiling", True),
        ("nothing suggests that she is smiling", True),
        ("I doubt that she is smiling", True),
        ("he doubts she is smiling", True),
        ("I do not doubt that she is smiling", False),
        ("not just smiling", False),
        ("isn't merely smiling", False),
        ("she cannot help smiling", False),
        ("she can't help but keep smiling", False),
        ("she never stops smiling", False),
        ("she does not stop smiling", False),
        ("she does not stop to ask who is smiling", False),
        ("without hesitation the man is smiling", False),
        ("without a word she is smiling", False),
        ("she nods. instead of frowning she is smiling", False),
        ("without her smiling", True),
        ("he waves without it smiling", True),
    ],
)
def test_a_negator_reaches_to_the_end_of_its_clause(text: str, negated: bool) -> None:
    read = read_text(text)

    assert read.negated(read.words.index("smiling")) is negated
    assert ("smile" in read.denied) is negated
    assert ("smile" in read.affirmed) is not negated


def test_what_does_not_stop_is_negated_and_what_does_not_stop_moving_is_not() -> None:
    assert read_text("The bus does not stop.").denied == {"stop"}
    assert read_text("The bus does not stop moving.").denied == frozenset()


def test_synonyms_are_one_concept_and_opposites_exclude_each_other() -> None:
    assert concept("grins") == concept("smiled") == concept("smiling")
    assert concept("the") is None
    assert concept("not") is None
    assert concept(SENTENCE_END) is None
    assert rivals(concept("smiling") or "") == {concept("frowning"), concept("neutral")}
    assert rivals(concept("table") or "") == set()
    assert read_text("the smiling man is not loud").clause_concepts == (
        frozenset({"smile", "man", "not loud"}),
    )


def test_words_of_other_scripts_have_no_stem() -> None:
    assert stem("\u0443\u043b\u044b\u0431\u043a\u0430") == "\u0443\u043b\u044b\u0431\u043a\u0430"
    assert stem("3.5") == "3.5"


def test_filler_share_counts_words_once() -> None:
    assert read_text("some kind of something").filler_share == 1.0
    assert read_text("the man with a hat does something").filler_share == pytest.approx(1 / 7)
    assert read_text("").filler_share == 0.0


@given(st.text(max_size=200))
@settings(deadline=None, max_examples=80)
def test_any_text_is_read_and_spacing_and_case_change_nothing(text: str) -> None:
    read = read_text(text)

    assert len(read.words) == len(read.clauses)
    assert list(read.clauses) == sorted(read.clauses)
    assert read_text(normalise(text)).words == read.words
    assert read_text(f"  {text}\n").words == read.words
    assert 0.0 <= read.filler_share <= 1.0
