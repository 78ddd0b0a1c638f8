"""`--audio-in-video` on the command line: every command takes it, and it reaches the model."""

import json
from pathlib import Path
from typing import Any, ClassVar

import pytest

from triptych.cli.main import main
from triptych.data.sample import Media, MediaKind, read_samples, write_samples
from triptych.models.families.qwen2_5_omni import Qwen25Omni


@pytest.fixture
def data(clips_folder: Path, tmp_path: Path) -> Path:
    """Clips of which half name their sound and half do not; both are heard."""
    samples = read_samples(clips_folder / "cold-start.jsonl")
    samples = [*samples[:3], *samples[-3:]]
    some_deaf = [
        sample.model_copy(update={"media": sample.media[:1] if number % 2 else sample.media})
        for number, sample in enumerate(samples)
    ]
    write_samples(tmp_path / "data.jsonl", some_deaf)
    return tmp_path / "data.jsonl"


@pytest.fixture
def read_in_turns(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seconds of sound, in mel frames, of each prompt whose films the model's index read."""
    read: list[int] = []
    positions = Qwen25Omni.positions

    def noted(self: Qwen25Omni, thinker: Any, prompt: Any) -> Any:
        if prompt.with_sound:
            read.append(int(prompt.features["feature_attention_mask"].sum()))
        return positions(self, thinker, prompt)

    monkeypatch.setattr(Qwen25Omni, "positions", noted)
    return read


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_from_cold_start_to_evaluation(
    tiny_folder: Path, data: Path, tmp_path: Path, read_in_turns: list[int]
) -> None:
    shared = ["--audio-in-video", "--media.fps", "4", "--cache.folder", str(tmp_path / "cache"),
              "--decode.workers", "0"]  # fmt: skip
    train = [*shared, "--train", str(data), "--validation", str(data), "--eval-steps", "1"]
    model = [*shared, "--model", str(tiny_folder), "--max-new-tokens", "8", "--enforce", "off"]
    sft, grpo = tmp_path / "sft", tmp_path / "grpo"
    command = ["sft", str(sft), "--model", str(tiny_folder), *train, "--batch-size", "6",
               "--num-epochs", "1", "--max-new-tokens", "4"]  # fmt: skip
    assert main(command) == 0
    assert len(read_in_turns) == 6, "training and validation share their prompts"
    assert all(frames > 90 for frames in read_in_turns)
    command = ["grpo", str(grpo), "--model", str(sft / "models" / "sft"), *train,
               "--max-steps", "1", "--prompts-per-step", "2", "--num-generations", "2",
               "--max-new-tokens", "8", "--max-unscored-share", "1"]  # fmt: skip
    assert main(command) == 0
    assert len(read_in_turns) == 12
    media = [line["media"] for line in lines(grpo / "rollouts.jsonl")]
    assert all(len(paths) == 2 and len(set(paths)) == 1 for paths in media)
    assert main(["eval", str(tmp_path / "eval"), *model, "--data", str(data)]) == 0
    assert main(["generate", str(tmp_path / "out.jsonl"), *model, "--data", str(data)]) == 0
    assert len(read_in_turns) == 24


def test_a_question_about_a_film(
    tiny_folder: Path,
    clips_folder: Path,
    read_in_turns: list[int],
    capsys: pytest.CaptureFixture[str],
) -> None:
    film = read_samples(clips_folder / "cold-start.jsonl")[0].media[0].path
    words = ["ask", str(tiny_folder), str(film), "Why?", "--json", "--max-new-tokens", "20",
             "--decode.workers", "0"]  # fmt: skip
    assert main([*words, "--audio-in-video"]) == 0
    assert len(read_in_turns) == 1
    kinds = [item["kind"] for item in json.loads(capsys.readouterr().out)["media"]]
    assert kinds == ["video", "audio"]
    assert main(words) == 0
    assert len(read_in_turns) == 1


def test_a_sound_of_another_file_is_refused_by_name(
    tiny_folder: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, *others = read_samples(data)
    elsewhere = next(one.media[0].path for one in others if one.media[0] != first.media[0])
    voice = Media(kind=MediaKind.AUDIO, path=elsewhere)
    write_samples(data, [first.model_copy(update={"media": (first.media[0], voice)}), *others])
    words = ["--model", str(tiny_folder), "--data", str(data), "--max-new-tokens", "4",
             "--enforce", "off", "--audio-in-video"]  # fmt: skip
    assert main(["eval", str(tmp_path / "stops"), *words]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"sample {first.id}: {first.media[0].path}: its own sound" in error
    skip = ["--on-bad-sample", "skip", "--max-bad-share", "0.5", "--decode.workers", "0"]
    assert main(["eval", str(tmp_path / "skips"), *words, *skip]) == 0
    (skipped,) = lines(tmp_path / "skips" / "skipped.jsonl")
    assert skipped["sample_id"] == first.id


def test_a_family_that_cannot_is_an_error_of_the_setting(
    tiny_folder: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Slides(Qwen25Omni):
        name: ClassVar[str] = "slides"
        audio_in_video: ClassVar[bool] = False

    monkeypatch.setattr("triptych.models.families.FAMILIES", (Slides(),))
    out = tmp_path / "eval"
    words = ["eval", str(out), "--model", str(tiny_folder), "--data", str(data)]
    assert main([*words, "--audio-in-video"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == (
        "triptych: error: slides cannot read a video and its sound in turns; leave out "
        "audio_in_video"
    )
    assert not any(out.iterdir()), "the corrected command may use the folder"
