"""verl's registry and its batches give exactly the advantages of `training.credit`."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor
from verl import DataProto
from verl.trainer.ppo.core_algos import get_adv_estimator_fn
from verl.trainer.ppo.ray_trainer import compute_advantage

from triptych.errors import ConfigError
from triptych.integrations.verl_credit import carrying
from triptych.rewards import REWARD_NAMES, RewardError, apply_gate
from triptych.training.credit import credit_matrix, token_advantages

WEIGHTS = torch.tensor([0.25, 0.25, 0.35, 0.15])


class Groups:
    """N groups of G completions with random rewards, of which some are missing; some invalid."""

    def __init__(self, seed: int, N: int = 4, G: int = 8, T: int = 17) -> None:
        random = torch.Generator().manual_seed(seed)
        self.rewards_NGK = torch.rand(N, G, 4, generator=random)
        self.rewards_NGK[torch.rand(N, G, 4, generator=random) < 0.2] = math.nan
        self.rewards_NGK[0, :, 2] = 1.0  # all agree
        self.rewards_NGK[-1, 1:, 1] = math.nan  # one completion only was scored
        self.valid_NG = torch.rand(N, G, generator=random) < 0.8
        lengths_NG1 = torch.randint(1, T + 1, (N, G, 1), generator=random)
        lengths_NG1[0, 0] = T
        self.mask_NGT = torch.arange(T) < lengths_NG1
        self.stage_ids_NGT = torch.randint(0, 4, (N, G, T), generator=random) * self.mask_NGT

    def expected(self, *, gate: bool = False, scheme: str = "strict", **settings: Any) -> Tensor:
        rewards_NGK = apply_gate(self.rewards_NGK) if gate else self.rewards_NGK
        return token_advantages(
            rewards_NGK, self.valid_NG, self.stage_ids_NGT, self.mask_NGT,
            weights_K=WEIGHTS, matrix_K4=credit_matrix(scheme), **settings,
        )  # fmt: skip

    def columns(self) -> dict[str, list[Any]]:
        """What the reward manager says of them."""
        values = self.rewards_NGK.flatten(0, 1)
        stages = zip(self.stage_ids_NGT.flatten(0, 1), self.mask_NGT.flatten(0, 1), strict=True)
        return {
            **{f"{name}_reward": values[:, k].tolist() for k, name in enumerate(REWARD_NAMES)},
            "valid": self.valid_NG.flatten().tolist(),
            "stage_ids": ["".join(map(str, s[m].tolist())) for s, m in stages],
            "unscored": [
                json.dumps({n: "failed" for n, v in zip(REWARD_NAMES, row, strict=True) if v != v})
                for row in values.tolist()
            ],
        }

    def uids(self) -> list[str]:
        N, G = self.valid_NG.shape
        return [f"prompt-{n}" for n in range(N) for _ in range(G)]


def through_verl(
    columns: dict[str, list[Any]],
    mask_BT: Tensor,
    uids: Sequence[str],
    algorithm: dict[str, Any] | None = None,
) -> Tensor:
    """verl's own `compute_advantage` on its DataProto, with its own configuration."""
    from omegaconf import OmegaConf

    mask = mask_BT.long()
    sums = torch.zeros(mask_BT.shape)
    data = DataProto(
        batch=TensorDict(
            {"response_mask": mask, "token_level_rewards": sums}, batch_size=len(mask)
        ),
        non_tensor_batch={"uid": np.array(uids, dtype=object)},
    )
    config = OmegaConf.create({"triptych": {"max_unscored_share": 1.0, **(algorithm or {})}})
    OmegaConf.set_struct(config, True)
    with carrying(columns):
        data = compute_advantage(data, adv_estimator="triptych", config=config)
    assert torch.equal(data.batch["advantages"], data.batch["returns"])
    return data.batch["advantages"]  # type: ignore[no-any-return]


def test_verls_registry_returns_our_estimator() -> None:
    from triptych.integrations.verl_credit import stage_credit

    assert get_adv_estimator_fn("triptych") is stage_credit


@pytest.mark.parametrize("scheme", ["strict", "causal", "uniform", "released"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"balance": "stages"},
        {"gate": True},
        {"scale": "group", "clip_advantage": 1.0},
        {"scale": "batch", "balance": "stages"},
        {"scale": "batch", "scale_by": "sum"},
    ],
    ids=str,
)
def test_advantages_are_those_of_credit(scheme: str, settings: dict[str, Any]) -> None:
    ours = {("clip" if k == "clip_advantage" else k): v for k, v in settings.items()}
    for seed in range(5):
        groups = Groups(seed)
        expected_NGT = groups.expected(scheme=scheme, **ours)
        found_BT = through_verl(
            groups.columns(),
            groups.mask_NGT.flatten(0, 1),
            groups.uids(),
            {"scheme": scheme, **settings},
        )
        assert expected_NGT.abs().sum() > 0
        assert torch.equal(found_BT, expected_NGT.flatten(0, 1))


@pytest.mark.parametrize("settings", [{}, {"scale": "batch"}, {"balance": "stages"}], ids=str)
def test_the_order_of_a_batch_and_rows_that_fill_it_up_change_nothing(
    settings: dict[str, Any],
) -> None:
    groups = Groups(seed=0)
    columns, mask_BT, uids = groups.columns(), groups.mask_NGT.flatten(0, 1), groups.uids()
    B, T = mask_BT.shape
    # verl fills up with copies of a completion whose mask is zero.
    columns = {key: [*values, values[0], values[0]] for key, values in columns.items()}
    columns["stage_ids"][-2:] = ["0", "0"]
    mask_BT = torch.cat([mask_BT, torch.zeros(2, T, dtype=torch.bool)])
    uids += ["pad", "pad"]
    order = torch.randperm(B + 2, generator=torch.Generator().manual_seed(1))
    found_BT = through_verl(
        {key: [values[i] for i in order] for key, values in columns.items()},
        mask_BT[order],
        [uids[i] for i in order],
        settings,
    )
    back_BT = torch.empty_like(found_BT)
    back_BT[order] = found_BT
    assert torch.allclose(back_BT[:B], groups.expected(**settings).flatten(0, 1), atol=1e-6)
    assert not back_BT[B:].any()


def test_groups_of_different_sizes_are_each_as_alone() -> None:
    groups = [Groups(seed, N=1, G=size) for seed, size in ((0, 3), (1, 8), (2, 5))]
    columns = {
        key: [value for group in groups for value in group.columns()[key]]
        for key in groups[0].columns()
    }
    uids = [str(n) for n, group in enumerate(groups) for _ in group.uids()]
    masks = torch.cat([group.mask_NGT.flatten(0, 1) for group in groups])
    different: list[dict[str, Any]] = [{}, {"scale": "group"}, {"balance": "stages"}]
    for settings in different:
        expected = torch.cat([group.expected(**settings).flatten(0, 1) for group in groups])
        found = through_verl(columns, masks, uids, settings)
        assert torch.allclose(found, expected, atol=1e-6)


def test_a_reward_of_ones_own_has_its_row_and_weight() -> None:
    groups = Groups(seed=0)
    columns = groups.columns()
    columns["brevity_reward"] = columns.pop("reasoning_reward")
    columns["reasoning_reward"] = [math.nan] * len(columns["valid"])
    columns["unscored"] = ["{}"] * len(columns["valid"])
    found_BT = through_verl(
        columns,
        groups.mask_NGT.flatten(0, 1),
        groups.uids(),
        {
            "rewards": {"brevity": "my_rewards:brevity"},
            "weights": {"brevity": 0.25, "reasoning": 0.0},
            "credit_rows": {"brevity": [0, 1, 0, 0]},
        },
    )
    assert torch.allclose(found_BT, groups.expected().flatten(0, 1), atol=1e-6)


def test_what_is_missing_or_does_not_fit_is_said() -> None:
    groups = Groups(seed=0)
    columns, mask_BT, uids = groups.columns(), groups.mask_NGT.flatten(0, 1), groups.uids()
    sums = torch.zeros(mask_BT.shape)
    estimator = get_adv_estimator_fn("triptych")
    with pytest.raises(ConfigError, match=r"trainer\.v1\.trainer_mode=triptych"):
        estimator(token_level_rewards=sums, response_mask=mask_BT.long(), index=uids)
    with pytest.raises(ConfigError, match=r"no 'format_reward'.*reward_manager\.name=triptych"):
        through_verl({k: v for k, v in columns.items() if k != "format_reward"}, mask_BT, uids)
    with pytest.raises(ConfigError, match="has 31 values for 32 completions"):
        through_verl({**columns, "valid": columns["valid"][1:]}, mask_BT, uids)
    short = [columns["stage_ids"][0][:-1], *columns["stage_ids"][1:]]
    with pytest.raises(ConfigError, match="completion 0 of the batch has stages for 16 tokens"):
        through_verl({**columns, "stage_ids": short}, mask_BT, uids)
    with pytest.raises(ConfigError, match=r"algorithm\.triptych\.shceme is not a known setting"):
        through_verl(columns, mask_BT, uids, {"shceme": "strict"})
    with pytest.raises(RewardError, match=r"could not be scored \(failed \d+\)"):
        through_verl(columns, mask_BT, uids, {"max_unscored_share": 0.01})


def test_the_columns_may_come_in_verls_non_tensor_batch() -> None:
    """As verl hands them to its own estimator of several rewards (GDPO)."""
    groups = Groups(seed=3)
    columns = {key: np.array(values, dtype=object) for key, values in groups.columns().items()}
    mask_BT = groups.mask_NGT.flatten(0, 1).long()
    found_BT, _ = get_adv_estimator_fn("triptych")(
        token_level_rewards=torch.zeros(mask_BT.shape),
        response_mask=mask_BT,
        index=np.array(groups.uids(), dtype=object),
        non_tensor_batch=columns,
    )
    assert torch.equal(found_BT, groups.expected().flatten(0, 1))
