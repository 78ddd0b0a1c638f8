"""A file of completions: what a line holds, and what an interruption leaves of it."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from triptych.data.sample import Sample
from triptych.errors import ConfigError, DataError
from triptych.generation import Completion, Enforce, SamplingConfig, StopReason
from triptych.generation.completions import (
    completion_record,
    weights_digest,
    write_completions,
)
from triptych.generation.engine import sample_seed
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.origin import check_origin, origin_path

DRAWN = SamplingConfig(max_new_tokens=8, seed=3)
GREEDY = SamplingConfig(max_new_tokens=8, temperature=0)
ORIGIN = {"model": "tiny", "media": {"fps": 2.0}, "n": 2}


class Counted(LocalEngine):
    """Knows which samples it was asked for, and can be interrupted after some of its calls."""

    def __init__(self, model: OmniModel, calls: int | None = None) -> None:
        super().__init__(model)
        self.calls, self.asked = calls, list[list[str]]()

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig, *rest: Any, **more: Any
    ) -> list[list[Completion]]:
        if self.calls == len(self.asked):
            raise KeyboardInterrupt
        self.asked.append([sample.id for sample in samples])
        return super().generate(samples, n, sampling, *rest, **more)


@pytest.fixture
def questions(samples: list[Sample]) -> list[Sample]:
    """Six samples, some without media; one id is half a surrogate pair."""
    texts = [sample.model_copy(update={"media": ()}) for sample in samples[:5]]
    odd = samples[6].model_copy(update={"id": "odd \ud800", "media": ()})
    return [*texts[:2], samples[5], *texts[2:4], odd]


def lines(path: Path) -> list[dict[str, Any]]:
    # Not by splitlines: text may hold other line ends, such as U+2028.
    return [json.loads(line) for line in path.read_bytes().split(b"\n") if line]


def test_a_line_holds_a_sample_and_its_completions(
    tiny: OmniModel, questions: list[Sample], tmp_path: Path
) -> None:
    path, done = tmp_path / "new" / "out.jsonl", list[int]()
    found = write_completions(
        LocalEngine(tiny), questions, 2, DRAWN, path, ORIGIN, progress=done.append
    )
    assert found == 0
    assert done == [1, 2, 3, 4, 5, 6]
    records = lines(path)
    assert [record["sample_id"] for record in records] == [sample.id for sample in questions]
    for record in records:
        first, second = record["completions"]
        assert set(first) == {
            "text", "bodies", "valid", "violations", "stop_reason", "tokens", "forced", "overruled",
        }  # fmt: skip
        assert first["text"] != second["text"]


def test_a_completion_is_read_by_the_format() -> None:
    written = Completion(
        token_ids=(1, 2, 3),
        text="<context>a</context><answer>B",
        stop_reason=StopReason.LENGTH,
        forced=(True, False, True),
        overruled=1,
    )
    assert completion_record(written) == {
        "text": "<context>a</context><answer>B",
        "bodies": {"context": "a", "think": None, "answer": "B"},
        "valid": False,
        "violations": [
            {"kind": "truncated", "stage": "answer", "position": 20},
            {"kind": "missing", "stage": "think", "position": 29},
        ],
        "stop_reason": "length",
        "tokens": 3,
        "forced": 2,
        "overruled": 1,
    }


def test_enforced_completions_are_valid(
    tiny: OmniModel, questions: list[Sample], tmp_path: Path
) -> None:
    path = tmp_path / "out.jsonl"
    sampling = SamplingConfig(max_new_tokens=80, enforce=Enforce.STAGES)
    write_completions(LocalEngine(tiny), questions[:3], 2, sampling, path, ORIGIN)
    assert all(one["valid"] for record in lines(path) for one in record["completions"])


def test_what_is_drawn_for_a_sample_does_not_depend_on_its_neighbours(
    tiny: OmniModel, questions: list[Sample], tmp_path: Path
) -> None:
    engine = LocalEngine(tiny)
    write_completions(engine, questions, 2, DRAWN, tmp_path / "all", ORIGIN, batch_size=4)
    write_completions(engine, questions[3:4], 2, DRAWN, tmp_path / "one", ORIGIN)
    assert lines(tmp_path / "one") == lines(tmp_path / "all")[3:4]
    write_completions(engine, questions, 2, DRAWN, tmp_path / "single", ORIGIN)
    assert lines(tmp_path / "single") == lines(tmp_path / "all")


def test_one_question_under_two_ids_is_completed_in_two_ways(
    tiny: OmniModel, questions: list[Sample], tmp_path: Path
) -> None:
    twins = [questions[0].model_copy(update={"id": name}) for name in ("one", "two")]
    write_completions(LocalEngine(tiny), twins, 1, DRAWN, tmp_path / "out", ORIGIN)
    one, two = lines(tmp_path / "out")
    assert one["completions"] != two["completions"]


def test_seeds_differ_by_sample_and_by_run() -> None:
    seeds = {sample_seed(seed, name) for seed in (0, 1) for name in ("a", "b", "1 a")}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert sample_seed(0, "a") == 7473381847846152037  # files of earlier versions go on


@pytest.mark.parametrize(("sampling", "n"), [(DRAWN, 2), (GREEDY, 1)])
@pytest.mark.parametrize("kept", [0, 1, 3, 5, 6])
@pytest.mark.parametrize("torn", [0, 40])
def test_an_interrupted_file_becomes_the_same_as_an_uninterrupted_one(
    tiny: OmniModel,
    questions: list[Sample],
    tmp_path: Path,
    sampling: SamplingConfig,
    n: int,
    kept: int,
    torn: int,
) -> None:
    """Whole lines of `kept` samples, and the beginning of the next."""
    whole, cut = tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    write_completions(LocalEngine(tiny), questions, n, sampling, whole, ORIGIN, batch_size=2)
    shutil.copy(origin_path(whole), origin_path(cut))
    written = whole.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join(written[:kept]) + b"".join(written[kept:])[:torn])
    engine = Counted(tiny)
    assert write_completions(engine, questions, n, sampling, cut, ORIGIN, batch_size=2) == kept
    assert cut.read_bytes() == whole.read_bytes()
    ids = [sample.id for sample in questions]
    # A batch is answered as a whole once more, as it was: padding moves last bits.
    begun = kept - kept % 2
    assert [name for batch in engine.asked for name in batch] == ids[begun:]


def test_lines_are_there_as_soon_as_they_are_done(
    tiny: OmniModel, questions: list[Sample], tmp_path: Path
) -> None:
    path, engine = tmp_path / "out.jsonl", Counted(tiny, calls=2)
    with pytest.raises(KeyboardInterrupt):
        write_completions(engine, questions, 1, DRAWN, path, ORIGIN)
    assert len(lines(path)) == 2
    assert write_completions(Counted(tiny), questions, 1, DRAWN, path, ORIGIN) == 2
    assert len(lines(path)) == len(questions)


@pytest.fixture
def begun(tiny: OmniModel, questions: list[Sample], tmp_path: Path) -> Path:
    """A file with two samples in it."""
    path = tmp_path / "begun.jsonl"
    with pytest.raises(KeyboardInterrupt):
        write_completions(Counted(tiny, calls=2), questions, 1, DRAWN, path, ORIGIN)
    return path


def test_a_file_that_was_made_otherwise_is_refused_and_left_alone(
    tiny: OmniModel, questions: list[Sample], begun: Path
) -> None:
    before = begun.read_bytes()
    other = {**ORIGIN, "media": {"fps": 4.0}, "model": "large"}
    message = (
        rf"{begun.name}: was made by other settings or data \(model was \"tiny\", is \"large\", "
        r"media.fps was 2.0, is 4.0\); name another file, or remove this one to start over"
    )
    with pytest.raises(ConfigError, match=message):
        write_completions(LocalEngine(tiny), questions, 1, DRAWN, begun, other)
    assert begun.read_bytes() == before
    check_origin(begun, {"n": 2})  # what is known so far may be checked on its own
    with pytest.raises(ConfigError, match="n was 2, is 3"):
        check_origin(begun, {"n": 3})


def test_a_file_is_started_over_by_removing_it(
    tiny: OmniModel, questions: list[Sample], begun: Path
) -> None:
    begun.unlink()
    other = {**ORIGIN, "n": 1}
    assert write_completions(LocalEngine(tiny), questions[:1], 1, DRAWN, begun, other) == 0
    check_origin(begun, other)


def test_a_file_of_unknown_origin_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text("mine\n")
    with pytest.raises(ConfigError, match=r"no notes.jsonl.settings.json beside it"):
        check_origin(path, ORIGIN)
    (tmp_path / "notes.jsonl.settings.json").write_text("{")
    with pytest.raises(DataError, match=r"settings.json: not valid JSON"):
        check_origin(path, ORIGIN)
    assert path.read_text() == "mine\n"


@pytest.mark.parametrize("line", ['{"sample_id": "another"}\n', "[]\n", "\0\0\0\n"])
def test_lines_of_other_samples_are_refused(
    tiny: OmniModel, questions: list[Sample], begun: Path, line: str
) -> None:
    first = begun.read_text().splitlines(keepends=True)[0]
    begun.write_text(first + line)
    with pytest.raises(DataError, match=rf"begun.jsonl:2: .*{questions[1].id}"):
        write_completions(LocalEngine(tiny), questions, 1, DRAWN, begun, ORIGIN)
    assert begun.read_text() == first + line


def test_more_lines_than_samples_are_refused(
    tiny: OmniModel, questions: list[Sample], begun: Path
) -> None:
    with pytest.raises(DataError, match=r"begun.jsonl:2: should be the line of sample None"):
        write_completions(LocalEngine(tiny), questions[:1], 1, DRAWN, begun, ORIGIN)


def test_training_changes_the_fingerprint_of_the_weights_and_loading_does_not(
    tiny: OmniModel, tiny_folder: Path
) -> None:
    digest = weights_digest(tiny)
    assert weights_digest(OmniModel.from_pretrained(tiny_folder)) == digest
    with torch.no_grad():
        next(tiny.parameters()).add_(1e-3)
    assert weights_digest(tiny) != digest
