"""Stage credit as an advantage estimator of verl: from its batches to `training.credit` and back.

Shapes: B completions of a batch, N groups, G completions of the largest group, T tokens of the
longest completion, K rewards.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from triptych.errors import ConfigError
from triptych.integrations.verl_settings import VerlSettings, read_settings
from triptych.rewards.base import RewardTable, Unscored
from triptych.rewards.combine import apply_gate, weight_vector
from triptych.rewards.unscored import refuse_unscored
from triptych.training.credit import credit_matrix, token_advantages

STAGE_IDS: Final = "stage_ids"
"""A digit for each token of a completion: its region."""
VALID: Final = "valid"
"""Whether a completion keeps the output format."""
UNSCORED: Final = "unscored"
"""Why a completion has no value for some rewards: a JSON object of reasons by reward."""

Columns: TypeAlias = Mapping[str, Sequence[Any]]
"""What the reward manager said of each completion, by key; each of length B."""


def reward_column(name: str) -> str:
    """The key of a reward, whose value is NaN where it could not be scored."""
    return f"{name}_reward"


_CARRIED: ContextVar[Columns | None] = ContextVar("triptych_verl_columns", default=None)


@contextmanager
def carrying(columns: Columns) -> Iterator[None]:
    """Let `stage_credit` find the columns, which verl's trainers do not hand to an estimator."""
    token = _CARRIED.set(columns)
    try:
        yield
    finally:
        _CARRIED.reset(token)


def stage_credit(
    token_level_rewards: Tensor,
    response_mask: Tensor,
    index: Sequence[Any],
    config: Any = None,
    non_tensor_batch: Columns | None = None,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """The advantages of `credit.token_advantages`, in the signature of verl's estimators.

    Groups may differ in size, and their completions may stand in any order. A row without a trained
    token (verl fills batches up with such) belongs to no group.

    Args:
        token_level_rewards: (B, T); not read, since it holds sums alone.
        response_mask: (B, T), 1 on the tokens that are trained.
        index: the group of each completion (verl's uid).
        config: verl's section `algorithm`.
        non_tensor_batch: the columns; by default those of `carrying`.

    Returns:
        Advantages (B, T) twice: verl asks for returns as well, from which only a critic learns.

    Raises:
        ConfigError: the rewards are missing, or do not belong to this batch or these settings.
        RewardError: too many completions could not be scored.
    """
    settings = read_settings(config)
    columns = _CARRIED.get() if non_tensor_batch is None else non_tensor_batch
    mask_BT = response_mask.bool().cpu()
    advantages_BT = torch.zeros(mask_BT.shape)
    if columns is None:
        raise ConfigError(
            "verl brings no rewards per stage to the advantage estimator; set "
            "trainer.v1.trainer_mode=triptych and trainer.use_v1=true"
        )
    _check(columns, settings, mask_BT)
    rows_NG = _groups(index, mask_BT)
    if len(rows_NG):
        there_NG, rows_NG = rows_NG >= 0, rows_NG.clamp(min=0)
        _refuse_unscored(columns, settings, rows_NG[there_NG].tolist())
        rewards_KB = torch.tensor(
            [[*map(float, columns[reward_column(k)])] for k in settings.names]
        )
        rewards_NGK = rewards_KB.T[rows_NG].masked_fill(~there_NG[..., None], math.nan)
        if settings.gate:
            rewards_NGK = apply_gate(rewards_NGK, settings.names)
        advantages_NGT = token_advantages(
            rewards_NGK,
            torch.tensor([*map(bool, columns[VALID])])[rows_NG],
            _regions(columns[STAGE_IDS], mask_BT)[rows_NG],
            mask_BT[rows_NG] & there_NG[..., None],
            weights_K=weight_vector(settings.names, settings.weights),
            matrix_K4=credit_matrix(settings.scheme, settings.names, settings.credit_rows),
            names=settings.names,
            scale=settings.scale,
            scale_by=settings.scale_by,
            clip=settings.clip_advantage,
            balance=settings.balance,
        )
        advantages_BT[rows_NG[there_NG]] = advantages_NGT[there_NG]
    advantages_BT = advantages_BT.to(response_mask.device)
    return advantages_BT, advantages_BT


def _check(columns: Columns, settings: VerlSettings, mask_BT: Tensor) -> None:
    wanted = [*map(reward_column, settings.names), VALID, STAGE_IDS, UNSCORED]
    if missing := [name for name in wanted if name not in columns]:
        raise ConfigError(
            f"the rewards that verl brings have no {missing[0]!r}, only {', '.join(columns)}; set "
            "reward.reward_manager.name=triptych, and one algorithm.triptych for all processes"
        )
    for name in wanted:
        if len(columns[name]) != len(mask_BT):
            raise ConfigError(
                f"{name!r} has {len(columns[name])} values for {len(mask_BT)} completions"
            )


def _groups(index: Sequence[Any], mask_BT: Tensor) -> Tensor:
    """(N, G) int64: the rows of each group in the order of the batch; -1 fills up the smaller ones.

    Groups stand in the order in which they appear.
    """
    groups: dict[Any, list[int]] = {}
    for row, (uid, trained) in enumerate(zip(index, mask_BT.any(-1).tolist(), strict=True)):
        if trained:
            groups.setdefault(uid, []).append(row)
    rows = [torch.tensor(group) for group in groups.values()]
    return pad_sequence(rows, batch_first=True, padding_value=-1) if rows else torch.empty(0, 0)


def _regions(stages: Sequence[str], mask_BT: Tensor) -> Tensor:
    """(B, T) int64: the region of each token; 0 on padding.

    Raises:
        ConfigError: a trained token has no region.
    """
    regions_BT = torch.zeros(mask_BT.shape, dtype=torch.long)
    for row, digits in enumerate(stages):
        if mask_BT[row, len(digits) :].any() or len(digits) > mask_BT.shape[1]:
            raise ConfigError(
                f"completion {row} of the batch has stages for {len(digits)} tokens and a mask of "
                "other length; train on the responses that were rewarded, as they were sampled"
            )
        regions_BT[row, : len(digits)] = torch.tensor([*map(int, digits)], dtype=torch.long)
    return regions_BT


def _refuse_unscored(columns: Columns, settings: VerlSettings, rows: Sequence[int]) -> None:
    """See `rewards.unscored.refuse_unscored`."""
    values = [
        [
            None if math.isnan(value := columns[reward_column(name)][row]) else float(value)
            for name in settings.names
        ]
        for row in rows
    ]
    reasons = {
        (place, k): Unscored(why[name])
        for place, row in enumerate(rows)
        if (why := json.loads(columns[UNSCORED][row]))
        for k, name in enumerate(settings.names)
        if name in why
    }
    weights_11K = weight_vector(settings.names, settings.weights)[None, None]
    table = RewardTable(settings.names, values, reasons)
    refuse_unscored(table, weights_11K, settings.max_unscored_share)
