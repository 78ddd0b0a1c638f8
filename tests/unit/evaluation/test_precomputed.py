"""Predictions of other programs: every known form, and what is wrong with a file by its line."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from triptych.data.sample import Media, MediaKind, Sample
from triptych.errors import DataError
from triptych.evaluation.precomputed import Precomputed, Written, read_precomputed
from triptych.generation.engine import NoCompletion, StopReason


def sample(sample_id: str, question: str, film: str = "a.mp4", **extra: Any) -> Sample:
    return Sample(
        id=sample_id,
        question=question,
        problem_type="multiple_choice",  # type: ignore[arg-type]
        options=("happy", "sad"),
        answer="A",
        media=(Media(kind=MediaKind.VIDEO, path=Path("/films") / film),),
        extra=extra,
    )


SAMPLES = (
    sample("q1", "What does she feel?", "a.mp4", index=7),
    sample("q2", "What does he  mean?", "b.mp4", index=8),
    sample("q3", "What does he mean?", "c.mp4", index=9),
)


def read(path: Path, text: str, samples: Sequence[Sample] = SAMPLES, **kwargs: Any) -> Precomputed:
    path.write_text(text, encoding="utf-8")
    return read_precomputed(path, samples, **kwargs)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "predictions.jsonl"


def texts(found: Precomputed) -> dict[str, list[str]]:
    return {key: [one.text for one in written] for key, written in found.written.items()}


RAW = {"problem": "What does he mean?", "options": ["A. happy", "B. sad"], "path": "x/c.mp4"}
BODY = {
    "choices": [{"message": {"content": "B"}, "finish_reason": "length"}],
    "usage": {"completion_tokens": 5},
}


@pytest.mark.parametrize(
    ("record", "key"),
    [
        ({"sample_id": "q1", "text": "B", "answer": "A"}, "q1"),
        ({"sample_id": "q1", "completions": [{"text": "B", "stop_reason": "end"}]}, "q1"),
        ({"output": "B", "prediction": "b", "raw": RAW, "solution": "A"}, "q3"),
        ({"custom_id": "q2", "id": "batch_1", "response": {"body": BODY}, "error": None}, "q2"),
        ({"doc_id": 0, "doc": RAW, "target": "A", "resps": [["B"]]}, "q3"),
        ({"doc_id": 0, "doc": RAW, "resps": ["B"], "filtered_resps": ["b"]}, "q3"),
        ({"index": 8, "prediction": "B", "answer": "A"}, "q2"),
        ({"index": "8", "response": "B"}, "q2"),
        ({"question_id": "q1", "answer": "B"}, "q1"),
        ({"id": "q1", "video": "a.mp4", "answer": "B", "score": 0.5, "note": ""}, "q1"),
        ({"id": "q1", "options": ["happy", "sad"], "answer": "B"}, "q1"),
        ({"id": "q1", "output": "B"}, "q1"),
        ({"question": "What does she  feel?", "pred": "B"}, "q1"),
        ({"Question": "What does she feel?", "video": "a.mp4", "pred": "B"}, "q1"),
        ({"id": "q1", "question": "What does she feel? A. happy B. sad", "pred": "B"}, "q1"),
        ({"id": "q1", "problem": "does she feel?", "pred": "B"}, "q1"),
    ],
)
def test_every_known_form_is_read(file: Path, record: dict[str, Any], key: str) -> None:
    assert texts(read(file, json.dumps(record))) == {key: ["B"]}


def test_ids_come_before_questions_and_the_samples_order_before_the_files(file: Path) -> None:
    lines = [{"id": "q3", "text": "c"}, {"id": "q1", "text": "a"}]
    found = read(file, "".join(json.dumps(line) + "\n" for line in lines))
    assert list(texts(found)) == ["q1", "q3"]
    assert found.missing == ("q2",)


def test_several_completions_of_a_sample_keep_their_order(file: Path) -> None:
    found = read(file, json.dumps({"id": "q1", "completions": [{"text": "x"}, {"text": "y"}]}))
    assert texts(found) == {"q1": ["x", "y"]}


def test_what_the_file_says_of_stops_and_tokens_is_kept(file: Path) -> None:
    lines = [
        {"custom_id": "q1", "response": {"body": BODY}},
        {"id": "q2", "text": "B", "stop_reason": "end", "tokens": 9},
        {"id": "q3", "text": "B", "stop_reason": "other", "tokens": True},
    ]
    found = read(file, "\n".join(map(json.dumps, lines)))
    assert found.written == {
        "q1": [Written("B", StopReason.LENGTH, 5)],
        "q2": [Written("B", StopReason.END, 9)],
        "q3": [Written("B")],
    }


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        *(("stop", StopReason.END), ("content_filter", StopReason.WITHHELD)),
        *((str(reason), reason) for reason in StopReason),
    ],
)
def test_servers_and_runs_of_ours_name_stops_differently(
    file: Path, said: str, reason: StopReason
) -> None:
    found = read(file, json.dumps({"id": "q1", "text": "B", "stop_reason": said}))
    assert found.written == {"q1": [Written("B", reason)]}


def test_a_stop_may_have_the_name_that_servers_give_it(file: Path) -> None:
    found = read(file, json.dumps({"id": "q1", "text": "B", "finish_reason": "length"}))
    assert found.written == {"q1": [Written("B", StopReason.LENGTH)]}


@pytest.mark.parametrize(
    ("message", "stop", "expected"),
    [
        ({"content": None, "refusal": "No."}, "stop", Written("", StopReason.WITHHELD)),
        ({"content": None}, "content_filter", Written("", StopReason.WITHHELD)),
        ({"content": None}, "length", Written("", StopReason.LENGTH)),
        ({"content": "B", "refusal": None}, "stop", Written("B", StopReason.END)),
    ],
)
def test_a_reply_of_a_batch_without_text_is_empty(
    file: Path, message: dict[str, Any], stop: str, expected: Written
) -> None:
    body = {"choices": [{"message": message, "finish_reason": stop}]}
    found = read(file, json.dumps({"custom_id": "q1", "response": {"body": body}}))
    assert found.written == {"q1": [expected]}


def test_every_choice_of_a_batch_is_a_completion(file: Path) -> None:
    choices = [{"message": {"content": text}, "finish_reason": "stop"} for text in "AB"]
    body = {"choices": choices, "usage": {"completion_tokens": 4}}
    found = read(file, json.dumps({"custom_id": "q1", "response": {"body": body}}))
    assert found.written == {"q1": [Written(text, StopReason.END) for text in "AB"]}


@pytest.mark.parametrize("field", ["generated", "generation", "model_response"])
def test_an_answer_beside_another_text_may_be_the_right_one(file: Path, field: str) -> None:
    record = {"id": "q1", "question": "What does she feel?", "answer": "A", field: "B"}
    with pytest.raises(DataError, match=rf":1: {field} may be the text .*, and answer the right"):
        read(file, json.dumps(record))
    for named, text in ((field, "B"), ("answer", "A")):
        assert texts(read(file, json.dumps(record), text_field=named)) == {"q1": [text]}


def test_the_data_set_itself_is_no_prediction_of_it(file: Path) -> None:
    lines = [json.dumps(one.model_dump(mode="json")) for one in SAMPLES]
    with pytest.raises(DataError, match=r"every answer is the right one .* as in a data set"):
        read(file, "\n".join(lines))
    everything = {one.id: ["A"] for one in SAMPLES}
    assert texts(read(file, "\n".join(lines), text_field="answer")) == everything
    own = [json.dumps({"text": "A", **json.loads(line)}) for line in lines]
    assert texts(read(file, "\n".join(own))) == everything, "all right, beside the right answer"


def test_errors_in_place_of_a_prediction_are_no_predictions(file: Path) -> None:
    lines: list[dict[str, Any]] = [
        {"sample_id": "q1", "error": {"reason": "timeout", "cause": "60 s"}},
        {"custom_id": "q2", "response": None, "error": {"code": "x", "message": "expired"}},
        {"custom_id": "q3", "response": {"status_code": 500, "body": {"error": "down"}}},
    ]
    found = read(file, "\n".join(map(json.dumps, lines)))
    assert not found.written
    assert found.missing == ()
    assert found.unanswered["q1"] == NoCompletion("timeout", "60 s")
    assert found.unanswered["q2"] == NoCompletion("failed", "expired")
    assert found.unanswered["q3"].cause == "status 500: 'down'"


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("wrapped", [False, True])
def test_lists_are_read_like_lines(file: Path, indent: int | None, wrapped: bool) -> None:
    records = [{"id": "q1", "text": "a"}, {"id": "q2", "text": "b"}]
    content: Any = {"results": records, "final_acc": [{"mean_acc": 0.5}]} if wrapped else records
    assert texts(read(file, json.dumps(content, indent=indent))) == {"q1": ["a"], "q2": ["b"]}


def test_half_a_character_that_a_model_wrote_is_read(file: Path) -> None:
    assert texts(read(file, '{"id": "q1", "text": "\\ud83d"}')) == {"q1": ["\ud83d"]}


def test_the_fields_may_be_named(file: Path) -> None:
    line = json.dumps({"name": "q1", "said": "B", "text": "?", "id": "q2"})
    assert texts(read(file, line, text_field="said", id_field="name")) == {"q1": ["B"]}


GOOD = '{"id": "q1", "text": "B"}\n'


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 0, "holds no predictions"),
        (" \n\n", 0, "holds no predictions"),
        ("[]", 0, "holds no predictions"),
        (GOOD + '{"id": "q2", "te', 2, "not JSON that can be read"),
        ('[{"id": "q1", "text": "B"},\n{"id": "q2", "te', 2, "not JSON that can be read"),
        ('[{"id": "q1", "text": "B"},\n{"id": "q3", "text": "B"},\n3]', 3, "a JSON int"),
        ('[{"id": "q1", "text": "B"}\n', 2, "without its ]"),
        (GOOD + '{"id": "q2", "text": "B", "score": NaN}', 2, "no finite number"),
        (GOOD + '{"id": "zz", "text": "B"}', 2, "id 'zz' fits none of the 3 samples"),
        (GOOD + '{"text": "B"}', 2, "a record without an id fits none"),
        (GOOD + GOOD, 2, "sample 'q1' has a prediction in line 1"),
        (GOOD + '{"id": "q2"}', 2, "no text of a completion (its fields are id)"),
        (GOOD + '{"id": "q2", "text": 3}', 2, "text: 3 is no text"),
        (GOOD + '{"id": "q2", "text": null}', 2, "text: None is no text"),
        (GOOD + '{"id": "q2", "completions": ["B", {"text": 1}]}', 2, "completions.1.text: 1"),
        (GOOD + '{"id": true, "text": "B"}', 2, "id: True is no id"),
        (GOOD + '["q2", "B"]', 2, "a JSON list, not an object"),
        (GOOD + '{"id": "q2", "text": "B", "response": "A"}', 2, "response and text may both"),
        (GOOD + '{"id": "q2", "question": "Who?", "text": "B"}', 2, "its question ('Who?')"),
        (
            GOOD + '{"question": "What does he mean?", "text": "B"}',
            2,
            "fits 2 samples ('q2', 'q3')",
        ),
        (GOOD + '{"custom_id": "q2", "response": {"body": {}}}', 2, "holds no message"),
        (
            GOOD + '{"custom_id": "q2", "response": {"body": {"choices": [{"text": "B"}]}}}',
            2,
            "response.body.choices.0.message: missing",
        ),
        (
            GOOD + '{"custom_id": "q2", "response": {"body": {"choices": [{"message": {}}]}}}',
            2,
            "response.body.choices.0.message.content: None is no text",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    file: Path, text: str, line: int, message: str
) -> None:
    with pytest.raises(DataError) as error:
        read(file, text)
    where = f"{file}:{line}: " if line else f"{file}: "
    assert str(error.value).startswith(where)
    assert message in str(error.value)


def test_a_named_field_that_is_not_there_is_an_error(file: Path) -> None:
    with pytest.raises(DataError, match=r":1: said: missing"):
        read(file, GOOD, text_field="said")
    with pytest.raises(DataError, match=r":1: name: missing"):
        read(file, GOOD, id_field="name")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="name a file of predictions"):
        read_precomputed(tmp_path / "none.jsonl", SAMPLES)
    (tmp_path / "latin").write_bytes(b'{"id": "q1", "text": "\xe9"}')
    with pytest.raises(DataError, match="not UTF-8"):
        read_precomputed(tmp_path / "latin", SAMPLES)


def test_an_id_of_the_data_set_that_two_samples_have_is_ambiguous(file: Path) -> None:
    twice = (*SAMPLES, sample("q4", "Why?", index=7))
    with pytest.raises(DataError, match=r"index '7' fits 2 samples"):
        read(file, '{"index": 7, "text": "B"}', twice)


def test_options_tell_equal_questions_about_a_film_apart(file: Path) -> None:
    other = sample("q4", "What does he mean?", "c.mp4").model_copy(
        update={"options": ("calm", "angry")}
    )
    record = {"output": "B", "raw": {**RAW, "options": ["A. calm", "B. angry"]}}
    assert texts(read(file, json.dumps(record), (*SAMPLES, other))) == {"q4": ["B"]}
