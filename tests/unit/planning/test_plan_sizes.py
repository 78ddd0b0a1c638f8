"""The sizes of models, from their configs alone."""

import json
from pathlib import Path

import pytest

from tests.subject import Subject as TestSubject
from triptych.errors import ModelError
from triptych.models import OmniModel
from triptych.planning.plan import Subject
from triptych.planning.sizes import load_config, model_sizes, published


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        # Thinkers alone: what the hub counts, less talker and vocoder.
        ("Qwen/Qwen2.5-Omni-7B", 8.93),
        ("Qwen/Qwen2.5-Omni-3B", 4.70),
        ("Qwen/Qwen3-Omni-30B-A3B-Instruct", 31.7),
    ],
)
def test_published_models_have_their_published_weights(name: str, billions: float) -> None:
    sizes = Subject.of(name).sizes
    assert sizes.weights / 1e9 == pytest.approx(billions, rel=0.005)
    parts = sizes.embedding + sizes.head + sizes.layers * sizes.layer
    parts += sizes.frozen(tuple(sizes.towers))
    assert sizes.weights - parts == sizes.hidden  # the last norm


def test_of_many_experts_a_token_passes_a_few() -> None:
    sizes = Subject.of("Qwen/Qwen3-Omni-30B-A3B-Thinking").sizes
    active = sizes.layers * sizes.layer_active + sizes.head
    assert active / 1e9 == pytest.approx(3.0, abs=0.4)  # "A3B"
    assert (sizes.experts, sizes.inner) == (8, 8 * 768)


def test_a_folder_is_measured_as_the_model_in_it(subject: TestSubject, tmp_path: Path) -> None:
    model = subject.model
    model.thinker.config.save_pretrained(tmp_path)
    found = Subject.of(str(tmp_path)).sizes
    assert found.weights == sum(weight.numel() for weight in model.thinker.parameters())
    assert found.towers == model_sizes("", model.thinker, model.family).towers


def test_a_whole_checkpoint_is_its_thinker(tiny: OmniModel, tmp_path: Path) -> None:
    thinker = json.loads(tiny.thinker.config.to_json_string())
    whole = {"model_type": "qwen2_5_omni", "thinker_config": thinker}
    (tmp_path / "config.json").write_text(json.dumps(whole), encoding="utf-8")
    assert load_config(str(tmp_path)).model_type == "qwen2_5_omni_thinker"


def test_an_unknown_model_is_named_with_the_known_ones() -> None:
    assert published("nobody/nothing") is None
    with pytest.raises(ModelError, match=r"nobody/nothing: no config here.*Qwen2\.5-Omni-7B"):
        load_config("nobody/nothing")
