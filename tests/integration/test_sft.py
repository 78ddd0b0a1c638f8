"""The cold start through the whole trainer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from triptych.data.sample import Reference, Sample
from triptych.errors import ConfigError, DataError, ModelError
from triptych.models import OmniModel
from triptych.models.packing import pack
from triptych.runs import RunFolder
from triptych.stages import parse
from triptych.training.divergence import Diverged
from triptych.training.sft import SFTConfig, SFTTrainer, target_ids, train_sft


def test_target_is_the_reference_and_the_end_token(tiny: OmniModel, samples: list[Sample]) -> None:
    sample = samples[0]
    ids = target_ids(tiny, sample)
    assert ids[-1] == tiny.end_token_ids[0]
    output = parse(tiny.tokenizer.decode(ids[:-1]))
    assert output.valid
    assert output.context == sample.reference.context
    assert output.think == sample.reference.reasoning
    assert output.answer == sample.answer


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (Reference(reasoning="so"), "sample q7: reference.context: missing"),
        (Reference(context="a face"), "sample q7: reference.reasoning: missing"),
        (Reference(context="a </think>", reasoning="so"), "sample q7: .* holds the tag '</think>'"),
    ],
)
def test_a_sample_without_a_full_reference_is_named_up_front(
    tiny: OmniModel, samples: list[Sample], run: RunFolder, reference: Reference, message: str
) -> None:
    broken = samples[0].model_copy(update={"id": "q7", "reference": reference})
    with pytest.raises(DataError, match=message):
        train_sft(tiny, [*samples[:3], broken], SFTConfig(), run)
    assert not run.metrics_path.exists()


def test_one_id_for_two_samples_is_refused(
    tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    twin = samples[1].model_copy(update={"id": samples[0].id})
    with pytest.raises(DataError, match="two different samples have this id"):
        SFTTrainer(tiny, [samples[0], twin], SFTConfig(), run)
    SFTTrainer(tiny, [samples[0], samples[0]], SFTConfig(), run)


def test_loss_is_the_mean_over_completion_tokens(
    tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    config = SFTConfig(batch_size=4, micro_batch_size=2, max_steps=1)
    trainer = SFTTrainer(tiny, samples[:4], config, run)
    with torch.no_grad():
        packed = pack(
            [tiny.encode(sample) for sample in samples[:4]],
            [[target_ids(tiny, sample)] for sample in samples[:4]],
            tiny.pad_token_id,
            tiny.family,
        )
        expected = -tiny(**packed.model_inputs()).logps_N.mean()
    trainer.fit()
    (line,) = run.metrics("sft")
    assert line["loss"] == pytest.approx(expected.item(), abs=1e-5)
    assert line["epoch"] == 1
    assert all(line[f"loss/{name}"] > 0 for name in ("tags", "context", "think", "answer"))


def test_micro_batches_do_not_matter(
    tiny_folder: Path, samples: list[Sample], run: RunFolder
) -> None:
    weights = []
    for micro_batch in (8, 2):
        model = OmniModel.from_pretrained(tiny_folder).double()
        config = SFTConfig(
            batch_size=8, micro_batch_size=micro_batch, max_steps=2, learning_rate=1e-3
        )
        train_sft(model, samples, config, run, phase=f"micro_{micro_batch}")
        weights.append(model.state_dict())
    for name, whole in weights[0].items():
        torch.testing.assert_close(weights[1][name], whole, rtol=0, atol=1e-6)


def test_it_learns_and_goes_back_to_the_best_checkpoint(
    tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    """The hook calls step 4 best; the run goes on to 8 and must come back."""
    seen: list[dict[str, torch.Tensor]] = []

    def evaluate(model: OmniModel) -> Mapping[str, float]:
        assert not model.training
        assert not torch.is_grad_enabled()
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
        return {"quality": {0: 0.0, 1: 0.2, 2: 0.9}.get(len(seen) - 1, 0.5)}

    config = SFTConfig(
        learning_rate=2e-3, lr_scheduler="constant", adam_beta2=0.98, batch_size=8, max_steps=8,
        eval_steps=2, best_metric="quality", keep_checkpoints=1,
    )  # fmt: skip
    result = train_sft(tiny, samples[:8], config, run, evaluate=evaluate)
    assert (result.steps, result.best_step, result.best_metric) == (8, 4, 0.9)
    for holder in (tiny, OmniModel.from_pretrained(result.model_path)):
        state = holder.state_dict()
        assert all(torch.equal(state[name], value) for name, value in seen[2].items())
    losses = [line["loss"] for line in run.metrics() if "loss" in line]
    assert losses[-1] < losses[0] - 1
    evaluated = [line for line in run.metrics() if "eval_quality" in line]
    quality = {line["step"]: line["eval_quality"] for line in evaluated}
    assert quality == {0: 0.0, 2: 0.2, 4: 0.9, 6: 0.5, 8: 0.5}


@pytest.mark.parametrize(("measured", "told"), [([1.0, 0.5, 0.2], True), ([0.1, 0.5], False)])
def test_a_start_that_was_better_than_the_best_checkpoint_is_told(
    measured: list[float],
    told: bool,
    tiny: OmniModel,
    samples: list[Sample],
    run: RunFolder,
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = iter(measured)
    config = SFTConfig(
        batch_size=2, max_steps=len(measured) - 1, eval_steps=1, best_metric="quality"
    )
    train_sft(tiny, samples[:2], config, run, evaluate=lambda _: {"quality": next(figures)})
    words = "the model began with quality 1.000, better than the best checkpoint (0.500, step 1)"
    output = capsys.readouterr()
    assert (words in output.err + output.out) is told


@pytest.mark.parametrize(
    ("text", "token"), [("A <|AUDIO|> man.", "AUDIO"), ("<|im_end|>", "im_end")]
)
def test_a_reference_that_holds_a_token_of_the_tokenizer_is_refused(
    text: str, token: str, tiny: OmniModel, samples: list[Sample]
) -> None:
    reference = samples[0].reference.model_copy(update={"context": text})
    sample = samples[0].model_copy(update={"reference": reference})
    with pytest.raises(DataError, match=rf"^sample {sample.id}: .*{token}.*take it out"):
        target_ids(tiny, sample)


def test_a_best_metric_that_nobody_measures_is_refused_before_the_first_step(
    tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    config = SFTConfig(batch_size=4, max_steps=1, eval_steps=1, best_metric="reward/answr")
    with pytest.raises(ConfigError, match="no 'reward/answr'; it measures: quality, speed"):
        train_sft(tiny, samples[:4], config, run, evaluate=lambda _: {"speed": 1.0, "quality": 0.5})
    assert run.metrics() == []


def test_gradient_checkpointing_changes_nothing(
    tiny_folder: Path, samples: list[Sample], run: RunFolder
) -> None:
    weights = []
    for checkpointing in (False, True):
        model = OmniModel.from_pretrained(tiny_folder)
        config = SFTConfig(
            batch_size=4, max_steps=1, gradient_checkpointing=checkpointing, warmup_steps=0
        )
        train_sft(model, samples, config, run, phase=f"checkpointing_{checkpointing}")
        switches = [getattr(m, "gradient_checkpointing", False) for m in model.thinker.modules()]
        assert any(switches) is checkpointing
        weights.append(model.state_dict())
    for name, plain in weights[0].items():
        torch.testing.assert_close(weights[1][name], plain, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"batch_size": 5, "micro_batch_size": 2}, ConfigError, "make the first a multiple of 2"),
        ({"freeze": ("nose",)}, ModelError, "no module 'nose'"),
        ({"eval_steps": 1}, ConfigError, "nothing to evaluate on"),
    ],
)
def test_settings_that_do_not_fit_are_refused(
    tiny: OmniModel,
    samples: list[Sample],
    run: RunFolder,
    settings: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        train_sft(tiny, samples, SFTConfig(**settings), run)


def test_a_loss_that_is_no_number_stops_the_run_before_its_checkpoint(
    tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    config = SFTConfig(
        batch_size=2, max_steps=3, save_steps=1, learning_rate=1e18, lr_scheduler="constant",
        warmup_steps=0,
    )  # fmt: skip
    message = "sft: step 2: the loss is nan; lower the learning .*checkpoint-1$"
    with pytest.raises(Diverged, match=message):
        train_sft(tiny, samples, config, run)
    assert [path.name for path in run.path.glob("checkpoints/sft/*")] == ["checkpoint-1"]
    assert run.metrics()[-1]["loss"] is None


def test_no_samples_is_an_error(tiny: OmniModel, run: RunFolder) -> None:
    with pytest.raises(ConfigError, match="no samples to train on"):
        train_sft(tiny, [], SFTConfig(max_steps=1), run)


def test_trackers_receive_the_metrics(
    tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    pytest.importorskip("tensorboard")
    config = SFTConfig(batch_size=2, max_steps=1, report_to=("tensorboard",))
    train_sft(tiny, samples[:2], config, run)
    assert list(run.path.rglob("events.out.tfevents.*"))
