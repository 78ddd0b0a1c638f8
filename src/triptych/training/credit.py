"""Credit: rewards x stages -> one advantage per token. The only place where rewards meet tokens.

A completion earns one reward per kind (context, reasoning, answer, format). Each is compared with
the rest of its group, and a matrix says which tokens receive that difference. For a token t of
completion g in group n, in region r(t):

    advantage[n, g, t] = balance[n, r(t)] * sum_k weight[n, k] advantage[n, g, k] matrix[k, r(t)]

Shapes: N groups (one per prompt), G completions per group, T tokens (longest completion),
K rewards, R regions.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, TypeVar

import torch
from torch import Tensor

from triptych.errors import ConfigError
from triptych.rewards.base import REWARD_NAMES

E = TypeVar("E", bound=StrEnum)

MATRIX_COLUMNS: Final = ("context", "think", "answer", "tags")
"""What the columns of a credit matrix stand for: the three stage bodies, then everything else."""

_COLUMN_OF_REGION: Final = (3, 0, 1, 2)
"""`stages.spans` numbers the regions 0 = tags and outside, 1..3 = context, think, answer."""

_FORMAT: Final = "format"
_EPSILON: Final = 1e-4
_ROUNDING: Final = 1e-6


class Scheme(StrEnum):
    """Which tokens learn from which reward."""

    STRICT = "strict"
    """Each reward on its own stage's tokens; format on the tags."""
    CAUSAL = "causal"
    """Format and answer on every token, context on the context stage, reasoning on context and
    think (HumanOmniV2, figure 4). Tags, also those before the context ends, get format and answer
    only: they hold nothing that a context or reasoning reward judges."""
    UNIFORM = "uniform"
    """The weighted sum on every token: plain GRPO."""
    RELEASED = "released"
    """What the published code computes: answer + format, three times on the context, twice on
    think, once elsewhere; the other rewards nowhere. For comparison only."""


class Scale(StrEnum):
    """What the difference to the group's mean is divided by."""

    NONE = "none"
    """Nothing: a reward difference of 0.1 always weighs the same."""
    GROUP = "group"
    """The standard deviation within the group (GRPO as first published)."""
    BATCH = "batch"
    """The standard deviation over all groups of the step."""


class ScaleBy(StrEnum):
    """Whose standard deviation that is."""

    REWARD = "reward"
    """Each reward's own, before the rewards are weighed: a reward that hardly differs counts as
    much as one that differs a lot (as in GDPO, arXiv 2601.05242)."""
    SUM = "sum"
    """That of the weighted sum: each reward keeps its share of the sum, and its stage. `uniform` is
    then GRPO as first published: sum, then normalise. Where rewards nearly cancel out in the sum,
    single stages get large advantages; `clip_advantage` bounds them."""


class Balance(StrEnum):
    """How the tokens of a group share its loss."""

    TOKENS = "tokens"
    """Every token counts the same; a long stage outweighs a short one."""
    STAGES = "stages"
    """Every region that has tokens gets an equal share of the group's loss."""


_SCHEMES: Final[Mapping[Scheme, Mapping[str, tuple[float, float, float, float]]]] = {
    Scheme.STRICT: {
        "context": (1, 0, 0, 0),
        "reasoning": (0, 1, 0, 0),
        "answer": (0, 0, 1, 0),
        "format": (0, 0, 0, 1),
    },
    Scheme.CAUSAL: {
        "context": (1, 0, 0, 0),
        "reasoning": (1, 1, 0, 0),
        "answer": (1, 1, 1, 1),
        "format": (1, 1, 1, 1),
    },
    Scheme.UNIFORM: dict.fromkeys(REWARD_NAMES, (1, 1, 1, 1)),
    Scheme.RELEASED: {
        "context": (0, 0, 0, 0),
        "reasoning": (0, 0, 0, 0),
        "answer": (3, 2, 1, 1),
        "format": (3, 2, 1, 1),
    },
}


def credit_matrix(
    scheme: str,
    names: Sequence[str] = REWARD_NAMES,
    rows: Mapping[str, Sequence[float]] | None = None,
) -> Tensor:
    """The named scheme as a matrix (K, 4): rows are `names`, columns are `MATRIX_COLUMNS`.

    `rows` gives or replaces single rows. A reward that the scheme does not know needs one, except
    under `uniform`, which treats all rewards alike.

    Raises:
        ConfigError: no such scheme, a reward without a row, or a row that is not four numbers.
    """
    known = dict(_SCHEMES[choice(Scheme, scheme, "scheme")])
    if scheme == Scheme.UNIFORM:
        known |= dict.fromkeys(names, (1, 1, 1, 1))
    for name, row in (rows or {}).items():
        if name not in names:
            raise ConfigError(
                f"credit row for {name!r}, but the rewards are {', '.join(names)}; "
                "name one of them or add the reward"
            )
        if len(row) != len(MATRIX_COLUMNS):
            raise ConfigError(
                f"credit row of {name!r} has {len(row)} entries; "
                f"give one for each of {', '.join(MATRIX_COLUMNS)}"
            )
        known[name] = (row[0], row[1], row[2], row[3])
    if missing := [name for name in names if name not in known]:
        raise ConfigError(
            f"scheme {str(scheme)!r} does not say which tokens earn {missing[0]!r}; "
            f"give a credit row for it: how much each of {', '.join(MATRIX_COLUMNS)} receives"
        )
    return torch.tensor([known[name] for name in names], dtype=torch.float32)


def token_advantages(
    rewards_NGK: Tensor,
    valid_NG: Tensor,
    stage_ids_NGT: Tensor,
    mask_NGT: Tensor,
    *,
    weights_K: Tensor,
    matrix_K4: Tensor,
    names: Sequence[str] = REWARD_NAMES,
    scale: str = Scale.NONE,
    scale_by: str = ScaleBy.REWARD,
    clip: float = 0.0,
    balance: str = Balance.TOKENS,
) -> Tensor:
    """Advantages (N, G, T) of every token; zero where the mask is False.

    Args:
        rewards_NGK: NaN where a reward could not be scored.
        valid_NG: whether the completion keeps the output format.
        stage_ids_NGT: region of each token (0 tags and outside, 1..3 the stage bodies).
        mask_NGT: True on the tokens that are trained, False on padding and on tokens that the
            grammar forced.
        weights_K: how much each reward counts: (K,), or (N, 1, K) where groups differ in it.
        matrix_K4: from `credit_matrix`.
        names: the rewards in the order of K; tells which one is the format's.
        scale: see `Scale`.
        scale_by: see `ScaleBy`.
        clip: the largest advantage of a reward, before its weight; 0 for no bound.
        balance: see `Balance`.
    """
    advantages_NGK = reward_advantages(
        rewards_NGK, valid_NG, weights_K=weights_K, names=names, scale=scale, scale_by=scale_by,
        clip=clip,
    )  # fmt: skip
    return spread(
        advantages_NGK,
        valid_NG,
        stage_ids_NGT,
        mask_NGT,
        weights_K=weights_K,
        matrix_K4=matrix_K4,
        names=names,
        balance=balance,
    )


def counted(rewards_NGK: Tensor, valid_NG: Tensor, names: Sequence[str] = REWARD_NAMES) -> Tensor:
    """Which rewards count, (N, G, K): those that were scored; of an invalid completion format's."""
    is_format_K = torch.tensor([name == _FORMAT for name in names], device=rewards_NGK.device)
    return ~rewards_NGK.isnan() & (valid_NG[..., None] | is_format_K)


def reward_advantages(
    rewards_NGK: Tensor,
    valid_NG: Tensor,
    *,
    weights_K: Tensor | None = None,
    names: Sequence[str] = REWARD_NAMES,
    scale: str = Scale.NONE,
    scale_by: str = ScaleBy.REWARD,
    clip: float = 0.0,
) -> Tensor:
    """Each reward minus the group's mean of that reward, scaled, clipped: (N, G, K).

    Mean and standard deviation run over the completions whose reward counts (see `counted`). A
    reward that does not count gets zero; so does a reward that one completion only was scored for:
    it has nothing to be compared with.

    Clipping comes last, and before the weights: the bound is one for all rewards, and a weight that
    changes on its way through a run changes nothing about what is clipped.

    Args:
        rewards_NGK: NaN where a reward could not be scored.
        valid_NG: whether the completion keeps the output format.
        weights_K: (K,) or (N, 1, K); only the scale of the sum depends on them.
        names: the rewards in the order of K.
        scale: see `Scale`.
        scale_by: see `ScaleBy`.
        clip: the largest absolute value; 0 for no bound.
    """
    counted_NGK = counted(rewards_NGK, valid_NG, names)
    rewards_NGK = rewards_NGK.masked_fill(~counted_NGK, 0)
    mean_N1K = rewards_NGK.sum(1, keepdim=True) / counted_NGK.sum(1, keepdim=True).clamp(min=1)
    # Where all agree there is no signal: exact zeros, not rounding noise that scaling blows up.
    top_N1K = rewards_NGK.masked_fill(~counted_NGK, -torch.inf).amax(1, keepdim=True)
    bottom_N1K = rewards_NGK.masked_fill(~counted_NGK, torch.inf).amin(1, keepdim=True)
    differ_NGK = counted_NGK & (top_N1K > bottom_N1K)
    advantages_NGK = (rewards_NGK - mean_N1K).masked_fill(~differ_NGK, 0)
    if choice(Scale, scale, "scale") is not Scale.NONE:
        dims = (1,) if scale == Scale.GROUP else (0, 1)
        deviation = _deviation(rewards_NGK, counted_NGK, dims)
        if choice(ScaleBy, scale_by, "scale_by") is ScaleBy.SUM:
            if weights_K is None:
                raise ConfigError("scale_by=sum needs the weights of the sum; pass weights_K")
            deviation = _sum_deviation(rewards_NGK, counted_NGK, mean_N1K, weights_K, dims)
            # Sums that agree but for rounding are no scale: it would be that of the epsilon.
            silent = deviation <= _ROUNDING * weights_K.sum(-1, keepdim=True)
            advantages_NGK = advantages_NGK.masked_fill(silent, 0)
        advantages_NGK = advantages_NGK / (deviation + _EPSILON)
    return advantages_NGK.clamp(-clip, clip) if clip else advantages_NGK


def spread(
    advantages_NGK: Tensor,
    valid_NG: Tensor,
    stage_ids_NGT: Tensor,
    mask_NGT: Tensor,
    *,
    weights_K: Tensor,
    matrix_K4: Tensor,
    names: Sequence[str] = REWARD_NAMES,
    balance: str = Balance.TOKENS,
) -> Tensor:
    """Hand each reward's advantage to the tokens that the matrix names: (N, G, T).

    `weights_K` is (K,), or (N, 1, K) where groups differ in it.

    An invalid completion gets the format advantage alone, on all of its tokens and under every
    scheme: it may hold no tag at all, and a signal on tags could then never reach it.
    """
    matrix_KR = matrix_K4[:, _COLUMN_OF_REGION]
    weighted_NGK = advantages_NGK * weights_K
    by_region_NGR = weighted_NGK @ matrix_KR
    format_NG = sum(
        (weighted_NGK[..., k] for k, name in enumerate(names) if name == _FORMAT),
        start=torch.zeros_like(weighted_NGK[..., 0]),
    )
    by_region_NGR = torch.where(valid_NG[..., None], by_region_NGR, format_NG[..., None])
    advantages_NGT = by_region_NGR.gather(-1, stage_ids_NGT)
    if choice(Balance, balance, "balance") is Balance.STAGES:
        advantages_NGT = advantages_NGT * stage_balance(stage_ids_NGT, mask_NGT)
    return advantages_NGT.masked_fill(~mask_NGT, 0)


def stage_balance(stage_ids_NGT: Tensor, mask_NGT: Tensor) -> Tensor:
    """Weights (N, G, T) that give each region of a group an equal share of its token mass.

    With n_r the trained tokens of region r in all G completions of the group, and R the number of
    regions that have any, a token of region r weighs (sum_r n_r) / (R * n_r). The weights of a
    group sum to its number of trained tokens, so groups keep their share of the batch.
    """
    one_hot_NGTR = torch.nn.functional.one_hot(stage_ids_NGT, len(MATRIX_COLUMNS))
    tokens_NR = (one_hot_NGTR * mask_NGT[..., None]).sum((1, 2)).float()
    regions_N1 = (tokens_NR > 0).sum(-1, keepdim=True)
    weights_NR = tokens_NR.sum(-1, keepdim=True) / (regions_N1 * tokens_NR).clamp(min=1)
    weights_NGR = weights_NR[:, None].expand(-1, stage_ids_NGT.shape[1], -1)
    return weights_NGR.gather(-1, stage_ids_NGT) * mask_NGT


def _deviation(values_NGK: Tensor, counted_NGK: Tensor, dims: tuple[int, ...]) -> Tensor:
    """Sample standard deviation over `dims` of the counted values; zero for fewer than two."""
    count = counted_NGK.sum(dims, keepdim=True)
    mean = values_NGK.sum(dims, keepdim=True) / count.clamp(min=1)
    squares = (values_NGK - mean).square().masked_fill(~counted_NGK, 0).sum(dims, keepdim=True)
    return (squares / (count - 1).clamp(min=1)).sqrt()


def _sum_deviation(
    rewards_NGK: Tensor,
    counted_NGK: Tensor,
    mean_N1K: Tensor,
    weights_K: Tensor,
    dims: tuple[int, ...],
) -> Tensor:
    """Sample standard deviation over `dims` of the weighted sum of the rewards that count.

    One that does not count stands in the sum as the mean of its group, or of the step where its
    group has none: so it says nothing about the completion, here as elsewhere.
    """
    everywhere_K = rewards_NGK.sum((0, 1)) / counted_NGK.sum((0, 1)).clamp(min=1)
    stand_in_N1K = torch.where(counted_NGK.any(1, keepdim=True), mean_N1K, everywhere_K)
    filled_NGK = torch.where(counted_NGK, rewards_NGK, stand_in_N1K)
    known_NG1 = (counted_NGK & (weights_K > 0)).any(-1, keepdim=True)
    sums_NG1 = (filled_NGK * weights_K).sum(-1, keepdim=True)
    return _deviation(sums_NG1.masked_fill(~known_NG1, 0), known_NG1, dims)


def choice(kind: type[E], value: str, setting: str) -> E:
    """The member of `kind` with this value; ConfigError lists the members."""
    try:
        return kind(value)
    except ValueError as error:
        raise ConfigError(
            f"unknown {setting} {value!r}; choose one of: {', '.join(kind)}"
        ) from error
