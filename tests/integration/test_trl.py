"""The rewards inside TRL's own GRPOTrainer: the same functions, unchanged.

TRL trains a small text-only language model that a few steps have taught what stages look like. What
its trainer logs must be what `score` gives for the completions that the trainer made.
"""

import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from judging import Answer, JudgeServer, Seen, completion, config, what
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from triptych.cli.main import main
from triptych.data.sample import Sample
from triptych.models.tiny import CHAT_TEMPLATE, build_tokenizer
from triptych.rewards import RewardFunction, resolve, rule_rewards, sample_columns, score
from triptych.rewards.judge import REASONING
from triptych.stages import DEFAULT_FORMAT

NUM_GENERATIONS = 4


@pytest.fixture(scope="module")
def questions(samples: list[Sample]) -> list[Sample]:
    """Without their clips, which TRL would not show to the model in training."""
    return [sample.model_copy(update={"media": ()}) for sample in samples[:4]]


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
    settings = Qwen2Config(
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
    model = Qwen2ForCausalLM(settings)
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


def judged(seen: Seen) -> Answer:
    """For each of the five things one point or none, by what the item is."""
    points = zlib.crc32(what(seen).encode())
    marks = {name: points >> place & 1 for place, name in enumerate(REASONING.criteria)}
    return Answer(200, completion(json.dumps(marks)))


@pytest.mark.slow
def test_a_judge_and_a_trained_scorer(
    train: Any, questions: Sequence[Sample], clips_folder: Path, tmp_path: Path
) -> None:
    data = [str(clips_folder / f"{split}.jsonl") for split in ("rl-biased", "rl-balanced")]
    scorer = str(tmp_path / "scorer")
    assert main(["reward", "train", scorer, "--encoder", "tiny", "--data", *data]) == 0

    with JudgeServer(answer=judged) as server:
        rewards = resolve(
            {"context": f"scorer:{scorer}", "reasoning": "judge"}, config(server.url), "cpu"
        )
        logged, recorder = train(rewards)
        expected = means(rewards, questions, recorder)

    assert logged["rewards/context_scorer_reward/mean"] == pytest.approx(
        expected["context"], abs=1e-4
    )
    assert logged["rewards/judge_reasoning/mean"] == pytest.approx(expected["reasoning"], abs=1e-6)
    assert server.requests
    assert min(expected.values()) > 0
