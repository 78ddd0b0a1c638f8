"""The contact sheet of a data set: what is on it, and that it is inert."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit.report.pages import Page
from triptych.data.readers import Dataset, Problem, read_dataset
from triptych.data.sample import Sample
from triptych.report.contact_sheet import write_contact_sheet

BAD = "</style><script>alert(1)</script><img src='https://evil.example/x.png' onerror=alert(1)>"


def sheet(dataset: Dataset, folder: Path, limit: int = 100) -> Page:
    path = folder / "new" / "sheet.html"
    write_contact_sheet(dataset, "clips.jsonl", path, limit)
    return Page(path.read_text(encoding="utf-8"))


def dataset(*samples: Sample, problems: tuple[Problem, ...] = ()) -> Dataset:
    return Dataset(samples, problems, "native", "each line is a sample")


def sample(**changes: Any) -> Sample:
    record = {
        "id": "s1",
        "question": "What does she want?",
        "problem_type": "multi_select",
        "options": ["to comfort", "to tease", "to leave"],
        "answer": "A,C",
        "media": [],
        "reference": {
            "context": "She smiles.",
            "reasoning": "A smile comforts.",
            "elements": [
                {"name": "mouth", "phrases": ["smiles", "smiling"], "contradictions": ["frowns"]},
                {"name": "hat", "phrases": ["red hat"], "relevant": False},
            ],
        },
        "episode": 12,
    }
    return Sample.model_validate({**record, **changes})


def test_a_card_holds_the_whole_sample(tmp_path: Path) -> None:
    page = sheet(dataset(sample()), tmp_path)
    for expected in (
        *("clips.jsonl", "1 sample · 1 multi select", "Read as native: each line is a sample."),
        *("s1", "What does she want?", "A to comfort gold", "B to tease C to leave gold"),
        *("context She smiles.", "think A smile comforts.", "mouth smiles, smiling"),
        *("against it: frowns", "hat not needed for the answer red hat", '"episode": 12'),
        *("A question without media.", "All of them are here."),
    ):
        assert expected in page.words, expected
    assert (len(page.having("gold")), len(page.having("sample"))) == (2, 1)


def test_frames_and_sound_are_on_the_page(clips_folder: Path, tmp_path: Path) -> None:
    found = read_dataset(clips_folder / "cold-start.jsonl")
    page = sheet(found, tmp_path)
    count = len(found.samples)
    assert (len(page.having("sample")), len(page.having("wave"))) == (count, count)
    frames = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(frames) == 8 * count
    assert all((attrs["src"] or "").startswith("data:image/jpeg;base64,") for attrs in frames)
    assert len(page.having("gold")) + len(page.having("gold-answer")) >= count


@pytest.mark.parametrize(("limit", "count"), [(1, 1), (4, 4), (9, 9), (50, 9)])
def test_at_most_so_many_samples_at_equal_distances(tmp_path: Path, limit: int, count: int) -> None:
    page = sheet(dataset(*(sample(id=f"id-{number}") for number in range(9))), tmp_path, limit)
    shown = [int(number) for number in re.findall(r"id-(\d)", page.text)]
    assert len(shown) == count
    assert shown == sorted(set(shown))
    assert limit != 4 or shown == [1, 3, 5, 7]
    assert ("none was picked by hand" in page.words) == (count < 9)


def test_samples_can_be_filtered_by_type(tmp_path: Path) -> None:
    other = sample(id="s2", problem_type="yes_no", options=[], answer="yes")
    page = sheet(dataset(sample(), other, sample(id="s3")), tmp_path)
    assert (len(page.having("type-0")), len(page.having("type-1"))) == (2, 1)
    assert {"show-type-0", "show-type-1"} <= {attrs.get("id") for _, attrs in page.tags}
    assert "gold yes" in page.words


def test_missing_media_and_unreadable_records_are_named(tmp_path: Path) -> None:
    media = [{"kind": "video", "path": str(tmp_path / "gone.mp4")}]
    problems = tuple(Problem(f"x:{n}", None, "answer", "missing", False) for n in range(60))
    page = sheet(dataset(sample(media=media), problems=problems), tmp_path)
    assert "gone.mp4: " in page.words
    assert "x:0: answer: missing" in page.words
    assert "x:49" in page.words
    assert "x:50" not in page.words
    assert "and 10 more" in page.words


def test_a_data_set_without_samples_says_so(tmp_path: Path) -> None:
    assert "No record of the data set is a sample." in sheet(dataset(), tmp_path).words


def test_absent_parts_of_a_reference_are_named(tmp_path: Path) -> None:
    page = sheet(dataset(sample(reference={"context": "She smiles."})), tmp_path)
    assert "think the reference has none" in page.words
    assert len(page.having("elements")) == 0


def test_everything_is_escaped_and_nothing_is_fetched(tmp_path: Path) -> None:
    element = {"name": BAD, "phrases": [BAD], "contradictions": [BAD]}
    hostile = sample(
        id=BAD,
        question=BAD,
        options=[BAD, f"{BAD} 2"],
        answer="A",
        media=[{"kind": "video", "path": f"/{BAD}"}],
        reference={"context": BAD, "reasoning": BAD, "elements": [element]},
        extra={BAD: BAD},
    )
    free = sample(id="free", problem_type="free_form", options=[], answer=BAD)
    problem = Problem(BAD, BAD, BAD, BAD, False)
    path = tmp_path / "sheet.html"
    write_contact_sheet(Dataset((hostile, free), (problem,), BAD, BAD), BAD, path, 5)
    html = path.read_text()
    page = Page(html)
    assert "<script" not in html
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "link", "base"}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    for _, attrs in page.tags:
        for name in ("src", "href"):
            assert (attrs.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))
    policy = next(attrs for _, attrs in page.tags if "http-equiv" in attrs)
    assert "default-src 'none'" in (policy["content"] or "")
    assert "url(" not in html.split("<style>")[1].split("</style>")[0]


def test_half_surrogates_and_control_characters_do_not_break_the_page(tmp_path: Path) -> None:
    page = sheet(dataset(sample(question="a\x00b\x1b[31m", extra={"x": "\ud800c"})), tmp_path)
    assert "a\u2400b\u241b[31m" in page.text
    assert '"x": "?c"' in page.text
