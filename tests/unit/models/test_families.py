"""What must hold for every family, on the tiny model of each: `Family` says what is asked of it."""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.subject import FamilyFolders, Subject, family_parameter, to_double
from tests.unit.models.naive import greedy, naive_logps, own_inputs
from triptych.data.feature_cache import FeatureCache
from triptych.data.media import MediaBudget
from triptych.data.sample import Media, MediaKind, Sample
from triptych.errors import ConfigError
from triptych.generation import SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import LoadOptions, OmniModel
from triptych.models.families import FAMILIES
from triptych.models.families.table import with_table
from triptych.models.packing import PackedBatch, pack
from triptych.models.prefix_attention import Attention, set_attention
from triptych.models.prompt import Prompt, PromptEncoder
from triptych.models.towers import DecoderInputs, placeholders

GROUP = [[25, 26, 27, 28, 29, 30], [301], [40, 41, 42]]  # no placeholders
GREEDY = SamplingConfig(max_new_tokens=10, temperature=0)
BUDGET = MediaBudget(fps=4.0)


def packed_of(model: OmniModel, prompts: Sequence[Prompt]) -> PackedBatch:
    return pack(prompts, [GROUP] * len(prompts), model.pad_token_id, model.family)


def logps_of(model: OmniModel, samples: Sequence[Sample], **encode: bool) -> Tensor:
    prompts = list(model.encoder.encode_all(samples, **encode))
    logps_N: Tensor = model(**packed_of(model, prompts).model_inputs()).logps_N
    return logps_N


def naive(model: OmniModel, samples: Sequence[Sample]) -> Tensor:
    return torch.cat([one for sample in samples for one in naive_logps(model, sample, GROUP)])


def gradients(model: OmniModel, logps_N: Tensor) -> dict[str, Tensor]:
    """Another weight for every token, so that no two can be mistaken for each other."""
    model.zero_grad()
    weights = torch.linspace(0.5, 1.5, len(logps_N), dtype=logps_N.dtype)
    (logps_N * weights).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def assert_equal_gradients(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        scale = expected.abs().max().clamp_min(1e-9)  # of keys' biases there is none
        assert ((ours[name] - expected).abs().max() / scale) < 1e-5, name


# --- the shared prefix ----------------------------------------------------------------------------


def test_packed_rows_are_the_naive_batch(subject: Subject) -> None:
    """Of prompts of different media and length, with their gradients; each tower learns."""
    model = to_double(subject.model)
    expected = naive(model, subject.mixed)
    theirs = gradients(model, expected)
    actual = logps_of(model, subject.mixed)
    assert (actual - expected).abs().max() < 1e-10
    ours = gradients(model, actual)
    assert_equal_gradients(ours, theirs)
    for tower in model.family.towers.values():
        touched = [n for n in ours if n.startswith(f"thinker.{tower}.") and ours[n].any()]
        assert touched, f"no gradient reached {tower}"


@torch.no_grad()
def test_an_ordinary_mask_gives_the_same(subject: Subject) -> None:
    model = subject.model
    expected = naive(model, subject.mixed)
    for attention in Attention:
        set_attention(model.thinker, attention)
        ours = logps_of(model, subject.mixed)
        torch.testing.assert_close(ours, expected, rtol=0, atol=2e-5)


def test_checkpointed_activations_change_nothing(subject: Subject) -> None:
    model = to_double(subject.model).train()
    theirs = gradients(model, logps_of(model, subject.samples[:1]))
    model.checkpoint_activations()
    assert_equal_gradients(gradients(model, logps_of(model, subject.samples[:1])), theirs)


@torch.no_grad()
def test_bfloat16_is_near(subject: Subject, family_folders: FamilyFolders) -> None:
    expected = logps_of(subject.model, subject.samples[:1])
    folder = family_folders[subject.model.family.name]
    half = OmniModel.from_pretrained(
        folder, options=LoadOptions(dtype=torch.bfloat16), budget=BUDGET
    )
    assert (logps_of(half.eval(), subject.samples[:1]) - expected).abs().mean() < 0.1


# --- generation -----------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", Attention)
def test_greedy_completions_are_those_of_generate(subject: Subject, attention: Attention) -> None:
    """All in one batch, two of each prompt, whose keys are shared or copied."""
    model = subject.model
    set_attention(model.thinker, attention)
    groups = LocalEngine(model).generate(subject.mixed, 2, GREEDY)
    for sample, group in zip(subject.mixed, groups, strict=True):
        expected = greedy(model, sample, GREEDY.max_new_tokens)
        assert [list(c.token_ids) for c in group] == [expected, expected]


def test_media_ids_are_never_written(subject: Subject) -> None:
    model = subject.model
    config = model.config
    hidden_size = config.get_text_config().hidden_size
    logits = model.logits(torch.randn(1, hidden_size))
    placed = [model.family.placeholder_id(config, kind) for kind in model.family.media_inputs]
    banned = model.family.media_token_ids(model.thinker)
    assert set(placed) <= set(banned)
    assert (logits[0, list(banned)] == -torch.inf).all()
    assert logits[0, model.end_token_ids[0]].isfinite()


# --- inputs ---------------------------------------------------------------------------------------


@torch.no_grad()
def test_positions_are_those_of_the_models_own_forward(subject: Subject) -> None:
    """What its text decoder is given, for prompt and completion."""
    model, given = subject.model, []
    model.decoder.register_forward_pre_hook(
        lambda _module, _args, inputs: given.append(inputs["position_ids"]), with_kwargs=True
    )
    for sample in subject.mixed:
        prompt = model.encode(sample)
        size = len(prompt.input_ids)
        ids_BS = torch.cat([prompt.input_ids, torch.tensor(GROUP[0])])[None]
        given.clear()
        model.thinker(**own_inputs(model, ids_BS, prompt.features, [size + len(GROUP[0])]))
        (theirs,) = given
        if theirs is None:  # counted by the decoder
            theirs = torch.arange(ids_BS.shape[1])[None]
        following = prompt.next_position + torch.arange(len(GROUP[0]))
        ours_3S = torch.cat([prompt.position_ids, following.expand(3, -1)], dim=1)
        assert ours_3S.shape[0] == 3
        assert ours_3S.allclose(theirs[-3:].reshape(-1, ids_BS.shape[1]).to(ours_3S), rtol=1e-6)


def test_a_prompt_is_its_chat_template_with_a_place_for_each_embedding(subject: Subject) -> None:
    model, sample = subject.model, subject.samples[0]
    prompt = model.encode(sample)
    text = model.tokenizer.decode(prompt.input_ids)
    assert sample.question in text
    assert "<think>" in text
    assert text.rstrip().endswith("assistant") or text.endswith("<|assistant|>")
    plain = model.encode(sample.model_copy(update={"media": ()}))
    assert model.tokenizer.decode(plain.input_ids).count(sample.question) == 1
    for kind, (_, names, placeholder) in model.family.media_inputs.items():
        here = placeholders(model.thinker, model.family, kind, prompt.input_ids)
        assert here.any(), placeholder
        reads = {name: prompt.features[name] for name in names if name in prompt.features}
        assert len(model.family.embed_media(model.thinker, kind, reads)) == int(here.sum())
        assert not placeholders(model.thinker, model.family, kind, plain.input_ids).any()


@torch.no_grad()
def test_every_kind_of_media_reaches_the_log_probs(subject: Subject) -> None:
    model = subject.model
    prompt = model.encode(subject.samples[0])
    expected = model(**packed_of(model, [prompt]).model_inputs()).logps_N
    for kind, media in model.family.media_inputs.items():
        packed = packed_of(model, [prompt])
        packed.features[media.features[0]] = packed.features[media.features[0]].clone()
        packed.features[media.features[0]].view(-1)[7] += 1
        logps_N = model(**packed.model_inputs()).logps_N
        assert (logps_N - expected).abs().max() > 1e-6, kind


@torch.no_grad()
def test_a_placeholder_in_a_completion_is_no_place_for_media(subject: Subject) -> None:
    model = subject.model
    prompt = model.encode(subject.samples[0])
    for kind in model.family.media_inputs:
        token = model.family.placeholder_id(model.config, kind)
        one, two = (
            model(
                **pack([prompt], [[[25, x, 26]]], model.pad_token_id, model.family).model_inputs()
            ).logps_N
            for x in (token, 27)
        )
        torch.testing.assert_close(one[0], two[0], rtol=0, atol=1e-5)


def test_what_it_does_not_take_is_refused(subject: Subject, samples: list[Sample]) -> None:
    family = subject.model.family
    for kind in MediaKind:
        media = Media(kind=kind, path=Path("some.file"))
        sample = samples[0].model_copy(update={"media": (media,)})
        if kind in family.media_inputs:
            family.check_media(sample)
            continue
        with pytest.raises(ConfigError, match=rf"{family.name} cannot .*some\.file.* no {kind}"):
            family.check_media(sample)
    if not family.audio_in_video:
        with pytest.raises(ConfigError, match="leave out audio_in_video"):
            family.check_audio_in_video()


# --- towers ---------------------------------------------------------------------------------------


@pytest.fixture
def runs(subject: Subject) -> Counter[str]:
    """How often each tower has run."""
    counter: Counter[str] = Counter()
    for tower, path in subject.model.family.towers.items():
        subject.model.thinker.get_submodule(path).register_forward_hook(
            lambda *_, tower=tower: counter.update([tower])
        )
    return counter


def test_frozen_towers_run_once_and_change_nothing(subject: Subject, runs: Counter[str]) -> None:
    """For rollout and update; what they made stands in the place of what they read."""
    model = to_double(subject.model)
    family, samples = model.family, subject.mixed[:1]
    model.freeze([*family.towers, *family.projectors.values()])
    expected = logps_of(model, samples)
    theirs = gradients(model, expected)
    runs.clear()
    groups = LocalEngine(model).generate(samples, 2, GREEDY)
    actual = logps_of(model, samples, embed=True)
    assert runs == Counter(tower for tower, _, _ in family.media_inputs.values())
    assert (actual - expected).abs().max() < 1e-10
    assert_equal_gradients(gradients(model, actual), theirs)
    assert [list(c.token_ids) for c in groups[0]] == [greedy(model, samples[0], 10)] * 2


def test_a_projector_that_is_trained_goes_on_to_learn(subject: Subject) -> None:
    """Where it stands outside of a tower that is frozen."""
    model, family = subject.model, subject.model.family
    model.freeze(list(family.towers))
    ours = gradients(model, logps_of(model, subject.samples[:1], embed=True))
    for path in family.projectors.values():
        assert any(n.startswith(f"thinker.{path}.") and ours[n].any() for n in ours)
    for path in family.towers.values():
        assert not any(n.startswith(f"thinker.{path}.") for n in ours)


@torch.no_grad()
def test_towers_give_what_they_give_with_transformers_own_attention(subject: Subject) -> None:
    """Each prompt's media alone, and all joined."""
    model = subject.model
    own = copy.deepcopy(model.thinker)
    own.set_attn_implementation("sdpa")
    prompts = [model.encode(sample) for sample in subject.mixed]
    joined = model.family.collate([prompt.features for prompt in prompts])
    for kind, (_, names, _) in model.family.media_inputs.items():
        alone = []
        for features in [*(prompt.features for prompt in prompts), joined]:
            if names[0] in features:
                reads = {name: features[name] for name in names if name in features}
                ours = model.family.embed_media(model.thinker, kind, reads)
                theirs = model.family.embed_media(own, kind, reads)
                torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-6)
                alone.append(ours)
        torch.testing.assert_close(alone[-1], torch.cat(alone[:-1]), rtol=0, atol=2e-6)


@torch.no_grad()
def test_what_deep_layers_read_is_missed(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control for DeepStack: comparisons with the naive batch would fail without it."""
    model = subject.model
    prompt = model.encode(subject.samples[0])
    inputs = model.embed(prompt.input_ids, prompt.features)
    if inputs.deep_VDH is None:
        pytest.skip("its deep layers read no media")
    expected = logps_of(model, subject.samples[:1])
    embed = model.embed
    monkeypatch.setattr(model, "embed", lambda *args: DecoderInputs(embed(*args).embeddings))
    assert (logps_of(model, subject.samples[:1]) - expected).abs().max() > 1e-3

    def swapped(*args: Any) -> DecoderInputs:
        inputs = embed(*args)
        assert inputs.deep_VDH is not None
        return inputs._replace(deep_VDH=inputs.deep_VDH.flip(0))

    monkeypatch.setattr(model, "embed", swapped)
    assert (logps_of(model, subject.samples[:1]) - expected).abs().max() > 1e-3


# --- folders --------------------------------------------------------------------------------------


def test_saved_and_loaded_is_the_same_model(subject: Subject, tmp_path: Path) -> None:
    model = subject.model
    model.save_pretrained(tmp_path)
    loaded = OmniModel.from_pretrained(tmp_path, budget=BUDGET).eval()
    assert loaded.family.name == model.family.name
    assert loaded.tokenizer.get_vocab() == model.tokenizer.get_vocab()
    with torch.no_grad():
        assert logps_of(loaded, subject.mixed).equal(logps_of(model, subject.mixed))
    assert model.family.processor_class in (tmp_path / "processor_config.json").read_text()
    for name in ("shared_prefix", "segments"):
        assert name not in (tmp_path / "config.json").read_text()


def test_the_disk_keeps_what_was_made_of_media(subject: Subject, tmp_path: Path) -> None:
    model = subject.model
    model.freeze([*model.family.towers, *model.family.projectors.values()])
    plain = [model.encode(sample) for sample in subject.mixed]
    held = list(model.encoder.encode_all(subject.mixed, embed=True))
    for embed, prompts in ((False, plain), (True, held)):
        cache = FeatureCache(tmp_path / str(embed), 1 << 30, embeddings=embed)
        for _ in range(2):  # written, then read
            encoder = PromptEncoder(
                model.thinker, model.processor, model.family, BUDGET, model.format, cache=cache
            )
            kept = encoder.encode_all(subject.mixed, embed=embed)
            for one, other in zip(kept, prompts, strict=True):
                assert one.input_ids.equal(other.input_ids)
                assert one.position_ids.equal(other.position_ids)
                for name, tensor in other.features.items():
                    assert one.features[name].equal(tensor), name
        assert len(list(cache.folder.glob("*.safetensors"))) == len(subject.mixed) - 1


@pytest.mark.parametrize("name", [family_parameter(family) for family in FAMILIES])
def test_the_same_seed_builds_the_same_folder(
    name: str, family_folders: FamilyFolders, tmp_path: Path
) -> None:
    (family,) = (family for family in FAMILIES if family.name == name)
    again, other = (family.build_tiny(tmp_path / str(seed), seed) for seed in (0, 1))
    for file in again.iterdir():
        assert file.read_bytes() == (family_folders[name] / file.name).read_bytes()
    weights = "model.safetensors"
    assert (other / weights).read_bytes() != (again / weights).read_bytes()


@pytest.mark.parametrize("document", ["README.md", "docs/families.md"])
def test_the_documents_name_the_families(document: str) -> None:
    text = (Path(__file__).parents[3] / document).read_text(encoding="utf-8")
    assert with_table(text) == text, "make families-table"
