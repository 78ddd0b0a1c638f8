"""What is read the short way, because it is plain or holds nothing of interest, reads the same as
the long way, which is taken for all else.
"""

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from triptych.data.sample import Media, MediaKind, ProblemType, Sample
from triptych.rewards.columns import sample_columns
from triptych.rewards.conclusion import _longest, _may_end_with, _option_keys
from triptych.rewards.mentions import _REJECTED_BEFORE, NEAR, _rejected_before
from triptych.rewards.reasoning import COPIED_RUN, _claimed_until, _may_copy, _runs, claims
from triptych.rewards.words import (
    _COMMA,
    _STOP,
    _marked,
    _marked_by_pattern,
    normalise,
    one_line,
    read_text,
)

_PIECES = st.sampled_from(
    [
        *(
            " ",
            " ",
            " ",
            ". ",
            ", ",
            "\n",
            "\t",
            " - ",
            " - - ",
            "-",
            "--",
            "–",
            "—",
            "…",
            "'",
            '"',
        ),
        *("''", ".", "?!", ";", ":", "(", ")", "[", "/", "_", "3.5", "1,000", "7", "5.", "é", "。"),
        *("it's", "O'Brien's", "n't", "don't", "cannot", "not", "not only", "no doubt", "doubt"),
        *(
            "only",
            "or",
            "if",
            "but",
            "means",
            "goes with",
            "rather than",
            "instead of",
            "so",
            "and",
        ),
        *("smile", "the", "man", "voice", "very", "happy", "A", "b", "x", "\x1c", "\xa0", "\u200b"),
    ]
)
_TEXTS = st.lists(_PIECES, max_size=16).map("".join) | st.lists(_PIECES, max_size=16).map(" ".join)
_OPTIONS = ("happy", "very happy", "the man", "not", "man cannot", "3.5", "it's", "?")


def _parts(marked: str) -> list[list[list[str]]]:
    """Sentence by sentence, the words of each part between marks."""
    return [[part.split() for part in sentence.split(_COMMA)] for sentence in marked.split(_STOP)]


@given(_TEXTS)
@example("it''s")
@example("a - - b")
@example("it is 3.5 m, not 2,5")
@example("3–5")
def test_marks_of_plain_text(text: str) -> None:
    plain = normalise(text)
    assert _parts(_marked(plain)) == _parts(_marked_by_pattern(plain))


def test_a_clause_of_one_concept_joins_none_of_another_sentence() -> None:
    read = read_text("The man smiles. Loud, and rising.")
    assert [*map(set, read.clause_concepts)] == [{"man", "smile"}, {"loud", "rise"}]


@given(_TEXTS | st.text(max_size=20))
def test_a_text_on_one_line(text: str) -> None:
    assert one_line(text) == " ".join(text.split())


@given(_TEXTS)
@example("It is calm instead of the very (")
@example("so compared to\nvery very ")
def test_a_letter_is_rejected_by_the_words_before_it(text: str) -> None:
    for start in range(len(text) + 1):
        found = _REJECTED_BEFORE.search(text, max(0, start - NEAR), start)
        assert _rejected_before(text, start) is (found is not None)


def test_words_far_before_a_letter_do_not_reject_it() -> None:
    far = "not " + "so " * NEAR
    assert _rejected_before("Not so very (", 13)
    assert not _rejected_before(f"{far}(", len(far) + 1)


@given(_TEXTS)
@example("the man cannot")
@example("not only")
def test_what_may_end_with_an_option_is_read(text: str) -> None:
    if text[-1:].isalnum() and not _may_end_with(text, _option_keys(_OPTIONS)):
        assert not _longest(_OPTIONS, read_text(text).padded.endswith)


@given(st.lists(st.sampled_from("abc"), max_size=40), st.lists(st.sampled_from("abc"), max_size=20))
def test_what_may_be_copied_is_compared(words: list[str], source: list[str]) -> None:
    shared = {*_runs(tuple(words))} & {*_runs(tuple(source))}
    assert _may_copy(tuple(words), f" {' '.join(source)} ") or not shared


def test_what_is_copied_is_found_wherever_it_stands() -> None:
    copied = tuple("abcdefghij"[:COPIED_RUN])
    for before in range(COPIED_RUN):
        words = tuple("xyzuvw"[:before]) + copied
        assert _may_copy(words, f" {' '.join(copied)} ")


@given(_TEXTS)
def test_what_is_claimed_clause_by_clause(text: str) -> None:
    read = read_text(text)
    expected: list[str] = []
    for number in dict.fromkeys(read.clauses):
        clause = tuple(
            word for word, own in zip(read.words, read.clauses, strict=True) if own == number
        )
        expected += clause[: _claimed_until(clause)]
    assert claims(text).words == tuple(expected)


def test_copies_of_a_sample_share_its_columns() -> None:
    sample = Sample(
        id="q", question="?", problem_type=ProblemType.YES_NO, answer="no",
        media=(Media(kind=MediaKind.VIDEO, path=Path("a.mp4")),),
    )  # fmt: skip
    columns = sample_columns([sample, sample.model_copy(update={"id": "q#2"})])
    assert columns["sample_id"] == ["q", "q#2"]
    for name in ("media", "reference"):
        assert columns[name][0] is columns[name][1], name
