"""How large a model is, from its config alone: it is built on the meta device, without weights.

A config is looked for in the folder, then among those published (`published.json`, so that the
models of the recipes need no network), then in the local cache of the hub.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from transformers import AutoConfig

from triptych.errors import ModelError
from triptych.models.families import Family, family_for


@dataclass(frozen=True)
class TowerSizes:
    """A media encoder.

    Attributes:
        weights: parameters.
        token_weights: those that every token of it passes.
        layers: blocks.
        hidden: width.
        inner: width of the feed-forward.
        gated: the feed-forward has a gate.
        pool: tokens of it that become one of the decoder.
        window: tokens that a token attends to, in most layers; 0 for all.
    """

    weights: int
    token_weights: float
    layers: int
    hidden: int
    inner: int
    gated: bool
    pool: int
    window: int


@dataclass(frozen=True)
class ModelSizes:
    """A thinker. Weights are counted in parameters.

    Attributes:
        name: hub id or folder.
        weights: all parameters.
        embedding: of the token embedding.
        head: of the output layer; 0 where it is the embedding.
        layer: of one decoder layer.
        layer_active: those of it that one token passes; fewer with experts.
        layers: decoder layers.
        hidden: width.
        queries: width of all query heads.
        keys: width of all key heads, which is that of the values.
        heads: query heads.
        inner: width of the feed-forward that a token passes, all its experts together.
        experts: experts that a token passes; 0 without.
        vocabulary: rows of the head.
        towers: media encoders by short name.
    """

    name: str
    weights: int
    embedding: int
    head: int
    layer: int
    layer_active: int
    layers: int
    hidden: int
    queries: int
    keys: int
    heads: int
    inner: int
    experts: int
    vocabulary: int
    towers: Mapping[str, TowerSizes]

    @property
    def head_weights(self) -> int:
        """Of the matrix that makes logits, tied or not."""
        return self.hidden * self.vocabulary

    def frozen(self, towers: tuple[str, ...]) -> int:
        """Parameters of these encoders."""
        return sum(self.towers[name].weights for name in towers if name in self.towers)


def load_config(name: str) -> Any:
    """The config of a thinker, of a folder or hub id.

    Raises:
        ModelError: nothing is known of it here.
    """
    if not Path(name).is_dir() and (known := published(name)) is not None:
        return AutoConfig.for_model(**known)
    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        first = str(error).strip().split("\n", 1)[0]
        raise ModelError(
            f"{name}: no config here, and none is known by this name ({first}); known: "
            f"{', '.join(_published())}"
        ) from error
    return getattr(config, "thinker_config", config)


def published(name: str) -> dict[str, Any] | None:
    """The sizes of a model on the hub; None where they are not known here."""
    entry = _published().get(name)
    if entry is not None and "same_as" in entry:
        entry = _published()[entry["same_as"]]
    return None if entry is None else dict(entry["config"])


def _published() -> dict[str, Any]:
    text = files("triptych.planning").joinpath("published.json").read_text(encoding="utf-8")
    known: dict[str, Any] = json.loads(text)
    return known


def meta_thinker(config: Any) -> Any:
    """The thinker of a config, without weights; no computation is possible with it.

    Raises:
        ModelError: no family of ours loads it.
    """
    kind = getattr(transformers, family_for(config.model_type).thinker_class)
    with torch.device("meta"):
        return kind._from_config(config)


def model_sizes(name: str, thinker: Any, family: Family) -> ModelSizes:
    """The sizes of a thinker, which may be on the meta device."""
    text = thinker.config.get_text_config()
    decoder = thinker.get_input_embeddings().weight.numel()
    head = thinker.get_output_embeddings().weight
    tied = head is thinker.get_input_embeddings().weight
    layer = thinker.get_submodule(family.decoder).layers[-1]
    experts, routed = _experts(text, layer)
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    inner = text.moe_intermediate_size * experts if experts else text.intermediate_size
    return ModelSizes(
        name=name,
        weights=_count(thinker),
        embedding=decoder,
        head=0 if tied else head.numel(),
        layer=_count(layer),
        layer_active=_count(layer) - routed,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        queries=head_dim * text.num_attention_heads,
        keys=head_dim * text.num_key_value_heads,
        heads=text.num_attention_heads,
        inner=inner,
        experts=experts,
        vocabulary=head.shape[0],
        towers={
            tower: _tower(tower, thinker.get_submodule(path), thinker.config)
            for tower, path in family.towers.items()
        },
    )


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _experts(text: Any, layer: nn.Module) -> tuple[int, int]:
    """How many experts a token passes, and the weights of those that it does not."""
    total, chosen = getattr(text, "num_experts", 0), getattr(text, "num_experts_per_tok", 0)
    if not total:
        return 0, 0
    weights = sum(w.numel() for n, w in layer.named_parameters() if ".experts." in n)
    return chosen, weights - weights * chosen // total


def _tower(name: str, tower: nn.Module, config: Any) -> TowerSizes:
    if name == "vision":
        sizes = config.vision_config
        merge = getattr(sizes, "spatial_merge_size", 2) ** 2  # Phi's is no setting
        window = getattr(sizes, "window_size", 0) // sizes.patch_size
        return TowerSizes(
            weights=_count(tower),
            # What merges patches sees a quarter as many tokens.
            token_weights=sum(
                weight.numel() / (merge if "merger" in path or "img_proj" in path else 1)
                for path, weight in tower.named_parameters()
                if weight.dim() > 1 and "pos_embed" not in path and "position_" not in path
            ),
            layers=_first(sizes, "depth", "num_hidden_layers"),
            hidden=sizes.hidden_size,
            inner=sizes.intermediate_size,
            gated=any("gate_proj" in path for path, _ in tower.named_parameters()),
            pool=merge,
            window=window**2,
        )
    sizes = config.audio_config
    pooled = hasattr(tower, "avg_pooler")
    return TowerSizes(
        weights=_count(tower),
        token_weights=sum(
            weight.numel() * next((n for at, n in _AUDIO_TIMES.items() if path.startswith(at)), 1)
            for path, weight in tower.named_parameters()
            if weight.dim() > 1
        ),
        layers=_first(sizes, "encoder_layers", "num_blocks"),
        hidden=_first(sizes, "d_model", "hidden_size"),
        inner=_first(sizes, "encoder_ffn_dim", "intermediate_size"),
        gated=any("gate_up_proj" in path for path, _ in tower.named_parameters()),
        pool=2 if pooled else 1,
        window=getattr(sizes, "n_window_infer", 0) // 8 or getattr(sizes, "n_window", 0),
    )


def _first(sizes: Any, *names: str) -> int:
    """What configs call by different names."""
    return int(next(getattr(sizes, name) for name in names if hasattr(sizes, name)))


_AUDIO_TIMES = {
    "conv1.": 2,
    "proj.": 0.5,
    "audio_bos_eos_token.": 0,
    "conv2d1.": 256,
    "conv2d2.": 64,
    "conv2d3.": 16,
    "encoder.embed.conv.0.": 160,
    "encoder.embed.conv.2.": 40,
    "encoder.embed.conv.3.": 40,
    "encoder.embed.conv.5.": 10,
    "encoder.embed.conv.6.": 10,
    "encoder.relative_attention_bias_layer.": 0,
    "up_proj_for_speech.": 0,  # one of two
    "down_proj_for_speech.": 0,
}
"""How often a token of the encoder passes a convolution: over mel frames and, in Qwen3, over 64,
32 and 16 bands, in Phi over 40, 20 and 10."""
