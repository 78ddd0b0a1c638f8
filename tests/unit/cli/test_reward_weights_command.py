"""`triptych reward weights`: from labelled rollouts to a --config file."""

import json
from pathlib import Path

import numpy as np
import pytest

from triptych.cli.config import parse
from triptych.cli.reward_weights import RewardWeightsConfig, _rounded, _verdict, run
from triptych.errors import ConfigError, DataError
from triptych.rewards import DEFAULT_WEIGHTS, REWARD_NAMES
from triptych.rewards.weights import weight_at
from triptych.settings import load_config
from triptych.statistics import Interval
from triptych.training.grpo_config import GRPOConfig


def labelled(path: Path, weights: tuple[float, ...], sign: float = 1.0) -> Path:
    """Three completions of each of 24 samples, and one that nobody judged."""
    rng = np.random.default_rng(0)
    with path.open("w") as file:
        for sample in range(24):
            for number in range(4):
                rewards = rng.uniform(size=4).round(3)
                label = sign * float(rewards @ weights)
                record = {
                    "step": 1,
                    "group": 0,
                    "sample_id": f"q{sample}",
                    "rewards": dict(zip(REWARD_NAMES, rewards.tolist(), strict=True)),
                    "text": "",
                    **({"label": label} if number < 3 else {}),
                }
                file.write(json.dumps(record) + "\n")
    return path


def command(*words: object) -> RewardWeightsConfig:
    return parse(RewardWeightsConfig, [str(w) for w in words], prog="t", description="").config


def test_what_is_written_is_a_config_of_grpo(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "weights.yaml"
    run(command(labelled(tmp_path / "l.jsonl", (0.8, 0.0, 0.1, 0.1)), "--out", out))
    config = load_config(GRPOConfig, out)
    assert list(config.weights) == list(REWARD_NAMES)
    weights = {name: weight_at(weight, 0) for name, weight in config.weights.items()}
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-9)
    assert weights["context"] == pytest.approx(0.8, abs=0.1)
    printed = capsys.readouterr().out
    assert "l.jsonl: 72 pairs of 24 samples; 24 completions without a label left out" in printed
    assert "the learned weights are better than the default ones: +" in printed
    assert f"written: {out}" in printed
    assert f"context             0.250{weights['context']:>9.3f}" in printed
    notes = [line for line in out.read_text().splitlines() if line.startswith("#")]
    assert [line[2:] for line in notes] == printed.splitlines()[-5:-1]


def test_weights_that_are_no_better_are_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = labelled(tmp_path / "l.jsonl", tuple(DEFAULT_WEIGHTS.values()))
    run(command(data, "--out", tmp_path / "w.yaml", "--keep", "format", "--seed", 1))
    printed = capsys.readouterr().out
    assert "the learned weights are not better than the default ones, as far as" in printed
    assert "format              0.150    0.150  (kept)" in printed


@pytest.mark.slow
def test_ranks_the_wrong_way_round_are_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = labelled(tmp_path / "l.jsonl", (0.25, 0.25, 0.35, 0.15), sign=-1.0)
    run(command(data, "--out", tmp_path / "w.yaml"))
    assert "the labels oppose the default weights: is a lower label" in capsys.readouterr().out


def test_a_failure_writes_nothing_and_no_file_is_overwritten(tmp_path: Path) -> None:
    data, out = labelled(tmp_path / "l.jsonl", (1, 0, 0, 0)), tmp_path / "w.yaml"
    with pytest.raises(DataError, match="'answer' has no weight"):
        run(command(data, "--out", out, "--weights", "{context: 1, reasoning: 1, format: 1}"))
    assert not out.exists()
    out.write_text("max_steps: 3\n")
    with pytest.raises(ConfigError, match=r"w\.yaml: exists; name another file"):
        command(data, "--out", out)
    assert out.read_text() == "max_steps: 3\n"


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(0.001, 0.03, "are better"), (-0.001, 0.03, "are not better"), (-0.03, -0.001, "are worse")],
)
def test_only_the_interval_decides_what_is_said(low: float, high: float, words: str) -> None:
    assert f"the learned weights {words} than" in _verdict(Interval((low + high) / 2, low, high, 9))


def test_rounded_weights_still_sum_to_one() -> None:
    thirds = dict.fromkeys("abc", 1 / 3)
    assert _rounded(thirds) == {"a": 0.3334, "b": 0.3333, "c": 0.3333}
