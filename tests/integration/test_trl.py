"""The rewards inside TRL's own GRPOTrainer: the same functions, unchanged.

TRL trains a small text-only language model that a few steps have taught what stages look like. What
its trainer logs must be what `score` gives for the completions that the trainer made.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from triptych.data.clips import text_only_samples
from triptych.data.sample import Sample
from triptych.models.tiny import CHAT_TEMPLATE, build_tokenizer
from triptych.rewards import RewardFunction, rule_rewards, sample_columns, score
from triptych.stages import DEFAULT_FORMAT

NUM_GENERATIONS = 4


@pytest.fixture(scope="module")
def questions() -> list[Sample]:
    return text_only_samples(4, seed=0)


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def wanted(sample: Sample) -> str:
    bodies = (sample.reference.context, sample.reference.reasoning, sample.answer)
    stages = zip(DEFAULT_FORMAT.stages, bodies, strict=True)
    return "".join(f"{stage.open_tag}{body}{stage.close_tag}" for stage, body in stages)


def conversation(sample: Sample) -> list[dict[str, str]]:
    return [{"role": "user", "content": sample.question}]


@pytest.fixture(scope="module")
def taught(tokenizer: PreTrainedTokenizerFast, questions: Sequence[Sample]) -> Any:
    """A language model that now and then writes what is wanted, and never twice the same."""
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.08,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    texts = [
        tokenizer.apply_chat_template(
            conversation(sample), tokenize=False, add_generation_prompt=True
        )
        + wanted(sample)
        + tokenizer.eos_token
        for sample in questions
    ]
    batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
    return model


class Recorder:
    """A reward of 0 that remembers what the trainer's completions are."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.ids: list[str] = []

    def __call__(
        self, prompts: Any, completions: Any, *, sample_id: Sequence[str], **_: Any
    ) -> list[float]:
        self.texts += [completion[0]["content"] for completion in completions]
        self.ids += sample_id
        return [0.0] * len(completions)


@pytest.fixture
def train(
    tmp_path: Path,
    taught: Any,
    tokenizer: PreTrainedTokenizerFast,
    questions: Sequence[Sample],
) -> Callable[[dict[str, RewardFunction]], tuple[dict[str, float], Recorder]]:
    """One step of TRL's trainer: what it logged, and the completions it made."""

    def run(rewards: dict[str, RewardFunction]) -> tuple[dict[str, float], Recorder]:
        trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
        recorder = Recorder()
        columns = {**sample_columns(questions), "prompt": [conversation(q) for q in questions]}
        trainer = trl.GRPOTrainer(
            model=taught,
            reward_funcs=[*rewards.values(), recorder],
            args=trl.GRPOConfig(
                output_dir=str(tmp_path),
                per_device_train_batch_size=len(questions) * NUM_GENERATIONS,
                num_generations=NUM_GENERATIONS,
                max_completion_length=100,
                max_steps=1,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                use_cpu=True,
                disable_tqdm=True,
                seed=0,
            ),
            train_dataset=datasets.Dataset.from_list(
                [
                    dict(zip(columns, row, strict=True))
                    for row in zip(*columns.values(), strict=True)
                ]
            ),
            processing_class=tokenizer,
        )
        before = {name: weight.clone() for name, weight in taught.named_parameters()}
        trainer.train()
        assert any(not torch.equal(before[name], w) for name, w in taught.named_parameters())
        (logged,) = [line for line in trainer.state.log_history if "reward" in line]
        return logged, recorder

    return run


def means(
    rewards: dict[str, RewardFunction], questions: Sequence[Sample], recorder: Recorder
) -> dict[str, float]:
    by_id = {sample.id: sample for sample in questions}
    assert len(recorder.texts) == len(questions) * NUM_GENERATIONS
    table = score(rewards, [by_id[name] for name in recorder.ids], recorder.texts)
    return dict(zip(table.names, table.tensor().nanmean(0).tolist(), strict=True))


def test_rule_rewards(train: Any, questions: Sequence[Sample]) -> None:
    rewards = rule_rewards()
    logged, recorder = train(rewards)
    expected = means(rewards, questions, recorder)
    for name, mean in expected.items():
        assert logged[f"rewards/{name}_reward/mean"] == pytest.approx(mean, abs=1e-6)
        assert mean > 0, "a reward that is 0 throughout shows nothing"
