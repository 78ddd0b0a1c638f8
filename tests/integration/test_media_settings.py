"""Where media are decoded and kept changes how long a command takes, nothing else."""

from pathlib import Path

import pytest

from triptych.cli.main import main


@pytest.mark.slow
def test_workers_and_cache_do_not_change_what_a_model_says(
    tiny_folder: Path, clips_folder: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    data = clips_folder / "test-balanced.jsonl"
    predictions = set()
    for name, options in (
        ("workers", []),
        ("in-process", ["--decode.workers", "0"]),
        ("fresh", ["--cache.folder", str(cache)]),
        ("warm", ["--cache.folder", str(cache), "--decode.workers", "0"]),
    ):
        out = tmp_path / name
        command = ["eval", str(out), "--model", str(tiny_folder), "--data", str(data)]
        assert main([*command, "--max-new-tokens", "24", "--enforce", "off", *options]) == 0
        predictions.add((out / "predictions" / "model.jsonl").read_bytes())
        entries = {path: path.stat().st_ino for path in cache.glob("*.safetensors")}
        if name == "fresh":
            written = entries
    assert len(predictions) == 1
    assert written
    assert entries == written, "none was made again"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--decode.workers", "-1"], "decode.workers is -1; use 0 or more"),
        (["--decode.seconds", "0"], "decode.seconds is 0.0; use a number above 0"),
        (["--cache.max-gib", "0"], "cache.max_gib is 0.0; use a number above 0"),
        (["--on-bad-sample", "ignore"], "--on-bad-sample should be 'stop' or 'skip'"),
        (["--max-bad-share", "2"], "max_bad_share is 2.0; use a share from 0 to 1"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    option: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["eval", "--data"], ["sft", "--train"], ["grpo", "--train"]):
        name, data = command
        words = [name, str(tmp_path / "out"), "--model", "m", data, "d.jsonl", *option]
        assert main(words) == 2
        assert message in capsys.readouterr().err
    words = ["generate", str(tmp_path / "out.jsonl"), "--model", "m", "--data", "d.jsonl", *option]
    assert main(words) == 2
    assert message in capsys.readouterr().err
