"""A judge against a server that fails in every way: nothing is lost, nothing is wrong."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import judging
import pytest
from judging import IMPATIENT, REASONS, Fault, JudgeServer, config, expected, item, run, what

from triptych.rewards import Unscored

EVERY_FAULT = dict.fromkeys(Fault, 0.1)


@pytest.mark.parametrize(
    "count", [200, pytest.param(1000, marks=pytest.mark.slow)], ids="{} items".format
)
def test_under_all_faults_every_item_is_scored_right_and_the_second_run_asks_nothing(
    count: int, tmp_path: Path
) -> None:
    items = [item(index) for index in range(count)]
    truth = [expected(index) for index in range(count)]
    with JudgeServer(EVERY_FAULT) as server:
        settings = config(
            server.url, cache=tmp_path / "cache.sqlite", max_concurrency=32, timeout=IMPATIENT
        )
        outcomes, usage = run(settings, items)

        assert outcomes == truth
        # Of those that are given up early, not all arrive.
        assert len(server.requests) <= usage.requests == usage.retries + count
        assert usage.scored == count
        met = Counter(fault for faults in server.met.values() for fault in faults)
        assert set(met) == {*Fault, None}
        given_up = met[Fault.SILENCE] + met[Fault.DRIP]  # they may still be served
        assert server.most_at_once <= 32 + given_up < count

        before = len(server.requests)
        outcomes, usage = run(settings, items)

        assert outcomes == truth
        assert len(server.requests) == before
        assert (usage.requests, usage.cache_hits) == (0, count)


def test_with_few_retries_an_item_says_what_it_met_last_and_only_those_are_asked_again(
    tmp_path: Path,
) -> None:
    count = 100
    items = [item(index) for index in range(count)]
    with JudgeServer(EVERY_FAULT, seed=1) as server:
        settings = config(
            server.url,
            cache=tmp_path / "cache.sqlite",
            max_retries=1,
            max_failures=count,
            max_concurrency=32,
            timeout=IMPATIENT,
        )
        outcomes, usage = run(settings, items)

        for index, outcome in enumerate(outcomes):
            faults = server.met[f"What {index} shows."]
            assert len(faults) <= 2
            due = expected(index) if faults[-1] is None else REASONS[faults[-1]]
            assert outcome in (due, Unscored.TIMEOUT)  # a busy machine, too, may be too slow
        failed = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Unscored)]
        assert {outcomes[i] for i in failed} == set(REASONS.values())
        assert usage.unscored == Counter(outcomes[i] for i in failed)
        assert usage.scored == count - len(failed)

        server.faults = {}
        before = len(server.requests)
        outcomes, _ = run(replace(settings, timeout=30.0), items)

        assert outcomes == [expected(index) for index in range(count)]
        asked = [what(seen) for seen in server.requests[before:]]
        assert sorted(asked) == sorted(f"What {i} shows." for i in failed)


@pytest.mark.parametrize("fault", Fault)
def test_three_requests_in_ten_meet_the_same_fault(fault: Fault) -> None:
    with JudgeServer({fault: 0.3}, seed=2) as server:
        settings = config(server.url, max_concurrency=32, timeout=IMPATIENT)
        outcomes, usage = run(settings, [*map(item, range(24))])
    assert outcomes == [*map(expected, range(24))]
    assert usage.retries > 0


def _process(url: str, cache: Path, count: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, judging.__file__, url, str(cache), str(count)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def _outcomes(process: "subprocess.Popen[str]") -> list[float | str]:
    out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    outcomes: list[float | str] = json.loads(out)
    return outcomes


def test_after_kill_9_half_way_only_what_is_missing_is_asked(tmp_path: Path) -> None:
    count, cache = 120, tmp_path / "cache.sqlite"
    with JudgeServer() as server:

        def killing(seen: judging.Seen) -> judging.Answer:
            if len(server.requests) == count // 2:
                os.kill(process.pid, signal.SIGKILL)
            return judging.true_answer(seen)

        server.answer = killing
        process = _process(server.url, cache, count)
        process.communicate(timeout=120)
        assert process.returncode == -signal.SIGKILL
        before = [what(seen) for seen in server.requests]
        assert len(before) < count

        server.answer = judging.true_answer
        settings = config(server.url, cache=cache, max_concurrency=8)
        outcomes, usage = run(settings, [*map(item, range(count))])

        assert outcomes == [*map(expected, range(count))]
        # Lost are at most the replies that were on their way: eight at a time.
        missing = count - len(before)
        assert missing <= usage.requests <= missing + 8
        asked = Counter(what(seen) for seen in server.requests)
        assert max(asked.values()) <= 2


@pytest.mark.slow
def test_two_processes_share_a_cache_at_the_same_time(tmp_path: Path) -> None:
    count, cache = 100, tmp_path / "new" / "cache.sqlite"
    with JudgeServer() as server:
        both = [_process(server.url, cache, count) for _ in range(2)]

        assert [_outcomes(process) for process in both] == [[*map(expected, range(count))]] * 2
        asked = Counter(what(seen) for seen in server.requests)
        assert len(asked) == count
        assert max(asked.values()) <= 2
        _, usage = run(config(server.url, cache=cache), [*map(item, range(count))])
        assert usage.requests == 0
