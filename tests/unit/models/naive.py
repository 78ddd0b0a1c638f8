"""What the model's own forward gives, to compare with: the prompt and its media once for every
completion, padded, with the positions that the model itself makes of them.

Shapes: B rows, S tokens of a row, T completion tokens, V vocabulary.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from triptych.data.sample import Sample
from triptych.models import OmniModel


def own_inputs(
    model: OmniModel, ids_BS: Tensor, features: Mapping[str, Tensor], lengths: Sequence[int]
) -> dict[str, Any]:
    """What the thinker itself is called with; rows are padded behind their lengths.

    Features that a family of ours has added are not for the thinker.
    """
    mask_BS = torch.arange(ids_BS.shape[1]) < torch.tensor(lengths)[:, None]
    known = inspect.signature(model.thinker.forward).parameters
    own = {name: feature for name, feature in features.items() if name in known}
    inputs = {"input_ids": ids_BS, "attention_mask": mask_BS.long(), **own}
    if "mm_token_type_ids" in known:
        kinds = model.processor.create_mm_token_type_ids(ids_BS.tolist())
        inputs["mm_token_type_ids"] = torch.tensor(kinds)
    return inputs


def naive_logits(model: OmniModel, sample: Sample, group: Sequence[Sequence[int]]) -> list[Tensor]:
    """Logits (T, V) of each completion of a group, as every other trainer makes them."""
    prompt = model.encode(sample)
    longest = max(map(len, group))
    rows = [[*prompt.input_ids, *c, *[model.pad_token_id] * (longest - len(c))] for c in group]
    size = len(prompt.input_ids)
    features = model.family.collate([prompt.features] * len(group))
    inputs = own_inputs(model, torch.tensor(rows), features, [size + len(c) for c in group])
    output = model.thinker(**inputs, use_cache=False)
    logits = output.logits[:, size - 1 : -1].index_fill(-1, model.banned_ids, -torch.inf)
    logits = logits.float() if logits.dtype == torch.bfloat16 else logits
    return [row[: len(c)] for row, c in zip(logits, group, strict=True)]


def naive_logps(model: OmniModel, sample: Sample, group: Sequence[Sequence[int]]) -> list[Tensor]:
    """Log-probs (T,) of each completion of a group."""
    return [
        torch.log_softmax(logits_TV, -1).gather(-1, torch.tensor(c)[:, None])[:, 0]
        for logits_TV, c in zip(naive_logits(model, sample, group), group, strict=True)
    ]


def greedy(model: OmniModel, sample: Sample, new_tokens: int) -> list[int]:
    """What transformers' own `generate` writes."""
    prompt = model.encode(sample)
    ids_BP = prompt.input_ids[None]
    output = model.thinker.generate(
        **own_inputs(model, ids_BP, prompt.features, [ids_BP.shape[1]]),
        do_sample=False,
        max_new_tokens=new_tokens,
        suppress_tokens=model.banned_ids.tolist(),
    )
    return [int(token) for token in output[0, ids_BP.shape[1] :]]
