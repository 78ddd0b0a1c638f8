"""From reward workers to advantages through verl's trainer, on a real Ray and TransferQueue."""

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
import transfer_queue
from transfer_queue import KVBatchMeta
from verl import DataProto
from verl.experimental.agent_loop import AgentLoopOutput
from verl.experimental.reward_loop.reward_loop import RewardLoopWorker
from verl.utils.tensordict_utils import list_of_dict_to_tensordict
from verl_batches import ComposeConfig, batch_of

from triptych.data.media import MediaBudget
from triptych.data.sample import Element, Reference, Sample
from triptych.errors import ConfigError
from triptych.integrations.verl import StageTrainer
from triptych.integrations.verl_data import prompt_row
from triptych.rewards import rule_rewards, score_group
from triptych.stages import completion_text, parse, stage_ids
from triptych.training.credit import credit_matrix, token_advantages

REFERENCE = Reference(
    context="She smiles.",
    elements=(Element(name="mouth", phrases=("smiles",), contradictions=("frowns",)),),
)
TEXTS = (
    "<context>She smiles.</context><think>She smiles, so A.</think><answer>A</answer>",
    "<context>She frowns.</context><think>She frowns, so B.</think><answer>B</answer>",
    "<context>She smiles.</context><think>Who knows.</think><answer>B</answer>",
    "<context>She smiles.</context><think>She smiles, so",
)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, config_of: ComposeConfig) -> Iterator[None]:
    """A Ray of one process per actor, with a token of its own, and verl's TransferQueue on it."""
    token = tmp_path_factory.mktemp("ray") / "token"
    token.write_text(secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        ray.init(
            num_cpus=8, include_dashboard=False, log_to_driver=False,
            object_store_memory=100 * 2**20,
        )  # fmt: skip
        config = config_of(["transfer_queue.enable=true"])
        config.transfer_queue.backend.SimpleStorage.num_data_storage_units = 1
        transfer_queue.init(config.transfer_queue)
        yield
        transfer_queue.close()
        ray.shutdown()


def samples() -> list[Sample]:
    """Two questions; nothing is known of what the second one's context should say."""
    questions = [
        {"id": f"q{n}", "question": "What does she feel?", "problem_type": "multiple_choice",
         "options": ["happy", "angry"], "answer": "A", "media": []}
        for n in range(2)
    ]  # fmt: skip
    return [
        Sample.model_validate({**questions[0], "reference": REFERENCE}),
        Sample.model_validate(questions[1]),
    ]


def roll_out(config: Any, tokenizer: Any, sample: Sample) -> list[AgentLoopOutput]:
    """What verl's agent loop makes of a group of completions, with the reward worker's replies."""
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    prompt = tokenizer.encode(sample.question)
    responses = [[*tokenizer.encode(text, add_special_tokens=False), end] for text in TEXTS]
    responses[3].pop()
    row = prompt_row(sample, 0, MediaBudget())
    data = DataProto(
        batch=batch_of([prompt] * len(TEXTS), responses),
        non_tensor_batch={"extra_info": np.array([row["extra_info"]] * len(TEXTS), dtype=object)},
    )
    worker = RewardLoopWorker(config)
    replies = worker.loop.run_until_complete(worker.compute_score_batch(data))
    return [
        AgentLoopOutput(
            prompt_ids=prompt, response_ids=ids, response_mask=[1] * len(ids), metrics={},
            reward_score=reply["reward_score"],
            extra_fields={"reward_extra_info": reply["reward_extra_info"]},
        )
        for ids, reply in zip(responses, replies, strict=True)
    ]  # fmt: skip


def put(groups: Sequence[Sequence[AgentLoopOutput]], partition: str) -> KVBatchMeta:
    """Into the TransferQueue as AgentLoopWorkerTQ does, and a row that fills up the batch."""
    keys, fields, tags = [], [], []
    for n, group in enumerate(groups):
        for g, output in enumerate(group):
            keys.append(f"prompt{n}_{g}_0")
            fields.append({**output.as_dict(), "uid": f"prompt{n}"})
            tags.append({"is_padding": False})
    keys.append("pad_0_0")
    mask = torch.zeros(1, dtype=torch.int64)
    filler = {"uid": "pad", "responses": mask, "response_mask": mask, "rm_scores": mask.float()}
    fields.append({**fields[0], **filler})
    tags.append({"is_padding": True})
    transfer_queue.kv_batch_put(
        keys=keys, fields=list_of_dict_to_tensordict(fields), tags=tags, partition_id=partition
    )
    return KVBatchMeta(partition_id=partition, keys=keys, tags=tags)


@pytest.mark.parametrize("scheme", ["strict", "causal"])
@pytest.mark.usefixtures("cluster")
def test_a_step_of_verls_trainer_gives_the_advantages_of_credit(
    scheme: str, config_of: ComposeConfig, tiny_folder: Path, tokenizer: Any
) -> None:
    config = config_of(
        [f"actor_rollout_ref.model.path={tiny_folder}", f"+algorithm.triptych.scheme={scheme}"]
    )
    groups = [roll_out(config, tokenizer, sample) for sample in samples()]
    batch = put(groups, partition=scheme)
    metrics: dict[str, Any] = {}
    batch = StageTrainer(config)._compute_advantage(batch, metrics)
    found = transfer_queue.kv_batch_get(
        keys=batch.keys, partition_id=scheme, select_fields=["advantages"]
    )["advantages"].unbind()

    ids = [[output.response_ids for output in group] for group in groups]
    texts = [[completion_text(one, tokenizer) for one in group] for group in ids]
    T = max(len(one) for group in ids for one in group)
    stages, mask = torch.zeros(2, 4, T, dtype=torch.long), torch.zeros(2, 4, T, dtype=torch.bool)
    for n, group in enumerate(ids):
        for g, one in enumerate(group):
            stages[n, g, : len(one)] = torch.tensor(stage_ids(one, tokenizer))
            mask[n, g, : len(one)] = True
    rewards_NGK = torch.stack(
        [
            score_group(rule_rewards(), sample, group).tensor()
            for sample, group in zip(samples(), texts, strict=True)
        ]
    )
    expected_NGT = token_advantages(
        rewards_NGK, torch.tensor([[parse(one).valid for one in group] for group in texts]),
        stages, mask, weights_K=torch.tensor([0.25, 0.25, 0.35, 0.15]),
        matrix_K4=credit_matrix(scheme),
    )  # fmt: skip
    for n, group in enumerate(ids):
        for g, one in enumerate(group):
            assert torch.equal(found[4 * n + g], expected_NGT[n, g, : len(one)])
    assert not found[-1].any()
    assert {float(value) for value in expected_NGT[0, 0].unique()} != {0.0}
    assert metrics["triptych/context_reward/unscored"] == 0.5
    assert metrics["triptych/context_reward/mean"] == pytest.approx(
        float(rewards_NGK[..., 0].nanmean())
    )
    assert metrics["triptych/format_reward/mean"] == pytest.approx(0.75)


@pytest.mark.usefixtures("cluster")
def test_several_outputs_of_one_completion_are_refused(
    config_of: ComposeConfig, tiny_folder: Path, tokenizer: Any
) -> None:
    config = config_of([f"actor_rollout_ref.model.path={tiny_folder}"])
    batch = put([roll_out(config, tokenizer, samples()[0])], partition="several")
    batch.keys[1] = "prompt0_0_1"
    with pytest.raises(ConfigError, match="single_turn_agent"):
        StageTrainer(config)._compute_advantage(batch, {})
