"""Weights of rewards that put completions into the order in which people put them.

The model is Bradley and Terry's: of two completions of one sample, the first is the better one with

    P = sigmoid(s * (u_1 - u_2)),    u = combine(rewards, w),    w >= 0,    sum w = 1

where u is the reward that training would see, unscored rewards left out, and s > 0 says how well u
decides. Minimised over w and s is

    mean over the pairs of -log P  +  strength * |w - w_0|^2

with w_0 the weights that one would have taken without labels: few pairs, or pairs that say nothing
of a reward, leave it its weight. The strength is the one that predicts best in cross-validation.
Folds hold whole clips, for pairs of one clip resemble each other.

Shapes: P pairs, K rewards, F rewards whose weight is learned.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from triptych.errors import ConfigError, DataError
from triptych.rewards.combine import combine, weight_vector
from triptych.rewards.labelled import Pairs

STRENGTHS = (100.0, 10.0, 1.0, 0.1, 0.01)
FOLDS = 5
FEWEST_CLUSTERS = 2 * FOLDS

# A weak pull on s: labels that the rewards foresee without error would send it to infinity.
_SCALE_PULL = 1e-5
# Smallest eigenvalue of the correlations: below it, one reward is as good as a sum of the others.
_COLLINEAR = 1e-4


@dataclass(frozen=True)
class LearnedWeights:
    """Weights, and how they do on pairs that they were not fitted to.

    Attributes:
        weights: by reward; they sum to 1.
        default: those that they were drawn to, brought to the same sum.
        strength: of the pull.
        right: for each pair, whether weights from the other folds put it in the right order: 1, 0,
            or 0.5 where they make both equal. The strength was chosen within those folds, too.
        default_right: the same of the default weights.
        clusters: see `Pairs`.
    """

    weights: Mapping[str, float]
    default: Mapping[str, float]
    strength: float
    right: tuple[float, ...]
    default_right: tuple[float, ...]
    clusters: tuple[Hashable, ...]


def learn_weights(
    pairs: Pairs, default: Mapping[str, float], keep: Sequence[str] = (), seed: int = 0
) -> LearnedWeights:
    """Fit weights to pairs.

    Args:
        pairs: what people said.
        default: the weights to be drawn to.
        keep: rewards whose share of the default weights stays as it is.
        seed: decides which clips share a fold.

    Raises:
        ConfigError: the default weights are no weights, or too few rewards are left to learn.
        DataError: the pairs are of too few clips, a reward never differs within a pair, or rewards
            cannot be told apart.
    """
    default_K = weight_vector(pairs.names, default).double()
    problem = _Problem(default_K / default_K.sum(), _learned(pairs.names, keep))
    pairs = _usable(pairs, problem)
    _refuse_what_cannot_be_told(pairs, problem)
    right_P = torch.zeros(len(pairs), dtype=torch.float64)
    for held_out_P, rest in _splits(pairs, seed):
        fit = _best_fit(rest, problem, seed)
        right_P[held_out_P] = _right(_chosen(pairs, held_out_P), fit.weights_K)
    fit = _best_fit(pairs, problem, seed)
    return LearnedWeights(
        weights=dict(zip(pairs.names, fit.weights_K.tolist(), strict=True)),
        default=dict(zip(pairs.names, problem.default_K.tolist(), strict=True)),
        strength=fit.strength,
        right=tuple(right_P.tolist()),
        default_right=tuple(_right(pairs, problem.default_K).tolist()),
        clusters=pairs.clusters,
    )


@dataclass(frozen=True)
class _Fit:
    """The weights and the scale that fit best under a strength of the pull."""

    strength: float
    weights_K: Tensor
    scale: Tensor


@dataclass(frozen=True)
class _Problem:
    """What is fitted: `default_K` sums to 1, `learned_K` says whose weight is learned."""

    default_K: Tensor
    learned_K: Tensor

    def fits(self, pairs: Pairs) -> Iterator[_Fit]:
        """A fit for each strength, each begun where the one before ended."""
        logits_F = torch.zeros(int(self.learned_K.sum()), dtype=torch.float64, requires_grad=True)
        log_scale = torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
        for strength in STRENGTHS:
            optimizer = torch.optim.LBFGS(
                [logits_F, log_scale], max_iter=100, line_search_fn="strong_wolfe"
            )

            def closure(strength: float = strength, to: torch.optim.LBFGS = optimizer) -> Tensor:
                to.zero_grad()
                weights_K, scale = self._weights(logits_F), log_scale.exp()
                pull = strength * (weights_K - self.default_K).square().sum()
                loss = pair_loss(pairs, weights_K, scale) + pull + _SCALE_PULL * scale.square()
                loss.backward()
                return loss

            optimizer.step(closure)
            yield _Fit(strength, self._weights(logits_F).detach(), log_scale.exp().detach())

    def _weights(self, logits_F: Tensor) -> Tensor:
        """A softmax over what the kept weights leave."""
        share = self.default_K[self.learned_K].sum()
        return self.default_K.masked_scatter(self.learned_K, share * logits_F.softmax(0))


def pair_loss(pairs: Pairs, weights_K: Tensor, scale: Tensor) -> Tensor:
    """Mean of -log P over the pairs, in nats."""
    return torch.nn.functional.softplus(-scale * _margins(pairs, weights_K)).mean()


def _margins(pairs: Pairs, weights_K: Tensor) -> Tensor:
    """By how much the better completion has the higher reward, (P,)."""
    combined_P2 = combine(pairs.rewards_P2K, weights_K)
    return combined_P2[:, 0] - combined_P2[:, 1]


def _right(pairs: Pairs, weights_K: Tensor) -> Tensor:
    """1, 0 or 0.5 for each pair; 0.5 also where no reward with a weight was scored."""
    margins_P = _margins(pairs, weights_K).nan_to_num()
    tied_P = margins_P.abs() < 1e-12
    return (margins_P > 0).double().masked_fill(tied_P, 0.5)


def _best_fit(pairs: Pairs, problem: _Problem, seed: int) -> _Fit:
    """The fit to all pairs under the strength with the least loss on held-out pairs."""
    losses = dict.fromkeys(STRENGTHS, 0.0)
    for held_out_P, rest in _splits(pairs, seed):
        held_out = _chosen(pairs, held_out_P)
        for fit in problem.fits(rest):
            loss = pair_loss(held_out, fit.weights_K, fit.scale)
            losses[fit.strength] += float(loss) * len(held_out)
    best = min(STRENGTHS, key=lambda strength: losses[strength])
    return next(fit for fit in problem.fits(pairs) if fit.strength == best)


def _folds(clusters: Sequence[Hashable], seed: int) -> Tensor:
    """The number of each pair's fold, (P,); a cluster lies in one fold."""
    distinct = list(dict.fromkeys(clusters))
    order = np.random.default_rng(seed).permutation(len(distinct))
    fold_of = {cluster: int(order[i]) % FOLDS for i, cluster in enumerate(distinct)}
    return torch.tensor([fold_of[cluster] for cluster in clusters])


def _splits(pairs: Pairs, seed: int) -> Iterator[tuple[Tensor, Pairs]]:
    """Which pairs each fold holds out, and the others."""
    folds_P = _folds(pairs.clusters, seed)
    for fold in range(FOLDS):
        held_out_P = folds_P == fold
        yield held_out_P, _chosen(pairs, ~held_out_P)


def _chosen(pairs: Pairs, chosen_P: Tensor) -> Pairs:
    kept = zip(pairs.clusters, chosen_P.tolist(), strict=True)
    return replace(
        pairs,
        rewards_P2K=pairs.rewards_P2K[chosen_P],
        clusters=tuple(cluster for cluster, is_kept in kept if is_kept),
    )


def _learned(names: Sequence[str], keep: Sequence[str]) -> Tensor:
    if unknown := [name for name in keep if name not in names]:
        raise ConfigError(f"keep: {unknown[0]!r} is no reward here; known: {', '.join(names)}")
    learned_K = torch.tensor([name not in keep for name in names])
    if learned_K.sum() < 2:
        raise ConfigError("keep: fewer than two rewards are left whose weights could be learned")
    return learned_K


def _usable(pairs: Pairs, problem: _Problem) -> Pairs:
    """Without the pairs in which one completion has no reward that could count."""
    could_count_K = (problem.learned_K | (problem.default_K > 0)).double()
    return _chosen(pairs, ~_margins(pairs, could_count_K).isnan())


def _refuse_what_cannot_be_told(pairs: Pairs, problem: _Problem) -> None:
    if problem.default_K[problem.learned_K].sum() == 0:
        raise ConfigError("weights: the rewards whose weights are learned have none to share")
    if (clusters := len(set(pairs.clusters))) < FEWEST_CLUSTERS:
        raise DataError(
            f"pairs of {clusters} clips (or samples without media) are too few to learn from and "
            f"to check; label completions of at least {FEWEST_CLUSTERS}"
        )
    names = [name for name, one in zip(pairs.names, problem.learned_K, strict=True) if one]
    # Where one of the two was not scored, the reward says nothing of the pair.
    differences_PK = pairs.rewards_P2K[:, 0] - pairs.rewards_P2K[:, 1]
    differences_PF = differences_PK.nan_to_num()[:, problem.learned_K]
    lengths_F = differences_PF.norm(dim=0)
    if constant := [name for name, length in zip(names, lengths_F, strict=True) if length < 1e-9]:
        raise DataError(
            f"reward {constant[0]!r} is the same for both completions of every pair, so no label "
            "speaks of its weight; keep its weight (--keep), or label other completions"
        )
    unit_PF = differences_PF / lengths_F
    values_F, vectors_FF = torch.linalg.eigh(unit_PF.T @ unit_PF)
    if values_F[0] < _COLLINEAR:
        involved = [n for n, part in zip(names, vectors_FF[:, 0], strict=True) if abs(part) > 0.1]
        raise DataError(
            f"rewards {', '.join(map(repr, involved))} cannot be told apart: over all pairs, one "
            f"follows from the other; keep the weight of one of them (--keep {involved[-1]})"
        )
