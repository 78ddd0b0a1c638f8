"""How records are stored is told from the content; what is broken costs its own records alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from triptych.data.readers import read_dataset
from triptych.errors import DataError

GOOD: dict[str, Any] = {"question": "Who?", "answer": "Ana", "image": "a.jpg"}


def good(count: int) -> list[dict[str, Any]]:
    return [{**GOOD, "id": f"q{i}"} for i in range(count)]


def lines(count: int) -> str:
    return "".join(json.dumps(record) + "\n" for record in good(count))


@pytest.mark.parametrize(
    ("content", "kind", "count"),
    [
        (lines(2), "a JSONL file", 2),
        (lines(1), "a JSONL file", 1),
        ("\n\n" + lines(2).replace("\n", "\r\n\r\n"), "a JSONL file", 2),
        (lines(2).rstrip("\n"), "a JSONL file", 2),
        (json.dumps(good(3)), "a JSON array", 3),
        (json.dumps(good(3), indent=2), "a JSON array", 3),
        (json.dumps(good(1)[0], indent=2), "a JSON record", 1),
        (json.dumps({one["id"]: GOOD for one in good(2)}), "a JSON object", 2),
        (json.dumps({one["id"]: GOOD for one in good(2)}, indent=1), "a JSON object", 2),
        ("question,answer,image\nWho?,Ana,a.jpg\n", "a CSV table", 1),
        ('"question",answer,image\r\n"Who,\r\nme?",Ana,a.jpg\r\n', "a CSV table", 1),
        ("question\tanswer\timage\nWho, me?\tAna\ta.jpg\n", "a table with tabs", 1),
    ],
)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["data", "data.jsonl"])
def test_the_content_tells_whatever_the_name(
    content: str, kind: str, count: int, mark: str, name: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes((mark + content).encode())
    dataset = read_dataset(path)
    assert dataset.why.startswith(kind)
    assert dataset.problems == ()
    assert len(dataset.samples) == count


def test_records_under_names_have_these_as_ids(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"first": GOOD, "second": GOOD, "third": {**GOOD, "answer": []}}))
    dataset = read_dataset(path)
    assert [sample.id for sample in dataset.samples] == ["first", "second"]
    assert [problem.where for problem in dataset.problems] == [f"{path}[third]"]


@pytest.mark.parametrize(
    ("broken", "cause"),
    [
        (b'{"question": "Wh', "not JSON (Unterminated string"),
        (b"[1, 2]", "a JSON list, not an object"),
        (b"7", "a JSON int, not an object"),
        (b'{"question": NaN}', "not JSON (NaN is no finite number)"),
        (b'{"question": [1e999]}', "not JSON (1e999 is no finite number)"),
        (b'{"question": "\xe4"}', "not UTF-8 text"),
        (b'{"note": "\\ud83d"}', "half a character"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"n": ' + b"9" * 5000 + b"}", "limit"),
    ],
    ids=["cut", "list", "number", "nan", "infinite", "latin-1", "surrogate", "deep", "long"],
)
def test_a_broken_line_costs_itself_alone(broken: bytes, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    first, *others = lines(3).encode().splitlines(keepends=True)
    path.write_bytes(first + broken + b"\n" + b"".join(others))
    dataset = read_dataset(path)
    (problem,) = dataset.problems
    assert (problem.where, problem.field) == (f"{path}:2", "record")
    assert cause in problem.cause
    assert [sample.id for sample in dataset.samples] == ["q0", "q1", "q2"]


def test_an_escaped_emoji_is_no_half_character(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps({**GOOD, "question": "\N{GRINNING FACE}?"}))
    assert "\\ud83d" in path.read_text()
    assert read_dataset(path).samples[0].question == "\N{GRINNING FACE}?"


def test_a_broken_first_line_does_not_hide_the_others(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"question": \n' + lines(2))
    dataset = read_dataset(path)
    assert len(dataset.samples) == 2
    assert [problem.where for problem in dataset.problems] == [f"{path}:1"]


@pytest.mark.parametrize(
    ("content", "count", "where", "cause"),
    [
        (json.dumps(good(4))[:-30], 3, "[3]", "neither it nor what follows is read"),
        (json.dumps(good(2))[:-1], 1, "[1]", "Expecting ','"),
        (json.dumps(good(2)) + " []", 2, "[2]", "stands behind the end of the array"),
        (json.dumps([*good(1), 5]), 1, "[1]", "a JSON int, not an object"),
    ],
)
def test_an_array_is_read_up_to_where_it_is_broken(
    content: str, count: int, where: str, cause: str, tmp_path: Path
) -> None:
    path = tmp_path / "data.json"
    path.write_text(content)
    dataset = read_dataset(path)
    assert len(dataset.samples) == count
    (problem,) = dataset.problems
    assert problem.where == f"{path}{where}"
    assert cause in problem.cause


@pytest.mark.parametrize(
    ("item", "cause"),
    [
        ("NaN", "NaN is no finite number"),
        ('{"note": [-Infinity, "]"]}', "-Infinity is no finite number"),
        ('{"note": "\\ud83d"}', "half a character"),
        ("5", "a JSON int, not an object"),
    ],
)
def test_an_item_that_cannot_be_used_costs_itself_alone(
    item: str, cause: str, tmp_path: Path
) -> None:
    path = tmp_path / "data.json"
    first, last = map(json.dumps, good(2))
    path.write_text(f"[{first}, {item}, {last}]")
    dataset = read_dataset(path)
    assert [sample.id for sample in dataset.samples] == ["q0", "q1"]
    (problem,) = dataset.problems
    assert (problem.where, problem.field) == (f"{path}[1]", "record")
    assert cause in problem.cause


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ("Who?,Ana,a.jpg,more", "4 cells in 3 columns; quote cells with commas"),
        ('"Who?"x,Ana,a.jpg', "not a row of a table"),
    ],
)
def test_a_broken_row_of_a_table_is_named_by_its_line(row: str, cause: str, tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text(f'question,answer,image\n"Who\nelse?",Ana,a.jpg\n\n{row}\n')
    dataset = read_dataset(path)
    assert [sample.id for sample in dataset.samples] == ["data-2"]
    (problem,) = dataset.problems
    assert problem.where == f"{path}:5"
    assert cause in problem.cause


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "holds no samples"),
        (b"\n \n", "holds no samples"),
        (b"[]", "holds no samples"),
        (b"{}", "holds no samples"),
        (b"question,answer,image\n", "holds no samples"),
        ("question".encode("utf-16"), "not UTF-8 text; save it as UTF-8"),
        (b'["\xe4"]', "not UTF-8 text"),
        (b'{\n "q": \n', "not JSON.*is the file whole"),
        (b"answer,question,answer\n1,2,3\n", "two columns are named 'answer'; rename one"),
    ],
)
def test_files_of_which_nothing_can_be_read_are_refused(
    content: bytes, cause: str, tmp_path: Path
) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=cause) as caught:
        read_dataset(path)
    assert str(path) in str(caught.value)


def test_a_text_that_is_no_data_set_is_a_problem_in_each_line(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Dear all,\nhere are\n")
    dataset = read_dataset(path)
    assert [problem.where for problem in dataset.problems] == [f"{path}:1", f"{path}:2"]


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent.jsonl", tmp_path / "absent.yaml"):
        with pytest.raises(DataError, match=r"absent\.\w+: .*No such file"):
            read_dataset(path)
