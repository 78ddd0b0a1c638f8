"""Chunk by chunk, log-probs, entropies and gradients are what they are all at once."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from benchmarks.log_probs import allocations, peak
from triptych.data.sample import Sample
from triptych.models import OmniModel, omni
from triptych.models.log_probs import AllowedTokens, OmniOutput, score_states
from triptych.models.packing import pack

N, H, V = 23, 6, 40
BANNED = torch.tensor([0, 3, 38, 39])
CHUNKS = [1, 7, N, 100]
"""Tokens of a chunk."""


class Case(NamedTuple):
    hidden_NH: Tensor
    head: nn.Linear
    targets_N: Tensor
    allowed: AllowedTokens | None
    weights_N: Tensor
    """Of each log-prob in the loss."""

    def logits(self, hidden_NH: Tensor) -> Tensor:
        """As `OmniModel.logits`."""
        logits: Tensor = self.head(hidden_NH)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return logits.index_fill_(-1, BANNED, -torch.inf)

    def chunked(self, tokens: int, temperature: float = 1.0) -> OmniOutput:
        size = 8 if self.hidden_NH.dtype == torch.float64 else 4
        return score_states(
            self.hidden_NH, self.logits, V, self.targets_N, self.allowed, temperature,
            chunk_bytes=tokens * V * size,
        )  # fmt: skip

    def plain(self, temperature: float = 1.0) -> OmniOutput:
        """By the definition, with all logits at once and entropies from all probabilities."""
        logits_NV = self.logits(self.hidden_NH) / temperature
        if self.allowed is not None:
            refused_NV = ~self.allowed.masks_UV[self.allowed.index_N]
            logits_NV = logits_NV.masked_fill(refused_NV, -torch.inf)
        categorical = torch.distributions.Categorical(logits=logits_NV)
        probs_NV = logits_NV.softmax(-1)
        terms_NV = torch.where(probs_NV > 0, probs_NV * probs_NV.log(), 0)
        return OmniOutput(categorical.log_prob(self.targets_N), -terms_NV.sum(-1).detach())

    def gradients(self, output: OmniOutput) -> list[Tensor]:
        """Of what requires one: hidden states, the head's weight and bias."""
        loss = (output.logps_N * self.weights_N).sum()
        of = [x for x in (self.hidden_NH, *self.head.parameters()) if x.requires_grad]
        return [x.detach() for x in torch.autograd.grad(loss, of)]


def case(dtype: torch.dtype = torch.float64, *, enforced: bool = False, seed: int = 0) -> Case:
    generator = torch.Generator().manual_seed(seed)
    normal = partial(torch.randn, generator=generator, dtype=torch.float64)
    head = nn.Linear(H, V).to(torch.float64)
    head.load_state_dict({"weight": normal(V, H), "bias": normal(V)})
    free = torch.tensor([v for v in range(V) if v not in BANNED])
    targets_N = free[torch.randint(len(free), (N,), generator=generator)]
    allowed = None
    if enforced:
        # Each set stands at several places, so that chunks share sets; every third leaves one.
        masks_UV = torch.rand(5, V, generator=generator) < 0.4
        masks_UV[::3] = False
        masks_UV[:, targets_N[:5]] = False
        masks_UV[torch.arange(5), targets_N[:5]] = True
        index_N = torch.arange(N) % 5
        targets_N = targets_N[:5][index_N]
        allowed = AllowedTokens(masks_UV, index_N)
    hidden_NH = normal(N, H).to(dtype).requires_grad_()
    return Case(hidden_NH, head.to(dtype), targets_N, allowed, normal(N))


@pytest.mark.parametrize("enforced", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("tokens", CHUNKS)
def test_nothing_changes_in_fp64(tokens: int, temperature: float, enforced: bool) -> None:
    one = case(enforced=enforced)
    found, expected = one.chunked(tokens, temperature), one.plain(temperature)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    gradients = one.gradients(found)
    assert len(gradients) == 3
    torch.testing.assert_close(gradients, one.gradients(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "values", "gradients"),
    # A weight in bf16 sums its gradient over the chunks in bf16.
    [(torch.float32, 1e-6, 2e-6), (torch.bfloat16, 1e-6, 2e-2)],
)
@pytest.mark.parametrize("tokens", CHUNKS)
def test_nothing_changes_but_by_rounding(
    tokens: int, dtype: torch.dtype, values: float, gradients: float
) -> None:
    one = case(dtype, enforced=True)
    found, expected = one.chunked(tokens), one.plain()
    assert found.logps_N.dtype == found.entropies_N.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=values, atol=values)
    for ours, plain in zip(one.gradients(found), one.gradients(expected), strict=True):
        assert ours.dtype == dtype
        assert float((ours - plain).norm() / plain.norm()) < gradients


def test_what_was_the_only_choice_is_certain_and_teaches_nothing() -> None:
    one = case(enforced=True)
    assert one.allowed is not None
    only_N = one.allowed.masks_UV.sum(-1)[one.allowed.index_N] == 1
    assert 0 < only_N.sum() < N
    output = one.chunked(7)
    assert torch.equal(output.logps_N == 0, only_N)
    assert torch.equal(output.entropies_N == 0, only_N)
    for gradient in torch.autograd.grad(
        output.logps_N[only_N].sum(), [one.hidden_NH, one.head.weight]
    ):
        assert not gradient.any()


def test_a_token_that_is_banned_has_no_chance() -> None:
    one = case()
    one.targets_N[9] = BANNED[1]
    output = one.chunked(7)
    assert output.logps_N.isneginf().nonzero().flatten().tolist() == [9]
    assert output.entropies_N.isfinite().all()


def test_logits_that_are_no_numbers_are_not_hidden() -> None:
    one = case()
    with torch.no_grad():
        one.hidden_NH[9] = torch.nan
    output = one.chunked(7)
    assert output.logps_N.isnan().nonzero().flatten().tolist() == [9]
    assert output.entropies_N.isnan().nonzero().flatten().tolist() == [9]


def test_gradients_by_finite_differences() -> None:
    one = case(enforced=True)
    assert one.allowed is not None
    some = AllowedTokens(one.allowed.masks_UV, one.allowed.index_N[:5])

    def logps(hidden_NH: Tensor, weight: Tensor) -> Tensor:
        def head(hidden_nH: Tensor) -> Tensor:
            return nn.functional.linear(hidden_nH, weight).index_fill_(-1, BANNED, -torch.inf)

        return score_states(
            hidden_NH, head, V, one.targets_N[:5], some, 0.7, chunk_bytes=2 * V * 8
        ).logps_N

    hidden_NH = one.hidden_NH.detach()[:5].clone().requires_grad_()
    weight = one.head.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(logps, (hidden_NH, weight))


# --- who is trained, and how -----------------------------------------------------------------


@pytest.mark.parametrize("frozen", ["head", "hidden", "both"])
def test_what_is_frozen_stays_so(frozen: str) -> None:
    one = case()
    one.head.requires_grad_(frozen == "hidden")
    one.hidden_NH.requires_grad_(frozen == "head")
    found, expected = one.chunked(7), one.plain()
    if frozen == "both":
        assert not found.logps_N.requires_grad
    else:
        torch.testing.assert_close(one.gradients(found), one.gradients(expected))
    torch.testing.assert_close(found.logps_N, expected.logps_N)


def test_a_head_tied_to_the_embedding() -> None:
    one = case()
    tokens_N = torch.arange(N) % V

    def gradient(score: Callable[[Case], OmniOutput]) -> Tensor:
        embedded = nn.functional.embedding(tokens_N, one.head.weight).tanh()
        tied = one._replace(hidden_NH=embedded)
        loss = (score(tied).logps_N * one.weights_N).sum()
        return torch.autograd.grad(loss, one.head.weight)[0]

    torch.testing.assert_close(gradient(lambda tied: tied.chunked(7)), gradient(Case.plain))


def test_gradients_are_accumulated() -> None:
    head = case().head
    batches = [case(seed=seed)._replace(head=head) for seed in (1, 2)]
    for one in batches:
        (one.chunked(7).logps_N * one.weights_N).sum().backward()
    first, second = (one.gradients(one.plain())[1] for one in batches)
    torch.testing.assert_close(head.weight.grad, first + second)


def test_autocast_holds_in_the_backward() -> None:
    one = case(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = one.chunked(7), one.plain()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert not torch.allclose(found.logps_N, one.plain().logps_N, rtol=1e-5, atol=1e-5)
    for ours, plain in zip(one.gradients(found), one.gradients(expected), strict=True):
        assert ours.dtype == torch.float32
        assert float((ours - plain).norm() / plain.norm()) < 2e-2


class Adapted(nn.Module):
    """A head with an adapter of low rank, and dropout before it."""

    def __init__(self, head: nn.Linear) -> None:
        super().__init__()
        self.base = head.requires_grad_(False)
        self.adapter = nn.Sequential(nn.Dropout(0.5), nn.Linear(H, 2), nn.Linear(2, V)).double()

    def forward(self, hidden_NH: Tensor) -> Tensor:
        logits: Tensor = self.base(hidden_NH) + self.adapter(hidden_NH)
        return logits


def test_an_adapter_on_the_head_drops_the_same_in_the_backward() -> None:
    one = case()
    head = Adapted(one.head)
    trained = [one.hidden_NH, *(p for p in head.parameters() if p.requires_grad)]

    def gradients(logps_N: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad((logps_N * one.weights_N).sum(), trained)

    torch.manual_seed(0)
    found_N = score_states(
        one.hidden_NH, head, V, one.targets_N, chunk_bytes=12 * V * 8
    ).logps_N  # fmt: skip
    torch.manual_seed(0)
    parts = zip(one.hidden_NH.split(12), one.targets_N.split(12), strict=True)
    expected_N = torch.cat([score_states(h, head, V, t).logps_N for h, t in parts])
    torch.testing.assert_close(gradients(found_N), gradients(expected_N))


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    """Of this process alone."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


class Scoring(nn.Module):
    """What is given to a wrapper: states come from a layer of its own."""

    def __init__(self, one: Case, tokens: int) -> None:
        super().__init__()
        self.tokens, self.one = tokens, one
        self.body, self.head = nn.Linear(H, H).double(), one.head
        nn.init.eye_(self.body.weight)

    def forward(self, hidden_NH: Tensor) -> Tensor:
        one = self.one._replace(hidden_NH=self.body(hidden_NH), head=self.head)
        return one.chunked(self.tokens).logps_N

    def gradients(self, model: nn.Module) -> list[Tensor]:
        """The gradients that two backwards add up to."""
        for _ in range(2):
            logps_N = model(self.one.hidden_NH.detach())
            (logps_N * self.one.weights_N).sum().backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        return [getattr(grad, "full_tensor", lambda grad=grad: grad)() for grad in grads]


@pytest.mark.parametrize("wrapper", ["ddp", "fsdp"])
@pytest.mark.usefixtures("process_group")
def test_wrappers_that_hook_into_modules_see_every_gradient(wrapper: str) -> None:
    alone = Scoring(case(), tokens=100)
    expected = alone.gradients(alone)
    scoring = Scoring(case(), tokens=7)
    scoring.body.load_state_dict(alone.body.state_dict())
    if wrapper == "ddp":
        model: nn.Module = nn.parallel.DistributedDataParallel(scoring)
    else:
        mesh = init_device_mesh("cpu", (1,))
        fully_shard(scoring.head, mesh=mesh)
        fully_shard(scoring, mesh=mesh)
        model = scoring
        assert type(scoring.head.weight.data).__name__ == "DTensor", "not sharded"
    found = scoring.gradients(model)
    assert len(found) == len(expected) == 4
    torch.testing.assert_close(found, expected)


# --- how much is kept ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("tokens", "most"), [(1, 1), (7, 6), (22, 12), (23, 23)])
def test_chunks_are_even_and_within_the_budget(dtype: torch.dtype, tokens: int, most: int) -> None:
    one, seen = case(dtype), list[int]()
    one.head.register_forward_hook(lambda _m, args, _o: seen.append(len(args[0])))
    with torch.no_grad():
        one.chunked(tokens)
    assert sum(seen) == N
    assert max(seen) == most


def test_one_token_may_take_more_than_the_budget() -> None:
    one = case()
    output = score_states(one.hidden_NH, one.logits, V, one.targets_N, chunk_bytes=5)
    torch.testing.assert_close(output, one.plain())


def test_memory_does_not_grow_with_the_vocabulary() -> None:
    """Without the weight of the head and its gradients, which are of the vocabulary's size."""
    tokens, width, budget = 600, 8, 2_400_000

    def measure(vocabulary: int, chunk_bytes: int) -> int:
        head = nn.Linear(width, vocabulary, bias=False)
        hidden_NH = torch.randn(tokens, width, requires_grad=True)
        targets_N = torch.randint(vocabulary, (tokens,))

        def work() -> None:
            output = score_states(
                hidden_NH, head, vocabulary, targets_N, chunk_bytes=chunk_bytes
            )  # fmt: skip
            output.logps_N.sum().backward()

        of_weight = head.weight.numel() * head.weight.element_size()
        found = peak([change for change in allocations(work) if abs(change) != of_weight])
        assert hidden_NH.grad is not None
        assert head.weight.grad is not None
        return found

    small, large = measure(1000, budget), measure(150_000, budget)
    assert large < 1.1 * small
    assert small < 4.2 * budget
    assert measure(10_000, 10 * budget) > 9 * small, "the meter sees nothing"


def test_the_model_scores_in_chunks(
    tiny: OmniModel, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [tiny.encode(sample) for sample in samples[:2]]
    packed = pack(
        prompts, [[[305, 306, 307], [308, 309]], [[320] * 11]], tiny.pad_token_id, tiny.family
    )
    calls: list[int] = []
    head = tiny.thinker.get_output_embeddings()
    head.register_forward_hook(lambda _m, args, _o: calls.append(len(args[0])))

    def score() -> tuple[OmniOutput, dict[str, Tensor]]:
        tiny.zero_grad()
        output = tiny(**packed.model_inputs(), temperature=0.9)
        output.logps_N.square().sum().backward()
        grads = {n: p.grad.clone() for n, p in tiny.named_parameters() if p.grad is not None}
        return output, grads

    whole, whole_grads = score()
    assert calls == [16]
    five = 5 * head.weight.shape[0] * 4
    monkeypatch.setattr(omni, "score_states", partial(score_states, chunk_bytes=five))
    chunked, chunked_grads = score()
    assert calls == [16, *[4] * 8], "each chunk in the forward, and again in the backward"
    torch.testing.assert_close(chunked, whole)
    torch.testing.assert_close(chunked_grads, whole_grads, rtol=1e-4, atol=1e-5)
