"""Tokens of their own for the stage tags."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel


@torch.no_grad()
def add_tokens(thinker: PreTrainedModel, tokenizer: Any, tags: Sequence[str]) -> int:
    """Make each tag one special token, which begins as the mean of the tokens that it was made of.

    The rows of a model's embeddings may suffice already, where they are padded; what stands in
    padding has never been trained, and may be zero.

    Returns the number of tokens added; those that the tokenizer has already stay as they are.
    """
    made_of = {tag: tokenizer(tag, add_special_tokens=False)["input_ids"] for tag in tags}
    added = int(
        tokenizer.add_special_tokens(
            {"additional_special_tokens": list(tags)}, replace_extra_special_tokens=False
        )
    )
    if len(tokenizer) > thinker.get_input_embeddings().weight.shape[0]:
        with torch.random.fork_rng():  # rows are drawn, in vain
            thinker.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    ends = (thinker.get_input_embeddings(), thinker.get_output_embeddings())
    for weight in {id(end.weight): end.weight for end in ends}.values():  # one where they are tied
        for tag, ids in made_of.items():
            weight[tokenizer.convert_tokens_to_ids(tag)] = weight[ids].float().mean(0).to(weight)
    return added
