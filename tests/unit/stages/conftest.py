"""Tokenizers of every family, trained here on a few sentences; nothing is downloaded."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, trainers
from tokenizers import pre_tokenizers as pre
from transformers import PreTrainedTokenizerFast

from triptych.stages import DEFAULT_FORMAT

# How Qwen splits text: punctuation sticks together ("></") and to a following word (">B").
QWEN_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
ANY_TAG = "|".join(DEFAULT_FORMAT.tags)

# No emoji and few Chinese characters: those of the tests must fall apart into bytes.
CORPUS = [
    "<context>She smiles. Her voice is flat.</context>"
    "<think>The smile and the flat voice disagree.</think><answer>B</answer>",
    "<context>He frowns, and his voice trembles.</context>"
    "<think>He is afraid, not angry.</think><answer>A,C</answer>",
    "<context>她在微笑。</context><think>语气平淡。</think><answer>yes</answer>",
    "<context>A man speaks loudly</context>\n<think>He is angry</think>\n<answer>no</answer>",
] * 4
WORDS = "a b B A,C he she smiles frowns voice flat angry the . 微笑 🙂 é happy</answer> <answer>B"
SPECIALS = {"eos_token": "<|end|>", "pad_token": "<|pad|>"}
BYTE_TOKENS = [f"<0x{byte:02X}>" for byte in range(256)]


def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre.Sequence(
        [
            pre.Split(Regex(QWEN_SPLIT), "isolated"),
            pre.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def _sentencepiece_bpe() -> Tokenizer:
    """As in Llama 2: no pre-tokenizer, the mark for a space comes from the normalizer."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=["<unk>"], show_progress=False, max_token_length=8
    )
    trained.train_from_iterator(CORPUS, trainer)
    learned = json.loads(trained.to_str())["model"]
    vocab = {token: i for i, token in enumerate([*learned["vocab"], *BYTE_TOKENS])}
    merges = [tuple(merge) for merge in learned["merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    )
    tokenizer.normalizer = trained.normalizer
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer


def _unigram() -> Tokenizer:
    trained = Tokenizer(models.Unigram())
    trained.pre_tokenizer = pre.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    trained.train_from_iterator(CORPUS, trainer)
    vocab = [tuple(entry) for entry in json.loads(trained.to_str())["model"]["vocab"]]
    vocab += [(token, -20.0) for token in BYTE_TOKENS]
    tokenizer = Tokenizer(models.Unigram(vocab, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    return tokenizer


def _word_level() -> Tokenizer:
    words = ["<unk>", *dict.fromkeys(WORDS.split()), *DEFAULT_FORMAT.tags]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre.WhitespaceSplit()
    return tokenizer


def _word_piece() -> Tokenizer:
    """A decoder that no token can be read by alone: "##" joins a token to the one before."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre.Sequence(
        [pre.Split(Regex(ANY_TAG), "isolated"), pre.WhitespaceSplit()]
    )
    tokenizer.decoder = decoders.WordPiece(cleanup=False)
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=["<unk>", *DEFAULT_FORMAT.tags], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    vocab = tokenizer.get_vocab(with_added_tokens=False)
    plain = Tokenizer(models.WordPiece(vocab, unk_token="<unk>"))  # the tags as ordinary entries
    plain.pre_tokenizer, plain.decoder = tokenizer.pre_tokenizer, tokenizer.decoder
    return plain


class PythonByteLevel:
    """The byte-level decoder, but written in Python, so that its parts cannot be seen."""

    def decode_chain(self, tokens: list[str]) -> list[str]:
        return [decoders.ByteLevel().decode(tokens)]


BACKENDS: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": _byte_level,
    "sentencepiece_bpe": _sentencepiece_bpe,
    "unigram": _unigram,
    "word_level": _word_level,
    "word_piece": _word_piece,
    "custom": _byte_level,
}
TAGS_AS = ("text", "special", "added")

MakeTokenizer = Callable[[str, str], PreTrainedTokenizerFast]


@pytest.fixture(scope="session")
def make_tokenizer() -> MakeTokenizer:
    """A new tokenizer of a family, with the tags as text, special tokens or plain added tokens."""
    trained: dict[str, str] = {}

    def make(family: str, tags_as: str = "text") -> PreTrainedTokenizerFast:
        if family not in trained:
            trained[family] = BACKENDS[family]().to_str()
        unk = {} if family in ("byte_level", "custom") else {"unk_token": "<unk>"}
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(trained[family]), **SPECIALS, **unk
        )
        if family == "custom":
            # Set afterwards: it cannot be copied into the tokenizer above.
            tokenizer.backend_tokenizer.decoder = decoders.Decoder.custom(PythonByteLevel())
        tags: list[Any] = list(DEFAULT_FORMAT.tags)
        if tags_as == "special":
            tokenizer.add_special_tokens({"additional_special_tokens": tags})
        elif tags_as == "added":
            tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in tags])
        return tokenizer

    return make


@pytest.fixture(
    scope="session",
    params=[(family, tags_as) for family in BACKENDS for tags_as in TAGS_AS],
    ids="-".join,
)
def tokenizer(
    request: pytest.FixtureRequest, make_tokenizer: MakeTokenizer
) -> PreTrainedTokenizerFast:
    """Every family of tokenizers, with the tags in every form."""
    return make_tokenizer(*request.param)
