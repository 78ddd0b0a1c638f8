"""Parquet files and Hugging Face data sets, written by the libraries that they come from."""

import datetime
import decimal
import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from triptych.data.readers import data_files, read_dataset
from triptych.data.sample import read_samples, write_samples
from triptych.errors import DataError

pa: Any = pytest.importorskip("pyarrow")
pq: Any = pytest.importorskip("pyarrow.parquet")
hf: Any = pytest.importorskip("datasets")

GOLDEN = Path(__file__).parents[3] / "golden" / "readers"
ROW: dict[str, Any] = {"question": "Who?", "answer": "Ana", "image": "a.jpg"}


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def golden_records(name: str) -> list[dict[str, Any]]:
    text = (GOLDEN / name).read_text(encoding="utf-8")
    records: list[dict[str, Any]] = (
        json.loads(text) if name.endswith(".json") else [*map(json.loads, text.splitlines())]
    )
    names = dict.fromkeys(name for record in records for name in record)
    return [{name: record.get(name) for name in names} for record in records]  # as a table has it


@pytest.mark.parametrize("name", ["native.jsonl", "video_r1.json", "daily_omni.json"])
@pytest.mark.parametrize("library", ["parquet", "datasets"])
def test_a_table_of_the_records_gives_the_same_samples(
    name: str, library: str, tmp_path: Path
) -> None:
    stem = Path(name).stem
    path = tmp_path / stem
    if library == "parquet":
        write_parquet(path, golden_records(name))
    else:
        hf.Dataset.from_list(golden_records(name)).save_to_disk(str(path))
    dataset = read_dataset(path, media_root=GOLDEN)
    assert dataset.problems == ()
    expected = read_samples(GOLDEN / f"{stem}.expected.jsonl")
    if name == "native.jsonl":  # its ids do not depend on the place
        assert list(dataset.samples) == expected
    assert [s.model_copy(update={"id": ""}) for s in dataset.samples] == [
        s.model_copy(update={"id": ""}) for s in expected
    ]
    write_samples(tmp_path / "out.jsonl", dataset.samples)
    assert read_samples(tmp_path / "out.jsonl") == list(dataset.samples)


def test_a_parquet_file_is_told_by_its_content(tmp_path: Path) -> None:
    dataset = read_dataset(write_parquet(tmp_path / "data.bin", [ROW, ROW]))
    assert dataset.why == "a Parquet file whose records have question, answer, image"
    assert [sample.id for sample in dataset.samples] == ["data-0", "data-1"]
    assert dataset.samples[0].media[0].path == tmp_path / "a.jpg"


def test_more_rows_than_are_read_at_once_keep_their_places(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "data.parquet", [ROW] * 2500 + [{**ROW, "image": ""}])
    dataset = read_dataset(path)
    assert len(dataset.samples) == 2500
    assert [problem.where for problem in dataset.problems] == [f"{path}[2500]"]


def test_values_that_json_does_not_have_become_text_or_are_absent(tmp_path: Path) -> None:
    row = {
        **ROW,
        "day": datetime.date(2026, 11, 24),
        "at": datetime.datetime(2026, 11, 24, 12, 30),
        "price": decimal.Decimal("1.50"),
        "nothing": None,
        "nan": float("nan"),
        "deep": {"list": [1.5, None], "none": None},
    }
    path = write_parquet(tmp_path / "data.parquet", [row, {**row, "nothing": "x"}])
    first, second = read_dataset(path).samples
    assert first.extra == {
        "day": "2026-11-24",
        "at": "2026-11-24T12:30:00",
        "price": "1.50",
        "deep": {"list": [1.5, None]},
    }
    assert second.extra == {**first.extra, "nothing": "x"}


def test_bytes_are_refused_by_name(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "data.parquet", [{**ROW, "blob": b"x"}, {**ROW, "blob": None}])
    dataset = read_dataset(path)
    assert len(dataset.samples) == 1
    (problem,) = dataset.problems
    assert (problem.where, problem.field) == (f"{path}[0]", "blob")
    assert "holds bytes" in problem.cause


def test_a_media_cell_is_taken_by_its_path_or_saved_by_its_content(tmp_path: Path) -> None:
    cells = [
        {"bytes": None, "path": "there.jpg"},
        {"bytes": b"one", "path": "there.jpg"},
        {"bytes": b"two", "path": None},
    ]
    path = write_parquet(tmp_path / "data.parquet", [{**ROW, "image": cell} for cell in cells])
    dataset = read_dataset(path)
    assert [sample.media[0].path.name for sample in dataset.samples] == ["there.jpg"]
    assert [problem.where for problem in dataset.problems] == [f"{path}[1]", f"{path}[2]"]
    assert all("--save-media DIR" in one.cause for one in dataset.problems)

    saved = read_dataset(path, save_media=tmp_path / "media")
    files = [sample.media[0].path for sample in saved.samples[1:]]
    assert [file.read_bytes() for file in files] == [b"one", b"two"]
    assert [file.suffix for file in files] == [".jpg", ""]


def test_a_file_in_a_column_that_is_not_read_is_refused(tmp_path: Path) -> None:
    cell = {"bytes": b"...", "path": "a.jpg"}
    rows = [
        {**ROW, "cover": cell},
        {**ROW, "cover": None},
        {**ROW, "cover": {**cell, "bytes": None}},
    ]
    path = write_parquet(tmp_path / "data.parquet", rows)
    dataset = read_dataset(path, save_media=tmp_path / "media")
    (problem,) = dataset.problems
    assert (problem.where, problem.field) == (f"{path}[0]", "cover")
    assert dataset.samples[1].extra == {"cover": {"bytes": None, "path": "a.jpg"}}


@pytest.mark.parametrize("content", [b"PAR1", b"PAR1" + b"\x00" * 64 + b"PAR1"])
def test_a_broken_parquet_file_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "data.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{path}: not a Parquet file that can be read"):
        read_dataset(path)


def test_class_labels_are_read_by_name_and_media_are_not_decoded(tmp_path: Path) -> None:
    features = hf.Features(
        question=hf.Value("string"),
        answer=hf.ClassLabel(names=["Ana", "Ben"]),
        images=hf.List(hf.Image()),
    )
    rows = {
        "question": ["Who?", "Who else?"],
        "answer": [1, 0],
        "images": [[str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg")]] * 2,
    }
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    hf.Dataset.from_dict(rows, features=features).save_to_disk(str(tmp_path / "saved"))
    # The library has put the content of the files into the table.
    assert len(read_dataset(tmp_path / "saved").problems) == 2
    dataset = read_dataset(tmp_path / "saved", save_media=tmp_path / "media")
    assert dataset.why == "a folder of datasets whose records have question, answer, images"
    assert dataset.problems == ()
    assert [sample.answer for sample in dataset.samples] == ["Ben", "Ana"]
    for sample in dataset.samples:
        assert [item.kind for item in sample.media] == ["image", "image"]
        assert [item.path.read_bytes() for item in sample.media] == [b"a.jpg", b"b.jpg"]
        assert all(item.path.parent == tmp_path / "media" for item in sample.media)
        assert all(item.path.suffix == ".jpg" for item in sample.media)
    assert len(list((tmp_path / "media").iterdir())) == 2
    files = data_files([tmp_path / "saved"])
    assert tmp_path / "saved" / "state.json" in files
    assert all(file.is_file() for file in files)


def test_a_folder_of_several_splits_or_of_something_else_is_refused(tmp_path: Path) -> None:
    one = hf.Dataset.from_list([ROW])
    hf.DatasetDict(train=one, test=one).save_to_disk(str(tmp_path / "splits"))
    with pytest.raises(DataError, match="several splits; name one of test, train"):
        read_dataset(tmp_path / "splits")
    assert len(read_dataset(tmp_path / "splits" / "train").samples) == 1
    with pytest.raises(DataError, match="none that datasets saved; name a file"):
        read_dataset(tmp_path)


def test_a_data_set_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hf.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "quiz").mkdir()
    write_parquet(tmp_path / "quiz" / "train.parquet", [ROW, ROW])
    path = Path(f"hf:{tmp_path / 'quiz'}:train")
    dataset = read_dataset(path, media_root=tmp_path)
    assert dataset.why.startswith("a data set on the hub whose records have question")
    assert [sample.id for sample in dataset.samples] == ["quiz-train-0", "quiz-train-1"]
    assert dataset.samples[0].media[0].path == tmp_path / "a.jpg"
    files = data_files([path])
    assert files
    assert all(file.is_file() for file in files)


@pytest.mark.parametrize("name", ["hf:x", "hf:", "hf::train", "hf:x:", "hf:a:b:c:d"])
def test_a_name_without_a_split_is_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"write hf:NAME:SPLIT or hf:NAME:CONFIG:SPLIT"):
        read_dataset(Path(name))


def test_a_data_set_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"hf:.*absent:train: cannot be loaded"):
        read_dataset(Path(f"hf:{tmp_path / 'absent'}:train"))


@pytest.mark.parametrize(
    ("library", "extra", "path"),
    [("pyarrow", "parquet", "data.parquet"), ("datasets", "datasets", "saved")],
)
def test_a_library_that_is_missing_is_named_with_its_extra(
    library: str, extra: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_parquet(tmp_path / "data.parquet", [ROW])
    hf.Dataset.from_list([ROW]).save_to_disk(str(tmp_path / "saved"))

    def find(name: str) -> Any:
        if name.split(".")[0] == library:
            raise ImportError(name)
        return importlib.__import__(name)

    monkeypatch.setattr("triptych.data.readers.tables.importlib.import_module", find)
    with pytest.raises(DataError, match=rf"needs {library}; .*pip install 'triptych\[{extra}\]'"):
        read_dataset(tmp_path / path)
