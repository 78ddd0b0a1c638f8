"""Sum, then normalise: our advantages under `uniform` are those of TRL's own trainer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM

from triptych.models.tiny import CHAT_TEMPLATE, build_tokenizer
from triptych.training.credit import credit_matrix, token_advantages

GROUPS, SIZE = 3, 4
WEIGHTS = torch.tensor([0.25, 0.25, 0.35, 0.15])
REWARDS = torch.rand(GROUPS, SIZE, 4, generator=torch.Generator().manual_seed(0))


def column(k: int) -> Callable[..., list[float]]:
    def reward(prompts: Any, completions: Any, **columns: Any) -> list[float]:
        return REWARDS[..., k].flatten().tolist()

    return reward


def advantages_of_trl(scale: str, folder: Path) -> Tensor:
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    config = Qwen2Config(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    trainer = trl.GRPOTrainer(
        model=Qwen2ForCausalLM(config),
        reward_funcs=[column(k) for k in range(4)],
        args=trl.GRPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=GROUPS * SIZE,
            num_generations=SIZE,
            max_completion_length=2,
            reward_weights=WEIGHTS.tolist(),
            scale_rewards=scale,
            max_steps=1,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=datasets.Dataset.from_dict({"prompt": ["one", "two", "three"]}),
        processing_class=tokenizer,
    )
    kept: list[Tensor] = []
    make = trainer._generate_and_score_completions

    def keep(inputs: Any) -> Any:
        made = make(inputs)
        kept.append(made["advantages"].clone())
        return made

    trainer._generate_and_score_completions = keep
    trainer.train()
    return kept[0].reshape(GROUPS, SIZE)


@pytest.mark.parametrize("scale", ["none", "group", "batch"])
def test_uniform_is_trls_sum_then_normalise(scale: str, tmp_path: Path) -> None:
    stages = torch.zeros(GROUPS, SIZE, 1, dtype=torch.long)
    ours = token_advantages(
        REWARDS,
        torch.ones(GROUPS, SIZE, dtype=torch.bool),
        stages,
        torch.ones_like(stages, dtype=torch.bool),
        weights_K=WEIGHTS,
        matrix_K4=credit_matrix("uniform"),
        scale=scale,
        scale_by="reward" if scale == "none" else "sum",
    )
    theirs = advantages_of_trl(scale, tmp_path)
    assert theirs.abs().max() > 0.05
    torch.testing.assert_close(ours[..., 0], theirs, rtol=0, atol=1e-5)
