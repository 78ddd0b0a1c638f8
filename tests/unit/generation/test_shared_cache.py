"""A prompt whose keys and values stand once must be decoded as one with a copy for each sequence.

Shapes: R sequences, A of them in the batch, V vocabulary.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from triptych.data.sample import Sample
from triptych.generation import Enforce, SamplingConfig
from triptych.generation.local import LocalEngine, _Prefilled
from triptych.generation.shared_cache import ExpandedCache, RoomyLayer, SharedCache
from triptych.models import OmniModel, Prompt
from triptych.models.families import family_for
from triptych.models.prefix_attention import Attention, set_attention
from triptych.models.tiny import TinyConfig, build_thinker
from triptych.stages import ProblemType

GREEDY = SamplingConfig(max_new_tokens=12, temperature=0)


@pytest.fixture(scope="module")
def plain(tiny_folder: Path) -> OmniModel:
    return OmniModel.from_pretrained(tiny_folder)


@pytest.fixture
def model(plain: OmniModel) -> OmniModel:
    """Made afresh, with two query heads for each key head."""
    thinker = build_thinker(plain.tokenizer, TinyConfig(num_key_value_heads=2), seed=0)
    return OmniModel(thinker, plain.processor, family_for("qwen2_5_omni_thinker")).eval()


def question(words: int) -> Sample:
    return Sample(
        id=str(words),
        question="What does the person feel?" + " voice" * words,
        problem_type=ProblemType.FREE_FORM,
        answer="joy",
        media=(),
    )


QUESTIONS = [question(words) for words in (5, 0, 9, 2)]


@pytest.fixture(scope="module")
def prompts(plain: OmniModel) -> list[Prompt]:
    """Of different length."""
    return list(plain.encoder.encode_all(QUESTIONS))


def write(
    model: OmniModel,
    prompts: Sequence[Prompt],
    n: int = 3,
    seed: int = 0,
    between: Callable[[], object] = lambda: None,
) -> list[Tensor]:
    """Logits of who is running, step by step; sequences leave now and then, whole groups too."""
    rng = random.Random(seed)
    with torch.no_grad():
        state = _Prefilled.run(model, prompts, n)
        running = list(range(state.size))
        logits = [state.logits_RV]
        while running:
            between()
            tokens_R = torch.tensor([rng.randrange(300, 600) for _ in range(state.size)])
            logits.append(state.step(model, tokens_R)[running])
            if rng.random() < 0.5:
                running = sorted(rng.sample(running, len(running) * 3 // 4))
            if rng.random() < 0.5 and running:
                state.keep(running)
    return logits


def furthest(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest difference of logits; ids that must not be generated are -inf in both."""
    pairs = zip(ours, theirs, strict=True)
    return max(float((a - b).nan_to_num(0.0).abs().max()) for a, b in pairs if len(a))


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float64, 1e-10), (torch.float32, 1e-5), (torch.bfloat16, 0.2)],
)
def test_logits_are_those_of_the_expanded_cache(
    model: OmniModel, prompts: list[Prompt], dtype: torch.dtype, tolerance: float
) -> None:
    model.to(dtype)
    ours = [write(model, prompts, seed=seed) for seed in range(2)]
    set_attention(model.thinker, Attention.MASK)
    theirs = [write(model, prompts, seed=seed) for seed in range(2)]
    for mine, reference in zip(ours, theirs, strict=True):
        assert len(mine) > 8
        assert furthest(mine, reference) < tolerance
    assert furthest(ours[0][:2], ours[1][:2]) > 1, "other tokens, other logits"


@pytest.mark.parametrize(
    ("n", "attention", "kind"),
    [
        (3, Attention.PREFIX, SharedCache),
        (1, Attention.PREFIX, ExpandedCache),
        (3, Attention.MASK, ExpandedCache),
    ],
)
def test_prompts_are_shared_where_there_is_something_to_share(
    model: OmniModel, prompts: list[Prompt], n: int, attention: Attention, kind: type
) -> None:
    set_attention(model.thinker, attention)
    with torch.no_grad():
        assert type(_Prefilled.run(model, prompts, n).cache) is kind


def test_what_is_drawn_is_the_same(model: OmniModel) -> None:
    sampling = SamplingConfig(max_new_tokens=24, seed=3, enforce=Enforce.STAGES)
    groups = LocalEngine(model).generate(QUESTIONS, 3, sampling)
    assert len({one.token_ids for group in groups for one in group}) == 12
    set_attention(model.thinker, Attention.MASK)
    assert LocalEngine(model).generate(QUESTIONS, 3, sampling) == groups


def test_under_autocast(model: OmniModel, prompts: list[Prompt]) -> None:
    """Keys come out of the rotation in fp32; they are kept as they are computed with."""
    with torch.autocast("cpu", torch.bfloat16):
        ours = write(model, prompts)
        with torch.no_grad():
            cache = _Prefilled.run(model, prompts, 2).cache
        set_attention(model.thinker, Attention.MASK)
        theirs = write(model, prompts)
    assert furthest(ours, theirs) < 0.2
    assert isinstance(cache, SharedCache)
    states = [*cache.prompts.layers[0], cache.layers[0].keys]
    assert {each.dtype for each in states} == {torch.bfloat16}


@pytest.mark.parametrize("attention", Attention)
def test_another_forward_between_two_steps(
    model: OmniModel, prompts: list[Prompt], attention: Attention
) -> None:
    """It leaves rope deltas of its own in the model."""
    set_attention(model.thinker, attention)
    ids = prompts[0].input_ids[None, :20]
    other = partial(model.thinker, input_ids=ids, attention_mask=torch.ones_like(ids))
    assert furthest(write(model, prompts, between=other), write(model, prompts)) == 0


def test_a_model_in_training(tiny: OmniModel) -> None:
    """Activations that are computed again forbid a cache, but only in training mode."""
    expected = LocalEngine(tiny).generate(QUESTIONS, 3, GREEDY)
    tiny.checkpoint_activations()
    tiny.train()
    assert LocalEngine(tiny).generate(QUESTIONS, 3, GREEDY) == expected


def test_groups_that_end_at_different_times_write_what_generate_writes(tiny: OmniModel) -> None:
    free = LocalEngine(tiny).generate(QUESTIONS, 1, GREEDY)
    ends = [group[0].token_ids[step] for group, step in zip(free, (2, 5, 8), strict=False)]
    tiny.end_token_ids = tuple(ends)
    groups = LocalEngine(tiny).generate(QUESTIONS, 2, GREEDY)
    assert len({len(one.token_ids) for group in groups for one in group}) > 2
    for sample, group in zip(QUESTIONS, groups, strict=True):
        ids = tiny.encode(sample).input_ids[None]
        written = tiny.thinker.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=GREEDY.max_new_tokens,
            suppress_tokens=tiny.banned_ids.tolist(),
            eos_token_id=ends,
        )
        expected = tuple(written[0, ids.shape[1] :].tolist())
        assert [one.token_ids for one in group] == [expected] * 2


def prefilled(prompts: int, tokens: int) -> DynamicCache:
    cache = DynamicCache()
    for layer in range(2):
        states = torch.arange(2.0 * prompts).view(2, prompts, 1, 1, 1).expand(2, -1, 3, tokens, 4)
        cache.update(states[0].clone(), states[1].clone(), layer)
    return cache


def step(cache: SharedCache | ExpandedCache, row_A: Sequence[int]) -> None:
    """Each sequence adds a token with its number as key and value."""
    states = torch.tensor(row_A).float().view(-1, 1, 1, 1).expand(-1, 3, 1, 4)
    for layer in range(2):
        cache.update(states, states, layer)


def places(cache: SharedCache) -> list[int] | None:
    places_A = cache.prompts.place_A
    return None if places_A is None else places_A.tolist()


def test_prompts_are_not_copied_and_who_stays_keeps_what_is_his() -> None:
    source = prefilled(prompts=3, tokens=5)
    first = source.layers[0].keys
    cache = SharedCache(source, None, 2)
    assert cache.prompts.layers[0].keys_BKPD is first
    assert cache.get_seq_length() == 5
    assert cache.get_mask_sizes(1, 0) == (6, 0)
    rows = list(range(6))
    step(cache, rows)
    assert cache.get_seq_length() == 6
    cache.keep([0, 1, 3, 4])  # one each of the second and third prompt
    assert cache.prompts.layers[0].keys_BKPD is first, "nothing of it has left"
    assert cache.prompts.most == 2
    assert places(cache) == [0, 1, 2, 4]
    step(cache, [0, 1, 3, 4])
    cache.keep([2, 3])  # places, not rows: sequences 3 and 4
    assert cache.prompts.layers[1].keys_BKPD[:, 0, 0, 0].tolist() == [1, 2]
    assert cache.prompts.layers[1].values_BKPD[:, 0, 0, 0].tolist() == [4, 5]
    assert cache.prompts.most == 1
    assert places(cache) is None
    assert cache.layers[1].keys[:, 0, :, 0].tolist() == [[3, 3], [4, 4]]
    assert cache.get_seq_length() == 7


def held(cache: SharedCache | ExpandedCache) -> int:
    """Numbers that a cache holds, room included."""
    layers: Sequence[RoomyLayer] = cache.layers
    own = sum(buffer.numel() for layer in layers for buffer in layer._buffers)
    if isinstance(cache, ExpandedCache):
        return own
    return own + sum(states.numel() for layer in cache.prompts.layers for states in layer)


def test_memory() -> None:
    tokens, n, room = 1024, 8, RoomyLayer.ROOM
    per_token = 2 * 2 * 3 * 4  # keys and values of two layers, three heads of four
    caches = [kind(prefilled(1, tokens), None, n) for kind in (SharedCache, ExpandedCache)]
    for cache in caches:
        step(cache, range(n))
    shared, expanded = (held(cache) / per_token for cache in caches)
    assert shared == tokens + n * room
    assert expanded == n * (tokens + room)


def test_padding_leaves_with_its_prompt() -> None:
    mask = torch.tensor([[False, True, True], [True, True, True]])
    cache = SharedCache(prefilled(prompts=2, tokens=3), mask, 2)
    assert cache.prompts.bias_B11P is not None
    assert cache.prompts.bias_B11P[:, 0, 0].tolist() == [[-torch.inf, 0, 0], [0, 0, 0]]
    cache.keep([3])
    assert cache.prompts.bias_B11P is not None
    assert cache.prompts.bias_B11P[:, 0, 0].tolist() == [[0, 0, 0]]


def test_the_expanded_cache_tells_of_padding() -> None:
    mask = torch.tensor([[False, True], [True, True]])
    cache = ExpandedCache(prefilled(prompts=2, tokens=2), mask, 2)
    assert cache.attention()["attention_mask"].tolist() == [[0, 1, 1]] * 2 + [[1, 1, 1]] * 2
    cache.keep([1, 2])
    assert cache.attention()["attention_mask"].tolist() == [[0, 1, 1, 1], [1, 1, 1, 1]]
    assert ExpandedCache(prefilled(1, 2), None, 2).attention() == {"attention_mask": None}
