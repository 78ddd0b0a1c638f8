"""Every recipe is a config that its command takes, for the model that it names."""

from functools import cache
from pathlib import Path

import pytest

from triptych.cli.main import main
from triptych.planning.plan import Subject
from triptych.settings import load_yaml

ROOT = Path(__file__).parents[2]
RECIPES = sorted(
    path
    for path in (ROOT / "recipes").glob("*/*.yaml")
    if path.parent.name != "base" and not path.stem.endswith("-data")
)
BIG = "Qwen/Qwen3-Omni-30B-A3B-Instruct"
SMALL = ("Qwen/Qwen2.5-Omni-7B", "Qwen/Qwen2.5-Omni-3B")


def models_of(path: Path) -> tuple[str, ...]:
    """Later stages go on from a folder, whose sizes are those of the model that it began from."""
    if path.parent.name == "qwen3-omni-30b-a3b":
        return (BIG,)
    return SMALL if load_yaml(path)[0]["model"] == SMALL[0] else SMALL[:1]


CASES = [(path, model) for path in RECIPES for model in models_of(path)]


def command_of(path: Path) -> str:
    return "grpo" if "prompts_per_step" in load_yaml(path)[0] else "sft"


@pytest.fixture(scope="module", autouse=True)
def _each_model_once() -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr(Subject, "of", cache(Subject.of))


@pytest.mark.parametrize(
    ("path", "model"), CASES, ids=[f"{p.parent.name}/{p.stem}-{m[-12:]}" for p, m in CASES]
)
def test_a_recipe_passes_its_dry_run(
    path: Path,
    model: str,
    clips_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    words = [
        command_of(path), str(tmp_path / "run"), "--config", str(path.relative_to(ROOT)),
        "--model", model, "--train", str(clips_folder / "cold-start.jsonl"), "--dry-run",
    ]  # fmt: skip
    assert main(words) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    assert "memory of a device, by phase" in said
    assert "Nothing was trained, and nothing written." in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_recipe_without_its_data_says_where_they_come_from(
    path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    words = [command_of(path), str(tmp_path / "run"), "--config", str(path.relative_to(ROOT))]
    model = models_of(path)[0]
    assert main([*words, "--model", model, "--dry-run"]) == 1
    assert "PhilipC/IntentTrain on the Hugging Face hub" in capsys.readouterr().err


def test_all_stages_of_the_published_system_are_there() -> None:
    stages = {path.stem for path in RECIPES if path.parent.name == "humanomni-v2"}
    assert stages == {"cold-start", "rl-1", "rl-2", "rl-1-released", "rl-2-released"}


def test_each_recipe_stands_in_the_readme() -> None:
    text = (ROOT / "recipes/README.md").read_text(encoding="utf-8")
    for path in RECIPES:
        assert f"recipes/{path.parent.name}/{path.name}" in text
