"""Which samples a run uses: settled before it begins, kept, and the same on every rank."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from triptych.data.policy import (
    FailurePolicy,
    FileSkips,
    OnBadSample,
    Ranks,
    RunSkips,
    SkipList,
    usable_samples,
)
from triptych.data.sample import Media, MediaKind, ProblemType, Sample
from triptych.errors import ConfigError, DataError, MediaError
from triptych.runs import RunFolder

SKIP = FailurePolicy(on_bad_sample=OnBadSample.SKIP, max_bad_share=0.5)


def sample(number: int) -> Sample:
    return Sample(
        id=f"s{number}",
        question="?",
        problem_type=ProblemType.FREE_FORM,
        answer="!",
        media=(Media(kind=MediaKind.VIDEO, path=Path(f"/{number}.mp4")),),
    )


SAMPLES = [sample(number) for number in range(8)]


class Encoder:
    """Finds the given samples bad; notes which it was asked for."""

    def __init__(self, *bad: str) -> None:
        self.bad, self.asked = bad, list[str]()

    def __call__(self, samples: Iterable[Sample]) -> Iterator[object]:
        for one in samples:
            self.asked.append(one.id)
            if one.id not in self.bad:
                yield "a prompt"
                continue
            named = MediaError(f"sample {one.id}: {one.media[0].path}: broken")
            named.__cause__ = MediaError(f"{one.media[0].path}: broken")
            yield named


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    data = tmp_path / "data.jsonl"
    data.write_text("{}\n")
    run = RunFolder.create(tmp_path / "run")
    run.write_environment(seed=0, data=[data])
    return run


@pytest.fixture(params=["run", "file"])
def skips(request: pytest.FixtureRequest, run: RunFolder, tmp_path: Path) -> SkipList:
    return RunSkips(run, "sft") if request.param == "run" else FileSkips(tmp_path / "new" / "out")


def ids(samples: Iterable[Sample]) -> list[str]:
    return [one.id for one in samples]


def test_without_permission_to_skip_nothing_is_looked_at(skips: SkipList) -> None:
    encode = Encoder("s1")
    assert usable_samples(SAMPLES, FailurePolicy(), encode, skips) == SAMPLES
    assert not encode.asked
    assert skips.read() is None


def test_bad_samples_are_left_out_and_listed_with_their_cause(
    run: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    used = usable_samples(SAMPLES, SKIP, Encoder("s5", "s1"), RunSkips(run, "sft"))
    assert ids(used) == ["s0", "s2", "s3", "s4", "s6", "s7"]
    lines = [json.loads(line) for line in run.skipped_path.read_text().splitlines()]
    assert lines == [
        {"phase": "sft", "sample_id": "s1", "cause": "/1.mp4: broken", "media": ["/1.mp4"]},
        {"phase": "sft", "sample_id": "s5", "cause": "/5.mp4: broken", "media": ["/5.mp4"]},
    ]
    note = run.environment()["skipped"]["sft"]
    assert (note["checked"], note["skipped"]) == (8, 2)
    assert caplog.messages == [f"2 of 8 samples are left out; see {run.skipped_path}"]


def test_a_resumed_run_goes_on_with_the_samples_that_it_began_with(skips: SkipList) -> None:
    first = usable_samples(SAMPLES, SKIP, Encoder("s1"), skips)
    for policy in (SKIP, FailurePolicy()):
        encode = Encoder("s2", "s3")  # they broke meanwhile
        assert usable_samples(SAMPLES, policy, encode, skips, resume=True) == first
        assert not encode.asked


def test_that_none_was_bad_is_settled_too(skips: SkipList) -> None:
    assert usable_samples(SAMPLES, SKIP, Encoder(), skips) == SAMPLES
    assert usable_samples(SAMPLES, SKIP, Encoder("s1"), skips, resume=True) == SAMPLES


def test_a_run_that_was_ended_before_it_was_settled_looks_again(skips: SkipList) -> None:
    def ended(samples: Iterable[Sample]) -> Iterator[object]:
        yield from Encoder("s1")(list(samples)[:3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        usable_samples(SAMPLES, SKIP, ended, skips)
    used = usable_samples(SAMPLES, SKIP, Encoder("s2"), skips, resume=True)
    assert ids(used) == ["s0", "s1", "s3", "s4", "s5", "s6", "s7"]


def test_too_many_bad_samples_stop_the_run_before_it_begins(run: RunFolder) -> None:
    policy = FailurePolicy(on_bad_sample=OnBadSample.SKIP, max_bad_share=0.25)
    encode = Encoder("s1", "s2", "s4", "s6")
    message = (
        r"^3 of 5 samples cannot be used; max_bad_share = 0\.25 allows 2 of all 8\. The first is "
        r"s1: /1\.mp4: broken$"
    )
    with pytest.raises(DataError, match=message):
        usable_samples(SAMPLES, policy, encode, RunSkips(run, "sft"))
    assert encode.asked[-1] == "s4", "the rest need not be looked at"
    assert len(run.skipped_path.read_text().splitlines()) == 3
    assert run.skipped("sft") is None
    two = Encoder("s1", "s2")
    assert len(usable_samples(SAMPLES, policy, two, RunSkips(run, "sft"), resume=True)) == 6


def test_a_run_without_samples_does_not_begin(skips: SkipList) -> None:
    policy = FailurePolicy(on_bad_sample=OnBadSample.SKIP, max_bad_share=1.0)
    with pytest.raises(DataError, match="none of the 8 samples can be used"):
        usable_samples(SAMPLES, policy, Encoder(*ids(SAMPLES)), skips)


def test_each_rank_looks_at_its_share_and_all_use_the_same(run: RunFolder) -> None:
    """What a rank finds on its own samples, and cannot on others', reaches all of them."""
    shares: list[Any] = [None] * 3

    def part(rank: int) -> Any:
        """What a rank has to say, found by a run of its own until it would gather."""

        def stop(mine: Any) -> list[Any]:
            if mine is not None:
                shares[rank] = mine
                raise InterruptedError
            return [None] * 3

        encode = Encoder("s0", "s4", "s5")
        with pytest.raises(InterruptedError):
            usable_samples(SAMPLES, SKIP, encode, RunSkips(run, "sft"), ranks=Ranks(rank, 3, stop))
        return encode.asked

    assert [part(rank) for rank in range(3)] == [
        ["s0", "s3", "s6"],
        ["s1", "s4", "s7"],
        ["s2", "s5"],
    ]
    for rank in (1, 0):
        ranks = Ranks(rank, 3, lambda mine: [None] * 3 if mine is None else shares)
        skips = RunSkips(run, "sft")
        used = usable_samples(SAMPLES, SKIP, Encoder(), skips, ranks=ranks)
        assert ids(used) == ["s1", "s2", "s3", "s6", "s7"]
        assert (skips.read() is None) is (rank == 1), "the first one writes"


def test_phases_of_a_run_leave_out_their_own(run: RunFolder) -> None:
    for phase, bad in (("sft", "s1"), ("grpo", "s2"), ("sft", "s3")):
        usable_samples(SAMPLES, SKIP, Encoder(bad), RunSkips(run, phase))
    assert (run.skipped("sft"), run.skipped("grpo")) == (["s3"], ["s2"])


def test_a_list_that_was_changed_is_refused(run: RunFolder) -> None:
    usable_samples(SAMPLES, SKIP, Encoder("s1", "s2"), RunSkips(run, "sft"))
    lines = run.skipped_path.read_text().splitlines(keepends=True)
    run.skipped_path.write_text(lines[0])
    with pytest.raises(ConfigError, match=r"skipped\.jsonl: is not what the run wrote"):
        usable_samples(SAMPLES, SKIP, Encoder(), RunSkips(run, "sft"), resume=True)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_a_share(share: float) -> None:
    with pytest.raises(ConfigError, match=r"max_bad_share is .*; use a share from 0 to 1"):
        FailurePolicy(max_bad_share=share)
