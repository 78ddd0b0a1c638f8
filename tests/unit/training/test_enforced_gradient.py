"""The gradient of enforced rollouts, without sampling: every completion of a small language.

A table of logits, one row per prefix, stands for the model: its parameters are free, and all
completions can be listed with their probabilities. So the expectation of the GRPO gradient can be
taken exactly, and held against the gradient of the expected reward. Nothing else is small: the
grammar, the log-probs, the credit and the loss are those of a run.

Shapes: M completions, T tokens of the longest, N tokens of all, P prefixes, V vocabulary.
"""

from copy import copy
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from tokenizers import pre_tokenizers as pre
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerFast

from triptych.generation import Enforce, SamplingConfig
from triptych.generation.enforcement import Draw
from triptych.models.log_probs import AllowedTokens, score_tokens
from triptych.models.packing import allowed_tokens
from triptych.stages import DEFAULT_FORMAT, completion_text, parse, stage_ids
from triptych.stages.distances import StageBudget
from triptych.stages.grammar import Choice, Matcher, StageGrammar, compile_grammar
from triptych.training.credit import Scheme, credit_matrix, reward_advantages, spread
from triptych.training.objective import grpo_loss

TEMPERATURE = 0.7
BASELINE = 0.3
EXACT = 1e-9

Prefix = tuple[int, ...]


@dataclass(frozen=True)
class Toy:
    """A language, and where each token of its completions stands."""

    grammar: StageGrammar
    completions: list[Prefix]
    prefixes: list[Prefix]
    allowed: AllowedTokens
    targets_N: Tensor
    prefix_N: Tensor
    lengths_M: list[int]
    forced_MT: Tensor
    stage_ids_MT: Tensor

    @property
    def mask_MT(self) -> Tensor:
        return self.unpack(torch.ones_like(self.targets_N)).bool()

    def unpack(self, values_N: Tensor) -> Tensor:
        return pad_sequence(list(values_N.split(self.lengths_M)), batch_first=True)

    def logps_MT(self, logits_PV: Tensor, *, masked: bool = True) -> Tensor:
        """As the update computes them."""
        allowed = self.allowed if masked else None
        logits_NV = logits_PV[self.prefix_N]
        return self.unpack(score_tokens(logits_NV, self.targets_N, allowed, TEMPERATURE).logps_N)

    def probabilities_M(self, logits_PV: Tensor) -> Tensor:
        """By the definition: pi(t|s) 1[t in A(s)] / Z(s), token by token."""
        mask_NV = self.allowed.masks_UV[self.allowed.index_N]
        pi_NV = (logits_PV[self.prefix_N] / TEMPERATURE).softmax(-1)
        kept_NV = pi_NV * mask_NV
        p_N = kept_NV.gather(-1, self.targets_N[:, None])[:, 0] / kept_NV.sum(-1)
        return torch.stack([p.prod() for p in p_N.split(self.lengths_M)])

    def log_normalizers_MT(self, logits_PV: Tensor) -> Tensor:
        """log Z(s) at every token."""
        mask_NV = self.allowed.masks_UV[self.allowed.index_N]
        pi_NV = (logits_PV[self.prefix_N] / TEMPERATURE).softmax(-1)
        return self.unpack((pi_NV * mask_NV).sum(-1).log())


def words() -> PreTrainedTokenizerFast:
    """Two words, the tags, and a token that holds a word and a closing tag at once."""
    vocab = ["<unk>", "a", "b", *DEFAULT_FORMAT.tags, "b</think>"]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocab)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", eos_token="<|end|>", pad_token="<|pad|>"
    )


@cache
def toy() -> Toy:
    tokenizer = words()
    grammar = compile_grammar(
        tokenizer,
        len(tokenizer) + 1,  # a padded head
        [tokenizer.eos_token_id],
        max_new_tokens=12,
        budgets={"think": StageBudget(min_tokens=1, max_tokens=2), "answer": StageBudget(1, 1)},
    )
    completions = list(spell_out(grammar.matcher()))
    choices: list[Choice] = [x for ids in completions for x in grammar.replay(ids)]
    every = [ids[:end] for ids in completions for end in range(len(ids))]
    prefixes = list(dict.fromkeys(every))
    numbers = {prefix: number for number, prefix in enumerate(prefixes)}
    lengths = [len(ids) for ids in completions]
    forced_N = torch.tensor([choice.count == 1 for choice in choices])
    regions = [torch.tensor(stage_ids(ids, tokenizer)) for ids in completions]
    return Toy(
        grammar=grammar,
        completions=completions,
        prefixes=prefixes,
        allowed=allowed_tokens(choices),
        targets_N=torch.tensor([token for ids in completions for token in ids]),
        prefix_N=torch.tensor([numbers[prefix] for prefix in every]),
        lengths_M=lengths,
        forced_MT=pad_sequence(list(forced_N.split(lengths)), batch_first=True),
        stage_ids_MT=pad_sequence(regions, batch_first=True),
    )


def spell_out(matcher: Matcher, so_far: Prefix = ()) -> list[Prefix]:
    """Every completion that goes on from here."""
    if matcher.finished:
        return [so_far]
    found = []
    for token in np.flatnonzero(matcher.choice.mask_V).tolist():
        after = copy(matcher)
        after.advance(token)
        found += spell_out(after, (*so_far, token))
    return found


def table(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(toy().prefixes), toy().grammar.graph.vocabulary.size)
    return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()


def rewards_M() -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.rand(len(toy().completions), generator=generator, dtype=torch.float64)


def gradient(value: Tensor, logits_PV: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, logits_PV, retain_graph=True)
    return found


def exact_gradient(logits_PV: Tensor) -> Tensor:
    return gradient((toy().probabilities_M(logits_PV) * rewards_M()).sum(), logits_PV)


def expected_loss(logps_MT: Tensor, p_M: Tensor, mask_MT: Tensor) -> Tensor:
    """The expectation of the loss of one completion, on policy, with a constant baseline."""
    advantages_MT = (p_M * (rewards_M() - BASELINE)).detach()[:, None].expand_as(logps_MT)
    return grpo_loss(
        logps_MT, logps_MT.detach(), advantages_MT, mask_MT,
        normalizer=1.0, clip_low=0.2, clip_high=0.2,
    ).loss  # fmt: skip


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def test_the_language_is_the_whole_one_and_the_model_rarely_keeps_to_it() -> None:
    """Think "a", "b" or two of them, closed by a tag or by "b</think>"; context what is left."""
    tokenizer, completions = words(), toy().completions
    texts = [completion_text(ids, tokenizer) for ids in completions]
    assert all(parse(text).valid for text in texts)
    # By the words of the context (1 to 3, as far as 12 tokens go), of think and of the answer.
    # A token that holds a tag saves one.
    thinks = {1: 1, 2: 2 + 2, 3: 4}  # spellings by tokens, the closing tag included
    expected = sum(
        2**context * count * 2
        for context in range(1, 12)
        for tokens, count in thinks.items()
        if 2 + context + 1 + tokens + 3 + 1 <= 12
    )
    assert len(set(completions)) == len(completions) == expected > 50
    assert 0.2 < toy().forced_MT.sum() / toy().mask_MT.sum() < 0.8
    logits_PV = table(0)
    torch.testing.assert_close(
        toy().probabilities_M(logits_PV).sum(), torch.tensor(1.0, dtype=torch.float64)
    )
    assert toy().logps_MT(logits_PV, masked=False).sum(-1).exp().sum() < 0.01


def test_the_expected_gradient_is_that_of_the_expected_reward() -> None:
    logits_PV = table(0)
    logps_MT, p_M = toy().logps_MT(logits_PV), toy().probabilities_M(logits_PV)
    trained_MT = toy().mask_MT & ~toy().forced_MT
    found = -gradient(expected_loss(logps_MT, p_M, trained_MT), logits_PV)
    expected = exact_gradient(logits_PV)
    assert expected.abs().max() > 1e-2
    assert (found - expected).abs().max() < EXACT


@pytest.mark.parametrize("leave_out_forced", [True, False])
def test_log_probs_over_the_whole_vocabulary_are_biased(leave_out_forced: bool) -> None:
    """The control, and the size of the bias as the head of `training.grpo` derives it."""
    logits_PV = table(0)
    logps_MT = toy().logps_MT(logits_PV, masked=False)
    p_M = toy().probabilities_M(logits_PV)
    mask_MT = toy().mask_MT & ~toy().forced_MT if leave_out_forced else toy().mask_MT
    found = -gradient(expected_loss(logps_MT, p_M, mask_MT), logits_PV)
    expected = exact_gradient(logits_PV)
    assert relative_error(found, expected) > 0.5
    weights_MT = (p_M * (rewards_M() - BASELINE)).detach()[:, None] * mask_MT
    bias = gradient((weights_MT * toy().log_normalizers_MT(logits_PV)).sum(), logits_PV)
    assert (found - expected - bias).abs().max() < EXACT


def test_groups_with_their_mean_as_baseline_only_shorten_the_gradient() -> None:
    """All pairs of completions, through the credit of a run: (G - 1) / G of it for each of two."""
    logits_PV = table(1)
    logps_MT, p_M = toy().logps_MT(logits_PV), toy().probabilities_M(logits_PV).detach()
    size = len(p_M)
    pairs_N2 = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    mask_N2T = (toy().mask_MT & ~toy().forced_MT)[pairs_N2]
    valid_N2 = torch.ones_like(pairs_N2, dtype=torch.bool)
    names = ("answer",)
    advantages_N2T = spread(
        reward_advantages(rewards_M()[pairs_N2][..., None], valid_N2, names=names),
        valid_N2,
        toy().stage_ids_MT[pairs_N2],
        mask_N2T,
        weights_K=torch.ones(1, dtype=torch.float64),
        matrix_K4=credit_matrix(Scheme.UNIFORM, names).double(),
        names=names,
    )
    p_N = p_M[pairs_N2].prod(-1)
    logps_N2T = logps_MT[pairs_N2]
    output = grpo_loss(
        logps_N2T, logps_N2T.detach(), advantages_N2T * p_N[:, None, None], mask_N2T,
        normalizer=2.0, clip_low=0.2, clip_high=0.2,
    )  # fmt: skip
    found = -gradient(output.loss, logits_PV)
    assert (found - exact_gradient(logits_PV) / 2).abs().max() < EXACT


def test_forced_tokens_contribute_exactly_nothing() -> None:
    logits_PV = table(0)
    logps_MT, p_M = toy().logps_MT(logits_PV), toy().probabilities_M(logits_PV)
    assert torch.equal(logps_MT == 0, toy().forced_MT | ~toy().mask_MT)
    assert not gradient(logps_MT[toy().forced_MT].sum(), logits_PV).any()
    gradients = [
        gradient(expected_loss(logps_MT, p_M, mask_MT), logits_PV)
        for mask_MT in (toy().mask_MT, toy().mask_MT & ~toy().forced_MT)
    ]
    assert torch.equal(*gradients)


def test_the_penalty_is_the_divergence_of_the_enforced_models() -> None:
    """Expected over pi_G, and only if the reference is scored among the allowed tokens too."""
    policy_PV, reference_PV = table(0).detach(), table(1).detach()
    p_M, q_M = toy().probabilities_M(policy_PV), toy().probabilities_M(reference_PV)
    divergence = (p_M * (p_M / q_M).log()).sum()
    trained_MT = toy().mask_MT & ~toy().forced_MT
    logps_MT = toy().logps_MT(policy_PV)
    for masked in (True, False):
        reference_MT = toy().logps_MT(reference_PV, masked=masked)
        penalties = [
            grpo_loss(
                own, own, torch.zeros_like(own), mask, normalizer=1.0, clip_low=0.2,
                clip_high=0.2, ref_logps=reference, beta=1.0,
            ).loss
            for own, reference, mask in zip(logps_MT, reference_MT, trained_MT, strict=True)
        ]  # fmt: skip
        error = float((p_M @ torch.stack(penalties) - divergence).abs())
        assert error < EXACT if masked else error > 0.1


@pytest.mark.parametrize(("favour", "kept"), [(0.0, 0.0), (4.0, 0.45)])
def test_completions_are_drawn_from_what_they_are_scored_by(favour: float, kept: float) -> None:
    """By a model that does not know the format, whose tokens are mostly drawn again, and by one
    that does. What is never refused is as frequent as the model writes it by itself."""
    logits_PV, rows = table(0).detach(), 4_000
    mask_NV = toy().allowed.masks_UV[toy().allowed.index_N]
    logits_PV[toy().prefix_N] += favour * mask_NV
    sampling = SamplingConfig(max_new_tokens=12, temperature=TEMPERATURE, enforce=Enforce.STAGES)
    draw = Draw([toy().grammar] * rows, sampling, [torch.Generator().manual_seed(0)])
    numbers = {prefix: number for number, prefix in enumerate(toy().prefixes)}
    written: list[Prefix] = [()] * rows
    running = set(range(rows))
    end = toy().completions[0][-1]
    while running:
        here = torch.tensor([numbers.get(ids, 0) for ids in written])
        for row, token in enumerate(draw(logits_PV[here], running, pad=end)):
            if row in running:
                written[row] = (*written[row], token)
        running = {row for row in running if written[row][-1] != end}
    places = {ids: place for place, ids in enumerate(toy().completions)}
    found_M = torch.bincount(torch.tensor([places[ids] for ids in written]), minlength=len(places))
    expected_M = toy().probabilities_M(logits_PV) * rows
    # Chi-square, over the completions that are not too rare for it.
    common_M = expected_M >= 10
    terms_M = (found_M - expected_M).square() / expected_M
    freedom = int(common_M.sum())
    assert freedom > 50
    assert terms_M[common_M].sum() < freedom + 4.5 * (2 * freedom) ** 0.5
    unchanged = sum(draw.record(row)[1] == 0 for row in range(rows))
    freely = float(toy().logps_MT(logits_PV, masked=False).sum(-1).exp().sum())
    assert freely == pytest.approx(kept, abs=0.01)
    assert unchanged / rows == pytest.approx(freely, abs=4.5 * (freely / rows) ** 0.5)
