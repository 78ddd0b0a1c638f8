"""A tokenizer of the size of a real one, made up in a few seconds: nothing is downloaded.

Byte-level BPE over invented words. It starts from the tiny model's tokenizer, which spells the
tags; merges of random pieces of one script follow, early ones more often than late ones, so that
pieces share prefixes and most are short, as in a vocabulary that was learnt.
"""

import json
import string
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from triptych.models.tiny import MEDIA_TOKENS, TURN_TOKENS, build_tokenizer

LARGE = 150_000
"""About the size of the vocabularies of Qwen's models."""

_BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


class _Script(NamedTuple):
    """Characters that stand together in a token, and how many of the tokens they are."""

    characters: str
    share: float
    longest: int
    """In characters."""
    spaced: bool = False
    """A token may begin with a space."""


def _range(first: int, last: int) -> str:
    return "".join(map(chr, range(first, last + 1)))


# Shares and lengths are about those of Qwen's vocabulary.
_SCRIPTS = (
    _Script("etaoinshrdlcumwfgypbvkjxqz", 0.42, 9, spaced=True),
    _Script(string.ascii_uppercase, 0.06, 6, spaced=True),
    _Script(string.punctuation + "esatnir", 0.16, 4, spaced=True),
    _Script("\n\t ", 0.001, 16),
    _Script(_range(0x430, 0x44F), 0.05, 6, spaced=True),  # Cyrillic
    _Script(_range(0x627, 0x64A), 0.139, 5, spaced=True),  # Arabic
    _Script(_range(0x4E00, 0x5FFF), 0.17, 3),  # Chinese
)


@cache
def large_tokenizer(size: int = LARGE) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of `size` tokens; the same one for the same size."""
    base = build_tokenizer().backend_tokenizer
    learnt = json.loads(base.to_str())["model"]
    vocab: dict[str, int] = dict(learnt["vocab"])
    merges: list[tuple[str, str]] = [tuple(merge) for merge in learnt["merges"]]
    rng = np.random.default_rng(0)
    first, room = len(vocab), size - len(vocab)
    until = first + np.cumsum([script.share for script in _SCRIPTS]) * room
    for script, full in zip(_SCRIPTS, until.round().astype(int).tolist(), strict=True):
        for left, right in _merges(script, rng):
            if len(vocab) >= full:
                break
            if left + right not in vocab:
                vocab[left + right] = len(vocab)
                merges.append((left, right))
    backend = Tokenizer(models.BPE(vocab, merges))
    backend.pre_tokenizer, backend.decoder = base.pre_tokenizer, base.decoder
    backend.add_special_tokens(
        [AddedToken(token, special=True) for token in (*TURN_TOKENS, *MEDIA_TOKENS.values())]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens=MEDIA_TOKENS,
    )


def _merges(script: _Script, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """Endless merges; the first ones make the script's characters of their bytes."""
    space = _spell(" ")
    characters = [_spell(character) for character in script.characters]
    for character in characters:
        yield from ((character[:end], character[end]) for end in range(1, len(character)))
    within = [(character, 1) for character in characters]  # with its number of characters
    starts = list(within)
    if script.spaced:
        yield from ((space, character) for character in characters)
        starts += [(space + character, 2) for character in characters]
    while True:
        for left, right in rng.random((4096, 2)) ** 2:  # early ones more often
            start, size = starts[int(left * len(starts))]
            end, more = within[int(right * len(within))]
            if size + more <= script.longest:
                yield start, end
                starts.append((start + end, size + more))
                if not start.startswith(space):
                    within.append(starts[-1])


def _spell(text: str) -> str:
    """The bytes of a text in the letters of byte-level tokens."""
    ((spelling, _),) = _BYTE_LEVEL.pre_tokenize_str(text)
    return spelling
