"""Which sound belongs to a video, and where it is added."""

import logging
from pathlib import Path

import av
import pytest

from triptych.data.sample import Media, MediaKind, ProblemType, Sample
from triptych.data.sound import are_films, own_sound, with_own_sound
from triptych.errors import MediaError

VIDEO = Media(kind=MediaKind.VIDEO, path=Path("a.mp4"), start=1.0, end=3.0)
OTHER = Media(kind=MediaKind.VIDEO, path=Path("b.mp4"))
STILL = Media(kind=MediaKind.IMAGE, path=Path("c.png"))


def asked(*media: Media) -> Sample:
    return Sample(
        id="q",
        question="Who speaks?",
        problem_type=ProblemType.FREE_FORM,
        answer="She",
        media=media,
    )


@pytest.fixture
def silent(clip: Path, tmp_path: Path) -> Path:
    path = tmp_path / "silent.mp4"
    with av.open(str(clip)) as film, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(film.streams.video[0])
        for packet in film.demux(film.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return path


def test_the_own_sound_is_that_of_the_same_seconds() -> None:
    sound = own_sound(VIDEO)
    assert (sound.kind, sound.path) == (MediaKind.AUDIO, VIDEO.path)
    assert (sound.start, sound.end) == (1.0, 3.0)


@pytest.mark.parametrize(
    ("media", "films"),
    [
        ([], False),
        ([STILL], False),
        ([VIDEO, OTHER, STILL], False),
        ([own_sound(VIDEO), STILL], False),
        ([VIDEO, own_sound(VIDEO)], True),
        ([STILL, VIDEO, own_sound(VIDEO), own_sound(OTHER), OTHER, own_sound(OTHER)], True),
    ],
)
def test_films_are_told_by_the_list_of_media(media: list[Media], films: bool) -> None:
    assert are_films(media) is films


@pytest.mark.parametrize(
    ("media", "named"),
    [
        ([VIDEO, own_sound(OTHER)], "a.mp4"),
        ([VIDEO, own_sound(VIDEO).model_copy(update={"end": 2.0})], "a.mp4"),
        ([VIDEO, own_sound(VIDEO), OTHER], "b.mp4"),
        ([VIDEO, own_sound(VIDEO), OTHER, STILL, own_sound(OTHER)], "b.mp4"),
    ],
)
def test_a_video_that_is_apart_from_its_sound_is_named(media: list[Media], named: str) -> None:
    with pytest.raises(MediaError, match=f"^{named}: its own sound .* leave out audio_in_video$"):
        are_films(media)


def test_videos_of_a_sample_without_sound_bring_theirs(
    clip: Path, silent: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "torn.mp4").write_bytes(clip.read_bytes()[:100])
    film, mute, torn, gone = (
        Media(kind=MediaKind.VIDEO, path=path)
        for path in (clip, silent, tmp_path / "torn.mp4", tmp_path / "gone.mp4")
    )
    part = film.model_copy(update={"start": 0.2, "end": 0.7})
    pairs = [
        (asked(film), asked(film, own_sound(film))),
        (asked(STILL, part, mute), asked(STILL, part, own_sound(part), mute)),
    ]
    alike = [asked(film, own_sound(OTHER)), asked(mute), asked(torn), asked(gone), asked(STILL)]
    with caplog.at_level(logging.WARNING):
        changed = with_own_sound([*(before for before, _ in pairs), *alike])
    assert changed == [*(after for _, after in pairs), *alike]
    assert caplog.messages == ["2 of 7 samples are given the sound of their videos"]
