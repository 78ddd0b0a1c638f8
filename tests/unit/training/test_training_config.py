import pytest
from transformers.integrations import integration_utils

from triptych.errors import ConfigError
from triptych.training.config import TrainingConfig


@pytest.fixture(autouse=True)
def tensorboard_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        integration_utils, "get_available_reporting_integrations", lambda: ["tensorboard"]
    )


@pytest.mark.parametrize("names", [(), ("none",), ("all",), ("tensorboard",)])
def test_trackers_that_are_there_are_taken(names: tuple[str, ...]) -> None:
    assert TrainingConfig(report_to=names).report_to == names


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("tensorboard", "foo"), "report_to: foo is no tracker; use one of .*tensorboard, "),
        (("wandb",), "report_to: wandb is not installed; pip install it, or leave it out"),
    ],
)
def test_other_trackers_are_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingConfig(report_to=names)
