"""The reference model: what the model was when training began."""

import copy

from triptych.errors import ConfigError
from triptych.models.omni import OmniModel


def frozen_copy(model: OmniModel) -> OmniModel:
    """The model as it is now, for ever. What is not trained is shared with the live model.

    Frozen towers are thus the same, and the media embeddings of the one are those of the other.
    """
    shared = {id(p): p for p in model.parameters() if not p.requires_grad}
    thinker = copy.deepcopy(model.thinker, shared)
    frozen = OmniModel(
        thinker, model.processor, model.family, fmt=model.format, attention=model.attention
    )
    return frozen.requires_grad_(False).eval()


def check_reference(model: OmniModel, reference: OmniModel) -> None:
    """Refuse a model of which other weights are trained than when `reference` was made of it.

    A weight that is trained only now is trained in both, and a tower that is frozen only now would
    lend its embeddings to a reference whose tower is another.

    Raises:
        ConfigError: a weight was frozen or unfrozen.
    """
    pairs = zip(model.named_parameters(), reference.parameters(), strict=True)
    for (name, weight), other in pairs:
        if weight.requires_grad == (weight is other):
            raise ConfigError(
                f"{name} was {'unfrozen' if weight.requires_grad else 'frozen'} after the "
                "reference model was made; freeze before training begins, or set beta to 0"
            )
