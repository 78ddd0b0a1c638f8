import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from triptych.data.sample import (
    Element,
    Media,
    MediaKind,
    ProblemType,
    Reference,
    Sample,
    read_samples,
    write_samples,
)
from triptych.errors import DataError

RECORD: dict[str, Any] = {
    "id": "q1",
    "question": "What does the person feel?",
    "problem_type": "multiple_choice",
    "options": ["happy", "angry", "calm"],
    "answer": "B",
    "media": [{"kind": "video", "path": "clips/a.mp4", "start": 0.5, "end": 2}],
    "reference": {
        "context": "A frown.",
        "elements": [{"name": "mouth", "phrases": ["frown"], "contradictions": ["smile"]}],
    },
}


def sample(**changes: Any) -> Sample:
    return Sample.model_validate({**RECORD, **changes})


def write_lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("problem_type", "given_answer", "answer"),
    [
        ("multiple_choice", " b ", "B"),
        ("multi_select", "c, A", "A,C"),
        ("multi_select", "B", "B"),
        ("yes_no", "Yes", "yes"),
        ("numerical", "-3.50", "-3.50"),
        ("regression", "1e3", "1e3"),
        ("ocr", "EXIT 4", "EXIT 4"),
        ("free_form", "She leaves.", "She leaves."),
    ],
)
def test_answers_are_brought_to_one_form(problem_type: str, given_answer: str, answer: str) -> None:
    assert sample(problem_type=problem_type, answer=given_answer).answer == answer


@pytest.mark.parametrize(
    ("changes", "field", "cause"),
    [
        ({"answer": "D"}, "answer", "use A to C"),
        ({"answer": "happy"}, "answer", "no letter of the 3 options"),
        ({"answer": "A,B"}, "answer", "multi_select"),
        ({"answer": ""}, "answer", "at least 1 character"),
        ({"problem_type": "multi_select", "answer": "A,A"}, "answer", "twice"),
        ({"problem_type": "multi_select", "answer": "A,"}, "answer", "no letter"),
        ({"problem_type": "yes_no", "answer": "know"}, "answer", "neither"),
        ({"problem_type": "numerical", "answer": "about 3"}, "answer", "plain number"),
        ({"problem_type": "numerical", "answer": "nan"}, "answer", "plain number"),
        ({"problem_type": "regression", "answer": "1_000"}, "answer", "plain number"),
        ({"problem_type": "essay"}, "problem_type", "'multiple_choice'"),
        ({"options": []}, "options", "at least two options, not 0"),
        ({"options": ["happy"]}, "options", "at least two options, not 1"),
        ({"options": ["happy", " "]}, "options.1", "at least 1 character"),
        ({"options": ["A. happy", "B. sad"]}, "options", 'write "happy"'),
        ({"options": [f"option {i}" for i in range(27)]}, "options", "26 letters"),
        ({"id": " "}, "id", "at least 1 character"),
        ({"question": ""}, "question", "at least 1 character"),
        ({"media": [{"kind": "smell", "path": "a"}]}, "media.0.kind", "'image'"),
        ({"media": [{"kind": "video"}]}, "media.0.path", "missing; add it"),
        ({"media": [{"kind": "video", "path": "a", "fps": 2}]}, "media.0.fps", "unknown field"),
        ({"media": [{"kind": "video", "path": "a", "start": -1}]}, "media.0.start", "greater"),
        ({"media": [{"kind": "audio", "path": "a", "start": 2, "end": 2}]}, "media.0", "after"),
        ({"media": [{"kind": "image", "path": "a", "end": 2}]}, "media.0", "no start or end"),
        ({"reference": {"elements": [{"name": "x", "phrases": []}]}}, "phrases", "at least 1"),
        ({"extra": {"note": 1}, "note": 2}, "record", "'note' stands both"),
    ],
)
def test_a_wrong_field_is_named_with_file_line_and_cause(
    tmp_path: Path, changes: dict[str, Any], field: str, cause: str
) -> None:
    path = write_lines(tmp_path / "data.jsonl", RECORD, {**RECORD, "id": "q2", **changes})
    with pytest.raises(DataError) as caught:
        read_samples(path)
    message = str(caught.value)
    assert message.startswith(f"{path}:2: ")
    assert field in message
    assert cause in message


@pytest.mark.parametrize("field", ["id", "question", "problem_type", "answer", "media"])
def test_missing_fields_are_named(tmp_path: Path, field: str) -> None:
    record = {key: value for key, value in RECORD.items() if key != field}
    with pytest.raises(DataError, match=rf":1: {field}: missing; add it"):
        read_samples(write_lines(tmp_path / "data.jsonl", record))


def test_a_type_that_needs_options_cannot_leave_them_out(tmp_path: Path) -> None:
    record = {key: value for key, value in RECORD.items() if key != "options"}
    with pytest.raises(DataError, match=r":1: options: multiple_choice needs at least two"):
        read_samples(write_lines(tmp_path / "data.jsonl", record))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "holds no samples"),
        (b"\n  \n", "holds no samples"),
        (b'{"id": \n', ":1: not JSON"),
        (b"[{}]\n", ":1: a JSON list, not an object"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_files_that_are_no_jsonl_are_refused(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=cause) as caught:
        read_samples(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(DataError, match=r"name a readable JSONL file"):
            read_samples(path)


def test_an_id_stands_once_in_a_file(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", RECORD, {**RECORD, "id": "q2"}, RECORD)
    with pytest.raises(DataError, match=r":3: id: 'q1' already stands on line 1"):
        read_samples(path)
    out = tmp_path / "out.jsonl"
    with pytest.raises(DataError, match="'q1' stands twice"):
        write_samples(out, [sample(), sample()])
    assert not out.exists()


def test_unknown_top_level_fields_are_kept_in_extra(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "data.jsonl", {**RECORD, "source": "web", "extra": {"a": None}})
    (read,) = read_samples(path)
    assert read.extra == {"source": "web", "a": None}
    write_samples(path, [read])
    assert read_samples(path) == [read]


def test_blank_lines_and_a_byte_order_mark_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"\xef\xbb\xbf\r\n" + json.dumps(RECORD).encode() + b"\r\n\r\n")
    assert [read.id for read in read_samples(path)] == ["q1"]


def test_a_line_separator_inside_a_text_does_not_end_the_line(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    write_samples(path, [sample(question="one\u2028two\x85three")])
    assert read_samples(path)[0].question == "one\u2028two\x85three"


def test_media_paths_are_relative_to_the_file_and_absolute_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "set").mkdir()
    record = {**RECORD, "media": [{"kind": "audio", "path": "../sounds/a.wav"}]}
    path = write_lines(tmp_path / "set" / "data.jsonl", record)
    monkeypatch.chdir(tmp_path)
    (read,) = read_samples(Path("set/data.jsonl"))
    assert read.media[0].path == tmp_path / "sounds" / "a.wav"
    assert read == read_samples(path)[0]

    moved = tmp_path / "else" / "where" / "data.jsonl"
    write_samples(moved, [read])
    assert json.loads(moved.read_text())["media"][0]["path"] == "../../sounds/a.wav"
    assert read_samples(moved) == [read]


def test_extra_that_json_cannot_express_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    write_samples(path, [sample()])
    before = path.read_bytes()
    for value in (float("nan"), object()):
        with pytest.raises(DataError, match=r"'q1': extra: .*plain JSON"):
            write_samples(path, [sample(extra={"value": value})])
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_samples_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        sample().answer = "A"


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
words = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
media = st.builds(
    Media,
    kind=st.just(MediaKind.VIDEO),
    path=words.map(lambda name: Path("/data") / f"{name}.mp4"),
    start=st.none() | st.floats(0, 10),
    end=st.none() | st.floats(11, 20),
)
elements = st.builds(
    Element, name=words, phrases=st.tuples(text), contradictions=st.tuples(words, text)
)
references = st.builds(
    Reference, context=st.none() | text, reasoning=st.none() | text, elements=st.tuples(elements)
)
json_values = st.recursive(st.none() | st.booleans() | st.integers() | text, st.lists, max_leaves=4)
samples = st.builds(
    Sample,
    id=text,
    question=text,
    problem_type=st.just(ProblemType.FREE_FORM),
    options=st.tuples(words, words),
    answer=text,
    media=st.tuples(media),
    reference=references,
    extra=st.dictionaries(words, json_values, max_size=3),
)


@settings(deadline=None, max_examples=60)
@given(st.lists(samples, min_size=1, max_size=3, unique_by=lambda made: made.id))
def test_what_is_written_is_read_back_and_written_the_same(
    tmp_path_factory: pytest.TempPathFactory, written: list[Sample]
) -> None:
    path = tmp_path_factory.getbasetemp() / "property" / "data.jsonl"
    write_samples(path, written)
    content = path.read_bytes()
    read = read_samples(path)
    assert read == written
    write_samples(path, read)
    assert path.read_bytes() == content
