"""An engine against a server that fails in every way: each sample gets its own answer, or a why."""

import logging
import signal
import threading
import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from faulty import IMPATIENT, MODEL, Answer, Fault, Seen, refusal
from served_questions import (
    GREEDY,
    QuestionServer,
    as_stream,
    config,
    engine,
    expected,
    number,
    question,
    questions,
    true_answer,
)

from triptych.data.media import MediaBudget
from triptych.endpoint import EndpointError
from triptych.generation.engine import Answer as Answered
from triptych.generation.engine import Completion, NoCompletion, SamplingConfig
from triptych.generation.server import ServerEngine

KEY = "sk-test-0123456789abcdefghijklmnop"
FAULTS = [fault for fault in Fault if fault is not Fault.OFF_SCALE]
REASONS = {
    Fault.SILENCE: "timeout",
    Fault.DRIP: "timeout",
    Fault.RATE_LIMIT: "unavailable",
    Fault.ERROR: "unavailable",
    Fault.CUT: "unavailable",
    Fault.MALFORMED: "bad_reply",
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_under_all_faults_every_sample_gets_its_own_answer(stream: bool) -> None:
    count = 120
    answer = as_stream if stream else true_answer
    with (
        QuestionServer(dict.fromkeys(FAULTS, 0.08), answer=answer) as server,
        engine(server.url, max_concurrency=32, timeout=IMPATIENT, stream=stream) as model,
    ):
        answers = list(model.answers(questions(range(count)), GREEDY))
        met = {fault for faults in server.met.values() for fault in faults}
    order = [answer.index for answer in answers]
    assert sorted(order) == list(range(count))
    assert order != sorted(order)
    assert {one.index: one.outcome for one in answers} == {i: expected(i) for i in range(count)}
    assert met == {*FAULTS, None}
    assert all(one.seconds > 0 for one in answers)
    assert model.usage.retries == model.usage.requests - count > 0


def test_with_few_retries_a_sample_says_what_it_met_last() -> None:
    count = 100
    with (
        QuestionServer(dict.fromkeys(FAULTS, 0.1), seed=1) as server,
        engine(
            server.url,
            max_retries=1,
            max_failures=count,
            max_concurrency=32,
            timeout=IMPATIENT,
        ) as model,
    ):
        outcomes = {
            one.index: one.outcome for one in model.answers(questions(range(count)), GREEDY)
        }
        assert sorted(outcomes) == list(range(count))
        reasons = set()
        for index, outcome in outcomes.items():
            faults = server.met[str(index)]
            assert len(faults) <= 2
            if isinstance(outcome, Completion):
                assert outcome == expected(index)
                continue
            assert outcome.cause
            reasons.add(outcome.reason)
            last = faults[-1] if faults else None
            due = REASONS[last] if last else "timeout"  # a busy machine, too, may be too slow
            assert outcome.reason in (due, "timeout")
        assert reasons == set(REASONS.values())
        missing = sorted(i for i, one in outcomes.items() if isinstance(one, NoCompletion))

        server.faults = {}
        with engine(server.url) as patient:
            again = list(patient.answers(questions(missing), GREEDY))
        assert {missing[one.index]: one.outcome for one in again} == {
            index: expected(index) for index in missing
        }


def taken(answers: Iterator[Answered], into: dict[int, Any]) -> None:
    for one in answers:
        into[one.index] = one.outcome


def test_what_was_answered_comes_before_the_error_that_stops() -> None:
    def answer(seen: Seen) -> Answer:
        if int(number(seen)) >= 20:
            return refusal(401, "Incorrect API key")
        return true_answer(seen)

    got: dict[int, Any] = {}
    with (
        QuestionServer(answer=answer) as server,
        engine(server.url, max_concurrency=1) as model,
    ):
        with pytest.raises(EndpointError) as raised:
            taken(model.answers(questions(range(30)), GREEDY), got)
        assert got == {index: expected(index) for index in range(20)}
        assert str(raised.value) == (
            f"model {MODEL} at {server.url}: HTTP 401: Incorrect API key; put a key that this "
            "server accepts into the environment variable NO_KEY_FOR_THESE_TESTS "
            "(server.api_key_env)"
        )
        asked = len(server.requests)
        with pytest.raises(EndpointError, match="Incorrect API key"):
            taken(model.answers(questions([1]), GREEDY), got)
        assert len(server.requests) == asked


def test_too_many_in_a_row_without_an_answer_stop_the_run() -> None:
    got: dict[int, Any] = {}
    with (
        QuestionServer({Fault.ERROR: 1.0}) as server,
        engine(server.url, max_retries=0, max_failures=3, max_concurrency=1) as model,
    ):
        expectation = pytest.raises(
            EndpointError,
            match=r"3 items in a row got no answer \(unavailable 3; the last: HTTP 50\d: .*\); "
            r"see that the server runs and what its log says, or lower server\.max_concurrency",
        )
        with expectation:
            taken(model.answers(questions(range(9)), GREEDY), got)
        assert [got[0].reason, got[1].reason] == ["unavailable"] * 2
        assert set(got) == {0, 1}


def test_a_wrong_model_is_told_with_those_that_there_are() -> None:
    def answer(seen: Seen) -> Answer:
        if seen.path.endswith("/models"):
            return Answer(200, {"object": "list", "data": [{"id": "Qwen/Qwen3-Omni"}]})
        return refusal(404, "no such model")

    with (
        QuestionServer(answer=answer) as server,
        engine(server.url) as model,
        pytest.raises(EndpointError, match=r"set server\.model to one .*: Qwen/Qwen3-Omni$"),
    ):
        list(model.answers(questions(range(3)), GREEDY))


def test_a_sample_that_the_server_refuses_stops_nothing() -> None:
    """Such as one that is too long for it."""

    def answer(seen: Seen) -> Answer:
        if int(number(seen)) >= 5:
            return refusal(400, "maximum context length is 4096 tokens")
        return true_answer(seen)

    with (
        QuestionServer(answer=answer) as server,
        engine(server.url, max_failures=2, max_concurrency=1) as model,
    ):
        outcomes = {one.index: one.outcome for one in model.answers(questions(range(9)), GREEDY)}
        assert len(server.requests) == 9
    too_long = NoCompletion("failed", "HTTP 400: maximum context length is 4096 tokens")
    assert outcomes == {i: too_long if i >= 5 else expected(i) for i in range(9)}


def test_reasoning_that_the_server_took_out_of_the_text_is_an_error_unless_it_may_go() -> None:
    said = {"content": "<answer>B</answer>", "reasoning_content": "He smiles."}
    body = {"choices": [{"message": said, "finish_reason": "stop"}]}
    with QuestionServer(answer=lambda _: Answer(200, body)) as server:
        with (
            engine(server.url) as model,
            pytest.raises(EndpointError, match=r"moved reasoning out .*--reasoning-parser.*ignore"),
        ):
            list(model.answers(questions([0]), GREEDY))
        assert len(server.requests) == 1
        with engine(server.url, ignore_reasoning=True) as model:
            ((completion,),) = model.generate(questions([0]), 1, GREEDY)
        assert (completion.text, completion.num_tokens) == ("<answer>B</answer>", None)
        said["reasoning_content"] = "\n\n"
        with engine(server.url) as model:
            assert model.generate(questions([0]), 1, GREEDY) == [[completion]]


def await_requests(server: QuestionServer, count: int) -> None:
    end = time.monotonic() + 20
    while len(server.requests) < count:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_who_leaves_takes_the_requests_along() -> None:
    def answer(seen: Seen) -> Answer:
        if number(seen) != "0":
            server.closing.wait(20)
        return true_answer(seen)

    with (
        QuestionServer(answer=answer) as server,
        engine(server.url, max_concurrency=4) as model,
    ):
        for one in model.answers(questions(range(50)), GREEDY):
            assert one.index == 0
            await_requests(server, 4)
            break
        server.answer = true_answer
        # The places are free again, although the server still holds the requests.
        assert model.generate(questions([5]), 1, GREEDY) == [[expected(5)]]
        assert len(server.requests) <= 7


def test_an_interrupt_is_heard_while_the_server_is_silent() -> None:
    def answer(seen: Seen) -> Answer:
        server.closing.wait(20)
        return true_answer(seen)

    def interrupt() -> None:
        await_requests(server, 2)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with (
        QuestionServer(answer=answer) as server,
        engine(server.url, max_concurrency=2) as model,
    ):
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            list(model.answers(questions(range(9)), GREEDY))
        thread.join()
        server.answer = true_answer
        assert model.generate(questions([5]), 1, GREEDY) == [[expected(5)]]
        assert len(server.requests) == 3


def test_no_more_is_asked_at_once_than_allowed_nor_far_ahead_of_who_takes() -> None:
    meeting = threading.Barrier(3)

    def answer(seen: Seen) -> Answer:
        if len(server.requests) <= 3:
            meeting.wait(20)
            time.sleep(0.2)  # for others to come, should they be let through
        return true_answer(seen)

    with (
        QuestionServer(answer=answer) as server,
        engine(server.url, max_concurrency=3) as model,
    ):
        answers = model.answers(questions(range(60)), GREEDY)
        next(answers)
        await_requests(server, 9)
        time.sleep(0.2)
        assert len(server.requests) == 9  # 8 that wait to be taken, and the one that was
        assert len(list(answers)) == 59
        assert server.most_at_once == 3


def test_a_closed_engine_says_so() -> None:
    with QuestionServer() as server:
        model = engine(server.url)
        assert list(model.answers([], GREEDY)) == []
        assert model.generate([], 2, GREEDY) == []
        answers = model.answers(questions(range(50)), GREEDY)
        next(answers)
        model.close()
        with pytest.raises(EndpointError, match="the engine is closed"):
            list(answers)
        with pytest.raises(EndpointError, match="the engine is closed"):
            list(model.answers(questions([1]), GREEDY))


def test_an_engine_that_nobody_holds_any_more_ends() -> None:
    def threads() -> set[threading.Thread]:
        return {one for one in threading.enumerate() if one.name.startswith("answering")}

    with QuestionServer() as server:
        model = engine(server.url)
        model.generate(questions([4]), 1, GREEDY)
        before = threads()
        assert before
        del model
        assert not before & set(threading.enumerate())


def test_several_completions_are_several_requests_in_order() -> None:
    def answer(seen: Seen) -> Answer:
        index = int(number(seen))
        time.sleep(0.02 * (3 - index))
        said = {"content": f"{index} {seen.body['seed']}"}
        return Answer(200, {"choices": [{"message": said, "finish_reason": "stop"}]})

    sampling = SamplingConfig(seed=7, seed_per_sample=True)
    with QuestionServer(answer=answer) as server, engine(server.url) as model:
        groups = model.generate(questions(range(3)), 4, sampling)
        alone = model.generate(questions([1]), 4, sampling)
    texts = [[one.text for one in group] for group in groups]
    assert [text.split()[0] for group in texts for text in group] == [*"000011112222"]
    assert len({text.split()[1] for group in texts for text in group}) == 12
    assert [[one.text for one in group] for group in alone] == [texts[1]]


def test_a_completion_that_cannot_be_had_is_named_when_all_are_wanted() -> None:
    with (
        QuestionServer({Fault.MALFORMED: 1.0}) as server,
        engine(server.url, max_retries=1) as model,
        pytest.raises(EndpointError, match=rf"sample q3: no completion from {MODEL} \(bad_reply: "),
    ):
        model.generate([question(3)], 1, GREEDY)


def _echo(seen: Seen) -> Answer:
    """Ways in which a server can send the key back."""
    echo = f"you sent {dict(seen.headers)}"
    match int(number(seen)):
        case 0:
            said = {"content": f"<answer>{KEY}</answer>"}
            return Answer(200, {"choices": [{"message": said, "finish_reason": "stop"}]})
        case 1:
            said = {"content": "", "refusal": echo}
            return Answer(200, {"choices": [{"message": said, "finish_reason": "stop"}]})
        case 2:
            return Answer(200, {"choices": [{"message": {}, "finish_reason": KEY}]})
        case 3:
            return Answer(200, 'data: {"error": {"message": "' + KEY + '"}}\n\n')
        case 4:
            return refusal(400, echo)
        case 5:
            return Answer(500, echo, {"X-Echo": KEY})
        case _:
            return refusal(401, echo)


def test_the_key_appears_nowhere(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    got: dict[int, Any] = {}
    with QuestionServer(answer=_echo) as server:
        settings = config(server.url, api_key_env="MY_KEY", max_retries=1, max_concurrency=1)
        with ServerEngine(settings, MediaBudget()) as model:
            taken(model.answers(questions(range(6)), GREEDY), got)
            with pytest.raises(EndpointError) as raised:
                model.generate(questions([6]), 1, GREEDY)
            shown = [repr(settings), repr(model), repr(vars(model)), str(model.usage)]
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert set(got) == set(range(6))
    error: BaseException | None = raised.value
    shown += traceback.TracebackException.from_exception(raised.value, capture_locals=True).format()
    while error is not None:
        shown += [str(error), repr(vars(error))]
        error = error.__cause__ or error.__context__
    shown += [repr(got), caplog.text]
    assert sum("[key]" in text for text in shown) >= 2
    for part in (KEY, KEY[:12], KEY[-12:]):
        assert not [text for text in shown if part in text]
