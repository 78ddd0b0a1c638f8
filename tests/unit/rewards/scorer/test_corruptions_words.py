"""What the surgery on prose does to sentences, by hand."""

from random import Random

import pytest

from triptych.rewards.scorer.corruptions.prose import ProseDraft
from triptych.rewards.scorer.corruptions.wording import EXCLUDE, SAME, exchange, varied
from triptych.rewards.words import concept


@pytest.mark.parametrize(
    ("text", "word", "other", "expected"),
    [
        (
            "She smiles. Her smiles are loud.",
            "smiles",
            "frowns",
            "She frowns. Her frowns are loud.",
        ),
        ("An angry man.", "angry", "calm", "A calm man."),
        ("A young man, a user.", "young", "old", "An old man, a user."),
        ("A man waits. He rubs his neck.", "man", "woman", "A woman waits. She rubs her neck."),
        (
            "A woman waits. The dog sees her and licks her hand; she laughs to herself.",
            "woman",
            "man",
            "A man waits. The dog sees him and licks his hand; he laughs to himself.",
        ),
        # Whose pronouns they are cannot be told.
        (
            "A man waits for his wife. He yawns.",
            "man",
            "woman",
            "A woman waits for his wife. He yawns.",
        ),
        ("Two birds, twofold.", "two", "three", "Three birds, twofold."),
    ],
)
def test_exchange(text: str, word: str, other: str, expected: str) -> None:
    assert exchange(text, word, other) == expected


@pytest.mark.parametrize(
    ("text", "drops"),
    [
        (
            "She sits down, crosses her legs and yawns loudly.",
            {
                "She crosses her legs and yawns loudly.",
                "She sits down and yawns loudly.",
                "She sits down and crosses her legs.",
            },
        ),
        (
            "The voice is low, and the hands tremble.",
            {"The voice is low.", "The hands tremble."},
        ),
        # The noun that an adjective belongs to stays with it.
        ("He asks in a low, hurried voice.", set()),
        # Without the relative clause it would be anyone.
        ("The man who waves stands at the gate.", set()),
        ("It rains. The street is empty.", {"It rains.", "The street is empty."}),
        (
            'He nods. "Never," he says, and looks at the floor.',
            {
                "He nods.",
                '"Never," he says, and looks at the floor.',
                'He nods. "Never," he says.',
            },
        ),
    ],
)
def test_drops_leave_sentences(text: str, drops: set[str]) -> None:
    assert drops <= {draft.written() for draft in ProseDraft.read(text).drops()}
    if not drops:
        assert not ProseDraft.read(text).drops()


@pytest.mark.parametrize(
    ("text", "broken"),
    [
        # What follows leans on the subject that would be gone.
        ("When she asks, the boy answers at once, in a high voice.", "When she asks, in"),
        ("When a man calls, the woman turns round and lifts a hand.", "calls and lifts"),
        ("When a man calls, she turns round and lifts a hand.", "calls and lifts"),
        # Half a pair of quotation marks.
        ('He turns round and says: "It is raining."', 'says."'),
        ("His shoulders drop while the lamp flickers.", "The lamp flickers"),
    ],
)
def test_drops_that_would_be_broken_are_not_made(text: str, broken: str) -> None:
    drafts = ProseDraft.read(text).drops()
    assert not any(broken in draft.written() for draft in drafts)


def test_a_pronoun_passes_to_what_leaned_on_it() -> None:
    draft = ProseDraft.read("When a man calls, she turns round and lifts a hand.")
    assert "When a man calls, she lifts a hand." in {d.written() for d in draft.drops()}


@pytest.mark.parametrize(
    "text",
    [
        "A woman waits.",
        'He says: "No." Then he leaves. "Wait!" she calls; nobody hears it...',
        "In a low, hurried voice - hoarse, too - she asks: why?",
        "Dr. Brandt (42) pays 3.50 euros; the U.S. flag hangs there.",
        "no capital, no stop",
    ],
)
def test_reading_loses_nothing(text: str) -> None:
    written = ProseDraft.read(text).written()
    assert written.lower().rstrip(".") == text.lower().rstrip(".")


def test_cuts_are_beginnings() -> None:
    text = "A man waits, his hands folded. He yawns and looks up."
    cuts = [draft.written() for draft in ProseDraft.read(text).cuts()]
    assert (
        cuts
        == [
            "A man waits.",
            "A man waits, his hands folded.",
            "A man waits, his hands folded. He yawns and looks up."[: len(cuts[-1]) - 1] + ".",
        ][: len(cuts)]
    )


def test_the_tables_hold_what_they_promise() -> None:
    for word, others in SAME.items():
        assert word not in others
        for other in others:
            assert word in SAME[other]
            assert other not in EXCLUDE.get(word, ())
    for word, others in EXCLUDE.items():
        assert others
        assert all(concept(other) != concept(word) for other in others), word


def test_varied_exchanges_what_it_may() -> None:
    text = "The man on the sofa is smiling."
    assert varied(text, Random(0), share=0.0) == text
    assert varied(text, Random(0), share=1.0, keep={"man", "sofa", "smiling"}) == text
    assert varied(text, Random(0), 1.0).startswith("The gentleman on the couch is ")
