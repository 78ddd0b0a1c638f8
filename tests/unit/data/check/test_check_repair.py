"""What is repaired of a checked data set, and what is left out, with its cause."""

import json
from pathlib import Path
from typing import Any

import pytest

from triptych.data.check import Fixed, Kind, MediaFiles, check, fix
from triptych.data.decoding import DecodePool
from triptych.data.media import MediaBudget
from triptych.data.readers import Dataset, read_dataset
from triptych.data.sample import Media, MediaKind, Sample


def sample(name: str, **changes: Any) -> Sample:
    record = {
        "id": name,
        "question": f"What does she want in {name}?",
        "problem_type": "multiple_choice",
        "options": ["to comfort", "to tease", "to leave"],
        "answer": "B",
        "media": [],
    }
    return Sample.model_validate({**record, **changes})


def fixed(*samples: Sample, decode: bool = False) -> Fixed:
    """Of samples that were read without a problem."""
    outcomes = (lambda media: DecodePool().outcomes(media, MediaBudget())) if decode else None
    files = MediaFiles(decode=outcomes)
    dataset = Dataset(samples, (), "native", "for the test")
    return fix(dataset, lambda data: check(data, lambda _: "too vague", files), Path("unread"))


def fixed_file(path: Path, *records: dict[str, Any] | str, root: Path | None = None) -> Fixed:
    """Of a file with these lines."""
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    path.write_text("".join(f"{line}\n" for line in lines))
    dataset = read_dataset(path, media_root=root)
    files = MediaFiles()
    return fix(dataset, lambda data: check(data, lambda _: None, files), path, media_root=root)


@pytest.mark.parametrize(
    ("options", "problem_type", "answer", "kept", "letters"),
    [
        (["x", "y", "X.", "z"], "multiple_choice", "D", ("x", "y", "z"), "C"),
        (["x", "y", "X.", "z"], "multiple_choice", "C", ("x", "y", "z"), "A"),
        (["x", "y", "X.", "z"], "multiple_choice", "B", ("x", "y", "z"), "B"),
        (["x", "x", "y", "y", "z"], "multi_select", "B,D,E", ("x", "y", "z"), "A,B,C"),
        (["x", "x", "y"], "multi_select", "A,B", ("x", "y"), "A"),
        (["x", "x", "y"], "free_form", "B", ("x", "y"), "B"),
    ],
)
def test_each_option_once_and_the_answer_follows(
    options: list[str], problem_type: str, answer: str, kept: tuple[str, ...], letters: str
) -> None:
    done = fixed(sample("a", options=options, problem_type=problem_type, answer=answer))
    assert [(one.options, one.answer) for one in done.samples] == [(kept, letters)]
    assert done.repaired == {Kind.DUPLICATE_OPTION: 1}
    assert done.rejected == ()
    assert Sample.model_validate(done.samples[0].model_dump()) == done.samples[0]


def test_a_single_option_is_no_choice() -> None:
    done = fixed(sample("a", options=["x", "X"], answer="A"), sample("b"))
    assert [one.id for one in done.samples] == ["b"]
    assert [(one.where, one.findings[0].kind) for one in done.rejected] == [
        ("a", Kind.DUPLICATE_OPTION)
    ]


def test_the_sound_of_a_silent_video_is_no_longer_asked_for(silent_clip: Path) -> None:
    video = Media(kind=MediaKind.VIDEO, path=silent_clip)
    audio = Media(kind=MediaKind.AUDIO, path=silent_clip)
    both = sample("both").model_copy(update={"media": (video, audio)})
    heard = sample("heard").model_copy(update={"media": (audio,)})
    done = fixed(both, heard, decode=True)
    assert [(one.id, one.media) for one in done.samples] == [("both", (video,))]
    assert done.repaired == {Kind.MEDIA_WITHOUT_AUDIO: 1}
    assert [one.where for one in done.rejected] == ["heard"]


def test_repeated_samples_are_left_out_once_and_contradicting_ones_all() -> None:
    twins = [sample(name, question="Why?") for name in ("a", "b", "c")]
    done = fixed(*twins, sample("d"))
    assert [one.id for one in done.samples] == ["a", "d"]
    assert [one.where for one in done.rejected] == ["b", "c"]
    rivals = [sample(letter, question="Why?", answer=letter) for letter in "ABC"]
    assert [one.id for one in fixed(*rivals, sample("d")).samples] == ["d"]


def test_warnings_and_information_leave_samples_as_they_are() -> None:
    vague = sample("a", reference={"context": "x", "reasoning": "y"})
    assert fixed(vague, sample("b")).samples == (vague, sample("b"))


NATIVE = sample("sound").model_dump(mode="json")


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({"answer": "(b)"}, Kind.BAD_ANSWER, {"answer": "B"}),
        ({"answer": "B. To tease"}, Kind.BAD_ANSWER, {"answer": "B"}),
        ({"answer": "to leave."}, Kind.BAD_ANSWER, {"answer": "C"}),
        (
            {"options": ["A. to comfort", "B. to tease"], "answer": "B. to tease"},
            Kind.BAD_OPTIONS,
            {"options": ("to comfort", "to tease"), "answer": "B"},
        ),
        (
            {"problem_type": "yes_no", "options": [], "answer": "Yes."},
            Kind.BAD_ANSWER,
            {"problem_type": "yes_no", "options": (), "answer": "yes"},
        ),
        (
            {"problem_type": "emer_ov_mc", "answer": "A,C"},
            Kind.BAD_RECORD,
            {
                "problem_type": "multi_select",
                "answer": "A,C",
                "extra": {"show": 3, "problem_type": "emer_ov_mc"},
            },
        ),
        ({"id": None}, Kind.BAD_ID, {"id": "data-2"}),
        ({"id": 7}, Kind.BAD_ID, {"id": "data-2"}),
        ({"id": "sound"}, Kind.DUPLICATE_ID, {"id": "data-2"}),
        ({"id": "sound", "answer": "(b)"}, Kind.BAD_ANSWER, {"id": "data-2"}),
    ],
)
def test_native_records_in_another_writing(
    changes: dict[str, Any], kind: Kind, expected: dict[str, Any], tmp_path: Path
) -> None:
    record = {**NATIVE, "id": "odd", "question": "Why?", "show": 3, **changes}
    done = fixed_file(tmp_path / "data.jsonl", NATIVE, record)
    assert done.rejected == ()
    assert done.repaired == {kind: 1}
    sound, odd = done.samples
    assert sound == sample("sound")
    whole = sample("odd", question="Why?", show=3)
    assert odd == whole.model_copy(update=expected)
    assert Sample.model_validate(odd.model_dump()) == odd


def test_what_cannot_be_repaired_is_listed_with_its_causes(tmp_path: Path) -> None:
    path, gone = tmp_path / "data.jsonl", tmp_path / "root" / "gone.mp4"
    done = fixed_file(
        path,
        NATIVE,
        {**NATIVE, "id": "odd", "answer": "to sing"},
        "{",
        {**NATIVE, "id": "unanswered", "answer": None},
        {**NATIVE, "id": "gone", "media": [{"kind": "video", "path": "gone.mp4"}]},
        {**NATIVE, "id": "extra", "answer": "(b)", "extra": "text"},
        root=tmp_path / "root",
    )
    assert [one.id for one in done.samples] == ["sound"]
    assert done.repaired == {}
    rejected = {one.where: one.to_json() for one in done.rejected}
    kinds = {where: one["causes"][0]["kind"] for where, one in rejected.items()}
    assert kinds == {
        f"{path}:2": "bad_answer",
        f"{path}:3": "bad_record",
        f"{path}:4": "no_answer",
        f"{path}:6": "bad_answer",
        "gone": "media_missing",
    }
    assert "sample" not in rejected[f"{path}:2"]
    assert "'TO SING'" in rejected[f"{path}:2"]["causes"][0]["detail"]
    listed = Sample.model_validate_json(json.dumps(rejected["gone"]["sample"]))
    assert listed.media == (Media(kind=MediaKind.VIDEO, path=gone),)


def test_a_record_that_stands_twice_is_kept_once_whatever_its_id(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    done = fixed_file(path, NATIVE, NATIVE, {**NATIVE, "id": None, "answer": "(b)"})
    assert [one.id for one in done.samples] == ["sound"]
    assert [one.where for one in done.rejected] == ["data-2", "data-3"]
    assert {one.findings[0].kind for one in done.rejected} == {Kind.DUPLICATE_SAMPLE}


def test_ids_of_other_forms_are_made_too(tmp_path: Path) -> None:
    record = {"problem": "Why?", "problem_type": "multiple choice", "options": ["A. x", "B. y"],
              "solution": "<answer>B</answer>", "data_type": "image", "path": "a.jpg"}  # fmt: skip
    (tmp_path / "a.jpg").write_bytes(b"x")
    again = {**record, "id": "one", "problem": "Who?"}
    done = fixed_file(tmp_path / "data.jsonl", {**record, "id": "one"}, again)
    assert [one.id for one in done.samples] == ["one", "data-2"]
    assert done.repaired == {Kind.DUPLICATE_ID: 1}


def test_a_sample_with_a_second_fault_that_cannot_be_repaired_is_left_out(tmp_path: Path) -> None:
    path = str(tmp_path / "gone.mp4")
    twofold = sample("a", options=["x", "x", "y"], media=[{"kind": "video", "path": path}])
    done = fixed(twofold)
    assert done.samples == ()
    assert [one.kind for one in done.rejected[0].findings] == [Kind.MEDIA_MISSING]
    assert done.rejected[0].sample == twofold
    assert done.repaired == {}
