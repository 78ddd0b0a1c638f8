"""How many prompts a validation during training reads at once."""

from pathlib import Path
from typing import Any

import pytest

from triptych.cli.grpo import GrpoCommand
from triptych.cli.sft import SftCommand
from triptych.cli.training import validation_hook
from triptych.models import OmniModel
from triptych.runs import RunFolder


class Asked(Exception):
    """The evaluation would begin."""


@pytest.mark.parametrize(
    ("command", "settings", "prompts"),
    [
        (GrpoCommand, {"num_generations": 2, "rollout_sequences": 10}, 5),
        (GrpoCommand, {"num_generations": 2, "prompts_per_step": 4}, 4),
        (SftCommand, {}, 8),
    ],
)
def test_as_many_as_a_rollout_at_most(
    command: Any, settings: dict[str, int], prompts: int, tiny: OmniModel, clips_folder: Path,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def ask(engine: Any, *_: Any, **__: Any) -> None:
        raise Asked(engine.max_sequences)

    monkeypatch.setattr("triptych.evaluation.runner.evaluate", ask)
    data = clips_folder / "cold-start.jsonl"
    config = command(
        out=tmp_path, model="tiny", train=data, validation=data, eval_steps=1, **settings
    )
    measure = validation_hook(config, RunFolder.create(tmp_path / "run"))
    assert measure is not None
    with pytest.raises(Asked, match=f"^{prompts}$"):
        measure(tiny)
