"""verl's reward worker computes our rewards one by one, with a real tokenizer."""

import asyncio
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from verl import DataProto
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.trainer.ppo.reward import load_reward_manager, resolve_reward_manager_cls
from verl_batches import ComposeConfig, batch_of

from triptych.data.media import MediaBudget
from triptych.data.sample import Element, Reference, Sample
from triptych.errors import ConfigError, DataError
from triptych.integrations.verl import StageRewardManager
from triptych.integrations.verl_data import prompt_row
from triptych.rewards import REWARD_NAMES, RewardError, combine, rule_rewards, score
from triptych.stages import completion_text, stage_ids

WEIGHTS = torch.tensor([0.25, 0.25, 0.35, 0.15])


def sample(number: int, **changes: Any) -> Sample:
    fields = {
        "id": f"q{number}",
        "question": "What does the person feel?",
        "problem_type": "multiple_choice",
        "options": ("happy", "angry"),
        "answer": "A",
        "media": (),
        "reference": Reference(
            context="She smiles.",
            elements=(Element(name="mouth", phrases=("smiles",), contradictions=("frowns",)),),
        ),
    }
    return Sample(**{**fields, **changes})


SEEN = sample(0)
BARE = sample(1, reference=Reference())

COMPLETIONS = (
    (SEEN, "<context>She smiles.</context><think>She smiles, so A.</think><answer>A</answer>"),
    (SEEN, "<context>She frowns.</context><think>She frowns, so B.</think><answer>B</answer>"),
    (SEEN, "<context>She smiles.</context><think>She smiles, so"),
    (BARE, "<context>She smiles.</context><think>She smiles, so A.</think><answer>A</answer>"),
    (BARE, "A"),
)


def data_of(tokenizer: Any) -> tuple[DataProto, list[list[int]]]:
    """The completions as verl hands them to its reward workers: padded, most with an end token."""
    responses = [tokenizer.encode(text, add_special_tokens=False) for _, text in COMPLETIONS]
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    responses = [ids if i == 2 else [*ids, end] for i, ids in enumerate(responses)]
    prompts = [tokenizer.encode(one.question) for one, _ in COMPLETIONS]
    rows = [prompt_row(one, i, MediaBudget()) for i, (one, _) in enumerate(COMPLETIONS)]
    columns = {
        key: np.array([row[key] for row in rows], dtype=object)
        for key in ("data_source", "reward_model", "extra_info")
    }
    return DataProto(batch=batch_of(prompts, responses), non_tensor_batch=columns), responses


def worker_config(config_of: ComposeConfig, tiny_folder: Path, *overrides: str) -> Any:
    return config_of([f"actor_rollout_ref.model.path={tiny_folder}", *overrides])


def test_rewards_and_stages_of_verls_reward_worker(
    config_of: ComposeConfig, tiny_folder: Path, tokenizer: Any
) -> None:
    data, responses = data_of(tokenizer)
    worker = RewardLoopWorker(worker_config(config_of, tiny_folder))
    outputs = worker.loop.run_until_complete(worker.compute_score_batch(data))

    texts = [completion_text(ids, tokenizer) for ids in responses]
    assert texts == [text for _, text in COMPLETIONS]
    table = score(rule_rewards(), [one for one, _ in COMPLETIONS], texts)
    combined = combine(table.tensor(), WEIGHTS)
    infos = [output["reward_extra_info"] for output in outputs]
    for g, (output, info) in enumerate(zip(outputs, infos, strict=True)):
        found = torch.tensor([info[f"{name}_reward"] for name in REWARD_NAMES])
        assert torch.equal(found.nan_to_num(-1), table.tensor()[g].nan_to_num(-1))
        assert output["reward_score"] == info["score"] == pytest.approx(float(combined[g]))
        assert info["stage_ids"] == "".join(map(str, stage_ids(responses[g], tokenizer)))
        assert set(info["stage_ids"]) <= set("0123")
    assert [info["valid"] for info in infos] == [True, True, False, True, False]
    assert json.loads(infos[0]["unscored"]) == {}
    assert json.loads(infos[3]["unscored"])["context"] == "no_reference"
    assert math.isnan(infos[3]["context_reward"])
    assert infos[0]["context_reward"] > infos[1]["context_reward"]
    assert set("123") <= set(infos[0]["stage_ids"])
    assert infos[0]["stage_ids"].endswith("0")  # the end token


def test_an_own_async_reward_and_the_gate(
    config_of: ComposeConfig, tiny_folder: Path, tokenizer: Any
) -> None:
    data, _ = data_of(tokenizer)
    config = worker_config(
        config_of,
        tiny_folder,
        "+algorithm.triptych.rewards.brevity=rewards_of_ones_own:brevity",
        "+algorithm.triptych.weights.brevity=0.1",
        "+algorithm.triptych.credit_rows.brevity=[1,1,1,0]",
        "+algorithm.triptych.gate=true",
    )
    manager = load_reward_manager(config, tokenizer)

    async def all_at_once() -> Any:
        return await asyncio.gather(
            *(manager.run_single(data[i : i + 1]) for i in range(len(data)))
        )

    infos = [one["reward_extra_info"] for one in manager.loop.run_until_complete(all_at_once())]
    text = COMPLETIONS[0][1]
    assert infos[0]["brevity_reward"] == pytest.approx(min(1.0, 100 / len(text)))
    assert math.isnan(infos[2]["brevity_reward"])
    assert json.loads(infos[2]["unscored"])["brevity"] == "unexplained"
    # Of several sequences verl asks for the last one's rewards.
    last = manager.loop.run_until_complete(manager.run_single(data))["reward_extra_info"]
    assert last["stage_ids"] == infos[-1]["stage_ids"]
    # What is carried is as it was scored; the gate is the estimator's, and that of the mean.
    assert infos[1]["context_reward"] <= 0.4
    assert infos[1]["reasoning_reward"] > 0
    ungated = load_reward_manager(worker_config(config_of, tiny_folder), tokenizer)
    plain = ungated.loop.run_until_complete(ungated.run_single(data[1:2]))
    assert infos[1]["score"] < plain["reward_score"]


def test_what_cannot_be_rewarded_is_refused(
    config_of: ComposeConfig, tiny_folder: Path, tokenizer: Any
) -> None:
    def manager(*overrides: str) -> Any:
        return load_reward_manager(worker_config(config_of, tiny_folder, *overrides), tokenizer)

    with pytest.raises(ConfigError, match=r"rewards\.answer: asks the model itself"):
        manager("+algorithm.triptych.rewards.answer=necessity")
    path = Path(__file__).with_name("rewards_of_ones_own.py")
    with pytest.raises(ConfigError, match=r"rewards\.NAME=module:function"):
        manager(
            f"reward.custom_reward_function.path={path}",
            "reward.custom_reward_function.name=brevity",
        )
    with pytest.raises(ConfigError, match="no judge is configured"):
        manager("+algorithm.triptych.rewards.reasoning=judge")
    with pytest.raises(ConfigError, match=r"weights: none given for reward 'mine'"):
        manager("+algorithm.triptych.rewards.mine=os:getcwd")

    data, _ = data_of(tokenizer)
    plain = manager()
    data.non_tensor_batch["extra_info"] = np.array([{"index": 0}] * len(data), dtype=object)
    with pytest.raises(DataError, match=r"extra_info\.sample: missing.*--to verl"):
        plain.loop.run_until_complete(plain.run_single(data[:1]))

    failing = manager(
        "+algorithm.triptych.rewards.mine=os:getcwd",
        "+algorithm.triptych.weights.mine=0.1",
        "+algorithm.triptych.credit_rows.mine=[1,0,0,0]",
    )
    data, _ = data_of(tokenizer)
    with pytest.raises(RewardError, match="reward 'mine': sample 'q0'"):
        failing.loop.run_until_complete(failing.run_single(data[:1]))


def test_verl_knows_the_reward_manager_by_its_name(config_of: ComposeConfig) -> None:
    assert resolve_reward_manager_cls(config_of([])) is StageRewardManager
