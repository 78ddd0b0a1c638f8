"""Lists of data sets: which records are taken, and where files and media are looked for."""

import json
from pathlib import Path

import pytest

from triptych.data.readers import data_files, read_dataset
from triptych.errors import DataError


def write_set(path: Path, count: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [
        {"problem": f"{i}?", "problem_type": "free-form", "solution": str(i), "path": f"{i}.jpg"}
        for i in range(count)
    ]
    path.write_text(json.dumps(records))
    return path


def write_list(path: Path, *entries: str) -> Path:
    path.write_text("datasets:\n" + "".join(f"  - {{{entry}}}\n" for entry in entries))
    return path


def taken(path: Path, seed: int = 0) -> list[int]:
    dataset = read_dataset(path, seed=seed)
    assert dataset.problems == ()
    return [int(sample.answer) for sample in dataset.samples]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("all", range(10)),
        ("first:3", range(3)),
        ("end:3", range(7, 10)),
        ("first:25%", range(3)),  # rounded up
        ("end:50%", range(5, 10)),
        ("50%", range(5)),
        ("100%", range(10)),
        ("end:1%", range(9, 10)),
        ("first:99", range(10)),
        ("end:99", range(10)),
        ("random:10", range(10)),
        ("random:100%", range(10)),
    ],
)
def test_a_strategy_takes_its_records_in_order(
    strategy: str, expected: range, tmp_path: Path
) -> None:
    write_set(tmp_path / "a.json", 10)
    path = write_list(tmp_path / "list.yaml", f"json_path: a.json, sampling_strategy: '{strategy}'")
    assert taken(path) == list(expected)


def test_without_a_strategy_all_are_taken(tmp_path: Path) -> None:
    write_set(tmp_path / "a.json", 4)
    assert taken(write_list(tmp_path / "list.yaml", "json_path: a.json")) == [0, 1, 2, 3]


@pytest.mark.parametrize("strategy", ["random:20", "random:40%"])
def test_random_records_are_drawn_anew_by_each_seed_and_entry(
    strategy: str, tmp_path: Path
) -> None:
    write_set(tmp_path / "a.json", 50)
    write_set(tmp_path / "b.json", 50)
    entries = (f"json_path: {name}.json, sampling_strategy: '{strategy}'" for name in "ab")
    path = write_list(tmp_path / "list.yaml", *entries)
    first, second = taken(path)[:20], taken(path)[20:]
    assert len(set(first)) == len(set(second)) == 20
    assert first == sorted(first)
    assert first != second
    assert taken(path) == [*first, *second]
    assert taken(path, seed=1)[:20] != first


@pytest.mark.parametrize(
    "strategy",
    ["half", "first", "first:", "first:0", "first:-1", "101%", "first:1.5", "20", "last:3", "0%"],
)
def test_another_strategy_is_refused_with_its_line(strategy: str, tmp_path: Path) -> None:
    write_set(tmp_path / "a.json", 4)
    path = tmp_path / "list.yaml"
    path.write_text(f"datasets:\n- json_path: a.json\n  sampling_strategy: '{strategy}'\n")
    with pytest.raises(DataError, match=rf"list\.yaml:3: .*is '{strategy}'; use all, first:N"):
        read_dataset(path)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        ("datasets: []\n", "lists no data sets"),
        ("datasets:\n- json_path: b.json\n", r"list\.yaml:2: .*b\.json is neither in the folder"),
        ("datasets:\n- data_root: videos\n", "json_path"),
        ("datasets:\n- json_path: a.json\n  sampling: all\n", "sampling"),
        ("sets:\n- json_path: a.json\n", "sets"),
        ("datasets: [\n", "not valid YAML"),
        ("- json_path: a.json\n", "must hold settings"),
    ],
)
def test_what_is_no_such_list_is_refused(content: str, cause: str, tmp_path: Path) -> None:
    write_set(tmp_path / "a.json", 4)
    path = tmp_path / "list.yaml"
    path.write_text(content)
    with pytest.raises(DataError, match=cause):
        read_dataset(path)


def test_files_are_looked_for_beside_the_list_and_then_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_set(tmp_path / "data_config" / "a.json", 2)
    path = write_list(tmp_path / "data_config" / "list.yaml", "json_path: data_config/a.json")
    with pytest.raises(DataError, match="neither"):
        read_dataset(path)
    monkeypatch.chdir(tmp_path)
    assert taken(path) == [0, 1]
    write_set(tmp_path / "data_config" / "data_config" / "a.json", 3)
    assert taken(path) == [0, 1, 2]


def test_media_lie_under_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def first_path(media_root: Path | None = None) -> Path:
        return read_dataset(path, media_root=media_root).samples[0].media[0].path

    write_set(tmp_path / "sets" / "a.json", 1)
    path = write_list(tmp_path / "list.yaml", "json_path: sets/a.json, data_root: films")
    assert first_path() == tmp_path / "films" / "0.jpg"
    assert first_path(tmp_path / "disk") == tmp_path / "disk" / "films" / "0.jpg"
    (tmp_path / "here" / "films").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert first_path() == tmp_path / "here" / "films" / "0.jpg"
    write_list(path, "json_path: sets/a.json")
    assert first_path() == tmp_path / "sets" / "0.jpg"
    assert first_path(tmp_path / "disk") == tmp_path / "disk" / "0.jpg"


def test_two_files_of_one_name_give_ids_that_differ(tmp_path: Path) -> None:
    for folder in ("train", "more"):
        write_set(tmp_path / folder / "qa.json", 2)
    path = write_list(tmp_path / "list.yaml", "json_path: train/qa.json", "json_path: more/qa.json")
    assert [sample.id for sample in read_dataset(path).samples] == [
        "train-qa-0", "train-qa-1", "more-qa-0", "more-qa-1",
    ]  # fmt: skip


def test_a_record_that_two_entries_take_is_a_problem_of_the_second(tmp_path: Path) -> None:
    write_set(tmp_path / "a.json", 4)
    path = write_list(
        tmp_path / "list.yaml",
        "json_path: a.json, sampling_strategy: 'first:3'",
        "json_path: a.json, sampling_strategy: 'end:2'",
    )
    dataset = read_dataset(path)
    assert [sample.id for sample in dataset.samples] == ["a-0", "a-1", "a-2", "a-3"]
    (problem,) = dataset.problems
    assert problem.field == "id"
    assert "a.json[2]" in problem.where


def test_the_files_of_a_list_are_those_that_it_names(tmp_path: Path) -> None:
    first, second = write_set(tmp_path / "a.json", 2), write_set(tmp_path / "b.json", 2)
    entries = ("json_path: b.json", "json_path: a.json", "json_path: b.json")
    path = write_list(tmp_path / "list.yaml", *entries)
    assert data_files([path, first]) == [path, second, first, first]
