"""Parts of a model by name: exactly those that are meant, in every family."""

import pytest

from tests.subject import Subject
from triptych.errors import ModelError
from triptych.models import OmniModel
from triptych.models.module_names import linear_layers, named_modules


def found(model: OmniModel, *names: str) -> set[str]:
    return set(named_modules(model.thinker, model.family, names))


def test_short_names_are_the_encoders_and_the_decoder(subject: Subject) -> None:
    model = subject.model
    for tower, path in model.family.towers.items():
        assert found(model, tower) == {path}
    text = set(linear_layers(model.thinker, model.family, ["text"]))
    assert all(path.startswith(f"{model.family.decoder}.layers.") for path in text)
    model.freeze(["text"])
    frozen = {name for name, weight in model.thinker.named_parameters() if not weight.requires_grad}
    in_towers = tuple(f"{path}." for path in model.family.towers.values())
    inside = {
        name for name, _ in model.thinker.named_parameters() if not name.startswith(in_towers)
    }
    assert frozen == {name for name in inside if name.startswith(f"{model.family.decoder}.")}


def test_a_bare_name_is_looked_for_in_the_decoder_and_outside_of_encoders(tiny: OmniModel) -> None:
    """An audio encoder has layers, and queries, of the same names."""
    text = tiny.family.decoder
    assert found(tiny, "layers.0-1") == {f"{text}.layers.0", f"{text}.layers.1"}
    assert found(tiny, "q_proj") == {f"{text}.layers.{n}.self_attn.q_proj" for n in range(3)}
    assert found(tiny, "embed_tokens", "lm_head") == {f"{text}.embed_tokens", "lm_head"}
    assert found(tiny, "layers.2.mlp.*_proj") == {
        f"{text}.layers.2.mlp.{name}_proj" for name in ("gate", "up", "down")
    }


def test_encoders_have_names_of_their_own(tiny: OmniModel) -> None:
    assert found(tiny, "audio.layers.1") == {"model.audio_tower.layers.1"}
    assert found(tiny, "model.visual.blocks.0") == {"model.visual.blocks.0"}


@pytest.mark.parametrize(
    ("name", "close"), [("visoin", "vision"), ("q_prj", "q_proj"), ("layers.7-9", "")]
)
def test_what_is_not_there_is_refused_with_what_is(tiny: OmniModel, name: str, close: str) -> None:
    with pytest.raises(ModelError, match=f"no module '{name}'") as caught:
        found(tiny, "vision", name)
    message = str(caught.value)
    assert f"did you mean '{close}'" in message or not close
    assert "it has: vision, audio, text, lm_head; and in text: " in message
    assert "0-2 (in layers)" in message


def test_linear_layers_at_and_below(tiny: OmniModel) -> None:
    def linear(*names: str) -> set[str]:
        return set(linear_layers(tiny.thinker, tiny.family, names))

    assert len(linear("text")) == 3 * 7
    assert all(path.startswith(f"{tiny.family.decoder}.") for path in linear("text"))
    assert linear("lm_head") == {"lm_head"}
    assert linear("layers.0.self_attn") == linear(
        *(f"layers.0.self_attn.{name}_proj" for name in "qkvo")
    )
    with pytest.raises(ModelError, match="'embed_tokens' holds no linear layer"):
        linear("embed_tokens")


def test_what_is_frozen_is_what_was_named(tiny: OmniModel) -> None:
    tiny.freeze(["audio", "layers.0-1", "embed_tokens"])
    frozen = {name for name, weight in tiny.thinker.named_parameters() if not weight.requires_grad}
    text = tiny.family.decoder
    places = ("model.audio_tower.", f"{text}.layers.0.", f"{text}.layers.1.", f"{text}.embed_")
    assert frozen == {n for n, _ in tiny.thinker.named_parameters() if n.startswith(places)}
    assert frozen
