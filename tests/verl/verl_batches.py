"""What the tests share: settings of a run, and batches as verl lays them out."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from tensordict import TensorDict

ComposeConfig = Callable[[Sequence[str]], Any]

OURS = (
    "trainer.v1.trainer_mode=triptych",
    "reward.reward_manager.name=triptych",
    "algorithm.adv_estimator=triptych",
)


def batch_of(prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> TensorDict:
    """Prompts padded on the left and responses on the right, as verl's agent loops lay them out."""
    P, T = max(map(len, prompts)), max(map(len, responses))
    rows = [
        (
            [0] * (P - len(prompt)) + [*prompt],
            [*response] + [0] * (T - len(response)),
            [0] * (P - len(prompt))
            + [1] * (len(prompt) + len(response))
            + [0] * (T - len(response)),
        )
        for prompt, response in zip(prompts, responses, strict=True)
    ]
    prompts_BP, responses_BT, attention_BL = (
        torch.tensor(column) for column in zip(*rows, strict=True)
    )
    return TensorDict(
        {
            "prompts": prompts_BP,
            "responses": responses_BT,
            "attention_mask": attention_BL,
            "response_mask": attention_BL[:, P:],
        },
        batch_size=len(rows),
    )
