"""How long answers took, over calls and processes."""

from typing import Any

import pytest

from triptych.evaluation.timing import Timing, next_call, together


def note(call: int, rank: int, waited: float, *seconds: float, tokens: int | None = 10) -> Any:
    answers = [{"sample_id": f"{call}-{rank}-{i}", "seconds": s, "tokens": tokens}
               for i, s in enumerate(seconds)]  # fmt: skip
    return {"call": call, "rank": rank, "waited": waited, "answers": answers}


def test_processes_wait_side_by_side_and_calls_one_after_the_other() -> None:
    notes = [
        note(0, 0, 1.0, 0.5, 0.5),
        note(0, 0, 3.0, 1.0, 1.0),
        note(0, 1, 4.0, 2.0, 2.0),
        note(1, 0, 2.0, 2.0),
    ]
    timing = Timing.of(notes)
    assert timing is not None
    assert timing.answers == 7
    assert timing.wall_seconds == 4.0 + 2.0
    assert timing.mean_seconds == pytest.approx(9 / 7)
    assert timing.median_seconds == 1.0
    assert timing.p95_seconds == 2.0
    assert timing.tokens_per_second == pytest.approx(70 / 6)


def test_tokens_that_one_answer_has_no_count_of_are_not_guessed() -> None:
    timing = Timing.of([note(0, 0, 1.0, 1.0), note(0, 0, 2.0, 1.0, tokens=None)])
    assert timing is not None
    assert timing.tokens_per_second is None


def test_nothing_has_no_timing() -> None:
    assert Timing.of([]) is None
    assert Timing.of([note(0, 0, 5.0)]) is None


def test_a_note_that_two_files_hold_counts_once() -> None:
    first, second = note(0, 0, 1.0, 1.0), note(0, 1, 1.0, 1.0)
    assert together([second, first], [first]) == [first, second]
    assert next_call([first, second]) == 1
    assert next_call([]) == 0
