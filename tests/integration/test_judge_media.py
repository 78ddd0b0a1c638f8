"""A judge that sees and hears gets the pictures and the sound that are in the files."""

import asyncio
import base64
import io
import json
import wave
from pathlib import Path
from typing import Any

import films
import numpy as np
import pytest
from films import Film
from judging import JudgeServer, config
from numpy.typing import NDArray
from PIL import Image

from triptych.data.decoding import DecodeLimits, DecodePool
from triptych.data.media import SAMPLE_RATE, Audio, MediaBudget
from triptych.data.sample import Media, MediaKind, Reference, Sample
from triptych.endpoint.media import sound_part
from triptych.errors import MediaError
from triptych.rewards import Unscored, score
from triptych.rewards.judge import CONTEXT_WITH_MEDIA, Judge, JudgeConfig, Query, judge_reward
from triptych.stages.prompt import ProblemType

COMPLETION = "<context>He smiles.</context><think>So yes.</think><answer>yes</answer>"
BUDGET = MediaBudget(fps=4.0, max_frames=3, max_pixels=64 * 48, max_seconds=30.0)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    long = tuple(index / 25 for index in range(50))
    return films.write(
        Film("clip.mp4", audio="aac", shown=long, heard=(0.0, 2.0)),
        tmp_path_factory.mktemp("films"),
    )


def sample(*media: Media, reference: str | None = None) -> Sample:
    return Sample(
        id="q",
        question="Is he glad?",
        problem_type=ProblemType.YES_NO,
        answer="yes",
        media=media,
        reference=Reference(context=reference),
    )


def with_media(url: str, **more: Any) -> JudgeConfig:
    return config(url, with_media=True, media=BUDGET, **more)


def picture_of(part: dict[str, Any]) -> NDArray[np.uint8]:
    head, _, data = part["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def sound_of(part: dict[str, Any]) -> NDArray[np.float64]:
    assert part["input_audio"]["format"] == "wav"
    with wave.open(io.BytesIO(base64.b64decode(part["input_audio"]["data"]))) as file:
        assert (file.getnchannels(), file.getframerate()) == (1, SAMPLE_RATE)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float64) / 32767


def psnr(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    error = np.square(one.astype(float) - other).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def test_the_server_sees_and_hears_what_the_file_shows(film: Path) -> None:
    both = (Media(kind=MediaKind.VIDEO, path=film), Media(kind=MediaKind.AUDIO, path=film))
    with JudgeServer() as server, Judge(with_media(server.url)) as judge:
        score({"context": judge_reward(judge, "context")}, [sample(*both)], [COMPLETION])
        (seen,) = server.requests

    content = seen.body["messages"][1]["content"]
    assert [part["type"] for part in content] == [
        "text", *["image_url"] * 3, "text", "input_audio", "text",
    ]  # fmt: skip
    assert content[0]["text"] == "Clip 1: a video; its frames at 0.0, 0.6, 1.3 s."
    assert content[4]["text"] == "Clip 2: 2.0 s of sound."
    for part, time in zip(content[1:4], (0.0, 2 / 3, 4 / 3), strict=True):
        shown = int(time * 25) / 25  # the frame on screen at that time
        assert psnr(picture_of(part), films.picture(shown, 64, 48)) > 28
    assert psnr(picture_of(content[1]), picture_of(content[3])) < 25  # they are not all the same
    heard = sound_of(content[5])
    assert len(heard) == 2 * SAMPLE_RATE
    meant = films.sound(np.arange(len(heard)) / SAMPLE_RATE)
    assert films._likeness(heard, meant, 0.0) > 0.98
    assert np.abs(heard).max() == pytest.approx(0.4, abs=0.05)
    assert json.loads(content[6]["text"]) == {
        "question": "Is he glad?",
        "candidate": {"context": "He smiles."},
    }


def test_an_image_and_a_part_of_a_film(film: Path, tmp_path: Path) -> None:
    path = tmp_path / "still.png"
    still = films.picture(0.5, 40, 30)
    Image.fromarray(still).save(path)
    media = (
        Media(kind=MediaKind.IMAGE, path=path),
        Media(kind=MediaKind.AUDIO, path=film, start=0.5, end=1.25),
    )
    with JudgeServer() as server, Judge(with_media(server.url)) as judge:
        asked = sample(*media, reference="A.")
        score({"context": judge_reward(judge, "context")}, [asked], [COMPLETION])
        content = server.requests[0].body["messages"][1]["content"]

    assert psnr(picture_of(content[1]), still) > 30
    heard = sound_of(content[3])
    assert len(heard) == pytest.approx(0.75 * SAMPLE_RATE, abs=SAMPLE_RATE * 0.05)
    meant = films.sound(0.5 + np.arange(len(heard)) / SAMPLE_RATE)
    assert films._likeness(heard, meant, 0.0) > 0.98
    assert json.loads(content[4]["text"])["reference"] == "A."


def test_without_reference_and_media_there_is_nothing_to_judge_by() -> None:
    with JudgeServer() as server, Judge(with_media(server.url)) as judge:
        reward = judge_reward(judge, "context")
        table = score({"context": reward}, [sample()], [COMPLETION])
        assert table.reasons == {(0, 0): Unscored.NO_REFERENCE}
        score({"context": reward}, [sample(reference="A man.")], [COMPLETION])
        assert isinstance(server.requests[0].body["messages"][1]["content"], str)


class CountingPool(DecodePool):
    """Counts the items that it decodes."""

    decoded = 0

    def submit(self, media: Media, budget: MediaBudget) -> Any:
        self.decoded += 1
        return super().submit(media, budget)


def queries(path: Path, count: int = 8) -> list[Query]:
    film = Media(kind=MediaKind.VIDEO, path=path)
    contexts = [{"context": f"What {index} shows."} for index in range(count)]
    return [Query(CONTEXT_WITH_MEDIA, {}, context, (film,)) for context in contexts]


def test_media_are_decoded_once_for_all_completions_and_not_at_all_for_known_ones(
    film: Path, tmp_path: Path
) -> None:
    moved, changed = tmp_path / "moved.mp4", tmp_path / "changed.mp4"
    moved.write_bytes(film.read_bytes())
    changed.write_bytes(film.read_bytes() + b"\0" * 8)
    with JudgeServer() as server, CountingPool(DecodeLimits(workers=0)) as pool:
        settings = with_media(server.url, cache=tmp_path / "cache.sqlite", max_concurrency=2)
        with Judge(settings, pool) as judge:
            first = asyncio.run(judge.score(queries(film)))
        assert (pool.decoded, len(server.requests)) == (1, 8)
        with Judge(settings, pool) as judge:
            assert asyncio.run(judge.score(queries(film))) == first
            assert asyncio.run(judge.score(queries(moved))) == first
            assert (pool.decoded, len(server.requests)) == (1, 8)
            asyncio.run(judge.score(queries(changed, count=1)))
        assert (pool.decoded, len(server.requests)) == (2, 9)


def test_a_loud_sound_is_not_clipped() -> None:
    samples = np.array([0.5, -2.0, 1.0], np.float32)
    assert sound_of(sound_part(Audio(samples))) == pytest.approx([0.25, -1.0, 0.5], abs=1e-4)


def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no film")
    with JudgeServer() as server, Judge(with_media(server.url)) as judge:
        for path in (broken, tmp_path / "missing.mp4"):
            with pytest.raises(MediaError, match=path.name):
                asyncio.run(judge.score(queries(path)))
        assert server.requests == []
