"""Adapters (LoRA, DoRA): small weights beside linear layers, which are trained in their place.

They are PEFT's, injected in place, so everything that knows the thinker goes on knowing it. A
folder that holds an adapter is in PEFT's ordinary form and names its base model; `PeftModel` reads
it too.

Source: LoRA, arXiv 2106.09685; DoRA, arXiv 2402.09353; QLoRA, arXiv 2305.14314.
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers import PreTrainedModel
from transformers.utils import find_adapter_config_file

from triptych.errors import ConfigError, ModelError
from triptych.models.families import Family
from triptych.models.module_names import TEXT, linear_layers
from triptych.models.weight_files import named_when_broken

_NAME = "default"
_WEIGHTS = "adapter_model.safetensors"
_WRAPPED = "base_model.model."
"""What PeftModel puts before the names of weights, and so every file of PEFT's has."""


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """An adapter in place of the full weights."""

    rank: int = 0
    """Rank of the adapter's matrices; 0 trains the weights themselves."""
    alpha: float | None = None
    """What the adapter adds is scaled by alpha / rank; by default alpha is twice the rank."""
    dropout: float = 0.0
    """Share of a layer's input that its adapter does not see while it is trained."""
    targets: tuple[str, ...] = (TEXT,)
    """Modules whose linear layers get an adapter, by name, as for freeze."""
    dora: bool = False
    """Train the size of each output beside its direction (DoRA): slower, and often better at low
    ranks."""

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: a value is out of its range.
        """
        set_ones = [one.name for one in fields(self) if getattr(self, one.name) != one.default]
        for holds, message in (
            (self.rank >= 0, f"lora.rank is {self.rank}; use 1 or more, or 0 for no adapter"),
            (self.alpha is None or self.alpha > 0, f"lora.alpha is {self.alpha}; use more than 0"),
            (0 <= self.dropout < 1, f"lora.dropout is {self.dropout}; use 0 or more, below 1"),
            (bool(self.targets), "lora.targets names no module; leave it out for all of the text"),
            (self.rank > 0 or not set_ones, f"lora.{', '.join(set_ones)} without lora.rank"),
        ):
            if not holds:
                raise ConfigError(message)


def has_adapter(thinker: PreTrainedModel) -> bool:
    """Whether the thinker has an adapter."""
    return bool(getattr(thinker, "peft_config", None))


def add_adapter(thinker: PreTrainedModel, family: Family, settings: LoraSettings) -> None:
    """Put an adapter that changes nothing yet beside the layers that are named; train it alone.

    A thinker that has the adapter that is asked for keeps it.

    Raises:
        ConfigError: PEFT is not installed, or the thinker has another adapter.
        ModelError: a target is no module of the thinker, or holds no linear layer.
    """
    targets = {
        path.removesuffix(".base_layer")
        for path in linear_layers(thinker, family, settings.targets)
        if ".lora_" not in path
    }
    tied = thinker.get_input_embeddings().weight
    for path in targets:
        if thinker.get_submodule(path).weight is tied:
            raise ConfigError(
                f"lora.targets: {path} is tied to the input embeddings, which an adapter beside it "
                "would not change; leave it out"
            )
    asked = import_peft().LoraConfig(
        r=settings.rank,
        lora_alpha=2 * settings.rank if settings.alpha is None else settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=sorted(targets),
        use_dora=settings.dora,
        base_model_name_or_path=_base_name(thinker),
    )
    if not has_adapter(thinker):
        _inject(thinker, asked)
        return
    present = adapter_config(thinker)
    names = ("r", "lora_alpha", "lora_dropout", "use_dora")
    other = [name for name in names if getattr(asked, name) != getattr(present, name)]
    if {path for path, _ in _layers(thinker)} != targets:
        other.append("targets")
    if other:
        raise ConfigError(
            f"the model comes with an adapter of rank {present.r}, and lora asks for another one "
            f"(other {', '.join(other)}); leave out lora to go on training the one that is there, "
            "or merge it by `triptych export` and begin from what that writes"
        )


def read_adapter_config(path: str | Path) -> Any | None:
    """PEFT's config of the adapter in a folder or under a hub id; None where there is no adapter.

    Raises:
        ConfigError: PEFT is not installed.
        ModelError: its config cannot be read, or it is no LoRA, or names no base model.
    """
    try:
        file = find_adapter_config_file(str(path))
    except (OSError, ValueError):  # no model at all, as loading it will say
        return None
    if file is None:
        return None
    peft = import_peft()
    try:
        config = peft.PeftConfig.from_pretrained(str(path))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(
            f"{path}: adapter_config.json cannot be read ({error}); copy it there once more"
        ) from error
    if config.peft_type != "LORA":
        raise ModelError(
            f"{path}: an adapter of type {config.peft_type.value}; only LoRA and DoRA can be used"
        )
    if not config.base_model_name_or_path:
        raise ModelError(
            f"{path}: adapter_config.json names no base model; enter its hub id or folder as "
            "base_model_name_or_path"
        )
    return config


def load_adapter(thinker: PreTrainedModel, path: str | Path, config: Any) -> None:
    """Put the adapter that `read_adapter_config` found beside the layers of its base model.

    Raises:
        ModelError: its weights are not there, cannot be read, or do not fit the base model.
    """
    config.inference_mode = False  # PEFT's word for "may be trained"
    try:
        _inject(thinker, config)
    except ValueError as error:  # a layer that the base model does not have
        raise ModelError(_does_not_fit(path, config, error)) from error
    load_adapter_weights(thinker, path)


def load_adapter_weights(thinker: PreTrainedModel, path: str | Path) -> None:
    """Give the adapter that the thinker has the weights in a folder or under a hub id.

    Raises:
        ModelError: they are not there, cannot be read, or are not those of this adapter.
    """
    peft, config = import_peft(), adapter_config(thinker)
    try:
        with named_when_broken(path):
            weights = peft.load_peft_weights(str(path), device="cpu")
        result = peft.set_peft_model_state_dict(thinker, weights, _NAME)
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(_does_not_fit(path, config, error)) from error
    # Whatever belongs to the base model is "missing" here.
    own = {name for name, _ in named_adapter_parameters(thinker)}
    if wrong := [*(own & set(result.missing_keys)), *result.unexpected_keys]:
        raise ModelError(_does_not_fit(path, config, f"{sorted(wrong)[0]} is missing or unknown"))


def save_adapter(thinker: PreTrainedModel, folder: str | Path) -> None:
    """Save the adapter as PEFT does: adapter_config.json and adapter_model.safetensors."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = import_peft().get_peft_model_state_dict(
        thinker, adapter_name=_NAME, save_embedding_layers=False
    )
    save_file(
        {_WRAPPED + name: weight.contiguous().cpu() for name, weight in weights.items()},
        folder / _WEIGHTS,
        metadata={"format": "pt"},
    )
    config = adapter_config(thinker)
    # Whole paths: PEFT keeps in memory the shortest endings that tell layers of this model apart.
    config.target_modules = sorted(path for path, _ in _layers(thinker))
    config.inference_mode = True
    # From this PEFT knows by which class the base model is loaded.
    config.save_pretrained(
        str(folder),
        auto_mapping_dict={
            "base_model_class": type(thinker).__name__,
            "parent_library": type(thinker).__module__,
        },
    )
    config.inference_mode = False


def adapter_config(thinker: PreTrainedModel) -> Any:
    """PEFT's config of the adapter that the thinker has."""
    return cast(Any, thinker).peft_config[_NAME]


def named_adapter_parameters(thinker: PreTrainedModel) -> Iterator[tuple[str, nn.Parameter]]:
    """The weights of the adapter, by their name in the thinker."""
    wrappers = tuple(f"{path}." for path, _ in _layers(thinker))
    for name, weight in thinker.named_parameters():
        if name.startswith(wrappers) and ".base_layer." not in name:
            yield name, weight


def adapter_is_new(thinker: PreTrainedModel) -> bool:
    """Whether the adapter changes nothing yet: what LoRA adds is B A x, and B begins at zero."""
    ups = [weight for name, weight in named_adapter_parameters(thinker) if ".lora_B." in name]
    return not any(bool(weight.any()) for weight in ups)


@contextmanager
def adapter_off(thinker: PreTrainedModel) -> Iterator[None]:
    """The base model, for forwards without gradients."""
    layers = [layer for _, layer in _layers(thinker)]
    # Switching them sets which of them are trained.
    trained = [(weight, weight.requires_grad) for _, weight in named_adapter_parameters(thinker)]
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for weight, requires_grad in trained:
            weight.requires_grad_(requires_grad)


def merge_adapter(thinker: PreTrainedModel) -> None:
    """Add the adapter to the weights that it stands beside; what remains is an ordinary model.

    Raises:
        ModelError: the thinker is quantised, or what is merged is not finite.
    """
    if getattr(thinker, "is_quantized", False):
        raise ModelError("an adapter cannot be merged into quantised weights; load without them")
    for path, layer in list(_layers(thinker)):
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:
            raise ModelError(f"{path}: {error}") from error
        parent, _, name = path.rpartition(".")
        setattr(thinker.get_submodule(parent), name, layer.get_base_layer())
    del cast(Any, thinker).peft_config


def import_peft() -> Any:
    """The library; ConfigError where it is not installed."""
    try:
        return importlib.import_module("peft")
    except ImportError as error:
        raise ConfigError(f"adapters need PEFT ({error}); pip install 'triptych[peft]'") from error


def _inject(thinker: PreTrainedModel, config: Any) -> None:
    thinker.requires_grad_(False)
    import_peft().inject_adapter_in_model(config, thinker, _NAME)
    from peft.tuners.tuners_utils import cast_adapter_dtype

    cast_adapter_dtype(thinker, _NAME)  # to float32: 16 bits would lose small updates


def _layers(thinker: PreTrainedModel) -> Iterator[tuple[str, Any]]:
    from peft.tuners.tuners_utils import BaseTunerLayer

    for path, module in thinker.named_modules():
        if isinstance(module, BaseTunerLayer):
            yield path, module


def _base_name(thinker: PreTrainedModel) -> str | None:
    """Hub id or folder of the base model. A folder is written so that it is found from anywhere."""
    name = str(thinker.name_or_path)
    return str(Path(name).resolve()) if Path(name).is_dir() else name or None


def _does_not_fit(path: str | Path, config: Any, cause: object) -> str:
    base = config.base_model_name_or_path
    reason = str(cause).strip().split("\n", 1)[0]
    return f"{path}: the adapter cannot be put beside its base model {base} ({reason})"
