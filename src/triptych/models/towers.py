"""Media embeddings: what the towers (vision, audio) and their projectors make of a prompt's media.

A tower that is not trained gives the same embeddings every time. `FrozenTowers` runs it once and
puts the embeddings in the place of pixels and mels, for all forwards that follow: the prefill of a
rollout, the log-probs of policy and reference, and each update. What a trained tower reads stays as
it is, and every forward runs it.

Embeddings are made prompt by prompt, never for a whole batch: a kernel may round otherwise at
another batch size, and what is remembered would then depend on who stood beside it.

Shapes: P prompt tokens, L tokens of any rows, M of them placeholders of one kind of media, V of any
kind that reaches deep layers, D such layers, H hidden size.
"""

import hashlib
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel

from triptych.data.sample import Media
from triptych.errors import ModelError
from triptych.models.families import Family
from triptych.models.prefix_layout import Layout

if TYPE_CHECKING:
    from triptych.models.prompt import Prompt

Variant: TypeAlias = tuple[int, torch.dtype | None]
"""Which weights embeddings are made with, and the number format that autocast asks for."""


class FrozenTowers:
    """Runs the towers of a thinker that are not trained, once for media that are still in use.

    A tower counts as frozen while no parameter of it or its projector requires a gradient. Should
    that change, or should its weights (an optimizer, a checkpoint, another device), nothing that
    was made before is used again. Only what is written through ``Parameter.data`` goes unnoticed,
    as by autograd.
    """

    def __init__(self, thinker: PreTrainedModel, family: Family) -> None:
        self._thinker, self._family = thinker, family
        # Prompts hold the embeddings: no tower runs again for media of a prompt that is in use.
        self._embeddings: WeakValueDictionary[Hashable, Tensor] = WeakValueDictionary()
        self._state: Mapping[str, Hashable] = {}
        self._changes = 0
        self._named: tuple[Variant, str] | None = None

    def variant(self) -> Variant | None:
        """What embeddings made now would depend on besides the media; None if no tower is frozen.

        Equal variants promise equal embeddings.
        """
        if (state := self._frozen()) != self._state:
            self._state, self._changes = state, self._changes + 1
        device = self._thinker.device.type
        cast_to = None
        if torch.is_autocast_enabled(device):
            cast_to = torch.get_autocast_dtype(device)
        return (self._changes, cast_to) if state else None

    @torch.no_grad()
    def embed(self, prompt: "Prompt", media: Sequence[Media], variant: Variant) -> "Prompt":
        """Put embeddings in the place of what the frozen towers would read.

        Args:
            prompt: with the processor's media tensors, or embeddings that an earlier run has kept.
            media: the items that these were made of.
            variant: as it is now.

        Raises:
            ModelError: a tower gives more or fewer embeddings than there are placeholders.
        """
        features = dict(prompt.features)
        for kind, (tower, names, _) in self._family.media_inputs.items():
            reads = {name: features.pop(name) for name in names if name in features}
            kept_MH = features.pop(embedding_name(kind), None)
            if tower not in self._state or (kept_MH is None and names[0] not in reads):
                features |= reads
                continue
            key = (kind, tuple(media), variant)
            embeddings_MH = self._embeddings.get(key)
            if embeddings_MH is None:
                embeddings_MH = self._run(kind, tower, reads) if kept_MH is None else kept_MH
                self._embeddings[key] = embeddings_MH
            here_P = placeholders(self._thinker, self._family, kind, prompt.input_ids)
            _check(kind, here_P, embeddings_MH)
            features[embedding_name(kind)] = embeddings_MH
        return replace(prompt, features=features)

    def fingerprint(self, variant: Variant) -> str:
        """Names what `variant` stands for in any process: weights, number format, kind of device.

        Equal ones promise embeddings that are equal up to rounding, and equal to the bit on
        machines of the same kind.
        """
        if self._named is None or self._named[0] != variant:
            _, cast_to = variant
            digest = hashlib.sha256(f"{self._thinker.device.type} {cast_to}".encode())
            for tower in self._state:
                parts = tower_parts(self._thinker, self._family, tower)
                weights = [item for part in parts for item in part.state_dict().items()]
                for name, weight in weights:
                    digest.update(f"{tower} {name} {weight.dtype} {tuple(weight.shape)}".encode())
                    digest.update(weight.cpu().contiguous().flatten().view(torch.uint8).numpy())
            self._named = variant, digest.hexdigest()
        return self._named[1]

    def forget(self) -> None:
        """Make all embeddings again, for instance because a media file has changed."""
        self._embeddings.clear()

    def _run(self, kind: str, tower: str, reads: Mapping[str, Tensor]) -> Tensor:
        thinker, family = self._thinker, self._family
        here = {name: tensor.to(thinker.device) for name, tensor in reads.items()}
        with _evaluating(tower_parts(thinker, family, tower)):
            return family.embed_media(thinker, kind, here).cpu()

    def _frozen(self) -> dict[str, Hashable]:
        """The frozen towers, each with what changes when its weights do."""
        return {
            # Every write to a parameter raises its version.
            name: tuple(
                (weight.data_ptr(), weight._version)
                for part in parts
                for weight in part.parameters()
            )
            for name, parts in frozen_towers(self._thinker, self._family).items()
        }


def tower_parts(thinker: PreTrainedModel, family: Family, tower: str) -> list[nn.Module]:
    """A tower and, where it is apart, its projector."""
    paths = [family.towers[tower], family.projectors.get(tower)]
    return [thinker.get_submodule(path) for path in paths if path is not None]


def frozen_towers(thinker: PreTrainedModel, family: Family) -> dict[str, list[nn.Module]]:
    """The towers of which no weight is trained, with their parts."""
    towers = {name: tower_parts(thinker, family, name) for name in family.towers}
    return {
        name: parts
        for name, parts in towers.items()
        if not any(weight.requires_grad for part in parts for weight in part.parameters())
    }


class DecoderInputs(NamedTuple):
    """Embeddings of tokens and media, as the text decoder reads them.

    Attributes:
        embeddings: (..., H).
        deep_mask: (...), True where the first layers add media to their outputs (DeepStack); None
            where they add nothing.
        deep_VDH: what they add, in the order of these places.
    """

    embeddings: Tensor
    deep_mask: Tensor | None = None
    deep_VDH: Tensor | None = None

    def rows(self, lengths: Sequence[int]) -> "DecoderInputs":
        """One row (L, ...) cut into rows of these lengths, padded with zeros behind them."""
        if self.deep_mask is None:
            return DecoderInputs(_rows(self.embeddings, lengths))
        return DecoderInputs(
            _rows(self.embeddings, lengths), _rows(self.deep_mask, lengths), self.deep_VDH
        )

    def keywords(self) -> dict[str, Any]:
        """Keyword arguments of the text decoder; embeddings and mask have a batch dimension."""
        if self.deep_VDH is None:
            return {"inputs_embeds": self.embeddings}
        return {
            "inputs_embeds": self.embeddings,
            "visual_pos_masks": self.deep_mask,
            "deepstack_visual_embeds": self.deep_VDH.unbind(1),
        }


def _rows(states: Tensor, lengths: Sequence[int]) -> Tensor:
    if len(lengths) == 1:
        return states[None]
    return pad_sequence(list(states.split(list(lengths))), batch_first=True)


def embed_inputs(
    thinker: PreTrainedModel,
    family: Family,
    input_ids: Tensor,
    features: Mapping[str, Tensor],
    prompt_mask: Tensor | None = None,
) -> DecoderInputs:
    """Embeddings of tokens and media, as the text decoder reads them.

    Args:
        thinker: its weights.
        family: knows what its towers read.
        input_ids: (...), of any shape; placeholders in the order of their media.
        features: of all prompts, joined: embeddings as they are, or what a tower reads.
        prompt_mask: (...), False where a completion stands. Whatever it says, it holds no media.

    Raises:
        ModelError: there are more or fewer embeddings than placeholders.
    """
    embeddings: Tensor = thinker.get_input_embeddings()(input_ids)
    deep: list[tuple[Tensor, Tensor]] = []
    for kind, (_, names, _) in family.media_inputs.items():
        media_MH = features.get(embedding_name(kind))
        if names[0] in features:
            reads = {name: features[name] for name in names if name in features}
            media_MH = family.embed_media(thinker, kind, reads)
        if media_MH is None:
            continue
        here = placeholders(thinker, family, kind, input_ids)
        if prompt_mask is not None:
            here = here & prompt_mask
        _check(kind, here, media_MH)
        media_MH = media_MH.to(embeddings)
        if media_MH.ndim == 3:
            deep.append((here, media_MH[:, 1:]))
            media_MH = media_MH[:, 0]
        embeddings = embeddings.masked_scatter(here[..., None], media_MH)
    if not deep:
        return DecoderInputs(embeddings)
    # Images and videos in the order of their places.
    places_V = torch.cat([here.flatten().nonzero()[:, 0] for here, _ in deep])
    deep_VDH = torch.cat([media_MDH for _, media_MDH in deep])[places_V.argsort()]
    return DecoderInputs(embeddings, torch.stack([here for here, _ in deep]).any(0), deep_VDH)


def in_prompt(layout: Layout) -> Tensor:
    """True where a prompt stands in a row of groups, (L,)."""
    lengths = torch.tensor([[group.prompt, sum(group.completions)] for group in layout])
    return torch.tensor([True, False]).repeat(len(layout)).repeat_interleave(lengths.flatten())


def placeholders(thinker: PreTrainedModel, family: Family, kind: str, ids: Tensor) -> Tensor:
    """Where a kind of media stands among token ids, boolean."""
    return ids == family.placeholder_id(thinker.config, kind)


def embedding_name(kind: str) -> str:
    """Under which name a prompt's features hold the embeddings of a kind of media."""
    return f"{kind}_embeds"


def _check(kind: str, here: Tensor, embeddings_MH: Tensor) -> None:
    if (places := int(here.sum())) != len(embeddings_MH):
        raise ModelError(
            f"{kind}: {places} placeholders, but the encoder gives {len(embeddings_MH)} "
            "embeddings; the processor is not the one that belongs to the model"
        )


@contextmanager
def _evaluating(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Without dropout; every module is left as it was."""
    training = [module for part in parts for module in part.modules() if module.training]
    for part in parts:
        part.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
