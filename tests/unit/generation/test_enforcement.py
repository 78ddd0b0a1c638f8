"""A model that knows nothing of the format, held to it: nothing invalid, nothing else changed."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, models
from tokenizers import pre_tokenizers as pre
from transformers import PreTrainedTokenizerFast

from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.generation import Completion, Enforce, SamplingConfig, StopReason
from triptych.generation.enforcement import Draw, Grammars, StageLogitsProcessor
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.models.families import family_for
from triptych.models.tiny import (
    MEDIA_TOKENS,
    TURN_TOKENS,
    TinyConfig,
    build_processor,
    build_thinker,
    build_tokenizer,
)
from triptych.stages import DEFAULT_FORMAT, ProblemType, parse, stage_ids

HOT = SamplingConfig(max_new_tokens=64, temperature=1.5, enforce=Enforce.STAGES)


def question(i: int = 0, problem_type: ProblemType = ProblemType.MULTIPLE_CHOICE) -> Sample:
    answers = {ProblemType.YES_NO: "yes", ProblemType.NUMERICAL: "3"}
    options = () if problem_type in answers else ("to comfort", "to tease", "to warn")
    return Sample(
        id=f"q{i}",
        question="What does the person intend?",
        problem_type=problem_type,
        options=options,
        answer=answers.get(problem_type, "A"),
        media=(),
    )


def word_level() -> PreTrainedTokenizerFast:
    words = ". , ! a person smiles frowns the voice is flat rising so they mean A B C A,C yes no 3"
    vocab = ["<unk>", *words.split(), *DEFAULT_FORMAT.tags, "happy</answer>"]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(vocab)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre.WhitespaceSplit()
    return _with_special_tokens(backend, unk_token="<unk>")


@cache
def fabricated(size: int = 150_000) -> PreTrainedTokenizerFast:
    """The tiny model's tokenizer with random byte strings up to `size`, tags among their parts."""
    state = json.loads(build_tokenizer().backend_tokenizer.to_str())
    vocab = state["model"]["vocab"]
    rng = np.random.default_rng(0)
    alphabet = [*pre.ByteLevel.alphabet(), *"<</>></", *"context", *"think", *"answer"]
    while len(vocab) < size:
        length = int(rng.integers(2, 12))
        vocab.setdefault("".join(rng.choice(alphabet, length)), len(vocab))
    backend = Tokenizer(models.BPE(vocab, [tuple(m) for m in state["model"]["merges"]]))
    original = build_tokenizer().backend_tokenizer
    backend.pre_tokenizer, backend.decoder = original.pre_tokenizer, original.decoder
    return _with_special_tokens(backend)


def _with_special_tokens(backend: Tokenizer, **names: str) -> PreTrainedTokenizerFast:
    special = [*TURN_TOKENS, *MEDIA_TOKENS.values()]
    backend.add_special_tokens([AddedToken(token, special=True) for token in special])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens=MEDIA_TOKENS,
        **names,
    )


def untrained(tokenizer: PreTrainedTokenizerFast) -> OmniModel:
    thinker = build_thinker(tokenizer, TinyConfig(), seed=0)
    processor = build_processor(tokenizer, TinyConfig())
    return OmniModel(thinker, processor, family_for("qwen2_5_omni_thinker")).eval()


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte_bpe": build_tokenizer,
    "word_level": word_level,
    "150k": fabricated,
}


def check(completion: Completion, model: OmniModel, sampling: SamplingConfig) -> None:
    """Valid, ended, and every stage within its budget."""
    output = parse(completion.text, model.format)
    assert output.valid, output
    assert completion.stop_reason is StopReason.END
    assert len(completion.token_ids) <= sampling.max_new_tokens
    regions = stage_ids(completion.token_ids, model.tokenizer, model.format)
    for region, name in enumerate(model.format.names, start=1):
        least, most = sampling.min_stage_tokens[name], sampling.max_stage_tokens[name]
        assert least <= regions.count(region) <= most, (name, output.text)


def random_budgets(rng: np.random.Generator) -> SamplingConfig:
    least = {name: int(rng.integers(1, 5)) for name in DEFAULT_FORMAT.names}
    most = {name: low + int(rng.integers(3, 20)) for name, low in least.items()}
    return replace(
        HOT,
        max_new_tokens=int(rng.integers(50, 90)),
        seed=int(rng.integers(1 << 30)),
        min_stage_tokens=least,
        max_stage_tokens=most,
    )


def write_with_random_budgets(model: OmniModel, rounds: int, per_round: int) -> int:
    """Completions at temperature 1.5, budgets drawn anew for each round; all are checked."""
    engine, rng, done = LocalEngine(model), np.random.default_rng(0), 0
    for _ in range(rounds):
        sampling = random_budgets(rng)
        for completion in engine.generate([question()], per_round, sampling)[0]:
            check(completion, model, sampling)
            done += 1
    return done


@pytest.mark.parametrize(
    ("name", "rounds"),
    [("byte_bpe", 3), ("word_level", 3), pytest.param("150k", 2, marks=pytest.mark.slow)],
)
def test_nothing_invalid_and_all_within_random_budgets(name: str, rounds: int) -> None:
    model = untrained(TOKENIZERS[name]())
    assert write_with_random_budgets(model, rounds, per_round=8) == rounds * 8


@pytest.mark.slow
@pytest.mark.parametrize(("name", "rounds"), [("byte_bpe", 32), ("word_level", 32), ("150k", 12)])
def test_nothing_invalid_among_thousands(name: str, rounds: int) -> None:
    """76 rounds of 32: 2,432 completions over three vocabularies."""
    model = untrained(TOKENIZERS[name]())
    assert write_with_random_budgets(model, rounds, per_round=32) == rounds * 32


@pytest.mark.slow
@pytest.mark.parametrize("name", TOKENIZERS)
def test_without_enforcement_nothing_is_valid(name: str) -> None:
    model = untrained(TOKENIZERS[name]())
    group = LocalEngine(model).generate([question()], 16, replace(HOT, enforce=Enforce.OFF))[0]
    assert not any(parse(one.text).valid for one in group)
    assert not any(any(one.forced) or one.overruled for one in group)


@pytest.mark.parametrize("stage_tokens", [False, True])
def test_padded_heads_and_tags_as_special_tokens(tiny: OmniModel, stage_tokens: bool) -> None:
    if stage_tokens:
        tiny.add_stage_tokens()
    tiny.thinker.resize_token_embeddings(len(tiny.tokenizer) + 40)
    model = OmniModel(tiny.thinker, tiny.processor, tiny.family).eval()
    assert write_with_random_budgets(model, rounds=2, per_round=16) == 32


def test_tokens_added_later_are_known(tiny: OmniModel) -> None:
    grammars = Grammars(tiny)
    before = grammars.for_sample(question(), HOT)
    tiny.add_stage_tokens()
    after = grammars.for_sample(question(), HOT)
    assert before is not None
    assert after is not None
    assert after.graph.vocabulary.size == before.graph.vocabulary.size + 6
    assert grammars.for_sample(question(), HOT) is after, "compiled once"


@pytest.mark.parametrize(
    ("problem_type", "answers"),
    [
        (ProblemType.MULTIPLE_CHOICE, {"A", "B", "C"}),
        (ProblemType.YES_NO, {"yes", "no", "Yes", "No"}),
    ],
)
def test_answers_fit_the_question(
    tiny: OmniModel, problem_type: ProblemType, answers: set[str]
) -> None:
    sampling = replace(HOT, enforce=Enforce.STAGES_AND_ANSWER)
    group = LocalEngine(tiny).generate([question(0, problem_type)], 32, sampling)[0]
    assert {parse(one.text).answer for one in group} <= answers
    loose = LocalEngine(tiny).generate([question(0, problem_type)], 32, HOT)[0]
    assert not {parse(one.text).answer for one in loose} <= answers


def test_questions_of_different_kinds_share_a_batch(tiny: OmniModel) -> None:
    kinds = [ProblemType.MULTIPLE_CHOICE, ProblemType.NUMERICAL, ProblemType.YES_NO]
    samples = [question(i, kind) for i, kind in enumerate(kinds)]
    sampling = replace(HOT, enforce=Enforce.STAGES_AND_ANSWER)
    choice, number, yes_no = (
        {parse(one.text).answer for one in group}
        for group in LocalEngine(tiny).generate(samples, 8, sampling)
    )
    assert choice <= set("ABC")
    assert all(float(value) is not None for value in number)
    assert {answer.lower() for answer in yes_no} <= {"yes", "no"}


def test_forced_tokens_are_those_without_a_choice(tiny: OmniModel) -> None:
    sampling = replace(HOT, max_stage_tokens={"think": 3})
    grammar = Grammars(tiny).for_sample(question(), sampling)
    assert grammar
    group = LocalEngine(tiny).generate([question()], 8, sampling)[0]
    for one in group:
        choices = grammar.replay(one.token_ids)
        assert one.forced == tuple(choice.count == 1 for choice in choices)
        assert 0 < sum(one.forced) < len(one.forced)
        assert one.overruled > 0


def test_a_draw_is_one_from_the_softmax_over_what_is_allowed(tiny: OmniModel) -> None:
    """Drawing again where the grammar refuses must not skew the probabilities."""
    grammar = Grammars(tiny).for_sample(question(), HOT)
    assert grammar
    rows, size = 20_000, grammar.graph.vocabulary.size
    allowed = torch.from_numpy(grammar.matcher().choice.mask_V.copy())
    logits_V = torch.randn(size, generator=torch.Generator().manual_seed(0)) * 2
    sampling = replace(HOT, temperature=1.3)
    draw = Draw([grammar] * rows, sampling, [torch.Generator().manual_seed(1)])
    drawn = torch.tensor(draw(logits_V.expand(rows, -1), set(range(rows)), pad=0))
    expected_V = (logits_V / 1.3).masked_fill(~allowed, -torch.inf).softmax(-1)
    found_V = torch.bincount(drawn, minlength=size) / rows
    error_V = (expected_V * (1 - expected_V) / rows).sqrt()
    assert (found_V[~allowed] == 0).all()
    assert ((found_V - expected_V).abs() < 4.5 * error_V + 1e-9).all()
    refused = sum(draw.record(row)[1] for row in range(rows))
    assert 0.2 * rows < refused < rows, "both draws were needed"


def test_what_was_never_refused_is_what_the_model_writes_by_itself(tiny: OmniModel) -> None:
    """A model that keeps the format: its head is made to prefer one valid completion."""
    text = "<context>a</context><think>b</think><answer>C</answer>"
    ids = [*tiny.tokenizer.encode(text), tiny.end_token_ids[0]]
    step = iter(ids)
    original = tiny.logits

    def logits(hidden: torch.Tensor) -> torch.Tensor:
        scores = original(hidden)
        scores[..., next(step)] += 1000.0
        return scores

    tiny.logits = logits  # type: ignore[method-assign]
    ((held,),) = LocalEngine(tiny).generate([question()], 1, replace(HOT, temperature=0))
    step = iter(ids)
    ((free,),) = LocalEngine(tiny).generate(
        [question()], 1, replace(HOT, temperature=0, enforce=Enforce.OFF)
    )
    assert held.text == text
    assert held.overruled == 0
    assert (held.token_ids, held.text) == (free.token_ids, free.text)


def test_batches_do_not_matter(tiny: OmniModel, samples: list[Sample]) -> None:
    sampling = replace(HOT, temperature=0, max_stage_tokens={"context": 9, "think": 9})
    one = LocalEngine(tiny, max_sequences=1).generate(samples[:5], 1, sampling)
    many = LocalEngine(tiny).generate(samples[:5], 1, sampling)
    assert one == many


def test_steps_are_told(tiny: OmniModel) -> None:
    told: list[list[int]] = []
    group = LocalEngine(tiny).generate([question()], 2, HOT, on_step=lambda t: told.append([*t]))
    for row, one in enumerate(group[0]):
        tokens = [step[row] for step in told]
        assert tuple(tokens[: len(one.token_ids)]) == one.token_ids
        assert set(tokens[len(one.token_ids) :]) <= {tiny.pad_token_id}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_new_tokens": 9}, "max_new_tokens is 9, but the shortest completion"),
        ({"max_stage_tokens": {"thnik": 9}}, "no stage 'thnik'"),
        ({"min_stage_tokens": {"think": 5}, "max_stage_tokens": {"think": 3}}, "'think' cannot"),
    ],
)
def test_budgets_that_nothing_fits_are_named(
    tiny: OmniModel, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        LocalEngine(tiny).generate([question()], 1, replace(HOT, **changes))  # type: ignore[arg-type]


# --- for plain `generate` of transformers --------------------------------------------------------


def generate(model: OmniModel, processor: StageLogitsProcessor, **options: object) -> list[str]:
    prompt = model.encode(question())
    ids = prompt.input_ids[None]
    output = model.thinker.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=processor.grammar.max_new_tokens,
        suppress_tokens=model.banned_ids.tolist(),
        logits_processor=[processor],
        **options,
    )
    return [
        model.tokenizer.decode(row, skip_special_tokens=True)
        for row in output[:, ids.shape[1] :].tolist()
    ]


def logits_processor(model: OmniModel) -> StageLogitsProcessor:
    grammar = Grammars(model).for_sample(question(), HOT)
    assert grammar
    return StageLogitsProcessor(grammar, len(model.encode(question()).input_ids))


def test_greedy_generate_writes_what_the_engine_writes(tiny: OmniModel) -> None:
    (text,) = generate(tiny, logits_processor(tiny), do_sample=False)
    ((expected,),) = LocalEngine(tiny).generate([question()], 1, replace(HOT, temperature=0))
    assert text == expected.text
    assert parse(text).valid


def test_sampling_and_beams_are_valid(tiny: OmniModel) -> None:
    torch.manual_seed(0)
    several = {"num_return_sequences": 4}
    sampled = generate(tiny, logits_processor(tiny), do_sample=True, temperature=1.5, **several)
    beams = generate(tiny, logits_processor(tiny), do_sample=False, num_beams=4, **several)
    assert len(set(sampled)) == 4
    assert all(parse(text).valid for text in [*sampled, *beams])


def test_a_completion_that_has_begun_is_gone_on_with(tiny: OmniModel) -> None:
    processor = logits_processor(tiny)
    ids = tiny.tokenizer.encode("<context>a")
    row = torch.tensor([[*tiny.encode(question()).input_ids.tolist(), *ids]])
    scores = torch.zeros(1, processor.grammar.graph.vocabulary.size)
    masked = processor(row, scores)
    expected = processor.grammar.replay([*ids, tiny.tokenizer.encode("</")[0]])[-1].mask_V
    assert torch.equal(masked[0] == 0, torch.from_numpy(expected.copy()))
    other = torch.cat([row[:, : -len(ids)], torch.zeros(1, 1, dtype=torch.long)], dim=1)
    with pytest.raises(ValueError, match="not allowed"):
        processor(other, scores)


def test_a_grammar_for_another_head_is_refused(tiny: OmniModel) -> None:
    processor = logits_processor(tiny)
    tiny.thinker.resize_token_embeddings(len(tiny.tokenizer) + 64)
    with pytest.raises(ConfigError, match="compile it with the number of rows"):
        generate(tiny, processor, do_sample=False)
