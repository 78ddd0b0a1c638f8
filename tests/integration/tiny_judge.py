"""A tiny chat model that judges one thing: whether a context says that someone smiles.

Trained in some 120 steps, saved as an ordinary model folder, and served like any other.
"""

import json
import random
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from triptych.rewards.judge import CONTEXT, Query
from triptych.rewards.judge.request import messages

_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIAL = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
_WHO = ("man", "woman", "boy", "girl", "child", "speaker")
_DOES = ("smiles", "frowns")
_VOICE = ("rising", "flat", "trembling", "loud", "soft")
_MOST_STEPS, _BATCH, _GOOD = 400, 8, 0.03


def query(rng: random.Random) -> tuple[Query, int]:
    """Something to be judged, and the points that it deserves."""
    who, does, voice = rng.choice(_WHO), rng.choice(_DOES), rng.choice(_VOICE)
    context = f"The {who} {does}; the voice is {voice}."
    facts = {"question": "What is meant?", "reference": "Someone is glad."}
    return Query(CONTEXT, facts, {"context": context}), 5 * (does == "smiles")


def build_tiny_judge(folder: Path, seed: int = 0) -> Path:
    """Train the model, and save it with its tokenizer."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    tokenizer = _tokenizer([_chat(query(rng)[0]) for _ in range(50)])
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            tie_word_embeddings=True,
            initializer_range=0.08,
            eos_token_id=tokenizer.convert_tokens_to_ids("<|end|>"),
            pad_token_id=tokenizer.convert_tokens_to_ids("<|end|>"),
        )
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = [1.0]
    while max(losses[-5:]) > _GOOD:
        assert len(losses) < _MOST_STEPS, "the tiny judge does not learn"
        loss = _loss(model, tokenizer, [query(rng) for _ in range(_BATCH)])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _chat(asked: Query) -> str:
    return "".join(f"<|{one['role']}|>{one['content']}<|end|>" for one in messages(asked))


def _tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    bpe = ByteLevelBPETokenizer()
    replies = [json.dumps({"score": points}) for points in (0, 5)]
    bpe.train_from_iterator([*texts, *replies * 50], vocab_size=1000, special_tokens=_SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        eos_token="<|end|>",
        pad_token="<|end|>",
        chat_template=_TEMPLATE,
    )


def _loss(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, batch: list[tuple[Query, int]]
) -> torch.Tensor:
    """Of the replies alone."""
    ids, labels = [], []
    for asked, points in batch:
        prompt = tokenizer.encode(_chat(asked) + "<|assistant|>")
        reply = tokenizer.encode(json.dumps({"score": points}) + "<|end|>")
        ids.append(torch.tensor(prompt + reply))
        labels.append(torch.tensor([-100] * len(prompt) + reply))
    inputs = pad_sequence(ids, batch_first=True)  # on the right, where nothing looks back from
    loss: torch.Tensor = model(
        inputs, labels=pad_sequence(labels, batch_first=True, padding_value=-100)
    ).loss
    return loss
