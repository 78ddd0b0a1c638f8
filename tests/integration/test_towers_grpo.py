"""In a GRPO step frozen towers run once for each prompt, and nothing else changes."""

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from triptych.data.sample import Sample
from triptych.errors import ConfigError, MediaError
from triptych.models import OmniModel
from triptych.models.prompt import Prompt, PromptEncoder
from triptych.rewards.base import completion_text
from triptych.runs import RunFolder
from triptych.training.grpo import GRPOConfig, GRPOTrainer
from triptych.training.sft import SFTConfig, train_sft

SETTINGS: dict[str, Any] = {
    "prompts_per_step": 2,
    "groups_per_micro_batch": 1,
    "num_generations": 8,
    "num_iterations": 2,
    "max_new_tokens": 8,
    "max_steps": 4,
    "learning_rate": 1e-3,
    "weights": {"format": 1.0},
    "scheme": "uniform",
}


def by_text(prompts: Any, completions: Sequence[Any], **columns: Any) -> list[float | None]:
    """Any reward that tells completions of a random model apart."""
    return [zlib.crc32(completion_text(one).encode()) % 7 / 6 for one in completions]


@pytest.fixture
def clips(samples: list[Sample]) -> list[Sample]:
    """One question about each clip."""
    return list({sample.media: sample for sample in samples}.values())


def counting(model: OmniModel) -> Counter[str]:
    """How often each tower runs, those of a frozen copy included: hooks are copied, too."""
    runs: Counter[str] = Counter()
    for tower, path in model.family.towers.items():
        model.thinker.get_submodule(path).register_forward_hook(
            lambda *_, tower=tower: runs.update([tower])
        )
    return runs


def train(
    model: OmniModel, samples: list[Sample], folder: Path, **settings: Any
) -> tuple[GRPOTrainer, list[float]]:
    run = RunFolder.create(folder)
    config = GRPOConfig(**{**SETTINGS, **settings})
    trainer = GRPOTrainer(model, samples, {"format": by_text}, config, run)
    trainer.fit()
    return trainer, [line["loss"] for line in run.metrics() if "loss" in line]


def test_frozen_towers_run_once_for_each_prompt(
    tiny: OmniModel, clips: list[Sample], tmp_path: Path
) -> None:
    """For rollouts of eight, old and reference log-probs, and two updates, at every step; with a
    memory that holds nothing from one step to the next."""
    tiny.encoder._cache_bytes = 0
    runs = counting(tiny)
    trainer, _ = train(tiny, clips[:4], tmp_path / "run", freeze=("vision", "audio"))
    assert isinstance(trainer.reference, OmniModel)
    assert runs == {"vision": 4, "audio": 4}  # two rollouts on two prompts


def test_frozen_towers_run_once_for_each_prompt_of_a_run(
    tiny: OmniModel, clips: list[Sample], tmp_path: Path
) -> None:
    runs = counting(tiny)
    train(tiny, clips[:2], tmp_path / "run", freeze=("vision", "audio"))
    assert runs == {"vision": 2, "audio": 2}


def test_a_trained_tower_runs_in_each_forward(
    tiny: OmniModel, clips: list[Sample], tmp_path: Path
) -> None:
    runs = counting(tiny)
    settings = {"freeze": ("audio",), "max_steps": 2}
    trainer, _ = train(tiny, clips[:2], tmp_path / "run", **settings)
    # The prefill of the rollout, and for both micro-batches the log-probs of the old policy and of
    # the reference, by a tower of its own, and two updates.
    assert runs == {"vision": 1 + 2 * (1 + 1 + 2), "audio": 2}
    assert isinstance(trainer.reference, OmniModel)
    of_reference = trainer.reference.thinker.get_submodule(tiny.family.towers["vision"])
    of_policy = tiny.thinker.get_submodule(tiny.family.towers["vision"])
    pairs = zip(of_reference.parameters(), of_policy.parameters(), strict=True)
    assert not all(one.equal(two) for one, two in pairs)


@pytest.mark.parametrize("freeze", [True, False])
def test_what_is_trained_must_not_change_under_a_reference(
    tiny: OmniModel, clips: list[Sample], tmp_path: Path, freeze: bool
) -> None:
    """The reference would read embeddings of another tower, or be trained along."""
    tiny.freeze(() if freeze else ("vision",))
    config = GRPOConfig(**SETTINGS)
    run = RunFolder.create(tmp_path / "run")
    trainer = GRPOTrainer(tiny, clips[:2], {"format": by_text}, config, run)
    tiny.thinker.get_submodule(tiny.family.towers["vision"]).requires_grad_(not freeze)
    message = "model.visual.* was frozen after" if freeze else "model.visual.* was unfrozen after"
    with pytest.raises(ConfigError, match=message):
        trainer.fit()


class TowersInEachForward(PromptEncoder):
    """As if nothing were ever frozen."""

    def outcomes(
        self, samples: Iterable[Sample], *, embed: bool = False
    ) -> Iterator[Prompt | MediaError]:
        return super().outcomes(samples, embed=False)


@pytest.mark.parametrize("bf16", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_loss_is_that_of_towers_in_each_forward(
    tiny_folder: Path, clips: list[Sample], tmp_path: Path, bf16: bool
) -> None:
    losses = []
    for number, kind in enumerate((PromptEncoder, TowersInEachForward)):
        model = OmniModel.from_pretrained(tiny_folder)
        model.encoder.__class__ = kind
        runs = counting(model)
        _, loss = train(
            model, clips[:4], tmp_path / str(number), freeze=("vision", "audio"), bf16=bf16
        )
        losses.append(loss)
        assert runs["vision"] == (4 if kind is PromptEncoder else 2 * 9)
    assert len(losses[0]) == 4
    assert all(losses[0][1:])
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=0, atol=1e-2 if bf16 else 1e-6)


def test_the_cold_start_embeds_once(tiny: OmniModel, clips: list[Sample], tmp_path: Path) -> None:
    runs = counting(tiny)
    config = SFTConfig(num_epochs=3, batch_size=2, micro_batch_size=1, freeze=("vision", "audio"))
    train_sft(tiny, clips[:4], config, RunFolder.create(tmp_path / "run"))
    assert runs == {"vision": 4, "audio": 4}
