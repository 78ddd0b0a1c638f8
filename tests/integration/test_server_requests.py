"""What a server is sent: the JSON of a request, and the media in each form."""

import base64
import io
import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import films
import numpy as np
import pytest
from faulty import MODEL, Answer, Seen
from films import Film
from PIL import Image
from served_questions import GREEDY, QuestionServer, config, expected, question, true_answer

from triptych.data.decoding import DecodePool
from triptych.data.media import MediaBudget, decode_audio, decode_video
from triptych.data.messages import MessageBuilder
from triptych.data.sample import Media, MediaKind, Sample
from triptych.endpoint.clip import clip_file
from triptych.errors import DataError, MediaError
from triptych.generation.engine import SamplingConfig
from triptych.generation.server import SamplingField, ServerEngine, TokenLimit
from triptych.stages.prompt import system_prompt

BUDGET = MediaBudget(fps=4.0, max_frames=3, max_pixels=64 * 48, max_seconds=30.0)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    long = tuple(index / 25 for index in range(50))
    return films.write(
        Film("clip.mp4", audio="aac", shown=long, heard=(0.0, 2.0)),
        tmp_path_factory.mktemp("films"),
    )


@pytest.fixture
def server() -> Iterator[QuestionServer]:
    with QuestionServer() as server:
        yield server


def sent(
    server: QuestionServer,
    *media: Media,
    sampling: SamplingConfig = GREEDY,
    messages: MessageBuilder | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """The body of the request that asks question 4 about these media."""
    with (
        DecodePool() as pool,
        ServerEngine(
            config(server.url, **settings), BUDGET, pool=pool, messages=messages
        ) as engine,
    ):
        assert engine.generate([question(4, *media)], 1, sampling) == [[expected(4)]]
    return server.requests[-1].body


def parts(server: QuestionServer, *media: Media, **settings: Any) -> list[dict[str, Any]]:
    """The parts of the user's message but for its last, the question."""
    content: list[dict[str, Any]] = sent(server, *media, **settings)["messages"][1]["content"]
    assert content[-1] == {"type": "text", "text": "Question 4?\nAnswer yes or no."}
    return content[:-1]


def file_of(url: str, kind: str) -> bytes:
    head, _, data = url.partition(",")
    assert head == f"data:{kind};base64"
    return base64.b64decode(data)


def pictures(items: list[dict[str, Any]]) -> list[np.ndarray[Any, Any]]:
    files = [file_of(item["image_url"]["url"], "image/jpeg") for item in items]
    return [np.asarray(Image.open(io.BytesIO(file)), np.float64) for file in files]


def seen(path: Path, **window: Any) -> Media:
    return Media(kind=MediaKind.VIDEO, path=path, **window)


def heard(path: Path, **window: Any) -> Media:
    return Media(kind=MediaKind.AUDIO, path=path, **window)


CHAT = [
    {"role": "system", "content": system_prompt()},
    {"role": "user", "content": "Question 4?\nAnswer yes or no."},
]


def test_a_greedy_request_says_so_and_no_more(server: QuestionServer) -> None:
    assert sent(server) == {
        "model": MODEL,
        "messages": CHAT,
        "temperature": 0,
        "max_tokens": 64,
    }


def test_a_request_that_draws_says_how(server: QuestionServer) -> None:
    sampling = SamplingConfig(temperature=0.7, seed=2**40 + 3, max_new_tokens=9)
    assert sent(server, sampling=sampling, extra_body={"top_k": -1}) == {
        "model": MODEL,
        "messages": CHAT,
        "temperature": 0.7,
        "top_p": 1.0,
        "top_k": -1,
        "seed": 3,
        "max_tokens": 9,
    }
    thin = SamplingConfig(temperature=0.7, top_p=0.9, top_k=20, seed_per_sample=True)
    body = sent(
        server,
        sampling=thin,
        stream=True,
        token_limit=TokenLimit.MAX_COMPLETION_TOKENS,
        omit=(SamplingField.TEMPERATURE,),
    )
    assert 0 <= body.pop("seed") < 2**31
    assert body == {
        "model": MODEL,
        "messages": CHAT,
        "top_p": 0.9,
        "top_k": 20,
        "max_completion_tokens": 512,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_the_messages_are_those_of_the_builder(server: QuestionServer) -> None:
    def build(sample: Sample) -> list[dict[str, Any]]:
        return [{"role": "user", "content": [{"type": "text", "text": f"Just {sample.question}"}]}]

    assert sent(server, messages=build)["messages"] == [
        {"role": "user", "content": "Just Question 4?"}
    ]


def test_a_builder_that_leaves_media_out_is_told(server: QuestionServer, film: Path) -> None:
    def build(sample: Sample) -> list[dict[str, Any]]:
        return [{"role": "user", "content": sample.question}]

    with pytest.raises(DataError, match="sample q4: the messages have no place for 1 of 1 media"):
        sent(server, seen(film), messages=build)
    assert server.requests == []


def test_frames_are_images_and_sound_is_wav(
    server: QuestionServer, film: Path, tmp_path: Path
) -> None:
    still = tmp_path / "still.png"
    Image.fromarray(films.picture(0.5, 40, 30)).save(still)
    image = Media(kind=MediaKind.IMAGE, path=still)
    items = parts(server, seen(film), heard(film, start=0.5, end=1.25), image)
    assert [item["type"] for item in items] == [*["image_url"] * 3, "input_audio", "image_url"]
    shown = decode_video(film, BUDGET).frames
    for picture, frame in zip(pictures(items[:3]), shown, strict=True):
        assert np.abs(picture - frame).mean() < 3
    assert pictures(items[4:])[0].shape == (30, 40, 3)
    assert items[3]["input_audio"]["format"] == "wav"
    wav = base64.b64decode(items[3]["input_audio"]["data"])
    assert wav.startswith(b"RIFF")
    assert len(wav) == 44 + 2 * 12_000


def test_frames_with_their_times(server: QuestionServer, film: Path) -> None:
    items = parts(server, seen(film), video="timed_frames")
    assert [item.get("text") for item in items[::2]] == ["0.0 s:", "0.6 s:", "1.3 s:"]
    assert [item["type"] for item in items[1::2]] == ["image_url"] * 3


def test_sound_in_the_forms_that_servers_take(server: QuestionServer, film: Path) -> None:
    (bare,) = parts(server, heard(film))
    data = bare["input_audio"]["data"]
    (url,) = parts(server, heard(film), audio="audio_url")
    assert url == {"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{data}"}}
    (both,) = parts(server, heard(film), audio="input_audio_url")
    assert both == {
        "type": "input_audio",
        "input_audio": {"data": f"data:audio/wav;base64,{data}", "format": "wav"},
    }


def video_of(item: dict[str, Any], kind: str = "video/mp4") -> bytes:
    assert item["type"] == "video_url"
    return file_of(item["video_url"]["url"], kind)


def test_a_file_is_sent_as_it_is(
    server: QuestionServer, film: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        video, sound = parts(server, seen(film), heard(film), video="file")
        assert video_of(video) == film.read_bytes()
        assert sound["type"] == "input_audio"
        other = films.write(Film("clip.webm", video="libvpx-vp9"), tmp_path)
        (video,) = parts(server, seen(other), video="file")
        assert video_of(video, "video/webm") == other.read_bytes()
        (video,) = parts(server, seen(film), heard(film), video="film")
        assert video_of(video) == film.read_bytes()
        mute = films.write(Film("mute.mp4"), tmp_path)
        (video,) = parts(server, seen(mute), video="film")
        assert video_of(video) == mute.read_bytes()
    assert caplog.messages == []


def streams(file: bytes) -> dict[str, float]:
    """The kinds of a file's streams, and their seconds."""
    with av.open(io.BytesIO(file)) as container:
        return {
            stream.type: float((stream.duration or 0) * (stream.time_base or 0))
            for stream in container.streams
        }


@pytest.mark.parametrize(
    ("media", "settings", "why", "kinds"),
    [
        (["seen 0.5 1.5"], {"video": "file"}, "a part of it is wanted", {"video"}),
        (["seen"], {"video": "file", "max_video_mb": 0.001}, "more than 0.001 MB", {"video"}),
        (["seen"], {"video": "film"}, "its sound is not wanted", {"video"}),
        (
            ["seen 0.5 1.5", "heard 0.5 1.5"],
            {"video": "film"},
            "a part of it is wanted",
            {"video", "audio"},
        ),
    ],
)
def test_what_is_not_the_whole_file_is_a_clip_of_the_frames_and_said(
    server: QuestionServer,
    film: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    media: list[str],
    settings: dict[str, Any],
    why: str,
    kinds: set[str],
) -> None:
    makers = {"seen": seen, "heard": heard}
    items = []
    for words in media:
        name, *window = words.split()
        times = dict(zip(("start", "end"), map(float, window), strict=False))
        items.append(makers[name](film, **times))
    with caplog.at_level(logging.WARNING):
        (part,) = parts(server, *items, **settings)
    assert any(
        f"sample q4: {film}: sent as a clip of 3 frames, for " in line and why in line
        for line in caplog.messages
    )
    file = video_of(part)
    assert set(streams(file)) == kinds
    path = tmp_path / "sent.mp4"
    path.write_bytes(file)
    meant = decode_video(film, BUDGET, start=items[0].start, end=items[0].end)
    found = decode_video(path, MediaBudget(fps=100.0))
    assert found.duration == pytest.approx(meant.duration, rel=0.01)
    assert len(found.frames) == len(meant.frames)
    assert np.abs(found.frames.astype(float) - meant.frames).mean() < 4
    if "audio" in kinds:
        samples = decode_audio(path, BUDGET).samples
        whole = decode_audio(film, BUDGET, start=0.5, end=1.5).samples
        size = min(len(samples), len(whole))
        assert size > 15_000
        assert films._likeness(samples[:size].astype(float), whole[:size].astype(float), 0.0) > 0.95


def test_a_clip_of_one_odd_frame(tmp_path: Path) -> None:
    video = decode_video(films.write(Film("one.mp4", shown=(0.0,)), tmp_path), BUDGET)
    odd = type(video)(video.frames[:, :47, :61], video.fps, video.timestamps, video.duration)
    path = tmp_path / "odd.mp4"
    path.write_bytes(clip_file(odd))
    assert decode_video(path, BUDGET).frames.shape == (1, 46, 60, 3)


def test_a_sound_that_is_not_the_videos_own_stays_an_item(
    server: QuestionServer, film: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copy(film, tmp_path / "other.mp4"))
    video, sound = parts(server, seen(film), heard(other), video="film")
    assert set(streams(video_of(video))) == {"video"}
    assert sound["type"] == "input_audio"
    sound, again = parts(server, heard(film), heard(film), video="film")
    assert [sound["type"], again["type"]] == ["input_audio"] * 2


def test_what_the_budget_cuts_is_said_but_not_endlessly(
    server: QuestionServer, film: Path, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [question(4 + 8 * index, seen(film)) for index in range(20)]
    with (
        DecodePool() as pool,
        ServerEngine(config(server.url), BUDGET, pool=pool) as engine,
        caplog.at_level(logging.WARNING),
    ):
        engine.generate(asked, 2, GREEDY)
    assert len(caplog.messages) == 11
    assert f"{film}: 3 frames at 1.5 fps instead of 8 at 4 fps (max_frames)" in caplog.messages[0]
    assert "further media are cut" in caplog.messages[-1]


@pytest.mark.parametrize("form", ["frames", "file", "film"])
def test_media_that_cannot_be_decoded_are_named_with_their_sample(
    server: QuestionServer, tmp_path: Path, form: str
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    for path in (broken, tmp_path / "missing.mp4"):
        with pytest.raises(MediaError, match=rf"sample q4: .*{path.name}: ") as raised:
            sent(server, seen(path), video=form)
        assert isinstance(raised.value.__cause__, MediaError)
    assert server.requests == []


class CountingPool(DecodePool):
    """Counts the items that it decodes."""

    decoded = 0

    def submit(self, media: Media, budget: MediaBudget) -> Any:
        self.decoded += 1
        return super().submit(media, budget)


def test_media_are_decoded_once_and_not_far_ahead(film: Path, tmp_path: Path) -> None:
    paths = [Path(shutil.copy(film, tmp_path / f"{index}.mp4")) for index in range(20)]
    asked = [question(4 + 8 * index, seen(path)) for index, path in enumerate(paths)]

    def answer(request: Seen) -> Answer:
        time.sleep(0.01)
        return true_answer(request)

    with (
        QuestionServer(answer=answer) as server,
        CountingPool() as pool,
        ServerEngine(config(server.url, max_concurrency=3), BUDGET, pool=pool) as engine,
    ):
        answers = engine.answers(asked, GREEDY)
        next(answers)
        time.sleep(0.3)
        assert pool.decoded <= 2 * 3 + 2 + 1
        assert len(list(answers)) == 19
        assert pool.decoded == 20
        engine.generate(asked[:2], 4, GREEDY)
        assert pool.decoded <= 22
        assert len(server.requests) == 28
