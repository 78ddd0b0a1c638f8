"""Models whose text decoder is held in 4 or 8 bits: what is, and that adapters train beside it."""

import logging
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.unit.models.test_adapters import packed_logps, trained, with_adapter
from triptych.data.sample import Sample
from triptych.errors import ConfigError, ModelError
from triptych.models import LoadOptions, OmniModel
from triptych.models.adapters import LoraSettings, adapter_off, merge_adapter
from triptych.models.quantization import Quantize


def load(folder: Path, quantize: Quantize) -> OmniModel:
    return OmniModel.from_pretrained(folder, options=LoadOptions(quantize=quantize))


@pytest.mark.parametrize(
    "quantize", [Quantize.FOUR_BIT, pytest.param(Quantize.EIGHT_BIT, marks=pytest.mark.slow)]
)
def test_an_adapter_trains_beside_quantised_weights(
    tiny_folder: Path, samples: list[Sample], tmp_path: Path, quantize: Quantize
) -> None:
    pytest.importorskip("bitsandbytes")
    model = load(tiny_folder, quantize)
    kinds = {path: type(m).__name__ for path, m in model.thinker.named_modules()}
    linear = {path for path, kind in kinds.items() if kind in ("Linear4bit", "Linear8bitLt")}
    assert len(linear) == 3 * 7
    assert all(path.startswith(f"{model.family.decoder}.layers.") for path in linear)
    plain = packed_logps(OmniModel.from_pretrained(tiny_folder), samples[:1])
    with torch.no_grad():  # as a rollout comes before an update
        base = packed_logps(model, samples[:1])
    assert 1e-4 < (base - plain).abs().max() < 3.0

    with pytest.raises(ConfigError, match=r"quantised weights cannot be trained; set lora.rank"):
        model.prepare_training(LoraSettings())
    with_adapter(model)
    on = packed_logps(model, samples[:1])
    on.sum().backward()
    weights = dict(model.thinker.named_parameters())
    assert all(weights[name].grad is not None for name in trained(model))
    assert sum(float(weights[name].grad.abs().sum()) for name in trained(model)) > 1
    with adapter_off(model.thinker), torch.no_grad():
        assert torch.equal(packed_logps(model, samples[:1]), base)

    model.save_pretrained(tmp_path)
    again = load(tmp_path, quantize)
    assert torch.equal(packed_logps(again, samples[:1]), on)
    whole = load(tmp_path, Quantize.NONE)
    assert (packed_logps(whole, samples[:1]) - on).abs().max() < 3.0
    with pytest.raises(ModelError, match="cannot be merged into quantised weights"):
        merge_adapter(model.thinker)


def test_without_bitsandbytes_the_way_out_is_said(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(
        ConfigError, match=r"quantize: 4bit needs bitsandbytes .*triptych.quantized"
    ):
        load(tiny_folder, Quantize.FOUR_BIT)


def test_nothing_is_quantised_by_default(tiny: OmniModel) -> None:
    assert not getattr(tiny.thinker, "is_quantized", False)
    assert all(type(m) is nn.Linear for m in tiny.thinker.modules() if isinstance(m, nn.Linear))


@pytest.mark.parametrize(
    ("logger", "noise"),
    [
        (
            "bitsandbytes.autograd._functions",
            "MatMul8bitLt: inputs will be cast from %s to float16",
        ),
        ("bitsandbytes.backends.cpu.ops", "Failed to load CPU gemm_4bit_forward from kernels: %s"),
    ],
)
def test_bitsandbytes_says_no_more_than_what_is_wrong(
    caplog: pytest.LogCaptureFixture, logger: str, noise: str
) -> None:
    logging.getLogger(logger).warning(noise, "this")
    logging.getLogger(logger).warning("something else")
    assert caplog.messages == ["something else"]
