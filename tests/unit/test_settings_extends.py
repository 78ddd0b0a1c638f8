"""`extends`: a file of settings on top of another."""

from pathlib import Path

import pytest

from triptych.errors import ConfigError
from triptych.settings import build, load_yaml
from triptych.training.grpo_config import GRPOConfig


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder / "top.yaml"


def test_what_is_nearer_wins(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    written(tmp_path, base="beta: 0.1\nmax_steps: 7\nseed: 3\n")
    written(tmp_path / "inner", middle="extends: ../base.yaml\nbeta: 0.2\n")
    top = written(tmp_path, top="extends: inner/middle.yaml\nseed: 4\n")
    tree, _ = load_yaml(top)
    assert tree == {"beta": 0.2, "max_steps": 7, "seed": 4}


def test_a_mapping_is_replaced_as_a_whole(tmp_path: Path) -> None:
    top = written(
        tmp_path,
        base="weights: {answer: 0.5, format: 0.5}\n",
        top="extends: base.yaml\nweights: {answer: 1}\n",
    )
    tree, labels = load_yaml(top)
    assert build(GRPOConfig, tree, labels).weights == {"answer": 1}


def test_errors_name_the_file_that_said_it(tmp_path: Path) -> None:
    top = written(tmp_path, base="seed: 1\nbeta: much\n", top="extends: base.yaml\nseed: none\n")
    tree, labels = load_yaml(top)
    with pytest.raises(ConfigError, match=r"(base\.yaml:2: 'beta'|top\.yaml:2: 'seed')"):
        build(GRPOConfig, tree, labels)
    assert labels[("beta",)].startswith(str(tmp_path / "base.yaml:2"))
    assert labels[("seed",)].startswith(str(tmp_path / "top.yaml:2"))


def test_a_circle_is_refused(tmp_path: Path) -> None:
    top = written(tmp_path, top="extends: other.yaml\n", other="extends: ./top.yaml\n")
    with pytest.raises(ConfigError, match=r"top\.yaml: extends itself \(.*other\.yaml.*\)"):
        load_yaml(top)


@pytest.mark.parametrize("name", ["3", "[a.yaml, b.yaml]", "''"])
def test_what_is_no_file_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"top\.yaml:1: 'extends' must be the name of a YAML"):
        load_yaml(written(tmp_path, top=f"extends: {name}\n"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"base\.yaml: cannot be read"):
        load_yaml(written(tmp_path, top="extends: base.yaml\n"))
