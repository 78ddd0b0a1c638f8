"""The shared prefix must be the naive padded batch, to numerical noise: of one family, in every
format and shape; `test_families` has the others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.unit.models.naive import naive_logits, naive_logps
from triptych.data.sample import Media, MediaKind, Sample
from triptych.generation import Enforce, SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.models.packing import PackedBatch, pack
from triptych.models.prefix_attention import Attention, set_attention
from triptych.models.prefix_layout import Group
from triptych.stages.grammar import Choice

TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}

BOTH = pytest.mark.parametrize("attention", Attention)


def completions_of(model: OmniModel, lengths: Sequence[int], seed: int = 0) -> list[list[int]]:
    """Random ids that may be generated."""
    generator = torch.Generator().manual_seed(seed)
    banned = set(model.banned_ids.tolist())
    allowed = torch.tensor([i for i in range(len(model.tokenizer)) if i not in banned])
    return [
        allowed[torch.randint(len(allowed), (length,), generator=generator)].tolist()
        for length in lengths
    ]


def packed_logps(model: OmniModel, packed: PackedBatch) -> list[Tensor]:
    logps = model(**packed.model_inputs()).logps_N
    return list(logps.split(packed.lengths_R.tolist()))


def cast(
    model: OmniModel, dtype: torch.dtype, attention: Attention = Attention.PREFIX
) -> OmniModel:
    model.to(dtype)
    set_attention(model.thinker, attention)
    return model


def gradients(model: OmniModel, logps: Sequence[Tensor]) -> dict[str, Tensor]:
    model.zero_grad()
    # Another weight for every token, so that no two tokens can be mistaken for each other.
    flat = torch.cat(list(logps))
    (flat * torch.linspace(0.5, 1.5, len(flat), dtype=flat.dtype)).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lengths", [[5], [4, 4], [9, 2, 5, 1, 8, 3, 4, 6]])
def test_packed_equals_naive(
    tiny: OmniModel,
    samples: list[Sample],
    attention: Attention,
    dtype: torch.dtype,
    lengths: list[int],
) -> None:
    model, sample = cast(tiny, dtype, attention), samples[0]
    group = completions_of(model, lengths)
    packed = pack([model.encode(sample)], [group], model.pad_token_id, model.family)
    ours, theirs = packed_logps(model, packed), naive_logps(model, sample, group)
    for mine, reference in zip(ours, theirs, strict=True):
        assert (mine - reference).abs().max() < TOLERANCE[dtype]


def test_bfloat16_is_as_close_as_it_can_be(tiny: OmniModel, samples: list[Sample]) -> None:
    """To the naive batch in full precision: as near as the naive batch in bfloat16 is."""
    group = completions_of(tiny, [9, 2, 5, 1])
    with torch.no_grad():
        exact = torch.cat(naive_logps(cast(tiny, torch.float64), samples[0], group))
        model = cast(tiny, torch.bfloat16)
        naive = torch.cat(naive_logps(model, samples[0], group))
        packed = pack([model.encode(samples[0])], [group], model.pad_token_id, model.family)
        ours = torch.cat(packed_logps(model, packed))
    assert (ours - exact).abs().mean() < 1.5 * (naive - exact).abs().mean()
    assert (ours - naive).abs().mean() < 1e-2


@BOTH
def test_gradients_equal_naive(
    tiny: OmniModel, samples: list[Sample], attention: Attention
) -> None:
    model, sample = cast(tiny, torch.float64, attention), samples[0]
    group = completions_of(model, [6, 3, 8])
    packed = pack([model.encode(sample)], [group], model.pad_token_id, model.family)
    ours = gradients(model, packed_logps(model, packed))
    theirs = gradients(model, naive_logps(model, sample, group))
    assert ours.keys() == theirs.keys()
    for name, reference in theirs.items():
        scale = reference.abs().max().clamp_min(1e-12)
        assert ((ours[name] - reference).abs().max() / scale) < 1e-5, name
    for tower in model.family.towers.values():
        touched = [n for n in ours if n.startswith(f"thinker.{tower}.") and ours[n].any()]
        assert touched, f"no gradient reached {tower}"


@BOTH
def test_float32_gradients_equal_naive(
    tiny: OmniModel, samples: list[Sample], attention: Attention
) -> None:
    cast(tiny, torch.float32, attention)
    group = completions_of(tiny, [6, 3, 8])
    packed = pack([tiny.encode(samples[0])], [group], tiny.pad_token_id, tiny.family)
    ours = gradients(tiny, packed_logps(tiny, packed))
    theirs = gradients(tiny, naive_logps(tiny, samples[0], group))
    for name, reference in theirs.items():
        assert (ours[name] - reference).norm() <= 1e-5 * reference.norm() + 1e-7, name


@BOTH
def test_plain_causal_attention_is_wrong(
    tiny: OmniModel, samples: list[Sample], attention: Attention
) -> None:
    """The control: were all completions one, the comparison above must fail."""
    cast(tiny, torch.float32, attention)
    group = completions_of(tiny, [5, 5, 5])
    packed = pack([tiny.encode(samples[0])], [group], tiny.pad_token_id, tiny.family)
    causal = (Group(packed.layout[0].prompt, (15,)),)
    ours = packed_logps(tiny, replace(packed, layout=causal))
    theirs = naive_logps(tiny, samples[0], group)
    assert (ours[0] - theirs[0]).abs().max() < 1e-5, "the first completion cannot tell"
    assert (ours[2] - theirs[2]).abs().max() > 0.1


def test_positions_that_run_on_are_wrong(tiny: OmniModel, samples: list[Sample]) -> None:
    """Another control: positions must restart after the prompt for every completion."""
    group = completions_of(tiny, [5, 5, 5])
    packed = pack([tiny.encode(samples[0])], [group], tiny.pad_token_id, tiny.family)
    positions = packed.position_ids_3L.clone()
    positions[:, -5:] += 5
    ours = packed_logps(tiny, replace(packed, position_ids_3L=positions))
    theirs = naive_logps(tiny, samples[0], group)
    assert (ours[2] - theirs[2]).abs().max() > 1e-3


@BOTH
def test_groups_of_different_prompts_do_not_touch(
    tiny: OmniModel, samples: list[Sample], attention: Attention
) -> None:
    """Groups of several prompts, of different media and lengths, share a forward."""
    model = cast(tiny, torch.float64, attention)
    video, audio = samples[0].media
    text_only = samples[1].model_copy(update={"media": ()})
    half = audio.model_copy(update={"end": 0.5})  # fewer mel frames than the others
    blind = samples[2].model_copy(update={"media": (half,)})
    deaf = samples[3].model_copy(update={"media": (video,)})
    chosen = [samples[0], text_only, blind, deaf]
    groups = [
        completions_of(model, [3, 6], 1),
        completions_of(model, [4], 2),
        completions_of(model, [2, 2, 7], 3),
        completions_of(model, [5], 4),
    ]
    prompts = [model.encode(sample) for sample in chosen]
    packed = pack(prompts, groups, model.pad_token_id, model.family)
    assert packed.group_sizes_B == (2, 1, 3, 1)
    lengths = [len(prompt.input_ids) for prompt in prompts]
    assert len(set(lengths)) == 4
    assert len(packed.input_ids_L) == sum(lengths) + packed.num_tokens, "nothing is padded"
    together = packed_logps(model, packed)
    apart = [
        logps
        for sample, group in zip(chosen, groups, strict=True)
        for logps in naive_logps(model, sample, group)
    ]
    for mine, reference in zip(together, apart, strict=True):
        assert (mine - reference).abs().max() < TOLERANCE[torch.float64]
    ours, theirs = gradients(model, together), gradients(model, apart)
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        scale = expected.abs().max().clamp_min(1e-12)
        assert ((ours[name] - expected).abs().max() / scale) < 1e-5, name


def test_an_image_joins_video_and_audio(
    tiny: OmniModel, samples: list[Sample], tmp_path: Any
) -> None:
    from PIL import Image

    path = tmp_path / "still.png"
    Image.new("RGB", (84, 56), (200, 30, 90)).save(path)
    image = Media(kind=MediaKind.IMAGE, path=path)
    sample = samples[0].model_copy(update={"media": (image, *samples[0].media)})
    group = completions_of(tiny, [4, 6])
    packed = pack([tiny.encode(sample)], [group], tiny.pad_token_id, tiny.family)
    assert {"pixel_values", "pixel_values_videos", "input_features"} <= packed.features.keys()
    ours, theirs = packed_logps(tiny, packed), naive_logps(tiny, sample, group)
    for mine, reference in zip(ours, theirs, strict=True):
        assert (mine - reference).abs().max() < 1e-5


@BOTH
def test_checkpointed_activations_change_nothing(
    tiny: OmniModel, samples: list[Sample], attention: Attention
) -> None:
    cast(tiny, torch.float32, attention)
    group = completions_of(tiny, [4, 6, 1])
    packed = pack([tiny.encode(samples[0])], [group], tiny.pad_token_id, tiny.family)
    tiny.train()
    theirs = gradients(tiny, naive_logps(tiny, samples[0], group))
    tiny.checkpoint_activations()
    saved = gradients(tiny, packed_logps(tiny, packed))
    for name, reference in theirs.items():
        assert (saved[name] - reference).norm() <= 1e-5 * reference.norm() + 1e-7, name


ENFORCED = SamplingConfig(
    max_new_tokens=60,
    temperature=0.7,
    enforce=Enforce.STAGES_AND_ANSWER,
    max_stage_tokens={"context": 6, "think": 9},
)


@dataclass(frozen=True)
class Enforced:
    """Completions of two questions that ask for different answers, and what each token was one
    of."""

    samples: list[Sample]
    groups: list[list[list[int]]]
    choices: list[list[list[Choice]]]

    def pack(self, model: OmniModel) -> PackedBatch:
        prompts = [model.encode(sample) for sample in self.samples]
        return pack(prompts, self.groups, model.pad_token_id, model.family, self.choices)


def write_enforced(model: OmniModel, samples: Sequence[Sample]) -> Enforced:
    engine = LocalEngine(model)
    chosen = list({sample.problem_type: sample for sample in samples}.values())[:2]
    assert len(chosen) == 2
    written = engine.generate(chosen, 3, ENFORCED)
    groups = [[list(one.token_ids) for one in group] for group in written]
    choices = []
    for sample, group in zip(chosen, groups, strict=True):
        grammar = engine.grammars.for_sample(sample, ENFORCED)
        assert grammar is not None
        choices.append([grammar.replay(ids) for ids in group])
    return Enforced(chosen, groups, choices)


def naive_enforced(model: OmniModel, given: Enforced) -> tuple[list[Tensor], list[Tensor]]:
    """Log-probs and entropies in probabilities: pi(t) over the sum of pi of what was allowed."""
    logps, entropies = [], []
    for sample, group, choices in zip(given.samples, given.groups, given.choices, strict=True):
        logits = naive_logits(model, sample, group)
        for logits_TV, ids, of_one in zip(logits, group, choices, strict=True):
            mask_TV = torch.from_numpy(np.stack([choice.mask_V for choice in of_one]))
            pi_TV = (logits_TV / ENFORCED.temperature).softmax(-1)
            held_TV = torch.where(mask_TV, pi_TV, 0)
            held_TV = held_TV / held_TV.sum(-1, keepdim=True)
            logps.append(held_TV.gather(-1, torch.tensor(ids)[:, None])[:, 0].log())
            entropies.append(-torch.xlogy(held_TV, held_TV).sum(-1))
    return logps, entropies


def test_enforced_log_probs_equal_naive(tiny: OmniModel, samples: list[Sample]) -> None:
    model = cast(tiny, torch.float64)
    given = write_enforced(model, samples)
    packed = given.pack(model)
    output = model(**packed.model_inputs(), temperature=ENFORCED.temperature)
    theirs, entropies = naive_enforced(model, given)
    assert (output.logps_N - torch.cat(theirs)).abs().max() < TOLERANCE[torch.float64]
    assert (output.entropies_N - torch.cat(entropies)).abs().max() < TOLERANCE[torch.float64]
    forced_N = torch.tensor([x.count == 1 for g in given.choices for c in g for x in c])
    assert torch.equal(output.logps_N == 0, forced_N)
    assert not output.entropies_N[forced_N].any()
    free = model(**replace(packed, allowed=None).model_inputs(), temperature=ENFORCED.temperature)
    assert (output.logps_N - free.logps_N)[forced_N].min() > 1, "the masks matter"
    ours, reference = gradients(model, [output.logps_N]), gradients(model, theirs)
    assert ours.keys() == reference.keys()
    for name, expected in reference.items():
        scale = expected.abs().max().clamp_min(1e-12)
        assert ((ours[name] - expected).abs().max() / scale) < 1e-5, name


def test_masks_are_few_move_along_and_are_not_kept(tiny: OmniModel, samples: list[Sample]) -> None:
    given = write_enforced(tiny, samples)
    packed = given.pack(tiny)
    assert packed.allowed is not None
    size = tiny.thinker.get_output_embeddings().weight.shape[0]
    different = {id(x) for group in given.choices for of_one in group for x in of_one}
    assert packed.allowed.masks_UV.shape == (len(different), size)
    assert len(different) < packed.num_tokens / 2
    moved = packed.to("meta").allowed
    assert moved is not None
    assert {value.device.type for value in moved} == {"meta"}

    def kept_for_the_backward(batch: PackedBatch) -> list[tuple[torch.dtype, torch.Size]]:
        kept: list[tuple[torch.dtype, torch.Size]] = []

        def keep(value: Tensor) -> Tensor:
            kept.append((value.dtype, value.shape))
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            tiny(**batch.model_inputs())
        return kept

    assert kept_for_the_backward(packed) == kept_for_the_backward(replace(packed, allowed=None))


def test_unpack_restores_completions(tiny: OmniModel, samples: list[Sample]) -> None:
    groups = [completions_of(tiny, [3, 1]), completions_of(tiny, [4])]
    prompts = [tiny.encode(samples[0]), tiny.encode(samples[1])]
    packed = pack(prompts, groups, tiny.pad_token_id, tiny.family)
    flat = [c for group in groups for c in group]
    for row, mask, completion in zip(
        packed.targets_RT, packed.completion_mask_RT, flat, strict=True
    ):
        assert row[mask].tolist() == completion
        assert not row[~mask].any()
    assert packed.num_tokens == 8
    assert packed.to("cpu").targets_N.equal(packed.targets_N)


@pytest.mark.parametrize("groups", [[[]], [[[1], []]], []])
def test_nothing_to_score_is_refused(
    tiny: OmniModel, samples: list[Sample], groups: list[list[list[int]]]
) -> None:
    with pytest.raises(ValueError, match="completion"):
        pack([tiny.encode(samples[0])], groups, tiny.pad_token_id, tiny.family)
