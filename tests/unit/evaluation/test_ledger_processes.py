"""Processes that share an evaluation leave what one process leaves."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evaluation.interrupting import Engine, Judge, Server, judged, run
from triptych.data.policy import Ranks
from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.evaluation import EvaluationResult


def in_processes(count: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """Ranks as threads, each of which waits for the others where it gathers."""
    barrier = threading.Barrier(count, timeout=20)
    table: list[Any] = [None] * count

    def ranks(rank: int) -> Ranks:
        def gather(mine: Any) -> list[Any]:
            table[rank] = mine
            barrier.wait()
            everyone = list(table)
            barrier.wait()
            return everyone

        return Ranks(rank, count, gather)

    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(work, ranks(rank)) for rank in range(count)]
        return [future.exception() or future.result() for future in futures]


@pytest.mark.parametrize("count", [2, 3, 7])
def test_processes_share_the_batches_and_all_get_the_result(
    questions: list[Sample], out: Path, whole: tuple[bytes, EvaluationResult], count: int
) -> None:
    engines = [Engine() for _ in range(count)]
    results = in_processes(
        count, lambda ranks: run(engines[ranks.rank], questions, out, ranks=ranks)
    )
    assert results == [whole[1]] * count
    assert out.read_bytes() == whole[0]
    batches = [batch for engine in engines for batch in engine.asked]
    assert sorted(one for batch in batches for one in batch) == sorted(s.id for s in questions)
    assert max(len(engine.asked) for engine in engines) == -(-4 // count)


@pytest.mark.parametrize(("before", "after"), [(1, 2), (3, 1), (2, 3)])
def test_another_number_of_processes_goes_on(
    questions: list[Sample],
    out: Path,
    whole: tuple[bytes, EvaluationResult],
    before: int,
    after: int,
) -> None:
    interrupted = in_processes(before, lambda ranks: _stopped(questions, out, ranks))
    assert interrupted == [True] * before
    found = {name.stem for name in (out.parent / "model.jsonl.ledger").glob("scored.*")}
    assert found == {f"scored.{rank}" for rank in range(before)}
    results = in_processes(
        after, lambda ranks: run(Engine(), questions, out, ranks=ranks, batch_size=2)
    )
    assert results == [whole[1]] * after
    assert results[0].found == 2 * before
    assert out.read_bytes() == whole[0]


def _stopped(questions: Sequence[Sample], out: Path, ranks: Ranks) -> bool:
    with pytest.raises(KeyboardInterrupt):
        run(Engine(1), questions, out, ranks=ranks, batch_size=2)
    return True


def test_what_the_first_process_refuses_all_refuse(questions: list[Sample], out: Path) -> None:
    run(Engine(), questions, out)
    errors = in_processes(
        2, lambda ranks: run(Engine(), questions, out, ranks=ranks, origin={"model": "large"})
    )
    assert [type(error) for error in errors] == [ConfigError, ConfigError]


def test_processes_mend_and_fill_holes_together(questions: list[Sample], out: Path) -> None:
    missing = {questions[0].id, questions[5].id, questions[7].id}
    failing = {questions[2].id, questions[3].id}
    run(Server(lambda one: one.id in missing), questions, out, rewards=judged(Judge(failing)))
    judges = [Judge(set()) for _ in range(2)]
    results = in_processes(
        2,
        lambda ranks: run(
            Server(), questions, out, ranks=ranks, rewards=judged(judges[ranks.rank])
        ),
    )
    assert results[0] == results[1]
    assert not results[0].unanswered
    assert not any(results[0].unscored.values())
    assert sorted(one for judge in judges for one in judge.asked) == sorted(missing | failing)
