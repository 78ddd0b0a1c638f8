"""Masks over real vocabularies: all that is allowed is valid and within budget, nothing is lost."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from copy import copy

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from triptych.stages import StageFormat, StageSpec, completion_text, parse, stage_ids
from triptych.stages.answers import answer_form
from triptych.stages.automaton import DEAD
from triptych.stages.distances import FAR, StageBudget
from triptych.stages.format import DEFAULT_FORMAT
from triptych.stages.grammar import Matcher, StageGrammar, compile_grammar
from triptych.stages.prompt import ProblemType

MakeTokenizer = Callable[[str, str], PreTrainedTokenizerFast]
FAMILIES = ("byte_level", "sentencepiece_bpe", "unigram", "word_level")
PADDED = 7  # rows of the head beyond the tokenizer


def compile_for(
    tokenizer: PreTrainedTokenizerFast,
    max_new_tokens: int = 400,
    budgets: dict[str, StageBudget] | None = None,
    fmt: StageFormat = DEFAULT_FORMAT,
    problem_type: ProblemType | None = None,
) -> StageGrammar:
    answer = answer_form(problem_type, num_options=3) if problem_type else None
    return compile_grammar(
        tokenizer,
        len(tokenizer) + PADDED,
        [tokenizer.eos_token_id],
        max_new_tokens,
        fmt=fmt,
        answer=answer,
        budgets=budgets,
    )


def walk(grammar: StageGrammar, rng: np.random.Generator) -> list[int]:
    """A completion of tokens drawn evenly from what is allowed."""
    matcher, ids = grammar.matcher(), []
    while not matcher.finished:
        ids.append(int(rng.choice(np.flatnonzero(matcher.choice.mask_V))))
        matcher.advance(ids[-1])
    return ids


def feed(matcher: Matcher, ids: Sequence[int]) -> Matcher:
    for token_id in ids:
        matcher.advance(token_id)
    return matcher


def shortest_completion(tokenizer: PreTrainedTokenizerFast) -> int:
    with pytest.raises(ValueError, match="raise it") as caught:
        compile_for(tokenizer, 1)
    return int(re.findall(r"has (\d+) tokens", str(caught.value))[0])


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


ALL_FAMILIES = pytest.mark.parametrize(
    "family",
    [*FAMILIES[:2], *(pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES[2:])],
)
MANY_STEPS = pytest.mark.no_cover
"""Of lines that the other tests cover."""


@pytest.fixture(params=["text", "special", "added"])
def tags_as(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@MANY_STEPS
@ALL_FAMILIES
def test_whatever_is_drawn_is_valid_and_within_budget(
    make_tokenizer: MakeTokenizer, family: str, tags_as: str
) -> None:
    tokenizer = make_tokenizer(family, tags_as)
    rng = np.random.default_rng(0)
    for _ in range(3):
        least = {name: int(rng.integers(0, 5)) for name in DEFAULT_FORMAT.names}
        most = {name: low + int(rng.integers(2, 9)) for name, low in least.items()}
        budgets = {name: StageBudget(least[name], most[name]) for name in least}
        grammar = compile_for(tokenizer, int(rng.integers(95, 160)), budgets)
        for _ in range(4):
            ids = walk(grammar, rng)
            assert len(ids) <= grammar.max_new_tokens
            assert ids[-1] == tokenizer.eos_token_id
            output = parse(completion_text(ids, tokenizer))
            assert output.valid, output
            regions = stage_ids(ids, tokenizer)
            for region, name in enumerate(DEFAULT_FORMAT.names, start=1):
                assert least[name] <= regions.count(region) <= most[name], (name, output.text)


def test_white_space_leaves_room_for_the_minimum_of_the_stages_behind_it(
    make_tokenizer: MakeTokenizer, tags_as: str
) -> None:
    """A minimum makes the way to the end longest where its stage is not open yet."""
    tokenizer = make_tokenizer("byte_level", tags_as)
    grammar = compile_for(tokenizer, 140, {"context": StageBudget(min_tokens=60)})
    matcher = grammar.matcher()
    (newline,) = encode(tokenizer, "\n")
    spaces = 0
    while matcher.choice.mask_V[newline]:
        matcher.advance(newline)
        spaces += 1
    assert spaces > 10
    while not matcher.finished:
        assert matcher.choice.count
        matcher.advance(int(np.flatnonzero(matcher.choice.mask_V)[0]))


@MANY_STEPS
@ALL_FAMILIES
def test_the_shortest_completions_are_found(
    make_tokenizer: MakeTokenizer, family: str, tags_as: str
) -> None:
    tokenizer = make_tokenizer(family, tags_as)
    shortest = shortest_completion(tokenizer)
    grammar = compile_for(tokenizer, shortest)
    ids = walk(grammar, np.random.default_rng(0))
    assert len(ids) == shortest
    assert parse(completion_text(ids, tokenizer)).valid
    with pytest.raises(ValueError, match=f"has {shortest} tokens; raise it"):
        compile_for(tokenizer, shortest - 1)


@MANY_STEPS
@pytest.mark.parametrize(
    "text",
    [
        "<context>She smiles. Her voice is flat.</context><think>a < b</think><answer>B</answer>",
        "<context>x</contex </context>\n<think><table>1</table></think> <answer><<B</answer>",
        "<context>她在微笑。🙂</context><think>\n\nif a</b:\n\treturn</think><answer>é</answer>",
        "<context>\u00a0.</context><think></ think></think><answer>A,C</answer>",
    ],
)
@pytest.mark.parametrize("family", FAMILIES[:3])
def test_what_the_tokenizer_makes_of_valid_texts_is_allowed(
    make_tokenizer: MakeTokenizer, family: str, tags_as: str, text: str
) -> None:
    tokenizer = make_tokenizer(family, tags_as)
    ids = [*encode(tokenizer, text), tokenizer.eos_token_id]
    if tokenizer.unk_token_id in ids:
        pytest.skip("the tokenizer does not know these characters")
    matcher = feed(compile_for(tokenizer).matcher(), ids)
    assert matcher.finished


def test_special_and_padded_tokens_are_never_allowed(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer("byte_level", "text")
    matcher = compile_for(tokenizer).matcher()
    feed(matcher, encode(tokenizer, "<context>She"))
    assert not matcher.choice.mask_V[len(tokenizer) :].any()
    assert not matcher.choice.mask_V[tokenizer.all_special_ids].any()
    assert matcher.choice.count > 100


def test_a_full_stage_is_closed_at_once_by_the_tokenizers_own_tokens(
    make_tokenizer: MakeTokenizer,
) -> None:
    tokenizer = make_tokenizer("byte_level", "text")
    grammar = compile_for(tokenizer, budgets={"context": StageBudget(max_tokens=2)})
    matcher = feed(grammar.matcher(), encode(tokenizer, "<context>ab"))
    closing = encode(tokenizer, "</context>")
    assert len(closing) > 2
    for token_id in closing[:-1]:
        assert matcher.choice.only == token_id
        matcher.advance(token_id)


def test_the_tokenizers_own_spelling_is_preferred_to_longer_tokens(
    make_tokenizer: MakeTokenizer,
) -> None:
    """The vocabulary has "</cont", but its merges never come to it."""
    plain = make_tokenizer("byte_level", "text")
    state = json.loads(plain.backend_tokenizer.to_str())
    vocab = state["model"]["vocab"]
    vocab["</cont"] = vocab.pop("ÿ")  # a byte that is in no text
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token=plain.eos_token
    )
    grammar = compile_for(tokenizer, budgets={"context": StageBudget(max_tokens=1)})
    matcher = feed(grammar.matcher(), encode(tokenizer, "<context>a"))
    assert tokenizer.convert_ids_to_tokens(matcher.choice.only) == "</"


def test_a_stage_below_its_minimum_is_not_closed(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer("byte_level", "special")
    close = tokenizer.convert_tokens_to_ids("</context>")
    grammar = compile_for(tokenizer, budgets={"context": StageBudget(min_tokens=3)})
    matcher = feed(grammar.matcher(), encode(tokenizer, "<context>ab"))
    assert not matcher.choice.mask_V[close]
    with pytest.raises(ValueError, match="not allowed"):
        matcher.advance(close)
    feed(matcher, encode(tokenizer, "c"))
    assert matcher.choice.mask_V[close]


def test_a_tag_that_was_begun_and_given_up_counts_as_body(make_tokenizer: MakeTokenizer) -> None:
    """In "a</x" four tokens are body; as long as only "a</" is there, one is."""
    tokenizer = make_tokenizer("byte_level", "text")
    single = [tokenizer.convert_tokens_to_ids(char) for char in "a</x"]
    begun = [*encode(tokenizer, "<context>"), *single[:3]]
    for most, open_still in ((2, False), (3, False), (4, True)):
        grammar = compile_for(tokenizer, budgets={"context": StageBudget(max_tokens=most)})
        choice = feed(grammar.matcher(), begun).choice
        assert choice.mask_V[single[3]] == open_still
        assert choice.mask_V[single[1]] == (most > 2), "a second < makes the first one body"
        assert choice.mask_V[encode(tokenizer, "context>")[0]]


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ({"thinking": StageBudget()}, "no stage 'thinking'; there are context, think, answer"),
        ({"think": StageBudget(max_tokens=0)}, "'think' cannot have 0 to 0 tokens"),
        ({"think": StageBudget(5, 4)}, "'think' cannot have 5 to 4 tokens"),
        ({"think": StageBudget(500)}, "max_new_tokens is 400"),
    ],
)
def test_budgets_that_nothing_fits_are_refused(
    make_tokenizer: MakeTokenizer, budgets: dict[str, StageBudget], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        compile_for(make_tokenizer("byte_level", "text"), budgets=budgets)


@pytest.mark.parametrize("family", ["word_piece", "custom"])
def test_tokens_without_bytes_of_their_own_are_refused(
    make_tokenizer: MakeTokenizer, family: str
) -> None:
    with pytest.raises(ValueError, match="cannot be enforced"):
        compile_for(make_tokenizer(family, "text"))


def test_a_vocabulary_that_cannot_spell_a_tag_is_refused() -> None:
    words = {word: i for i, word in enumerate(["<unk>", "end", "a", *DEFAULT_FORMAT.tags[:-1]])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<unk>")),
        unk_token="<unk>",
        eos_token="end",
    )
    with pytest.raises(ValueError, match=r"cannot spell the tags .*add them as tokens"):
        compile_for(tokenizer)


@pytest.mark.parametrize(
    ("problem_type", "answers"),
    [
        (ProblemType.MULTIPLE_CHOICE, {"A", "B", "C"}),
        (ProblemType.YES_NO, {"yes", "no", "Yes", "No"}),
    ],
)
def test_answers_are_held_to_the_question(
    make_tokenizer: MakeTokenizer, problem_type: ProblemType, answers: set[str], tags_as: str
) -> None:
    tokenizer = make_tokenizer("byte_level", tags_as)
    short = {name: StageBudget(max_tokens=3) for name in ("context", "think")}
    grammar = compile_for(tokenizer, budgets=short, problem_type=problem_type)
    rng = np.random.default_rng(1)
    found = {parse(completion_text(walk(grammar, rng), tokenizer)).answer for _ in range(60)}
    assert found == answers


def test_a_number_ends_within_its_budget(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer("byte_level", "text")
    grammar = compile_for(
        tokenizer, 80, {"answer": StageBudget(max_tokens=4)}, problem_type=ProblemType.NUMERICAL
    )
    rng = np.random.default_rng(2)
    for _ in range(60):
        answer = parse(completion_text(walk(grammar, rng), tokenizer)).answer
        assert len(answer) <= 4
        float(answer)


def test_any_end_token_may_end(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer("byte_level", "special")
    ends = [tokenizer.pad_token_id, tokenizer.eos_token_id]
    grammar = compile_grammar(tokenizer, len(tokenizer), ends, 50)
    text = "<context>a</context><think>b</think><answer>C</answer>"
    choice = feed(grammar.matcher(), encode(tokenizer, text)).choice
    assert np.flatnonzero(choice.mask_V).tolist() == sorted(ends)
    assert choice.count == 2


def test_equal_choices_are_one_object(make_tokenizer: MakeTokenizer) -> None:
    """Far from and near to a budget: a long run must not fill the memory with equal masks."""
    tokenizer = make_tokenizer("byte_level", "text")
    grammar = compile_for(tokenizer, 60)
    texts = (f"<context>{'a' * n}" for n in (1, 5, 20, 30, 35))
    choices = [feed(grammar.matcher(), encode(tokenizer, text)).choice for text in texts]
    assert len({id(choice) for choice in choices}) == 1


def test_replay_gives_what_was_allowed(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer("byte_level", "text")
    grammar = compile_for(tokenizer, 60)
    ids = walk(grammar, np.random.default_rng(3))
    choices = grammar.replay(ids)
    assert len(choices) == len(ids)
    assert all(choice.mask_V[token_id] for choice, token_id in zip(choices, ids, strict=True))
    assert [choice.count for choice in choices] == [int(c.mask_V.sum()) for c in choices]
    assert any(choice.only is not None for choice in choices)
    again = grammar.replay(ids)
    assert all(one is other for one, other in zip(choices, again, strict=True)), "kept, not remade"
    with pytest.raises(ValueError, match="read-only"):
        choices[0].mask_V[0] = True
    with pytest.raises(ValueError, match="not allowed"):
        grammar.replay(ids[-1:])


# --- against every completion there is -----------------------------------------------------------

ONE = StageFormat((StageSpec("c", "<c>", "</c>"),), space_between=False)
TWO = StageFormat(
    (StageSpec("c", "<c>", "</c>"), StageSpec("d", "<d>", "</d>", may_be_empty=True)),
    space_between=False,
)
DOUBLED = StageFormat((StageSpec("c", "((c", "((d"),), space_between=False)
# Name -> format, tokens, the longest completions that are looked through.
VOCABULARIES = {
    "whole": (ONE, ["<c>", "</c>", "x", "<", "/c>", " "], 7),
    "straddling": (ONE, ["<c", ">", ">x", "x</", "c>", "<", "/"], 7),
    "doubled": (DOUBLED, ["(", "((", "c", "((d", "d", "x("], 7),
    "two": (TWO, ["<c>x", "<c>", "</c>", "</c><d>", "</d>", "x", "<d></d>", "<d>", "<d><"], 6),
}


def test_a_token_of_two_bodies_is_refused() -> None:
    tokenizer = small_tokenizer(["<c>", "x", "x</c><d>x", "x</c><d>", "</c><d>x", "</d>"])
    grammar = compile_for(tokenizer, 20, fmt=TWO)
    names = ["<c>", "x"]
    matcher = feed(grammar.matcher(), tokenizer.convert_tokens_to_ids(names))
    allowed = tokenizer.convert_ids_to_tokens(np.flatnonzero(matcher.choice.mask_V).tolist())
    assert allowed == ["x", "x</c><d>", "</c><d>x"]


def small_tokenizer(pieces: Sequence[str]) -> PreTrainedTokenizerFast:
    vocab = {piece: i for i, piece in enumerate(["$", *pieces])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="$"))
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="$")


def all_allowed(matcher: Matcher, ids: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    if matcher.finished:
        yield ids
        return
    for token_id in np.flatnonzero(matcher.choice.mask_V).tolist():
        yield from all_allowed(feed(copy(matcher), [token_id]), (*ids, token_id))


def all_within(
    tokenizer: PreTrainedTokenizerFast,
    fmt: StageFormat,
    budget: StageBudget,
    longest: int,
    may_go_on: Callable[[str], bool],
) -> set[str]:
    """Every valid text that some tokens within the budget spell, found without the masks."""
    found: set[str] = set()
    waiting: list[tuple[int, ...]] = [()]
    while waiting:
        ids = waiting.pop()
        text = completion_text(ids, tokenizer, fmt)
        if parse(text, fmt).valid:
            count = stage_ids(ids, tokenizer, fmt).count(1)
            if budget.min_tokens <= count <= budget.max_tokens:
                found.add(text)
        elif len(ids) < longest - 1 and may_go_on(text):
            waiting.extend((*ids, token_id) for token_id in range(1, len(tokenizer)))
    return found


@pytest.mark.parametrize("name", VOCABULARIES)
@pytest.mark.parametrize(
    ("shorter", "least", "most"), [(0, 0, FAR), (1, 0, FAR), (0, 0, 1), (0, 2, 3), (0, 2, 2)]
)
def test_the_masks_allow_exactly_the_completions_within_the_budgets(
    name: str, shorter: int, least: int, most: int
) -> None:
    fmt, pieces, longest = VOCABULARIES[name]
    tokenizer = small_tokenizer(pieces)
    grammar = compile_for(tokenizer, longest - shorter, {"c": StageBudget(least, most)}, fmt)
    automaton = grammar.graph.automaton

    def may_go_on(text: str) -> bool:
        state = automaton.start
        for byte in text.encode():
            state = int(automaton.table[state, byte])
        return state != DEAD

    expected = all_within(
        tokenizer, fmt, StageBudget(least, most), grammar.max_new_tokens, may_go_on
    )
    allowed = list(all_allowed(grammar.matcher()))
    for ids in allowed:
        assert len(ids) <= grammar.max_new_tokens
        assert least <= stage_ids(ids, tokenizer, fmt).count(1) <= most
    assert {completion_text(ids, tokenizer, fmt) for ids in allowed} == expected
    assert expected
