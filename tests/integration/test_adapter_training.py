"""Training an adapter: reference without a second model, checkpoints, one stage on the other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from triptych.cli.main import main
from triptych.data.media import MediaBudget
from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.models import LoadOptions, OmniModel
from triptych.models.adapters import (
    LoraSettings,
    adapter_is_new,
    adapter_off,
    named_adapter_parameters,
)
from triptych.runs import RunFolder
from triptych.training.grpo import GRPOTrainer, frozen_copy
from triptych.training.reference import AdapterOff
from triptych.training.sft import SFTConfig, SFTTrainer, train_sft

pytest.importorskip("peft")

Build = Callable[..., GRPOTrainer]
LORA = LoraSettings(rank=4)


class StepKeeper(TrainerCallback):
    """Keeps the gradients of every optimizer step."""

    def __init__(self) -> None:
        self.gradients: list[dict[str, Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        named = kwargs["model"].named_parameters()
        self.gradients.append({name: p.grad.clone() for name, p in named if p.grad is not None})


def load(folder: Path, **options: Any) -> OmniModel:
    model = OmniModel.from_pretrained(
        folder, options=LoadOptions(**options), budget=MediaBudget(fps=4.0)
    )
    model.eval()
    return model


def adapter_of(model: OmniModel) -> dict[str, Tensor]:
    return {name: w.detach().clone() for name, w in named_adapter_parameters(model.thinker)}


class LeftOn(AdapterOff):
    """What goes wrong where the adapter stays on: the model is its own reference."""

    def __call__(self, **inputs: Any) -> Any:
        return self._model(**inputs)


@pytest.fixture(scope="module")
def steps(
    tiny_folder: Path, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[list[dict[str, Any]], list[dict[str, Tensor]]]]:
    """Metrics and gradients of two steps from one start, for each kind of reference."""
    from replay import ReplayEngine

    from triptych.rewards import rule_rewards
    from triptych.training.grpo import GRPOConfig

    config = GRPOConfig(
        prompts_per_step=1, groups_per_micro_batch=1, num_generations=4, max_steps=2,
        learning_rate=5e-3, beta=0.5, lora=LORA,
    )  # fmt: skip
    found = {}
    for kind in ("off", "copy", "left on"):
        torch.manual_seed(0)
        model = load(tiny_folder)
        run = RunFolder.create(tmp_path_factory.mktemp("reference") / kind.replace(" ", "-"))
        trainer = GRPOTrainer(
            model, samples[:4], rule_rewards(), config, run, engine=ReplayEngine(model)
        )
        assert isinstance(trainer.reference, AdapterOff)
        if kind == "copy":
            trainer.reference = frozen_copy(model)
        elif kind == "left on":
            trainer.reference = LeftOn(model)
        keeper = StepKeeper()
        trainer.add_callback(keeper)
        trainer.fit()
        found[kind] = ([line for line in run.metrics() if "loss" in line], keeper.gradients)
    return found


def differences(one: Any, other: Any) -> dict[str, float]:
    """Largest difference of losses, penalties and gradients, over all steps."""
    (lines, gradients), (other_lines, other_gradients) = one, other
    pairs = list(zip(lines, other_lines, strict=True))
    return {
        "loss": max(abs(a["loss"] - b["loss"]) for a, b in pairs),
        "kl": max(abs(a["kl"] - b["kl"]) for a, b in pairs),
        "gradient": max(
            float((a[name] - b[name]).abs().max())
            for a, b in zip(gradients, other_gradients, strict=True)
            for name in a
        ),
    }


def test_adapter_off_is_a_frozen_copy(steps: Any) -> None:
    lines, gradients = steps["off"]
    assert len(gradients) == 2
    assert set(gradients[0]) == set(steps["copy"][1][0])
    assert all("lora_" in name for name in gradients[0])
    assert lines[-1]["kl"] > 1e-3, "the adapter has moved the model"
    assert all(value < 1e-6 for value in differences(steps["off"], steps["copy"]).values())


def test_an_adapter_left_on_would_be_seen(steps: Any) -> None:
    """The control: no penalty at all, and other losses and gradients."""
    lines, _ = steps["left on"]
    assert all(line["kl"] == pytest.approx(0, abs=1e-9) for line in lines)
    apart = differences(steps["left on"], steps["copy"])
    assert all(value > 1e-4 for value in apart.values()), apart


def test_weights_below_an_adapter_must_stay(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build
) -> None:
    trainer = replay_trainer(tiny, samples[:4], lora=LORA)
    tiny.thinker.get_output_embeddings().weight.requires_grad_(True)
    with pytest.raises(ConfigError, match=r"lm_head.weight was unfrozen, and the reference"):
        trainer.fit()


def sft_config(**settings: Any) -> SFTConfig:
    defaults: dict[str, Any] = {
        "batch_size": 2, "micro_batch_size": 2, "max_steps": 2, "learning_rate": 5e-3, "lora": LORA,
        "lr_scheduler": "constant", "warmup_steps": 0,
    }  # fmt: skip
    return SFTConfig(**{**defaults, **settings})


class StopAfter(TrainerCallback):
    """Ends training after a step, as a killed job would."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_training_stop = state.global_step == 1


def test_checkpoints_hold_the_adapter_alone_and_a_run_goes_on_from_them(
    tiny_folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    from triptych.training.sft import SFTTrainer

    config = sft_config(save_steps=1)
    torch.manual_seed(0)
    whole = load(tiny_folder)
    train_sft(whole, samples, config, RunFolder.create(tmp_path / "whole"))

    run = RunFolder.create(tmp_path / "stopped")
    torch.manual_seed(0)
    stopped = SFTTrainer(load(tiny_folder), samples, config, run)
    stopped.add_callback(StopAfter())
    stopped.fit()
    checkpoint = run.path / "checkpoints/sft/checkpoint-1"
    assert (checkpoint / "adapter_model.safetensors").stat().st_size < 2e5
    assert not list(checkpoint.glob("model*.safetensors"))

    torch.manual_seed(7)  # the adapter begins as another one: the checkpoint's replaces it
    resumed = load(tiny_folder)
    result = train_sft(
        resumed, samples, config, RunFolder.create(run.path, resume=True), resume=True
    )
    assert result.steps == 2
    for name, weight in adapter_of(resumed).items():
        assert torch.equal(weight, adapter_of(whole)[name]), name
    again = load(result.model_path)
    for name, weight in adapter_of(again).items():
        assert torch.equal(weight, adapter_of(whole)[name]), name


def test_the_seed_draws_the_adapter(
    tiny_folder: Path, samples: list[Sample], run: RunFolder
) -> None:
    drawn = []
    for number, seed in enumerate((0, 0, 1)):
        model = load(tiny_folder)
        SFTTrainer(model, samples[:2], sft_config(seed=seed), run, phase=f"run-{number}")
        drawn.append(adapter_of(model))
    same, other = (
        all(torch.equal(drawn[0][name], value) for name, value in one.items()) for one in drawn[1:]
    )
    assert same
    assert not other


@pytest.mark.slow
def test_the_best_checkpoint_is_loaded_into_the_adapter(
    tiny_folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    model, seen = load(tiny_folder), []

    def evaluate(live: OmniModel) -> dict[str, float]:
        seen.append(adapter_of(live))
        return {"score": [0.0, 1.0, 0.5][len(seen) - 1]}

    config = sft_config(eval_steps=1, best_metric="score")
    run = RunFolder.create(tmp_path / "run")
    result = train_sft(model, samples, config, run, evaluate=evaluate)
    assert result.best_step == 1
    for name, weight in adapter_of(model).items():
        assert torch.equal(weight, seen[1][name])
    card = (result.model_path / "README.md").read_text()
    assert "At step 1, where `eval_score` was best" in card


def test_reinforcement_goes_on_with_the_adapter_of_the_cold_start(
    tiny_folder: Path, samples: list[Sample], replay_trainer: Build, tmp_path: Path
) -> None:
    """Its reference is the cold-started model, not the base model below the adapter."""
    started = train_sft(
        load(tiny_folder), samples, sft_config(), RunFolder.create(tmp_path / "sft")
    ).model_path
    model = load(started)
    assert not adapter_is_new(model.thinker)
    before = adapter_of(model)
    trainer = replay_trainer(
        model, samples[:2], max_steps=2, prompts_per_step=2, learning_rate=5e-3, lora=LORA, beta=0.5
    )
    reference = trainer.reference
    assert isinstance(reference, OmniModel)
    shared = {id(weight) for weight in model.parameters()}
    own = sum(w.numel() for w in reference.parameters() if id(w) not in shared)
    assert own == sum(weight.numel() for weight in before.values()), "only the adapter is copied"
    trainer.fit()
    lines = [line for line in trainer.run.metrics() if "loss" in line]
    assert lines[0]["kl"] == pytest.approx(0, abs=1e-9), "it begins where the cold start ended"
    assert lines[1]["kl"] > 1e-6
    after, (batch, *_) = adapter_of(model), trainer._batches
    assert any(not torch.equal(after[name], weight) for name, weight in before.items())
    for name, weight in named_adapter_parameters(reference.thinker):
        assert torch.equal(weight, before[name])

    with torch.no_grad():
        expected = trainer._logps(load(started), batch.packed)
        assert torch.equal(trainer._logps(reference, batch.packed), expected)
        with adapter_off(model.thinker):
            without = trainer._logps(model, batch.packed)
    assert (without - expected).abs().max() > 1e-3


def test_dropout_is_for_the_update_alone(
    tiny: OmniModel, samples: list[Sample], replay_trainer: Build
) -> None:
    lora = LoraSettings(rank=4, dropout=0.5)
    trainer = replay_trainer(
        tiny, samples[:2], lora=lora, num_iterations=2, max_steps=2, prompts_per_step=2,
        groups_per_micro_batch=1, learning_rate=5e-2,
    )  # fmt: skip
    modes: dict[str, list[bool]] = {"forward": [], "update": []}

    def watch(module: Any, args: Any) -> None:
        modes["update" if torch.is_grad_enabled() else "forward"].append(module.training)

    handle = tiny.register_forward_pre_hook(watch)
    dropouts = [m for m in tiny.thinker.modules() if isinstance(m, torch.nn.Dropout) and m.p == 0.5]
    assert dropouts
    trainer.fit()
    handle.remove()
    assert modes == {"forward": [False] * 4, "update": [True] * 4}
    batch = trainer._batches[0]
    tiny.train()
    assert torch.equal(trainer._logps(tiny, batch.packed), trainer._logps(tiny, batch.packed)), (
        "no dropout where the policy is only read"
    )
    assert tiny.training
    noisy = [tiny(**batch.packed.model_inputs()).logps_N for _ in range(2)]
    assert not torch.equal(*noisy)


def test_an_adapter_over_frozen_layers_trains_elsewhere(
    tiny: OmniModel, samples: list[Sample], tmp_path: Path
) -> None:
    config = sft_config(freeze=("layers.0-1",), max_steps=1)
    train_sft(tiny, samples, config, RunFolder.create(tmp_path / "run"))
    moved = {n for n, w in named_adapter_parameters(tiny.thinker) if "lora_B" in n and w.any()}
    assert moved
    assert all(".layers.2." in name for name in moved)


def test_export_writes_an_ordinary_model(
    tiny_folder: Path, samples: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = train_sft(load(tiny_folder), samples, sft_config(), RunFolder.create(tmp_path / "sft"))
    adapter, out = result.model_path, tmp_path / "merged"
    assert main(["export", str(adapter), str(out)]) == 0
    assert f"merged model: {out}" in capsys.readouterr().out
    merged, model = load(out), load(adapter)
    ids = torch.tensor([[25, 37, 30, 41, 60, 22]])
    with torch.no_grad():
        expected = torch.log_softmax(model.thinker(input_ids=ids).logits, -1)
        got = torch.log_softmax(merged.thinker(input_ids=ids).logits, -1)
    assert (got - expected).abs().max() < 1e-5
    assert not any("lora" in name for name in merged.state_dict())
    card = (out / "README.md").read_text()
    assert "library_name: transformers" in card
    assert f"merged into the weights of `{tiny_folder.resolve()}`" in card
    assert "PEFT" not in card

    assert main(["export", str(adapter), str(out)]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["export", str(tiny_folder), str(tmp_path / "again")]) == 1
    assert "holds no adapter: it is an ordinary model already" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()


@pytest.mark.slow
def test_export_rounds_to_another_number_format(
    tiny: OmniModel, samples: list[Sample], tmp_path: Path
) -> None:
    adapter = train_sft(tiny, samples, sft_config(), RunFolder.create(tmp_path / "sft")).model_path
    out = tmp_path / "merged"
    assert main(["export", str(adapter), str(out)]) == 0
    assert main(["export", str(adapter), str(tmp_path / "half"), "--dtype", "bfloat16"]) == 0
    assert load(tmp_path / "half", dtype=torch.bfloat16).thinker.dtype == torch.bfloat16
    assert (tmp_path / "half/model.safetensors").stat().st_size < 0.6 * (
        out / "model.safetensors"
    ).stat().st_size
