"""Reinforcement by each kind of context reward, by the commands that a user types.

A tiny model learns the format on a handful of clips, and is reinforced by the context reward alone:
given by rule, by a scorer that was trained here, by one that looks and listens, and by a judge
that is served on loopback.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from judging import Answer, JudgeServer, Seen, completion, data, what

from triptych.cli.main import main
from triptych.rewards.words import read_text

pytestmark = pytest.mark.slow

ONLY_CONTEXT = [
    *("--weights.context", "1", "--weights.reasoning", "0"),
    *("--weights.answer", "0", "--weights.format", "0"),
]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def cold_started(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path, clips: Path) -> Path:
    """A model that keeps the format, and does not always say the same."""
    out = tmp_path_factory.mktemp("cold") / "sft"
    words = [
        *("sft", str(out), "--model", str(tiny_folder), "--train", str(clips)),
        *("--learning-rate", "2e-3", "--adam-beta2", "0.98", "--max-steps", "40"),
        *("--save-steps", "40", "--media.fps", "4"),
    ]
    assert main(words) == 0
    return out / "models" / "sft"


@pytest.fixture(scope="module")
def clips(clips_folder: Path) -> Path:
    return clips_folder / "cold-start.jsonl"


@pytest.fixture(scope="module")
def text_scorer(tmp_path_factory: pytest.TempPathFactory, clips_folder: Path) -> Path:
    out = tmp_path_factory.mktemp("scorer") / "text"
    data = [str(clips_folder / f"{split}.jsonl") for split in ("rl-biased", "rl-balanced")]
    words = ["reward", "train", str(out), "--encoder", "tiny", "--stage", "context", "--data"]
    assert main([*words, *data]) == 0
    return out


@pytest.fixture(scope="module")
def omni_scorer(
    tmp_path_factory: pytest.TempPathFactory, clips_folder: Path, cold_started: Path
) -> Path:
    out = tmp_path_factory.mktemp("scorer") / "omni"
    data = [str(clips_folder / f"{split}.jsonl") for split in ("rl-biased", "rl-balanced")]
    words = ["reward", "train-omni", str(out), "--model", str(cold_started), "--media.fps", "4"]
    assert main([*words, "--no-text-only-baseline", "--data", *data]) == 0
    return out


@pytest.fixture
def judge() -> Iterator[JudgeServer]:
    """Judges by the share of the reference's words that a context has."""

    def judged(seen: Seen) -> Answer:
        wanted = set(read_text(str(data(seen)["reference"])).words)
        said = set(read_text(what(seen)).words)
        return Answer(200, completion(json.dumps({"score": 5 * len(wanted & said) // len(wanted)})))

    with JudgeServer(answer=judged) as server:
        yield server


@pytest.fixture
def target(kind: str, request: pytest.FixtureRequest) -> list[str]:
    """The options that ask for a kind of context reward."""
    if kind == "judge":
        server: JudgeServer = request.getfixturevalue("judge")
        return ["--rewards.context", "judge", "--judge.base-url", server.url, "--judge.model", "m"]
    if kind == "rule":
        return ["--rewards.context", "rule"]
    return ["--rewards.context", f"scorer:{request.getfixturevalue(kind)}"]


@pytest.mark.parametrize("kind", ["rule", "text_scorer", "omni_scorer", "judge"])
def test_a_context_reward_of_any_kind_moves_context_tokens_alone(
    target: list[str], cold_started: Path, clips: Path, tmp_path: Path
) -> None:
    out = tmp_path / "grpo"
    words = [
        *("grpo", str(out), "--model", str(cold_started), "--train", str(clips)),
        *("--num-generations", "6", "--prompts-per-step", "6", "--max-steps", "3"),
        *("--groups-per-micro-batch", "3", "--max-new-tokens", "96", "--enforce", "stages"),
        *("--learning-rate", "1e-4", "--log-every", "1", "--media.fps", "4", "--beta", "0"),
    ]
    assert main([*words, *ONLY_CONTEXT, *target]) == 0

    metrics = [line for line in lines(out / "metrics.jsonl") if "advantage/context" in line]
    assert len(metrics) == 3
    for step in metrics:
        assert step["advantage/context"] > 0
        assert step["advantage/think"] == step["advantage/answer"] == step["advantage/tags"] == 0
        assert step["unscored/context"] == 0
    rewards = [line["rewards"]["context"] for line in lines(out / "rollouts.jsonl")]
    assert len(rewards) == 3 * 36
    assert len(set(rewards)) > 3
    assert (out / "models" / "grpo" / "config.json").exists()
