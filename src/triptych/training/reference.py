"""The reference model: what the model was when training began.

It is never a second model in memory as far as that can be helped. An adapter that changes nothing
yet leaves the model as it was: the reference is the model with its adapter switched off. An adapter
that was trained before (a cold start by LoRA, then GRPO) is copied, and all weights below it are
shared: the reference is the state that it began from, which merging would only reach by a second
set of full weights.
"""

import copy
from typing import Any, TypeAlias

from triptych.errors import ConfigError
from triptych.models.adapters import (
    adapter_is_new,
    adapter_off,
    has_adapter,
    named_adapter_parameters,
)
from triptych.models.log_probs import OmniOutput
from triptych.models.omni import OmniModel


class AdapterOff:
    """The live model without its adapter."""

    def __init__(self, model: OmniModel) -> None:
        self._model = model

    def __call__(self, **inputs: Any) -> OmniOutput:
        """What the model returns for the same inputs; without gradients only."""
        with adapter_off(self._model.thinker):
            output: OmniOutput = self._model(**inputs)
        return output

    def check(self) -> None:
        """Refuse a model of which more than the adapter is trained by now.

        Raises:
            ConfigError: a weight below the adapter was unfrozen.
        """
        adapter = {id(weight) for _, weight in named_adapter_parameters(self._model.thinker)}
        for name, weight in self._model.named_parameters():
            if weight.requires_grad and id(weight) not in adapter:
                raise ConfigError(
                    f"{name} was unfrozen, and the reference model is the model without its "
                    "adapter: it would be trained along; train the adapter alone, or set beta to 0"
                )


Reference: TypeAlias = OmniModel | AdapterOff


def reference_of(model: OmniModel) -> Reference:
    """The model as it is now, for ever."""
    if has_adapter(model.thinker) and adapter_is_new(model.thinker):
        return AdapterOff(model)
    return frozen_copy(model)


def frozen_copy(model: OmniModel) -> OmniModel:
    """A copy of the model. What is not trained is shared with the live model.

    Frozen towers are thus the same, and the media embeddings of the one are those of the other.
    """
    shared = {id(p): p for p in model.parameters() if not p.requires_grad}
    thinker = copy.deepcopy(model.thinker, shared)
    frozen = OmniModel(
        thinker, model.processor, model.family, fmt=model.format, attention=model.attention
    )
    return frozen.requires_grad_(False).eval()


def check_reference(model: OmniModel, reference: Reference) -> None:
    """Refuse a model of which other weights are trained than when `reference` was made of it.

    A weight that is trained only now is trained in both, and a tower that is frozen only now would
    lend its embeddings to a reference whose tower is another.

    Raises:
        ConfigError: a weight was frozen or unfrozen.
    """
    if isinstance(reference, AdapterOff):
        reference.check()
        return
    pairs = zip(model.named_parameters(), reference.parameters(), strict=True)
    for (name, weight), other in pairs:
        if weight.requires_grad == (weight is other):
            raise ConfigError(
                f"{name} was {'unfrozen' if weight.requires_grad else 'frozen'} after the "
                "reference model was made; freeze before training begins, or set beta to 0"
            )
