"""Settings of `triptych sft` and `triptych grpo` that do not fit together."""

from pathlib import Path

import pytest

from triptych.cli.main import main


@pytest.mark.parametrize("command", ["sft", "grpo"])
def test_validation_data_that_nothing_is_measured_on_are_refused(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", "m", "--train", "t.jsonl", "--validation", "v.jsonl"]
    assert main([command, str(tmp_path / "run"), *words]) == 2
    assert "every eval_steps, which is 0; set eval_steps" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
