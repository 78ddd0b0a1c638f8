"""Adapters: what they change, what they leave alone, and what is on disk.

Shapes: N completion tokens.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.subject import Subject
from tests.unit.models.naive import naive_logps
from triptych.data.media import MediaBudget
from triptych.data.sample import Sample
from triptych.errors import ConfigError, ModelError
from triptych.models import LoadOptions, OmniModel
from triptych.models.adapters import (
    LoraSettings,
    adapter_is_new,
    adapter_off,
    merge_adapter,
    named_adapter_parameters,
    read_adapter_config,
)
from triptych.models.packing import pack

peft = pytest.importorskip("peft")

GROUP = [[25, 37, 30, 41], [60, 22], [33, 12, 48]]


def packed_logps(model: OmniModel, samples: Sequence[Sample], *, embed: bool = False) -> Tensor:
    """Log-probs (N,) of the group after each of the samples, behind shared prompts."""
    prompts = list(model.encoder.encode_all(samples, embed=embed))
    packed = pack(prompts, [GROUP] * len(samples), model.pad_token_id, model.family)
    logps_N: Tensor = model(**packed.model_inputs()).logps_N
    return logps_N


def load(folder: Path) -> OmniModel:
    """As the fixtures do: with as many frames of a clip."""
    return OmniModel.from_pretrained(folder, budget=MediaBudget(fps=4.0))


def stirred(model: OmniModel, seed: int = 0) -> OmniModel:
    """The model with an adapter that does something."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for _, weight in named_adapter_parameters(model.thinker):
            weight.add_(0.05 * torch.randn_like(weight))
    return model


def with_adapter(model: OmniModel, **settings: Any) -> OmniModel:
    model.prepare_training(LoraSettings(**{"rank": 4, **settings}))
    return stirred(model)


def trained(model: OmniModel) -> set[str]:
    return {name for name, weight in model.thinker.named_parameters() if weight.requires_grad}


def test_a_new_adapter_changes_nothing_and_is_all_that_is_trained(
    tiny: OmniModel, samples: list[Sample]
) -> None:
    model, samples = tiny, samples[:1]
    before = packed_logps(model, samples)
    decoder = model.thinker.get_submodule(model.family.decoder)
    num_linear = sum(isinstance(module, nn.Linear) for module in decoder.modules())
    model.prepare_training(LoraSettings(rank=4))
    assert torch.equal(packed_logps(model, samples), before)
    assert adapter_is_new(model.thinker)
    assert trained(model) == {name for name, _ in named_adapter_parameters(model.thinker)}
    assert len(trained(model)) == 2 * num_linear
    assert all(name.startswith(f"{model.family.decoder}.layers.") for name in trained(model))


@pytest.mark.parametrize("dora", [False, True])
def test_off_is_the_base_model_and_leaves_what_is_trained_as_it_was(
    tiny: OmniModel, samples: list[Sample], dora: bool
) -> None:
    before = packed_logps(tiny, samples[:1])
    model = with_adapter(tiny, dora=dora)
    assert not adapter_is_new(model.thinker)
    model.freeze(["layers.0"])
    trained_before, on = trained(model), packed_logps(model, samples[:1])
    assert not any(".layers.0." in name for name in trained_before)
    with adapter_off(model.thinker):
        assert torch.equal(packed_logps(model, samples[:1]), before)
    assert torch.equal(packed_logps(model, samples[:1]), on)
    assert (on - before).abs().max() > 1e-3
    assert trained(model) == trained_before


def test_saved_in_pefts_form_and_loaded_again(
    tiny: OmniModel, tiny_folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    targets = ("q_proj", "vision.attn", "audio", "lm_head")
    model = with_adapter(tiny, targets=targets, dora=True)
    expected = packed_logps(model, samples[:1])
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / "config.json").exists()
    saved = json.loads((tmp_path / "adapter_config.json").read_text())
    assert saved["base_model_name_or_path"] == str(tiny_folder.resolve())
    assert saved["inference_mode"] is True
    assert saved["target_modules"] == sorted(saved["target_modules"])
    weights = load_file(tmp_path / "adapter_model.safetensors")
    assert len(weights) == len(trained(model))
    assert all(name.startswith("base_model.model.") for name in weights)

    loaded = load(tmp_path)
    assert torch.equal(packed_logps(loaded, samples[:1]), expected)
    assert trained(loaded) == trained(model)
    base = load(tiny_folder)
    base.thinker = peft.PeftModel.from_pretrained(base.thinker, tmp_path).get_base_model()
    assert torch.equal(packed_logps(base, samples[:1]), expected)


def test_a_checkpoint_gives_its_adapter_to_a_model_in_place(
    tiny: OmniModel, tiny_folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    model = with_adapter(tiny)
    expected = packed_logps(model, samples[:1])
    model.save_pretrained(tmp_path)
    weights = dict(named_adapter_parameters(model.thinker))
    stirred(model, seed=1)
    assert not torch.equal(packed_logps(model, samples[:1]), expected)
    model.load_weights(tmp_path)
    assert torch.equal(packed_logps(model, samples[:1]), expected)
    for name, weight in named_adapter_parameters(model.thinker):
        assert weight is weights[name], "an optimizer holds it"


def drop_a_weight(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, folder / "adapter_model.safetensors")


def add_a_weight(folder: Path) -> None:
    weights = load_file(folder / "adapter_model.safetensors")
    weights["base_model.model.model.language_model.layers.9.mlp.up_proj.lora_A.weight"] = (
        torch.zeros(4, 128)
    )
    save_file(weights, folder / "adapter_model.safetensors")


def cut_off(folder: Path) -> None:
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])


def cut_off_config(folder: Path) -> None:
    config = folder / "adapter_config.json"
    config.write_text(config.read_text()[:-3])


def wrong_rank(folder: Path) -> None:
    set_config(folder, r=8)


def other_layers(folder: Path) -> None:
    set_config(folder, target_modules=["transformer.h.0.attn"])


def no_base(folder: Path) -> None:
    set_config(folder, base_model_name_or_path=None)


def base_elsewhere(folder: Path) -> None:
    set_config(folder, base_model_name_or_path=str(folder / "gone"))


def no_lora(folder: Path) -> None:
    set_config(folder, peft_type="IA3")


def set_config(folder: Path, **values: Any) -> None:
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (drop_a_weight, "cannot be put beside its base model .* missing or unknown"),
        (add_a_weight, "cannot be put beside its base model .* missing or unknown"),
        (cut_off, r"adapter_model\.safetensors: broken weights .*delete the file"),
        (cut_off_config, r"adapter_config\.json cannot be read"),
        (wrong_rank, "cannot be put beside its base model"),
        (other_layers, "cannot be put beside its base model .*transformer.h.0.attn"),
        (no_base, "names no base model; enter its hub id or folder"),
        (base_elsewhere, "gone is not there .*base_model_name_or_path"),
        (no_lora, "an adapter of type IA3; only LoRA and DoRA"),
    ],
)
def test_what_cannot_be_loaded_is_refused(
    tiny: OmniModel, tmp_path: Path, harm: Any, message: str
) -> None:
    with_adapter(tiny).save_pretrained(tmp_path)
    harm(tmp_path)
    with pytest.raises(ModelError, match=message):
        OmniModel.from_pretrained(tmp_path)


def test_an_ordinary_model_is_no_adapter(tiny_folder: Path) -> None:
    assert read_adapter_config(tiny_folder) is None
    assert read_adapter_config("/no/such/folder") is None
    with pytest.raises(ModelError, match="/no/such/folder: no model here"):
        OmniModel.from_pretrained("/no/such/folder")


def test_merged_is_an_ordinary_model_of_equal_log_probs(
    subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, samples = subject.model, subject.samples[:1]
    tied = model.thinker.get_input_embeddings().weight is model.thinker.lm_head.weight
    head = () if tied else ("lm_head",)
    with_adapter(model, dora=True, targets=("text", *model.family.towers, *head))
    expected = packed_logps(model, samples)
    merge_adapter(model.thinker)
    assert (packed_logps(model, samples) - expected).abs().max() < 1e-5
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    monkeypatch.setitem(sys.modules, "peft", None)  # importing it is an error now
    loaded = load(tmp_path)
    assert (packed_logps(loaded, samples) - expected).abs().max() < 1e-5
    assert not any("lora" in name for name in loaded.state_dict())


def test_adapters_are_in_full_precision_over_a_base_in_half(
    tiny_folder: Path, samples: list[Sample]
) -> None:
    options = LoadOptions(dtype=torch.bfloat16)
    model = with_adapter(OmniModel.from_pretrained(tiny_folder, options=options), dora=True)
    own = dict(named_adapter_parameters(model.thinker))
    assert {weight.dtype for weight in own.values()} == {torch.float32}
    others = {w.dtype for name, w in model.thinker.named_parameters() if name not in own}
    assert others == {torch.bfloat16}
    packed_logps(model, samples[:1]).sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in own.values())


def gradients(model: OmniModel) -> dict[str, Tensor]:
    found = {}
    for name, weight in named_adapter_parameters(model.thinker):
        assert weight.grad is not None, name
        found[name], weight.grad = weight.grad, None
    return found


def test_everything_together_has_the_gradients_of_the_naive_batch(subject: Subject) -> None:
    """Adapters, activations computed again, shared prompts, and embeddings of frozen towers."""
    model, samples = subject.model, subject.samples[:2]
    with_adapter(model)
    naive = torch.cat([one for sample in samples for one in naive_logps(model, sample, GROUP)])
    naive.sum().backward()
    expected = gradients(model)
    model.checkpoint_activations()
    model.train()
    ours = packed_logps(model, samples, embed=True)
    assert model.encoder.encode(samples[0]).features  # and not only text
    ours.sum().backward()
    assert (ours - naive).abs().max() < 1e-5
    largest = max(float(gradient.abs().max()) for gradient in expected.values())
    assert largest > 1e-2
    for name, gradient in gradients(model).items():
        assert (gradient - expected[name]).abs().max() < 1e-5 * max(1.0, largest), name
    assert all(weight.grad is None for weight in model.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rank": -1}, "lora.rank is -1"),
        ({"rank": 4, "alpha": 0.0}, "lora.alpha is 0"),
        ({"rank": 4, "dropout": 1.0}, "lora.dropout is 1"),
        ({"rank": 4, "targets": ()}, "lora.targets names no module"),
        ({"dora": True}, "lora.dora without lora.rank"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoraSettings(**settings)


def test_an_adapter_that_is_there_is_kept_and_another_one_refused(tiny: OmniModel) -> None:
    model = with_adapter(tiny, alpha=16.0, dropout=0.1)
    before = {name: w.clone() for name, w in named_adapter_parameters(model.thinker)}
    model.prepare_training(LoraSettings())
    model.prepare_training(LoraSettings(rank=4, alpha=16.0, dropout=0.1))
    for name, weight in named_adapter_parameters(model.thinker):
        assert torch.equal(weight, before[name])
    for other, said in (
        (LoraSettings(rank=8, alpha=16.0, dropout=0.1), "rank 4.*other r\\)"),
        (LoraSettings(rank=4), "other lora_alpha, lora_dropout\\)"),
        (LoraSettings(rank=4, alpha=16.0, dropout=0.1, targets=("q_proj",)), "other targets\\)"),
    ):
        with pytest.raises(ConfigError, match=said):
            model.prepare_training(other)


def test_tokens_that_were_just_added_need_the_whole_model(tiny: OmniModel) -> None:
    assert tiny.add_stage_tokens() > 0
    with pytest.raises(ConfigError, match="stage_tokens added 6 tokens"):
        tiny.prepare_training(LoraSettings(rank=4))
    tiny.prepare_training(LoraSettings())


def test_an_adapter_that_is_there_does_not_train_them_either(tiny: OmniModel) -> None:
    model = with_adapter(tiny)
    assert model.add_stage_tokens() > 0
    with pytest.raises(ConfigError, match="stage_tokens added 6 tokens"):
        model.prepare_training(LoraSettings())


def test_a_tied_head_gets_no_adapter(tiny: OmniModel) -> None:
    tiny.thinker.lm_head.weight = tiny.thinker.get_input_embeddings().weight
    with pytest.raises(ConfigError, match="lm_head is tied to the input embeddings"):
        tiny.prepare_training(LoraSettings(rank=4, targets=("lm_head",)))


def test_without_peft_the_way_out_is_said(tiny: OmniModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match="pip install 'triptych\\[peft\\]'"):
        tiny.prepare_training(LoraSettings(rank=4))
