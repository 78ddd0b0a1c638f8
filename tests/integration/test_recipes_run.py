"""Recipes in miniature: each with a tiny twin of its model, for a step on a few clips."""

from pathlib import Path

import pytest

from triptych.cli.main import main
from triptych.models.tiny.qwen3_omni import build_tiny_qwen3_omni
from triptych.settings import load_yaml

ROOT = Path(__file__).parents[2]
RECIPES = sorted(
    path
    for path in (ROOT / "recipes").glob("*/*.yaml")
    if path.parent.name != "base" and not path.stem.endswith("-data")
)
FAST = "strict/rl"


def marked(path: Path) -> object:
    name = f"{path.parent.name}/{path.stem}"
    return pytest.param(path, id=name, marks=[] if name == FAST else pytest.mark.slow)


@pytest.mark.parametrize("path", [marked(recipe) for recipe in RECIPES])
def test_a_recipe_trains_a_tiny_twin(
    path: Path,
    tiny_folder: Path,
    clips_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    settings = load_yaml(path)[0]
    kind = "grpo" if "prompts_per_step" in settings else "sft"
    model = tiny_folder
    if path.parent.name.startswith("qwen3"):
        model = build_tiny_qwen3_omni(tmp_path / "model")
    words = [
        kind, str(tmp_path / "run"), "--config", str(path.relative_to(ROOT)),
        "--model", str(model), "--train", str(clips_folder / "cold-start.jsonl"),
        "--max-steps", "2",
    ]  # fmt: skip
    if kind == "sft":
        words += ["--batch-size", "2"]
    else:
        words += ["--prompts-per-step", "2", "--num-generations", "2", "--max-new-tokens", "16"]
        words += ["--rewards.context", "rule", "--rewards.reasoning", "rule"] * (
            "judge" in settings["rewards"].values()
        )
    assert main(words) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert f"trained model: {tmp_path / 'run' / 'models' / kind}" in said
    written = (tmp_path / "run/config.yaml").read_text(encoding="utf-8")
    assert f"scheme: {settings['scheme']}" in written if kind == "grpo" else "num_epochs" in written
