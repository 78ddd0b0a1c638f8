"""What a rollout is measured by: rewards, advantages, lengths, and which rewards follow the length.

Shapes: N groups, G completions per group, K rewards, T tokens.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from triptych.rewards.base import STAGE_OF_REWARD
from triptych.rewards.combine import combine
from triptych.training.averages import Averages
from triptych.training.credit import counted
from triptych.training.rollout import Rollout


def observe_rewards(
    averages: Averages, rollout: Rollout, advantages_NGK: Tensor, weights_N1K: Tensor
) -> None:
    """Mean, spread and share unscored of every reward, and of how many groups it tells nothing."""
    add, groups = averages.add, len(rollout.samples)
    for k, name in enumerate(rollout.table.names):
        rewards_NG = rollout.rewards_NGK[..., k]
        add(f"reward/{name}", rewards_NG.nansum(), (~rewards_NG.isnan()).sum())
        add(f"reward_std/{name}", _group_deviation(rewards_NG), groups)
        silent_N = (advantages_NGK[..., k] == 0).all(1)
        add(f"no_signal/{name}", silent_N.sum(), groups)
    for name, count in rollout.table.unscored_counts().items():
        add(f"unscored/{name}", count, len(rollout.table))
    combined_NG = combine(rollout.rewards_NGK, weights_N1K)
    add("reward/combined", combined_NG.nansum(), (~combined_NG.isnan()).sum())
    add("reward_std/combined", _group_deviation(combined_NG), groups)


def observe_tokens(
    averages: Averages, rollout: Rollout, advantages_NGT: Tensor, stages: Sequence[str]
) -> None:
    """Validity, and length and mean advantage of every region."""
    add, completions = averages.add, rollout.lengths_NG.numel()
    add("no_signal/group", (advantages_NGT == 0).flatten(1).all(1).sum(), len(rollout.samples))
    add("valid", rollout.valid_NG.sum(), completions)
    add("truncated", rollout.truncated_share)
    add("length", rollout.lengths_NG.sum(), completions)
    for name, here_NGT in regions(rollout.stage_ids_NGT, rollout.mask_NGT, stages):
        add(f"length/{name}", here_NGT.sum(), completions)
        add(f"advantage/{name}", (advantages_NGT.abs() * here_NGT).sum(), here_NGT.sum())


def observe_lengths(averages: Averages, rollout: Rollout, stages: Sequence[str]) -> None:
    """Whether a reward is paid for length: its correlation with the length of completions.

    That of a stage's reward with the length of its own stage, too. Both are compared within the
    groups, as the rewards are: that hard questions get long and poor completions is no hint that
    length pays. Completions whose reward does not count (see `credit.counted`) are left out.
    """
    names = rollout.table.names
    counted_NGK = counted(rollout.rewards_NGK, rollout.valid_NG, names)
    for k, name in enumerate(names):
        rewards_NG, counted_NG = rollout.rewards_NGK[..., k], counted_NGK[..., k]
        products = products_within_groups(rewards_NG, rollout.lengths_NG, counted_NG)
        averages.add_products(f"length_correlation/{name}", *products)
        if (stage := STAGE_OF_REWARD.get(name)) in stages:
            # Padding is region 0; stages are numbered from 1.
            here_NGT = rollout.stage_ids_NGT == 1 + list(stages).index(str(stage))
            products = products_within_groups(rewards_NG, here_NGT.sum(-1), counted_NG)
            averages.add_products(f"stage_length_correlation/{name}", *products)


def observe_weights(
    averages: Averages, names: Sequence[str], varying: Sequence[str], weights_N1K: Tensor
) -> None:
    """The weights that are not always the same: their mean over the prompts."""
    for name in varying:
        weights_N = weights_N1K[:, 0, list(names).index(name)]
        averages.add(f"weight/{name}", weights_N.sum(), len(weights_N))


def observe_enforcement(averages: Averages, rollout: Rollout) -> None:
    """How much of the completions the grammar decided."""
    # A completion in which nothing was refused is one that the model writes by itself, see
    # `generation.enforcement`: their share is how often it would keep format and budgets.
    every = [one for group in rollout.completions for one in group]
    averages.add("forced", sum(sum(one.forced) for one in every), rollout.lengths_NG.sum())
    averages.add("overruled", sum(one.overruled for one in every), len(every))
    averages.add("unchanged", sum(one.overruled == 0 for one in every), len(every))


def regions(stage_ids: Tensor, mask: Tensor, stages: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Where the trained tokens of each region are; the shapes are those of the arguments."""
    for region, name in enumerate(("tags", *stages)):
        yield name, (stage_ids == region) & mask


def products_within_groups(
    x_NG: Tensor, y_NG: Tensor, counted_NG: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums of x * y, x * x and y * y over all completions that count, without their groups' means.

    Groups in which x or y does not vary give exact zeros for it: what rounding leaves of a mean
    would correlate, too.
    """
    x_NG, y_NG = (_centred(values_NG, counted_NG) for values_NG in (x_NG, y_NG))
    return (x_NG * y_NG).sum(), x_NG.square().sum(), y_NG.square().sum()


def _centred(values_NG: Tensor, counted_NG: Tensor) -> Tensor:
    values_NG = values_NG.double().masked_fill(~counted_NG, 0)
    mean_N1 = values_NG.sum(1, keepdim=True) / counted_NG.sum(1, keepdim=True).clamp(min=1)
    top_N1 = values_NG.masked_fill(~counted_NG, -torch.inf).amax(1, keepdim=True)
    bottom_N1 = values_NG.masked_fill(~counted_NG, torch.inf).amin(1, keepdim=True)
    return (values_NG - mean_N1).masked_fill(~counted_NG | (top_N1 == bottom_N1), 0)


def _group_deviation(rewards_NG: Tensor) -> Tensor:
    """Sum over groups of the standard deviation of the scored rewards; 0 where fewer than two."""
    deviations = [row[~row.isnan()].std() for row in rewards_NG if (~row.isnan()).sum() > 1]
    return torch.stack(deviations).sum() if deviations else torch.tensor(0.0)
