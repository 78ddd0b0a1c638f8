"""`triptych reward train-omni`, and the commands for scorers on what it wrote."""

import json
from pathlib import Path

import pytest

from triptych.cli.reward import ScoreConfig, score
from triptych.cli.reward_omni import TrainOmniConfig, train
from triptych.data.media import MediaBudget
from triptych.data.sample import read_samples
from triptych.errors import ConfigError


@pytest.fixture(scope="module")
def data(clips_folder: Path) -> Path:
    return clips_folder / "rl-biased.jsonl"


def settings(data: Path, model: Path, out: Path) -> TrainOmniConfig:
    return TrainOmniConfig(
        out=out,
        data=(data,),
        model=str(model),
        device="cpu",
        media=MediaBudget(fps=4.0),
        learning_rate=1e-3,
        head_learning_rate=1e-2,
        batch_size=2,
        micro_batch_size=2,
        num_epochs=0.3,
        held_out_share=0.4,
        text_only_baseline=False,
    )


def test_trained_and_used_by_command(
    data: Path, tiny_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scorer"
    config = settings(data, tiny_folder, out)
    train(config)
    shown = capsys.readouterr().out
    for words in ("expression start", "its own clip", "hallucinated", f"trained scorer: {out}"):
        assert words in shown
    assert "text only" not in shown
    with pytest.raises(ConfigError, match="not an empty folder"):
        train(config)

    sample = read_samples(data)[0]
    text = f"<context>{sample.reference.context}</context><think>so</think><answer>A</answer>"
    completions = tmp_path / "completions.jsonl"
    completions.write_text(json.dumps({"sample_id": sample.id, "text": text}) + "\n")
    scores = tmp_path / "scores.jsonl"
    score(ScoreConfig(scorer=out, data=data, completions=completions, out=scores, device="cpu"))
    (line,) = map(json.loads, scores.read_text().splitlines())
    assert 0 < line["scores"][0] < 1
    assert line["unscored"] == [None]


def test_data_must_be_named(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data: no data set"):
        TrainOmniConfig(out=tmp_path, model=str(tiny_folder))


def test_settings_of_the_training_are_checked(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="texts_per_row"):
        TrainOmniConfig(out=tmp_path, data=(tmp_path,), model=str(tiny_folder), texts_per_row=1)
