"""Benchmarks in small, in the forms that they are published in, with real films."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from films import Film, write

from triptych.data.readers import load_samples
from triptych.data.sample import MediaKind, Sample, write_samples
from triptych.errors import DataError
from triptych.evaluation.benchmarks import BENCHMARKS, Benchmark, KnownResult, beside_known
from triptych.evaluation.published import published_messages
from triptych.evaluation.published_scores import published_score

SOUND = "Here is a video, with the audio from the video.\n"
LETTER = (
    " Please provide only the single option letter (e.g., A, B, C, D, etc.) within the "
    "<answer> </answer> tags."
)
INTENT_BENCH: list[dict[str, Any]] = [
    {
        "problem": "Which emotions does the man show?",
        "problem_type": "emer_ov_mc",
        "options": ["A. anxious", "B. bored", "C. helpless"],
        "solution": "<context>He frowns.</context><think>Worry.</think><answer>A,C</answer>",
        "data_type": "video",
        "path": "emer/silent.mp4",
    },
    {
        "problem": "Why does she laugh?",
        "problem_type": "multiple choice",
        "options": "['A.It is funny', 'B.She hides that she is hurt']",
        "solution": "<answer>B</answer>",
        "data_type": "video",
        "path": "social/heard.mp4",
    },
    {
        "problem": "Does he tell the truth?",
        "problem_type": "judge",
        "options": [],
        "solution": "<answer>No</answer>",
        "data_type": "video",
        "path": "social/heard.mp4",
    },
]
DAILY_OMNI: list[dict[str, Any]] = [
    {
        "Type": "AV Event Alignment",
        "Question": "What is shown while the bell rings?",
        "Choice": ["A. A boat.", "B. A dog."],
        "Answer": "B",
        "video_id": "G_VTkkb34gw",
        "content_parent_category": "Travel & Events",
        "video_category": "Travel",
        "video_duration": "30s",
    },
    {
        "Type": "Reasoning",
        "Question": "Why does the music stop?",
        "Choice": ["The guest comes.", "The power fails."],
        "Answer": "A",
        "video_id": "bswbQtOPk6E",
        "content_parent_category": "Entertainment",
        "video_category": "Talk Shows",
        "video_duration": "60s",
    },
]
WORLDSENSE: dict[str, dict[str, Any]] = {
    "asGryNvr": {
        "video_id": "asGryNvr",
        "duration": "<1min",
        "domain": "Music",
        "audio_class": ["Speech", "Event"],
        "task0": {
            "task_domain": "Recognition",
            "task_type": "Audio Recognition",
            "question": "Which sound is heard?",
            "answer": "A",
            "candidates": ["A. A train.", "B. A horn."],
        },
        "task1": {
            "task_domain": "Understanding",
            "task_type": "Emotion Change",
            "question": "How does he react?",
            "answer": "B",
            "candidates": ["A. He shouts.", "B. He smiles."],
        },
    },
}


def film(path: Path, audio: str | None = "aac") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write(Film(path.name, None if path.suffix == ".wav" else "libx264", audio), path.parent)


def intent_bench(folder: Path) -> Path:
    film(folder / "videos" / "emer" / "silent.mp4", None)
    film(folder / "videos" / "social" / "heard.mp4")
    (folder / "qa.json").write_text(json.dumps(INTENT_BENCH), encoding="utf-8")
    return folder


def daily_omni(folder: Path) -> Path:
    one, two = (folder / "Videos" / str(record["video_id"]) for record in DAILY_OMNI)
    film(one / f"{one.name}_video.mp4")
    film(one / f"{one.name}_audio.wav", "pcm_s16le")
    film(two / f"{two.name}_video.mp4")
    (folder / "qa.json").write_text(json.dumps(DAILY_OMNI), encoding="utf-8")
    return folder


def worldsense(folder: Path) -> Path:
    film(folder / "videos" / "asGryNvr.mp4")
    (folder / "worldsense_qa.json").write_text(json.dumps(WORLDSENSE), encoding="utf-8")
    return folder


MADE: dict[str, Callable[[Path], Path]] = {
    "intent_bench": intent_bench,
    "daily_omni": daily_omni,
    "worldsense": worldsense,
}
PLACES = {"intent_bench": "IntentBench", "daily_omni": "Daily-Omni", "worldsense": "WorldSense"}
FILES = {
    "intent_bench": "qa.json",
    "daily_omni": "qa.json",
    "worldsense": "worldsense_qa.json",
}
QUESTIONS = {"intent_bench": "2,689", "daily_omni": "1,197", "worldsense": "3,172"}


def groups_of(benchmark: Benchmark, samples: list[Sample]) -> dict[str, list[str | None]]:
    return {name: [group(one) for one in samples] for name, group in benchmark.groups.items()}


def text_of(sample: Sample) -> str:
    return str(published_messages(sample)[1]["content"][-1]["text"])


def kinds_of(sample: Sample) -> list[MediaKind]:
    return [item.kind for item in sample.media]


VIDEO, AUDIO = MediaKind.VIDEO, MediaKind.AUDIO


def test_intent_bench(tmp_path: Path) -> None:
    benchmark = BENCHMARKS["intent_bench"]
    samples = benchmark.load(intent_bench(tmp_path))
    assert groups_of(benchmark, samples) == {
        "category": ["emotion", "social", "deception"],
        "problem_type": ["emer_ov_mc", "multiple choice", "judge"],
    }
    assert [kinds_of(one) for one in samples] == [[VIDEO], [VIDEO, AUDIO], [VIDEO, AUDIO]]
    assert [text_of(one) for one in samples] == [
        "Which emotions does the man show? Options:\nA. anxious\nB. bored\nC. helpless\n"
        " Please provide only the single or multiple option letter (e.g., A for single option or "
        "A,E for multi option, etc.) within the <answer> </answer> tags.",
        f"{SOUND}Why does she laugh? Options:\nA. It is funny\nB. She hides that she is hurt\n"
        f"{LETTER}",
        f"{SOUND}Does he tell the truth? Please answer Yes or No within the <answer> </answer> "
        "tags.",
    ]
    answers = ["<answer>A</answer>", "<answer>B</answer>", "<answer>no</answer>"]
    scores = [published_score(one, text) for one, text in zip(samples, answers, strict=True)]
    assert scores == [pytest.approx(2 / 3), 1.0, 1.0]


def test_daily_omni(tmp_path: Path) -> None:
    benchmark = BENCHMARKS["daily_omni"]
    samples = benchmark.load(daily_omni(tmp_path))
    assert groups_of(benchmark, samples) == {
        "task_type": ["AV Event Alignment", "Reasoning"],
        "duration": ["30s", "60s"],
        "video_category": ["Travel", "Talk Shows"],
        "parent_category": ["Travel & Events", "Entertainment"],
    }
    names = [[item.path.name for item in one.media] for one in samples]
    assert names == [
        ["G_VTkkb34gw_video.mp4", "G_VTkkb34gw_audio.wav"],
        ["bswbQtOPk6E_video.mp4", "bswbQtOPk6E_video.mp4"],
    ]
    assert text_of(samples[0]) == (
        f"{SOUND}What is shown while the bell rings? Options:\nA. A boat.\nB. A dog.\n{LETTER}"
    )


def test_worldsense(tmp_path: Path) -> None:
    benchmark = BENCHMARKS["worldsense"]
    samples = benchmark.load(worldsense(tmp_path))
    expected = {
        "domain": ["Music", "Music"],
        "task_domain": ["Recognition", "Understanding"],
        "task_type": ["Audio Recognition", "Emotion Change"],
        "duration": ["<1min", "<1min"],
        "audio_class": ["Event + Speech", "Event + Speech"],
    }
    assert groups_of(benchmark, samples) == expected
    assert text_of(samples[1]) == (
        f"{SOUND}How does he react? Options:\nA. He shouts.\nB. He smiles.\n{LETTER}"
    )
    # As the table that evaluation kits make, where lists are texts.
    rows = ["question\tcandidates\tanswer\tvideo_path\taudio_class\ttask_type"]
    rows += ["Which?\t['A. A train.', 'B. A horn.']\tA\tvideos/asGryNvr.mp4\t['Music']\tX"]
    table = tmp_path / "WorldSense.tsv"
    table.write_text("\n".join(rows), encoding="utf-8")
    assert groups_of(benchmark, benchmark.load(table))["audio_class"] == ["Music"]


def test_the_copies_of_the_published_evaluation_are_read(tmp_path: Path) -> None:
    """Its qa_think.json, one object a question; what it does not say has no group."""
    record = {**INTENT_BENCH[1], "Type": "Reasoning"}
    for name in ("daily_omni", "worldsense"):
        folder = tmp_path / name
        film(folder / "videos" / "social" / "heard.mp4")
        kept = record if name == "daily_omni" else INTENT_BENCH[1]
        (folder / "qa_think.json").write_text(json.dumps([kept]), encoding="utf-8")
        benchmark = BENCHMARKS[name]
        (sample,) = benchmark.load(folder)
        assert (sample.answer, sample.options) == (
            "B",
            ("It is funny", "She hides that she is hurt"),
        )
        values = groups_of(benchmark, [sample])
        assert values["duration"] == [None]
        assert values["task_type"] == (["Reasoning"] if name == "daily_omni" else [None])


@pytest.mark.parametrize("name", MADE)
def test_a_converted_benchmark_is_the_same_one(name: str, tmp_path: Path) -> None:
    benchmark = BENCHMARKS[name]
    samples = benchmark.load(MADE[name](tmp_path))
    write_samples(tmp_path / "converted.jsonl", samples)
    again = benchmark.load(tmp_path / "converted.jsonl")
    assert again == samples
    assert groups_of(benchmark, again) == groups_of(benchmark, samples)
    assert list(map(text_of, again)) == list(map(text_of, samples))


@pytest.mark.parametrize("name", MADE)
def test_the_usual_place_is_where_the_commands_put_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    benchmark = BENCHMARKS[name]
    folder = Path("data") / PLACES[name]
    with pytest.raises(DataError) as missing:
        benchmark.load()
    assert benchmark.source is not None
    lines = str(missing.value).splitlines()
    assert lines[0].startswith(f"{folder / FILES[name]}: there is no such file; get ")
    assert [line.strip() for line in lines[1:-1]] == list(benchmark.source.commands)
    assert all(str(folder) in command for command in benchmark.source.commands)
    assert lines[-1].endswith("--data")
    MADE[name](tmp_path / folder)
    with caplog.at_level(logging.WARNING):
        assert benchmark.load() == benchmark.load(folder / FILES[name])
    (said, _) = caplog.messages
    assert said.startswith(f"{folder / FILES[name]}: ")
    assert f"has {QUESTIONS[name]}: figures are not those of the whole benchmark" in said


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"other\.json: there is no such file; get IntentBench by"):
        BENCHMARKS["intent_bench"].load(tmp_path / "other.json")


@pytest.mark.parametrize("name", MADE)
def test_videos_that_were_not_unpacked_are_missed_at_once(name: str, tmp_path: Path) -> None:
    folder = MADE[name](tmp_path)
    films = [path for path in folder.rglob("*") if path.suffix in (".mp4", ".wav")]
    for path in films[1:]:
        path.unlink()
    BENCHMARKS[name].load(folder)  # single ones are named when they are decoded
    films[0].unlink()
    with pytest.raises(DataError, match=r"none of its \d media files is there, not even .*\n  hf"):
        BENCHMARKS[name].load(folder)


@pytest.mark.parametrize("made", MADE)
@pytest.mark.parametrize("asked", MADE)
def test_the_data_of_another_benchmark_are_refused(made: str, asked: str, tmp_path: Path) -> None:
    if made == asked:
        return
    title = BENCHMARKS[asked].title
    path = MADE[made](tmp_path) / FILES[made]
    # The copies of the others have the form of IntentBench, so that its types must tell.
    form = "sample '.*' is of type" if made == "intent_bench" else f"its records .* form '{made}'"
    with pytest.raises(DataError, match=f"is not {title}: {form}"):
        BENCHMARKS[asked].load(path)
    write_samples(tmp_path / "native.jsonl", load_samples(path))
    with pytest.raises(DataError, match=f"is not {title}: sample '.*' (is of type|has the) "):
        BENCHMARKS[asked].load(tmp_path / "native.jsonl")


@pytest.mark.parametrize("name", MADE)
def test_clips_are_no_benchmark_of_others(name: str, clips_folder: Path) -> None:
    with pytest.raises(DataError, match=r"is of type '(multi_select|yes_no)', which"):
        BENCHMARKS[name].load(clips_folder / "cold-start.jsonl")


def test_a_record_that_is_no_sample_is_named(tmp_path: Path) -> None:
    folder = intent_bench(tmp_path)
    broken = [{**INTENT_BENCH[1], "options": []}, *INTENT_BENCH]
    (folder / "qa.json").write_text(json.dumps(broken), encoding="utf-8")
    with pytest.raises(DataError, match=r"qa\.json\[0\]: options: .*at least two options"):
        BENCHMARKS["intent_bench"].load(folder)


def test_clips_and_data_of_ones_own(
    clips_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clips = BENCHMARKS["clips"]
    samples = clips.load(clips_folder)
    assert samples == load_samples(clips_folder / "test-balanced.jsonl")
    assert clips.load(clips_folder / "cold-start.jsonl")
    values = groups_of(clips, samples)
    assert set(values["alignment"]) == {"aligned", "conflict", "other"}
    assert None not in values["kind"]
    with pytest.raises(DataError, match="does not say its kind and alignment"):
        clips.load(_native(tmp_path))
    own = BENCHMARKS["samples"]
    assert own.load(clips_folder / "test-balanced.jsonl") == samples
    assert groups_of(own, own.load(_native(tmp_path)))["problem_type"] == [
        "multi_select",
        "multiple_choice",
        "yes_no",
    ]
    with pytest.raises(DataError, match="name the data set by --data"):
        own.load()
    assert caplog.messages == []


def _native(folder: Path) -> Path:
    path = folder / "native.jsonl"
    write_samples(path, load_samples(intent_bench(folder) / "qa.json"))
    return path


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_what_is_known_is_of_groups_that_there_are(benchmark: Benchmark) -> None:
    for result in benchmark.known:
        assert 0 < result.percent < 100
        assert result.system
        assert result.source
        assert (result.group is None) == (result.value is None)
        assert result.group is None or result.group in benchmark.groups


def test_published_figures_stand_beside_ones_own() -> None:
    known = (
        KnownResult("old", 40.0, "a paper"),
        KnownResult("other", 60.0, "a paper", "category", "emotion"),
        KnownResult("new", 50.0, "another"),
    )
    rows = beside_known(known, lambda group, value: 0.45 if group is None else None)
    assert [(row.part, row.system, row.percent, row.own, row.source) for row in rows] == [
        ("all", "new", 50.0, 45.0, "another"),
        ("all", "old", 40.0, 45.0, "a paper"),
        ("category emotion", "other", 60.0, None, "a paper"),
    ]
