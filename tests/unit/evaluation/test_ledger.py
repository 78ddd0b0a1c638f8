"""An evaluation that is interrupted, whenever, ends as one that was not; holes are filled later."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.unit.evaluation.interrupting import (
    Engine,
    Judge,
    Server,
    completion,
    judged,
    lines,
    run,
)
from triptych.data.sample import Sample
from triptych.errors import ConfigError, DataError, TriptychError
from triptych.evaluation import EvaluationResult
from triptych.generation.engine import Answer, SamplingConfig
from triptych.rewards import Unscored, rule_rewards


@pytest.mark.parametrize("calls", [0, 1, 2, 3])
@pytest.mark.parametrize("torn", [0, 1, 2])
def test_an_interrupted_evaluation_ends_as_one_that_was_not(
    questions: list[Sample],
    out: Path,
    whole: tuple[bytes, EvaluationResult],
    calls: int,
    torn: int,
) -> None:
    """Killed after some batches, within a line of the last one or between two of its lines."""
    with pytest.raises(KeyboardInterrupt):
        run(Engine(calls), questions, out)
    scored = out.parent / "model.jsonl.ledger" / "scored.0.jsonl"
    kept = 3 * calls
    if calls and torn:
        content = scored.read_bytes().splitlines(keepends=True)
        kept -= torn
        scored.write_bytes(b"".join(content[:kept]) + content[kept][:40])
    engine = Engine()
    result = run(engine, questions, out)
    assert out.read_bytes() == whole[0]
    assert result == whole[1]
    assert result.found == kept
    # A batch is asked as a whole once more, as it was: padding moves last bits.
    ids = [sample.id for sample in questions]
    assert [one for batch in engine.asked for one in batch] == ids[kept - kept % 3 :]
    assert all(len(batch) == 3 for batch in engine.asked[:-1])
    assert not (out.parent / "model.jsonl.ledger").exists()


def test_half_a_line_does_not_spoil_the_one_behind_it(
    questions: list[Sample], out: Path, whole: tuple[bytes, EvaluationResult]
) -> None:
    """Killed within a line, gone on with, and killed again."""
    scored = out.parent / "model.jsonl.ledger" / "scored.0.jsonl"
    with pytest.raises(KeyboardInterrupt):
        run(Engine(2), questions, out)
    scored.write_bytes(scored.read_bytes()[:-30])
    with pytest.raises(KeyboardInterrupt):
        run(Engine(1), questions, out)
    assert len(lines(scored)) == 6
    assert run(Engine(), questions, out) == whole[1]
    assert out.read_bytes() == whole[0]


def test_a_kill_between_the_last_steps_does_no_harm(
    questions: list[Sample], out: Path, whole: tuple[bytes, EvaluationResult]
) -> None:
    """The file is in place, and the ledger not gone yet."""
    with pytest.raises(KeyboardInterrupt):
        run(Engine(3), questions, out)
    out.write_bytes(whole[0])
    engine = Engine()
    assert run(engine, questions, out) == whole[1]
    assert engine.asked == []
    assert out.read_bytes() == whole[0]
    assert not (out.parent / "model.jsonl.ledger").exists()


def test_a_finished_evaluation_asks_nothing(
    questions: list[Sample], out: Path, whole: tuple[bytes, EvaluationResult]
) -> None:
    run(Engine(), questions, out)
    timing = out.with_name("model.jsonl.timing.json").read_bytes()

    def never(prompts: Any, completions: Any, **_: Any) -> list[float]:
        raise AssertionError("what was scored is not scored again")

    engine = Engine()
    result = run(engine, questions, out, rewards=dict.fromkeys(rule_rewards(), never))
    assert result == whole[1]
    assert result.found == len(questions)
    assert engine.asked == []
    assert out.read_bytes() == whole[0]
    assert out.with_name("model.jsonl.timing.json").read_bytes() == timing


def test_the_times_of_all_calls_are_kept(questions: list[Sample], out: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Engine(2), questions, out)
    result = run(Engine(), questions, out)
    assert result.timing is not None
    assert result.timing.answers == len(questions)
    notes = json.loads(out.with_name("model.jsonl.timing.json").read_text())["notes"]
    assert [note["call"] for note in notes] == [0, 0, 1, 1]
    ids = [answer["sample_id"] for note in notes for answer in note["answers"]]
    assert ids == [sample.id for sample in questions]


def test_without_a_file_the_result_is_the_same(
    questions: list[Sample], whole: tuple[bytes, EvaluationResult]
) -> None:
    result = run(Engine(), questions, None)
    assert result == whole[1]
    assert result.timing is not None
    assert result.timing.answers == len(questions)


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ({"origin": {"model": "large"}}, r'model was "tiny", is "large"'),
        ({"sampling": SamplingConfig(max_new_tokens=9)}, r"sampling.max_new_tokens was 512, is 9"),
        ({"batch_size": 4}, r"batch_size was 3, is 4"),
        ({"rewards": {"answer": rule_rewards()["answer"]}}, r'metrics was \["context", .* is \["a'),
        ({"groups": {}}, r'groups was \["kind"\], is \[\]'),
        ({"published": lambda sample, text: 1.0}, r"metrics was"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_an_evaluation_of_something_else_is_refused_and_left_alone(
    questions: list[Sample], out: Path, change: dict[str, Any], cause: str, finished: bool
) -> None:
    if finished:
        run(Engine(), questions, out)
    else:
        with pytest.raises(KeyboardInterrupt):
            run(Engine(1), questions, out)
    before = {path: path.read_bytes() for path in out.parent.rglob("*.*") if path.is_file()}
    with pytest.raises(ConfigError, match=cause):
        run(Engine(), questions, out, **change)
    assert {path: path.read_bytes() for path in before} == before


def test_other_questions_are_refused_and_moved_media_are_not(
    questions: list[Sample], out: Path
) -> None:
    run(Engine(), questions, out)
    with pytest.raises(ConfigError, match="samples_sha256 was"):
        run(Engine(), questions[:5], out)
    media = [
        one.model_copy(update={"path": Path("/moved") / one.path.name})
        for one in questions[0].media
    ]
    moved = [questions[0].model_copy(update={"media": tuple(media)}), *questions[1:]]
    engine = Engine()
    run(engine, moved, out)
    assert engine.asked == []


def test_a_file_of_unknown_origin_is_refused(questions: list[Sample], out: Path) -> None:
    out.parent.mkdir()
    out.write_text("mine\n")
    with pytest.raises(ConfigError, match=r"no model.jsonl.settings.json beside it"):
        run(Engine(), questions, out)
    assert out.read_text() == "mine\n"


@pytest.mark.parametrize(
    ("line", "cause"),
    [('{"sample_id": "another"}\n', "scored.0.jsonl:4: is of no sample"), ("\0\0\n", "not valid")],
)
def test_a_damaged_ledger_is_named(
    questions: list[Sample], out: Path, line: str, cause: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(Engine(1), questions, out)
    with (out.parent / "model.jsonl.ledger" / "scored.0.jsonl").open("a") as ledger:
        ledger.write(line)
    with pytest.raises(DataError, match=cause):
        run(Engine(), questions, out)


# --- servers -----------------------------------------------------------------------------------


def test_answers_in_any_order_give_the_same_file(
    questions: list[Sample], out: Path, whole: tuple[bytes, EvaluationResult]
) -> None:
    server = Server()
    result = run(server, questions, out)
    assert out.read_bytes() == whole[0]
    assert result == whole[1]
    assert result.timing is not None
    assert result.timing.mean_seconds == 0.5
    assert sorted(server.asked) == sorted(sample.id for sample in questions)
    assert run(server, questions, out, batch_size=1) == result, "a matter of scoring alone"


def test_what_was_answered_before_a_breakdown_is_kept(
    questions: list[Sample], out: Path, whole: tuple[bytes, EvaluationResult]
) -> None:
    first, second = Server(most=4), Server()
    with pytest.raises(TriptychError, match="the server is gone"):
        run(first, questions, out)
    assert len(lines(out.parent / "model.jsonl.ledger" / "scored.0.jsonl")) == 4
    assert run(second, questions, out).found == 4
    assert not set(first.asked) & set(second.asked)
    assert out.read_bytes() == whole[0]


def test_holes_are_counted_in_no_mean_and_filled_by_the_next_call(
    questions: list[Sample], out: Path, whole: tuple[bytes, EvaluationResult]
) -> None:
    missing = {sample.id for sample in questions[::4]}
    result = run(Server(lambda sample: sample.id in missing), questions, out)
    assert set(result.unanswered) == missing
    assert {one.reason for one in result.unanswered.values()} == {"timeout"}
    assert len(result.records) == len(questions) - len(missing)
    assert result.summary["balanced"]["format"].n == len(questions) - len(missing)
    records = lines(out)
    assert [record["sample_id"] for record in records] == [sample.id for sample in questions]
    for record in records:
        assert ("error" in record) == (record["sample_id"] in missing)
        assert ("scores" in record) != ("error" in record)
        assert record["groups"]
    still = questions[0].id
    server = Server(lambda sample: sample.id == still)
    assert set(run(server, questions, out).unanswered) == {still}
    assert set(server.asked) == missing
    server = Server()
    result = run(server, questions, out)
    assert server.asked == [still]
    assert result == whole[1]
    assert out.read_bytes() == whole[0]


def test_nothing_answered_is_no_figure(questions: list[Sample], out: Path) -> None:
    result = run(Server(lambda sample: True), questions, out)
    assert len(result.unanswered) == len(questions)
    assert result.records == ()
    assert result.summary == {"balanced": {}}
    assert result.timing is None


@pytest.mark.parametrize("indices", [[0, 0], [0, 99], [0]])
def test_a_server_that_answers_otherwise_than_asked_is_an_error(
    questions: list[Sample], indices: list[int]
) -> None:
    class Confused(Server):
        def answers(self, samples: Sequence[Sample], sampling: SamplingConfig) -> Iterator[Answer]:
            yield from (Answer(index, completion(samples[0]), 0.0) for index in indices)

    with pytest.raises(DataError, match="answered"):
        run(Confused(), questions, None)


# --- judges ------------------------------------------------------------------------------------


def test_a_judgement_that_could_not_be_had_is_asked_for_once_more(
    questions: list[Sample], out: Path, tmp_path: Path
) -> None:
    failing = {sample.id for sample in questions[1:4]}
    result = run(Engine(), questions, out, rewards=judged(Judge(failing)))
    assert result.unscored["balanced"] == {"context": 3}
    assert [line["unscored"] for line in lines(out)[:2]] == [{}, {"context": "unavailable"}]
    engine, judge = Engine(), Judge({questions[1].id}, Unscored.TIMEOUT)
    result = run(engine, questions, out, rewards=judged(judge))
    assert engine.asked == []
    assert set(judge.asked) == failing, "what was scored is not scored again"
    assert result.unscored["balanced"] == {"context": 1}
    assert lines(out)[1]["unscored"] == {"context": "timeout"}
    run(engine, questions, out, rewards=judged(Judge(set())))
    other = tmp_path / "other.jsonl"
    run(Engine(), questions, other, rewards=judged(Judge(set())))
    assert out.read_bytes() == other.read_bytes()


def test_of_a_pass_that_asks_once_more_and_breaks_off_every_batch_is_kept(
    questions: list[Sample], out: Path
) -> None:
    run(Engine(), questions, out, rewards=judged(Judge({one.id for one in questions})))

    class Failing(Judge):
        def __call__(self, *args: Any, **columns: Any) -> list[float | None]:
            if len(self.asked) == 3:
                raise TriptychError("8 items in a row got no score")
            return super().__call__(*args, **columns)

    with pytest.raises(TriptychError, match="8 items in a row"):
        run(Engine(), questions, out, rewards=judged(Failing(set())))
    judge = Judge(set())
    run(Engine(), questions, out, rewards=judged(judge))
    assert judge.asked == [one.id for one in questions[3:]]


def test_what_no_judge_could_give_is_not_asked_for_again(
    questions: list[Sample], out: Path
) -> None:
    rewards = judged(Judge({questions[1].id}, Unscored.NOT_APPLICABLE))
    run(Engine(), questions, out, rewards=rewards)
    judge = Judge(set())
    run(Engine(), questions, out, rewards=judged(judge))
    assert judge.asked == []


def test_timing_is_not_what_results_are_compared_by(questions: list[Sample]) -> None:
    result = run(Engine(), questions, None)
    assert result == replace(result, timing=None, found=5)
