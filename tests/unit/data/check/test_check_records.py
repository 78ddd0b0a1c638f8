"""What a check finds in records: kinds, counts, places; nothing in sound ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from triptych.data.check import Check, Kind, MediaFiles, Severity, check
from triptych.data.readers import Dataset, Problem, read_dataset
from triptych.data.sample import Media, MediaKind, ProblemType, Reference, Sample, write_samples
from triptych.rewards.vagueness import vagueness

SOUND = Reference(
    context="A woman smiles and nods; her voice rises.",
    reasoning="Smiles with rising voices tease.",
)


def sample(name: str, **changes: Any) -> Sample:
    """A question that is like no other unless `changes` make it so."""
    record = {
        "id": name,
        "question": f"What does she want in {name}?",
        "problem_type": "multiple_choice",
        "options": ["to comfort", "to tease", "to leave"],
        "answer": "B",
        "media": [],
        "reference": SOUND.model_dump(),
    }
    return Sample.model_validate({**record, **changes})


def checked(*samples: Sample, problems: tuple[Problem, ...] = ()) -> Check:
    return check(Dataset(samples, problems, "native", "for the test"), vagueness, MediaFiles())


def places(found: Check, kind: Kind) -> list[str]:
    return [finding.where for finding in found.findings.get(kind, ())]


def test_a_sound_data_set_has_no_errors_and_no_warnings(clips_folder: Path) -> None:
    found = check(read_dataset(clips_folder / "cold-start.jsonl"), vagueness, MediaFiles())
    assert found.samples > 0
    assert found.count(Severity.ERROR) == found.count(Severity.WARNING) == 0
    assert found.by_media == {"audio + video": found.samples}


def test_counts_by_type_source_and_media() -> None:
    clip = {"kind": "video", "path": "a.mp4"}
    found = checked(
        sample("a", source="one", media=[clip]),
        sample("b", dataset="two", media=[{**clip, "kind": "audio"}, clip, clip]),
        sample("c", problem_type="yes_no", options=[], answer="yes", source=3),
        problems=(Problem("x.jsonl:4", None, "record", "not JSON", False),),
    )
    assert (found.samples, found.unreadable, found.files) == (3, 1, 1)
    assert found.by_type == {"multiple_choice": 2, "yes_no": 1}
    assert found.by_source == {"one": 1, "two": 1, "(not stated)": 1}
    assert found.by_media == {"video": 1, "audio + video": 1, "none": 1}
    assert places(found, Kind.NO_MEDIA) == ["c"]


@pytest.mark.parametrize(
    ("record", "kind", "detail"),
    [
        ({"answer": "D"}, Kind.BAD_ANSWER, "'D' in 'D' is no letter of the 3 options"),
        ({"answer": "perhaps", "problem_type": "yes_no"}, Kind.BAD_ANSWER, "neither"),
        ({"answer": None}, Kind.NO_ANSWER, "answer"),
        ({"answer": ""}, Kind.NO_ANSWER, "answer"),
        ({"answer": ...}, Kind.NO_ANSWER, "answer"),
        ({"options": ["one"]}, Kind.BAD_OPTIONS, "needs at least two options"),
        ({"options": ["A. one", "B. two"]}, Kind.BAD_OPTIONS, "letters of their own"),
        ({"media": [{"kind": "film", "path": "a"}]}, Kind.BAD_MEDIA, "media.0.kind"),
        ({"media": ...}, Kind.BAD_MEDIA, "media"),
        ({"id": ...}, Kind.BAD_ID, "id"),
        ({"id": 7}, Kind.BAD_ID, "id"),
        ({"question": " "}, Kind.BAD_RECORD, "question"),
        ({"id": "sound"}, Kind.DUPLICATE_ID, "sound"),
    ],
)
def test_a_record_that_is_no_sample_is_named_by_its_field(
    record: dict[str, Any], kind: Kind, detail: str, tmp_path: Path
) -> None:
    path = tmp_path / "data.jsonl"
    write_samples(path, [sample("sound")])
    whole = {**sample("broken").model_dump(mode="json"), **record}
    line = json.dumps({key: value for key, value in whole.items() if value is not ...})
    path.write_text(path.read_text() + line + "\n")
    found = check(read_dataset(path), vagueness, MediaFiles())
    (finding,) = found.findings[kind]
    assert detail in finding.detail
    assert finding.where == f"{path}:2"
    assert (found.samples, found.count(Severity.ERROR)) == (1, 1)


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        *((name, Kind.BAD_ANSWER) for name in ("answer", "Answer", "answer_idx", "solution")),
        ("ground_truth", Kind.BAD_ANSWER),
        *((name, Kind.BAD_MEDIA) for name in ("media.0.path", "path", "path.audio", "data_type")),
        *((name, Kind.BAD_MEDIA) for name in ("image", "video", "audio")),
        *((name, Kind.BAD_MEDIA) for name in ("images", "videos", "audios")),
        *((name, Kind.BAD_MEDIA) for name in ("vid_name", "video_id")),
        *((name, Kind.BAD_OPTIONS) for name in ("options", "Choice", "choices", "candidates")),
        *((name, Kind.BAD_ID) for name in ("id", "qid")),
        *((name, Kind.BAD_RECORD) for name in ("record", "problem_type", "messages.1")),
    ],
)
def test_what_is_wrong_is_told_by_the_field_whatever_the_reader_calls_it(
    field: str, kind: Kind
) -> None:
    found = checked(sample("a"), problems=(Problem("x.jsonl:1", None, field, "broken", False),))
    assert set(found.findings) - {Kind.NO_MEDIA} == {kind}


@pytest.mark.parametrize(
    ("record", "kind", "detail"),
    [
        (
            {"Question": "Why?", "Choice": ["A. x", "B. y"], "Answer": "A. y", "video_id": "v"},
            Kind.BAD_ANSWER,
            "answer: 'A. y' is not option A",
        ),
        (
            {"qid": "q1", "q": "Why?", "vid_name": "v", "a0": "a", "a1": "b", "a2": "c",
             "a3": "d", "answer_idx": 4},
            Kind.BAD_ANSWER,
            "answer_idx: 4 is no index of the four answers",
        ),
        (
            {"problem": "Why?", "problem_type": "yes_no", "solution": "<answer>yes</answer>",
             "data_type": "film", "path": "a.mp4"},
            Kind.BAD_MEDIA,
            "data_type: 'film' is none of",
        ),
        *(
            (
                {"messages": [{"role": "user", "content": "Why?"}], "solution": "so", name: [7]},
                Kind.BAD_MEDIA,
                f"{name}: not the path of a file",
            )
            for name in ("images", "videos", "audios")
        ),
    ],
)  # fmt: skip
def test_records_of_the_fields_data_sets_are_told_apart_too(
    record: dict[str, Any], kind: Kind, detail: str, tmp_path: Path
) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(record) + "\n")
    found = check(read_dataset(path), vagueness, MediaFiles())
    (finding,) = found.findings[kind]
    assert detail in finding.detail
    assert found.count(Severity.ERROR) == 1


def test_an_answer_that_is_not_there_is_one_thing_and_a_wrong_one_another(tmp_path: Path) -> None:
    whole = {"Question": "Why?", "Choice": ["A. x", "B. y"], "Answer": "A", "video_id": "v"}
    path = tmp_path / "qa.json"
    path.write_text(json.dumps([whole, {**whole, "Answer": None}, {**whole, "Answer": "C"}]))
    found = check(read_dataset(path), vagueness, MediaFiles())
    assert {kind: len(found.findings[kind]) for kind in (Kind.NO_ANSWER, Kind.BAD_ANSWER)} == {
        Kind.NO_ANSWER: 1,
        Kind.BAD_ANSWER: 1,
    }
    assert "Answer: missing" in found.findings[Kind.NO_ANSWER][0].detail


def test_options_that_differ_only_in_their_writing_are_one() -> None:
    found = checked(
        sample("a", options=["To tease", "to \uff54ease.", "to leave"]),
        sample("b", options=["3.5", "35", "-3.5"]),
        sample("c", options=["!", "?", "to leave"]),
    )
    assert places(found, Kind.DUPLICATE_OPTION) == ["a"]
    assert found.findings[Kind.DUPLICATE_OPTION][0].detail == "'to tease' of 3 options"


@pytest.mark.parametrize(
    ("reference", "kind", "detail"),
    [
        ({}, Kind.NO_REFERENCE, "it has none"),
        ({"context": SOUND.context}, Kind.INCOMPLETE_REFERENCE, "its reasoning is missing"),
        ({"reasoning": SOUND.reasoning}, Kind.INCOMPLETE_REFERENCE, "its context is missing"),
        (
            {"elements": [{"name": "voice", "phrases": ["rising"]}]},
            Kind.INCOMPLETE_REFERENCE,
            "it has elements, but neither context nor reasoning",
        ),
        ({**SOUND.model_dump(), "context": " \n"}, Kind.EMPTY_REFERENCE, "its context is blank"),
        (
            {"context": "", "reasoning": " "},
            Kind.EMPTY_REFERENCE,
            "its context and its reasoning is blank",
        ),
        (
            {**SOUND.model_dump(), "context": "Someone is doing something."},
            Kind.VAGUE_REFERENCE,
            "the context has 0 content words, fewer than 3",
        ),
    ],
)
def test_references_that_lack_something(reference: dict[str, Any], kind: Kind, detail: str) -> None:
    found = checked(sample("a", reference=reference), sample("b"))
    assert [(one.where, one.detail) for one in found.findings[kind]] == [("a", detail)]
    assert set(found.findings) == {kind, Kind.NO_MEDIA}


def test_repeated_samples_and_answers_that_contradict_each_other() -> None:
    same = {"question": "Why?", "media": [{"kind": "video", "path": "a.mp4"}]}
    found = checked(
        sample("a", **same),
        sample("b", **same, options=["to leave", "To Tease", "to comfort"]),  # the same answer
        sample("c", **{**same, "media": [{"kind": "video", "path": "b.mp4"}]}, answer="C"),
        sample("d", **{**same, "question": "why"}, options=["to leave", "to tease"]),
    )
    assert places(found, Kind.DUPLICATE_SAMPLE) == ["b"]
    assert found.findings[Kind.DUPLICATE_SAMPLE][0].detail == "the same as a"
    assert Kind.CONTRADICTION not in found.findings
    found = checked(sample("a", **same), sample("b", **same, answer="C"), sample("c", **same))
    assert places(found, Kind.CONTRADICTION) == ["a", "b", "c"]
    assert found.findings[Kind.CONTRADICTION][1].detail == "'to leave' of ['to leave', 'to tease']"


def test_free_text_may_be_right_in_several_wordings() -> None:
    same = {"question": "Why?", "problem_type": "free_form", "options": []}
    found = checked(sample("a", **same, answer="He is sad"), sample("b", **same, answer="Grief"))
    assert not found.findings.keys() & {Kind.CONTRADICTION, Kind.DUPLICATE_SAMPLE}


def test_other_parts_of_one_file_are_other_media() -> None:
    whole = Media(kind=MediaKind.VIDEO, path=Path("a.mp4"))
    part = whole.model_copy(update={"start": 2.0})
    found = checked(
        sample("a", question="Why?").model_copy(update={"media": (whole,)}),
        sample("b", question="Why?").model_copy(update={"media": (part,)}),
    )
    assert Kind.DUPLICATE_SAMPLE not in found.findings


def test_near_constant_answers_are_told_by_type() -> None:
    def asked(number: int, answer: str) -> Sample:
        return sample(str(number), problem_type="yes_no", options=[], answer=answer)

    answers = ["yes"] * 18 + ["no"] * 2
    found = checked(*(asked(number, answer) for number, answer in enumerate(answers)))
    (finding,) = found.findings[Kind.CONSTANT_ANSWER]
    assert (finding.where, finding.detail) == ("yes_no", "'yes' answers 90.0% of 20 questions")
    assert found.priors.answers[ProblemType.YES_NO].share == 0.9
    few = checked(*(asked(number, "yes") for number in range(19)))
    assert Kind.CONSTANT_ANSWER not in few.findings


def test_letters_that_are_right_too_often() -> None:
    samples = [sample(str(i), answer="ABC"[i % 3] if i % 2 else "A") for i in range(120)]
    found = checked(*samples)
    (finding,) = found.findings[Kind.POSITION_BIAS]
    assert finding.where == "letter A"
    assert finding.detail == "66.7% of answers, by chance 33.3%"
    balanced = checked(*(sample(str(i), answer="ABC"[i % 3]) for i in range(120)))
    assert Kind.POSITION_BIAS not in balanced.findings


def test_what_is_expected_of_a_letter_counts_how_many_options_there_are() -> None:
    two = [sample(f"t{i}", options=["x", "y"], answer="A") for i in range(30)]
    three = [sample(f"c{i}", answer="C") for i in range(60)]
    letters = checked(*two, *three).priors.letters
    assert letters["A"].expected == pytest.approx((30 / 2 + 60 / 3) / 90)
    assert letters["C"].expected == pytest.approx((60 / 3) / 90)
    assert letters["A"].share == pytest.approx(1 / 3)
    assert letters["C"].share == pytest.approx(2 / 3)


def test_json_holds_counts_and_so_many_examples() -> None:
    repeated = [sample(str(i), question="Why?") for i in range(5)]
    record = checked(*repeated).to_json(examples=2)
    assert json.loads(json.dumps(record)) == record
    by_kind = {one["kind"]: one for one in record["findings"]}
    assert by_kind["duplicate_sample"] == {
        "kind": "duplicate_sample",
        "severity": "warning",
        "meaning": Kind.DUPLICATE_SAMPLE.meaning,
        "count": 4,
        "examples": [
            {"where": "1", "detail": "the same as 0"},
            {"where": "2", "detail": "the same as 0"},
        ],
    }
    assert (record["errors"], record["warnings"]) == (0, 4)
    assert record["form"] == "native: for the test"


def test_errors_come_before_warnings_before_information() -> None:
    order = [list(Severity).index(kind.severity) for kind in Kind]
    assert order == sorted(order)
