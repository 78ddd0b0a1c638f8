import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from triptych.data.clips import SPLITS, ClipSizes, ClipSummary, make_clips
from triptych.data.clips.baselines import measure_baselines
from triptych.data.media import MediaBudget, decode_audio, decode_video
from triptych.data.sample import Sample, read_samples
from triptych.errors import ConfigError, DataError

SMALL = ClipSizes(cold_start=3, rl_biased=2, rl_balanced=1, validation=1, test_balanced=3)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def of_kind(clip_set: ClipSummary, split: str, kind: str) -> list[Sample]:
    return [s for s in read_samples(clip_set.path(split)) if s.extra["kind"] == kind]


# ---------------------------------------------------------------- the same seed, the same set


def test_the_number_of_processes_changes_no_byte(clip_set: ClipSummary, tmp_path: Path) -> None:
    again = make_clips(tmp_path / "again", clip_set.seed, clip_set.sizes, jobs=2)
    assert content(again.folder) == content(clip_set.folder)
    assert replace(again, folder=clip_set.folder) == clip_set


def test_another_seed_gives_another_set_of_the_same_shape(tmp_path: Path) -> None:
    one, two = (make_clips(tmp_path / str(seed), seed, SMALL, jobs=1) for seed in (1, 2))
    assert content(one.folder).keys() == content(two.folder).keys()
    for split in SPLITS:
        assert one.path(split).read_bytes() != two.path(split).read_bytes()


def test_splits_do_not_share_clips(clip_set: ClipSummary) -> None:
    clips = [data for name, data in content(clip_set.folder).items() if name.endswith(".mp4")]
    assert len(clips) == sum(clip_set.sizes.clips(split) for split in SPLITS)
    assert len(set(clips)) == len(clips)


# ---------------------------------------------------------------- what a set holds


def test_every_sample_points_at_its_clip_as_video_and_as_sound(clip_set: ClipSummary) -> None:
    for split in SPLITS:
        samples = read_samples(clip_set.path(split))
        for sample in samples:
            expected = clip_set.folder / f"{sample.extra['clip']}.mp4"
            assert [(m.kind, m.path) for m in sample.media] == [
                ("video", expected),
                ("audio", expected),
            ]
            assert expected.is_file()
        assert len({sample.extra["clip"] for sample in samples}) == clip_set.sizes.clips(split)


def test_the_summary_counts_what_the_files_hold(clip_set: ClipSummary) -> None:
    for split in SPLITS:
        tally = Counter(
            (sample.extra["kind"], sample.extra["alignment"])
            for sample in read_samples(clip_set.path(split))
        )
        counted = {
            (kind, alignment): number
            for kind, by_alignment in clip_set.counts[split].items()
            for alignment, number in by_alignment.items()
        }
        assert counted == dict(tally)


def test_questions_per_clip_follow_the_sizes(clip_set: ClipSummary) -> None:
    for split, intentions in (("cold-start", 4), ("rl-biased", 2), ("test-balanced", 1)):
        clips = clip_set.sizes.clips(split)
        assert len(of_kind(clip_set, split, "intention")) == clips * intentions
        assert len(of_kind(clip_set, split, "emotion")) == clips


@pytest.mark.parametrize("split", ["cold-start", "rl-balanced", "validation", "test-balanced"])
def test_balanced_splits_hold_every_pair_of_face_and_voice_equally(
    clip_set: ClipSummary, split: str
) -> None:
    cells = Counter(
        (s.extra["cues"]["mouth_end"], s.extra["cues"]["pitch"])
        for s in of_kind(clip_set, split, "emotion")
    )
    assert len(cells) == 9
    assert len(set(cells.values())) == 1


def test_in_the_biased_split_the_face_gives_the_voice_away(clip_set: ClipSummary) -> None:
    tally = Counter(s.extra["alignment"] for s in of_kind(clip_set, "rl-biased", "emotion"))
    assert tally == {"aligned": 18, "conflict": 2}


@pytest.mark.parametrize("split", ["cold-start", "rl-balanced", "validation", "test-balanced"])
def test_sincerity_is_half_yes_and_no_modality_gives_it_away(
    clip_set: ClipSummary, split: str
) -> None:
    samples = of_kind(clip_set, split, "sincerity")
    assert Counter(s.answer for s in samples) == dict.fromkeys(("yes", "no"), len(samples) / 2)
    for cue in ("mouth_end", "pitch"):
        by_value = Counter((s.extra["cues"][cue], s.answer) for s in samples)
        yes, no = (
            {v: n for (v, a), n in by_value.items() if a == answer} for answer in ("yes", "no")
        )
        assert all(abs(yes[value] - no.get(value, 0)) <= 1 for value in yes)


def test_one_modality_alone_gets_about_half(clip_set: ClipSummary) -> None:
    assert clip_set.baselines.face_only == pytest.approx(0.5, abs=0.2)
    assert clip_set.baselines.voice_only == pytest.approx(0.5, abs=0.2)
    assert clip_set.baselines.prior == pytest.approx(0.25, abs=0.2)


def test_baselines_know_one_modality_and_no_more(clip_set: ClipSummary) -> None:
    samples = of_kind(clip_set, "cold-start", "intention")
    aligned, tempted = (
        [sample for sample in samples if sample.extra["alignment"] == alignment]
        for alignment in ("aligned", "conflict")
    )
    # Where face and voice always agree, either one gives the other away ...
    easy = measure_baselines(fit_on=aligned, score_on=aligned)
    assert (easy.face_only, easy.voice_only) == (1.0, 1.0)
    assert easy.prior < 1.0
    # ... and where they do not, the face is led astray.
    assert measure_baselines(fit_on=aligned, score_on=tempted).face_only == 0.0


# ---------------------------------------------------------------- the cues are there


@pytest.fixture(scope="module")
def perceived(clip_set: ClipSummary) -> dict[str, tuple[list[Sample], NDArray[np.float64]]]:
    """Per split one sample a clip, and what a model gets: four frames, and a spectrogram."""
    budget = MediaBudget(fps=4.0)
    result = {}
    for split in ("cold-start", "test-balanced"):
        samples = of_kind(clip_set, split, "emotion")
        rows = []
        for sample in samples:
            path = sample.media[0].path
            frames = decode_video(path, budget).frames.mean(axis=-1).ravel() / 255
            rows.append(np.concatenate([frames, spectrogram(decode_audio(path, budget).samples)]))
        result[split] = samples, np.stack(rows)
    return result


def spectrogram(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """Log power of 49 windows of 40 ms in 40 bands of 50 Hz."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, 640)[::320]
    power = np.abs(np.fft.rfft(windows * np.hanning(640), axis=1)) ** 2
    bands = power[:, :80].reshape(len(power), 40, 2).sum(axis=2)
    return np.asarray(np.log10(np.maximum(bands, 1e-8)).ravel(), dtype=np.float64)


def probe(
    perceived: dict[str, tuple[list[Sample], NDArray[np.float64]]], cue: str, columns: slice
) -> float:
    """Accuracy on test-balanced of a ridge classifier fitted on cold-start."""
    (fit_samples, fit_x), (test_samples, test_x) = perceived.values()
    mean, scale = fit_x[:, columns].mean(axis=0), fit_x[:, columns].std(axis=0) + 1e-2
    fit_x, test_x = ((x[:, columns] - mean) / scale for x in (fit_x, test_x))
    values = sorted({s.extra["cues"][cue] for s in fit_samples})
    targets = np.array([[s.extra["cues"][cue] == v for v in values] for s in fit_samples], float)
    kernel = fit_x @ fit_x.T
    ridge = 0.05 * np.trace(kernel) / len(kernel) * np.eye(len(kernel))
    scores = test_x @ fit_x.T @ np.linalg.solve(kernel + ridge, targets - targets.mean(axis=0))
    guesses = (scores + targets.mean(axis=0)).argmax(axis=1)
    gold = [s.extra["cues"][cue] for s in test_samples]
    return float(
        np.mean([values[guess] == value for guess, value in zip(guesses, gold, strict=True)])
    )


FRAME, WINDOW, NUM_SEEN = 56 * 56, 40, 4 * 56 * 56
SEEN, HEARD = slice(0, NUM_SEEN), slice(NUM_SEEN, None)


def frames(first: int, last: int) -> slice:
    return slice(first * FRAME, last * FRAME)


def heard(start: float, end: float) -> slice:
    """Windows of the spectrogram; one starts every 0.02 s."""
    first, last = (NUM_SEEN + round(seconds / 0.02) * WINDOW for seconds in (start, end))
    return slice(first, last)


@pytest.mark.parametrize(
    ("cue", "columns", "at_least"),
    [
        ("mouth_start", frames(0, 1), 0.8),
        ("mouth_start", frames(1, 2), 0.8),
        ("mouth_end", frames(2, 3), 0.8),
        ("mouth_end", frames(3, 4), 0.8),
        ("brows", SEEN, 0.9),
        ("pitch", HEARD, 0.8),
        ("loudness_start", heard(0.2, 0.38), 0.95),
        ("loudness_end", heard(0.62, 0.9), 0.95),
    ],
)
def test_a_linear_probe_finds_the_cue(
    perceived: dict[str, tuple[list[Sample], NDArray[np.float64]]],
    cue: str,
    columns: slice,
    at_least: float,
) -> None:
    assert probe(perceived, cue, columns) >= at_least


@pytest.mark.parametrize(("cue", "columns"), [("pitch", SEEN), ("mouth_end", HEARD)])
def test_a_linear_probe_does_not_find_the_cue_in_the_other_modality(
    perceived: dict[str, tuple[list[Sample], NDArray[np.float64]]], cue: str, columns: slice
) -> None:
    assert probe(perceived, cue, columns) <= 0.6


# ---------------------------------------------------------------- folders


def test_the_same_set_is_reused_and_a_damaged_one_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    made = make_clips(folder, 3, SMALL, jobs=1)
    before = content(folder)
    reused = make_clips(folder, 3, SMALL, jobs=1)
    assert (made.reused, reused.reused) == (False, True)
    assert replace(reused, reused=False) == made

    clip, questions = folder / "validation" / "0000.mp4", folder / "validation.jsonl"
    for path, damage in ((clip, None), (clip, b""), (questions, None), (questions, b"{}\n")):
        path.unlink() if damage is None else path.write_bytes(damage)
        assert not make_clips(folder, 3, SMALL, jobs=1).reused
        assert content(folder) == before


def test_a_set_that_other_code_made_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    make_clips(folder, 3, SMALL, jobs=1)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "code": "older"}))
    assert not make_clips(folder, 3, SMALL, jobs=1).reused
    assert json.loads((folder / "manifest.json").read_text()) == manifest


def test_an_older_set_is_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    first = make_clips(folder, 3, ClipSizes(**{**vars(SMALL), "cold_start": 5}), jobs=1)
    second = make_clips(folder, 4, SMALL, jobs=1)
    assert (first.replaced, second.replaced, second.reused) == (None, 3, False)
    assert len(list((folder / "cold-start").iterdir())) == 3
    assert list(tmp_path.iterdir()) == [folder]


def test_what_is_no_set_of_clips_is_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"photos: holds 'holiday\.jpg'.*choose another folder"):
        make_clips(foreign, 0, SMALL, jobs=1)
    with pytest.raises(DataError, match=r"holiday\.jpg: is a file"):
        make_clips(foreign / "holiday.jpg", 0, SMALL, jobs=1)
    with pytest.raises(DataError, match="cannot be written"):
        make_clips(foreign / "holiday.jpg" / "set", 0, SMALL, jobs=1)
    assert content(tmp_path) == {"photos/holiday.jpg": b"x"}

    folder = tmp_path / "set"
    make_clips(folder, 0, SMALL, jobs=1)
    (folder / "notes.txt").write_text("mine")
    assert make_clips(folder, 0, SMALL, jobs=1).reused
    with pytest.raises(DataError, match=r"holds 'notes\.txt'"):
        make_clips(folder, 1, SMALL, jobs=1)


def test_a_killed_run_leaves_no_half_made_set(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    script = f"from triptych.data.clips import make_clips; make_clips({str(folder)!r}, 0, jobs=1)"
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 60
    while len(list(tmp_path.rglob("*.mp4"))) < 3:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not folder.exists()
    assert not make_clips(folder, 0, SMALL, jobs=1).reused
    for leftover in tmp_path.glob(".set.*"):
        shutil.rmtree(leftover)


def test_sizes_and_jobs_below_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="validation is 0; use 1 or more"):
        ClipSizes(validation=0)
    with pytest.raises(ConfigError, match="jobs is 0"):
        make_clips(tmp_path / "set", 0, SMALL, jobs=0)
