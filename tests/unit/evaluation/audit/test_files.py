"""Altered media are real files that hold what they must."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from triptych.data.detect import detect
from triptych.data.media import MediaBudget, decode_audio, decode_image, decode_video, write
from triptych.data.media.write import write_audio, write_video
from triptych.data.sample import Media, MediaKind, Sample, read_samples
from triptych.errors import MediaError
from triptych.evaluation.audit.conditions import Condition, Withhold
from triptych.evaluation.audit.files import Alteration, AlteredFiles
from triptych.evaluation.audit.trials import Trials

BUDGET = MediaBudget(fps=4.0, max_frames=32)
VIDEO, AUDIO, IMAGE = MediaKind.VIDEO, MediaKind.AUDIO, MediaKind.IMAGE


def stripes(
    count: int, height: int = 46, width: int = 61
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Frames each of another brightness; sizes that are odd."""
    levels = np.linspace(20, 230, count).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


@pytest.mark.parametrize(("count", "seconds"), [(4, 1.0), (7, 2.31), (12, 3.7), (32, 100.0)])
def test_a_video_is_read_as_it_was_written(tmp_path: Path, count: int, seconds: float) -> None:
    frames, path = stripes(count), tmp_path / "film.mp4"
    write_video(path, frames, count / seconds)
    video = decode_video(path, MediaBudget(fps=count / seconds, max_frames=count))
    assert video.frames.shape == (count, 46, 62, 3)
    assert video.duration == pytest.approx(seconds, rel=1e-3)
    assert np.abs(video.frames[:, :, :61].astype(int) - frames).mean() < 2
    assert detect(path) == (VIDEO,)
    assert list(tmp_path.iterdir()) == [path]


def test_a_video_has_the_same_bytes_on_every_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8)
    frames = np.stack([noise[shift : shift + 56, :56] for shift in (0, 3, 1, 9, 4)])
    found = set()
    for instructions in ({}, {}, {}, {"x264-params": "asm=0"}):
        monkeypatch.setattr(write, "_X264", {**write._X264, **instructions})
        write_video(tmp_path / "film.mp4", frames, 4.0)
        found.add((tmp_path / "film.mp4").read_bytes())
    assert len(found) == 1


def test_a_sound_is_read_as_it_was_written(tmp_path: Path) -> None:
    samples = np.sin(np.arange(12_345) / 20).astype(np.float32) * 0.5
    write_audio(tmp_path / "sound.wav", samples)
    audio = decode_audio(tmp_path / "sound.wav", BUDGET)
    assert len(audio.samples) == len(samples)
    assert np.abs(audio.samples - samples).max() < 1e-3


@pytest.fixture
def film(tmp_path: Path) -> Media:
    write_video(tmp_path / "film.mp4", stripes(24, 48, 64), 8.0)
    return Media(kind=VIDEO, path=tmp_path / "film.mp4", start=0.5, end=2.5)


def test_shuffled_films_show_the_same_frames_in_another_order(film: Media, tmp_path: Path) -> None:
    made = AlteredFiles(tmp_path / "media", BUDGET).make(Alteration.SHUFFLED, [film, film])
    assert list(made) == [film]
    before = decode_video(film.path, BUDGET, film.start, film.end)
    after = decode_video(made[film].path, BUDGET)
    assert len(after.frames) == len(before.frames) == 8
    assert after.duration == pytest.approx(before.duration)
    levels = [frames.frames.mean(axis=(1, 2, 3)) for frames in (before, after)]
    assert levels[1].tolist() != pytest.approx(levels[0].tolist(), abs=3)
    assert sorted(levels[1]) == pytest.approx(sorted(levels[0]), abs=3)


def test_files_are_made_once_and_the_same_way(film: Media, tmp_path: Path) -> None:
    (one,) = AlteredFiles(tmp_path / "a", BUDGET).make(Alteration.SHUFFLED, [film]).values()
    (two,) = AlteredFiles(tmp_path / "b", BUDGET).make(Alteration.SHUFFLED, [film]).values()
    (other,) = (
        AlteredFiles(tmp_path / "a", BUDGET, seed=1).make(Alteration.SHUFFLED, [film]).values()
    )
    assert one.path.name == two.path.name
    assert one.path.read_bytes() == two.path.read_bytes()
    assert one.path != other.path
    written = one.path.stat().st_mtime_ns
    AlteredFiles(tmp_path / "a", BUDGET).make(Alteration.SHUFFLED, [film])
    assert one.path.stat().st_mtime_ns == written


def test_blank_media_are_as_long_and_as_large(film: Media, tmp_path: Path) -> None:
    write_audio(tmp_path / "sound.wav", np.full(20_000, 0.3, np.float32))
    Image.new("RGB", (31, 17), "red").save(tmp_path / "picture.png")
    sound = Media(kind=AUDIO, path=tmp_path / "sound.wav")
    picture = Media(kind=IMAGE, path=tmp_path / "picture.png")
    made = AlteredFiles(tmp_path / "media", BUDGET).make(Alteration.BLANK, [film, sound, picture])
    video = decode_video(made[film].path, BUDGET)
    assert video.frames.shape == (8, 48, 64, 3)
    assert video.frames.max() < 3
    assert video.duration == pytest.approx(2.0)
    silence = decode_audio(made[sound].path, BUDGET).samples
    assert len(silence) == 20_000
    assert not silence.any()
    black = np.asarray(decode_image(made[picture].path, BUDGET))
    assert black.shape == (17, 31, 3)
    assert not black.any()


def test_a_film_of_one_frame_cannot_be_shuffled(tmp_path: Path) -> None:
    write_video(tmp_path / "still.mp4", stripes(1), 1.0)
    still = Media(kind=VIDEO, path=tmp_path / "still.mp4")
    assert AlteredFiles(tmp_path / "media", BUDGET).make(Alteration.SHUFFLED, [still]) == {}


def test_a_broken_film_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    broken = Media(kind=VIDEO, path=tmp_path / "broken.mp4")
    with pytest.raises(MediaError, match=r"broken\.mp4"):
        AlteredFiles(tmp_path / "media", BUDGET).make(Alteration.BLANK, [broken])


def test_clips_are_withheld_by_blanks_and_shuffled(clips_folder: Path, tmp_path: Path) -> None:
    questions: list[Sample] = read_samples(clips_folder / "test-balanced.jsonl")[:4]
    files = AlteredFiles(tmp_path, BUDGET)
    trials = Trials(questions, files, Withhold.BLANK)
    (deaf,) = trials.of(Condition.DEAF)
    for one, before in zip(deaf.samples, questions, strict=True):
        assert [item.kind for item in one.media] == [VIDEO, AUDIO]
        assert one.media[0] == before.media[0]
        assert not decode_audio(one.media[1].path, BUDGET).samples.any()
    (shuffled,) = trials.of(Condition.SHUFFLED)
    assert shuffled.samples[0].media[1] == questions[0].media[1]
    assert shuffled.samples[0].media[0].path.parent == tmp_path.resolve() / "shuffled"
