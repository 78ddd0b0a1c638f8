"""`triptych data rollout-filter` in two processes."""

from pathlib import Path

import pytest
from launching import launch, launch_failing

from triptych.cli.main import main
from triptych.data.sample import read_samples, write_samples

FILES = ("out.jsonl", "out.jsonl.scores.jsonl", "out.jsonl.completions.jsonl")


def words(out: Path, model: Path, data: Path) -> list[str]:
    return ["data", "rollout-filter", str(out), "--model", str(model), "--data", str(data),
            "--num-generations", "3", "--max-new-tokens", "60", "--enforce", "stages+answer",
            "--batch-size", "6", "--device", "cpu"]  # fmt: skip


@pytest.mark.slow
def test_two_processes_leave_the_files_of_one(
    clips_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    """Seven samples are three batches and a half one; a run of two begins where one stopped."""
    samples = read_samples(clips_folder / "rl-biased.jsonl")[:7]
    data, one, two = tmp_path / "data.jsonl", tmp_path / "one", tmp_path / "two"
    write_samples(data, samples)
    assert main(words(one / "out.jsonl", tiny_folder, data)) == 0
    printed = launch(2, words(two / "out.jsonl", tiny_folder, data))
    assert printed.count("kept ") == 1, "the first process alone prints"
    for name in FILES:
        assert (two / name).read_bytes() == (one / name).read_bytes()

    completions = two / FILES[-1]
    lines = completions.read_bytes().splitlines(keepends=True)
    completions.write_bytes(b"".join(lines[:3]) + lines[3][:20])
    assert "3 of them there already" in launch(2, words(two / "out.jsonl", tiny_folder, data))
    for name in FILES:
        assert (two / name).read_bytes() == (one / name).read_bytes()


@pytest.mark.slow
def test_bad_media_of_one_process_end_both_behind_the_lines_before(
    clips_folder: Path, tiny_folder: Path, tmp_path: Path
) -> None:
    samples = read_samples(clips_folder / "rl-biased.jsonl")[:7]
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film")
    media = tuple(one.model_copy(update={"path": bad}) for one in samples[3].media)
    samples[3] = samples[3].model_copy(update={"media": media})
    data, out = tmp_path / "data.jsonl", tmp_path / "out.jsonl"
    write_samples(data, samples)
    told = launch_failing(2, words(out, tiny_folder, data))
    assert told.count(f"{bad}: ") == 2, told
    assert len((tmp_path / FILES[-1]).read_bytes().splitlines()) == 2, "those of the first batch"
    assert not out.exists()
