"""Tokens and stages agree with `parse`, for every family of tokenizers."""

import gc
import re
import weakref
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, decoders
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

from triptych.stages import (
    DEFAULT_FORMAT,
    StageFormat,
    StageSpec,
    completion_text,
    parse,
    stage_ids,
    token_pieces,
)

MakeTokenizer = Callable[[str, str], PreTrainedTokenizerFast]

PROPERTY = settings(deadline=None, max_examples=60)
ANY_TAG = "|".join(map(re.escape, DEFAULT_FORMAT.tags))
COMPLETIONS = [
    "<context>She smiles.</context><think>Flat voice, so not glad.</think><answer>B</answer>",
    "<context>她微笑🙂。</context><think>é → 语气平淡 👩‍👩‍👧</think><answer>A,C</answer>",
    " <context>\n he frowns </context>\n<think> ... </think>\n<answer> no </answer>\n",
    "<context>a <think> b </context> voice </think> flat <answer>A",
    "<think>a</think><answer>B</answer><answer>C</answer> the",
]
TEXTS = st.lists(
    st.sampled_from(
        [
            *DEFAULT_FORMAT.tags * 2,
            *("<", "</", ".", ">", " ", "\n", "<think", "B", "she smiles", " voice", "微笑", "🙂"),
        ]
    ),
    max_size=14,
).map("".join)


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer.encode(text, add_special_tokens=False))


def read_characters(data: bytes) -> Iterator[tuple[str, int]]:
    """Each character that `data` decodes to, with its number of bytes, one after the other."""
    while data:
        try:
            char = data.decode()[0]
            size = len(char.encode())
        except UnicodeDecodeError as error:
            if error.start:
                yield from read_characters(data[: error.start])
            char, size = "\ufffd", error.end - error.start
            data = data[error.start :]
        yield char, size
        data = data[size:]


def expected_stages(pieces: Sequence[bytes], fmt: StageFormat = DEFAULT_FORMAT) -> list[int]:
    """The rule read literally: the region of every byte, then the last body in each token."""
    characters = list(read_characters(b"".join(pieces)))
    text = "".join(char for char, _ in characters)
    spans = parse(text, fmt).spans
    byte_regions: list[int] = []
    for index, (_, size) in enumerate(characters):
        inside = [
            region
            for region, name in enumerate(fmt.names, 1)
            if (span := spans[name]) and span[0] <= index < span[1]
        ]
        byte_regions += [inside[0] if inside else 0] * size
    stages: list[int] = []
    for piece in pieces:
        carried = [byte_regions.pop(0) for _ in piece]
        stages.append(next((region for region in reversed(carried) if region), 0))
    return stages


def check(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> None:
    pieces = token_pieces(ids, tokenizer)
    text = "".join(char for char, _ in read_characters(b"".join(pieces)))
    assert completion_text(ids, tokenizer) == text
    assert stage_ids(ids, tokenizer) == expected_stages(pieces)


class CountingDecoder:
    """The byte-level decoder, written in Python; counts the tokens that it is given."""

    def __init__(self) -> None:
        self.num_tokens = 0

    def decode_chain(self, tokens: list[str]) -> list[str]:
        self.num_tokens += len(tokens)
        return [decoders.ByteLevel().decode(tokens)]


# --- agreement with parse --------------------------------------------------------------------


@given(TEXTS)
@PROPERTY
def test_stages_agree_with_parse(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    check(tokenizer, encode(tokenizer, text))


@given(st.data())
@PROPERTY
def test_stages_agree_with_parse_for_any_ids(
    tokenizer: PreTrainedTokenizerFast, data: st.DataObject
) -> None:
    tags = [encode(tokenizer, tag) for tag in DEFAULT_FORMAT.tags]
    anything = st.integers(0, len(tokenizer) + 3).map(lambda token_id: [token_id])
    parts = data.draw(st.lists(st.one_of(anything, st.sampled_from(tags)), max_size=30))
    check(tokenizer, [token_id for part in parts for token_id in part])


@pytest.mark.parametrize("text", COMPLETIONS)
def test_stages_agree_with_parse_wherever_a_completion_is_cut(
    tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    ids = encode(tokenizer, text)
    for length in range(len(ids) + 1):
        check(tokenizer, ids[:length])


def test_no_tokens_have_no_stages(tokenizer: PreTrainedTokenizerFast) -> None:
    assert token_pieces([], tokenizer) == []
    assert stage_ids([], tokenizer) == []
    assert completion_text([], tokenizer) == ""


# --- agreement with the tokenizer ------------------------------------------------------------


@pytest.mark.parametrize("text", COMPLETIONS)
def test_the_text_is_that_of_decode(tokenizer: PreTrainedTokenizerFast, text: str) -> None:
    # After another token, because some decoders drop the space at the start of a text.
    [*_, start] = encode(tokenizer, "a")
    ids = encode(tokenizer, text)
    # The unknown token is a special token: the only one here that is not a tag.
    known = [token_id for token_id in ids if token_id != tokenizer.unk_token_id]
    decoded = tokenizer.decode([start, *known], clean_up_tokenization_spaces=False)
    expected = decoded.removeprefix(tokenizer.decode([start]))
    if tokenizer.backend_tokenizer.model.__class__.__name__.startswith("Word"):
        # Words are joined by spaces, save beside tags and at the start.
        expected = re.sub(f" *({ANY_TAG}) *", r"\1", expected).lstrip()
    assert completion_text(ids, tokenizer) == expected


def test_the_pieces_of_byte_level_tokens_are_exact(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer("byte_level", "text")
    every_byte = sorted(
        token_pieces([token_id], tokenizer)[0]
        for token, token_id in tokenizer.get_vocab().items()
        if len(token) == 1
    )
    assert every_byte == [bytes([byte]) for byte in range(256)]
    pieces = token_pieces(encode(tokenizer, "🙂"), tokenizer)
    assert len(pieces) > 1
    assert b"".join(pieces) == "🙂".encode()


def test_byte_tokens_are_bytes(make_tokenizer: MakeTokenizer) -> None:
    for family in ("sentencepiece_bpe", "unigram"):
        tokenizer = make_tokenizer(family, "text")
        ids = tokenizer.convert_tokens_to_ids(["<0xF0>", "<0x9F>", "<0x99>", "<0x82>"])
        assert token_pieces(ids, tokenizer) == [b"\xf0", b"\x9f", b"\x99", b"\x82"]
        assert completion_text(ids, tokenizer) == "🙂"
        assert completion_text(ids[:3], tokenizer) == "\ufffd"
    tokenizer = make_tokenizer("sentencepiece_bpe", "text")
    tokenizer.backend_tokenizer.decoder = decoders.Replace("▁", " ")  # knows of no byte tokens
    assert completion_text(tokenizer.convert_tokens_to_ids(["<0xF0>"]), tokenizer) == "<0xF0>"


# --- the rule for tokens that straddle a tag -------------------------------------------------


@pytest.mark.parametrize(
    ("body_and_tags", "straddling", "stage"),
    [
        ("<context>a.</context>", ".</", 1),  # the end of a body and the start of its tag
        ("<context>a</context><think>b", "><", 0),  # two tags, no body
        ("<answer>B</answer>", ">B", 3),  # the tag and the whole answer
        ("<context>a</context><think> flat", ">", 0),  # the tag alone
    ],
)
def test_a_token_that_carries_any_byte_of_a_body_is_of_its_stage(
    make_tokenizer: MakeTokenizer, body_and_tags: str, straddling: str, stage: int
) -> None:
    tokenizer = make_tokenizer("byte_level", "text")
    ids = encode(tokenizer, body_and_tags)
    tokens = tokenizer.convert_ids_to_tokens(ids)
    assert straddling in tokens
    assert stage_ids(ids, tokenizer)[tokens.index(straddling)] == stage


def test_a_token_with_bytes_of_two_bodies_is_of_the_later_stage(
    make_tokenizer: MakeTokenizer,
) -> None:
    tokenizer = make_tokenizer("byte_level", "text")
    wide = "x</context><think>y"
    tokenizer.add_tokens([wide])
    ids = encode(tokenizer, f"<context>a{wide}b")
    assert tokenizer.convert_ids_to_tokens(ids)[-2:] == [wide, "b"]
    assert stage_ids(ids, tokenizer)[-3:] == [1, 2, 2]


def test_the_bytes_of_one_character_can_lie_in_a_tag_token(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer("byte_level", "text")
    ids = encode(tokenizer, "<think>微")
    cut = tokenizer.convert_ids_to_tokens(ids).index(">å") + 1
    assert cut < len(ids)
    assert stage_ids(ids, tokenizer)[cut - 1 :] == [2] * (len(ids) - cut + 1)
    assert stage_ids(ids[:cut], tokenizer)[-1] == 2
    assert completion_text(ids[:cut], tokenizer) == "<think>\ufffd"


# --- special tokens --------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["byte_level", "sentencepiece_bpe", "unigram", "custom"])
@pytest.mark.parametrize("tags_as", ["special", "added"])
def test_tags_can_be_tokens(make_tokenizer: MakeTokenizer, family: str, tags_as: str) -> None:
    tokenizer = make_tokenizer(family, tags_as)
    ids: list[int] = []
    expected: list[int] = []
    for region, body in enumerate(["she smiles", "微笑", "B"], 1):
        opening, closing = tokenizer.convert_tokens_to_ids(
            list(DEFAULT_FORMAT.tags[2 * region - 2 : 2 * region])
        )
        body_ids = encode(tokenizer, body)
        ids += [opening, *body_ids, closing]
        expected += [0, *[region] * len(body_ids), 0]
    assert stage_ids(ids, tokenizer) == expected
    assert parse(completion_text(ids, tokenizer)).valid


def test_other_special_tokens_are_outside_and_have_no_text(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    tags = [encode(tokenizer, tag) for tag in DEFAULT_FORMAT.tags]
    word = encode(tokenizer, "voice")
    end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    beyond = len(tokenizer) + 5
    plain = [*tags[0], *word]
    ids = [*tags[0], pad, *word, beyond, end, end]
    stages = stage_ids(ids, tokenizer)
    assert completion_text(ids, tokenizer) == completion_text(plain, tokenizer)
    assert stages[len(tags[0])] == 0
    assert stages[-3:] == [0, 0, 0]
    assert [stage for stage, i in zip(stages, ids, strict=True) if i in word] == [1] * len(word)


def test_a_negative_id_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="-100 is no token id"):
        stage_ids([1, -100, 2], tokenizer)


def test_tags_of_another_format_are_found(make_tokenizer: MakeTokenizer) -> None:
    # Decoded as bytes, an added token with letters such as "é" would become garbage.
    fmt = StageFormat((StageSpec("notes", "«été»", "«/été»"), StageSpec("reply", "[r]", "[/r]")))
    tokenizer = make_tokenizer("byte_level", "text")
    tokenizer.add_special_tokens({"additional_special_tokens": list(fmt.tags)})
    ids = encode(tokenizer, fmt.render({"notes": "a smile", "reply": "B"}))
    assert parse(completion_text(ids, tokenizer, fmt), fmt).valid
    assert stage_ids(ids, tokenizer, fmt) == expected_stages(token_pieces(ids, tokenizer, fmt), fmt)
    assert max(stage_ids(ids, tokenizer, fmt)) == 2
    # For the default format they are special tokens like any other.
    assert completion_text(ids, tokenizer) == "a smileB"


@pytest.mark.parametrize(
    ("family", "words"), [("word_level", "he smiles"), ("word_piece", "He is")]
)
def test_words_beside_a_tag_keep_the_space_out_of_the_tag(
    make_tokenizer: MakeTokenizer, family: str, words: str
) -> None:
    tokenizer = make_tokenizer(family, "text")
    ids = encode(tokenizer, f"<context> {words} </context> {words}")
    assert completion_text(ids, tokenizer) == f"<context>{words}</context>{words}"
    assert stage_ids(ids, tokenizer) == [0, 1, 1, 0, 0, 0]


def test_words_keep_their_space_across_a_special_token(make_tokenizer: MakeTokenizer) -> None:
    for family, words in (("word_level", "he smiles"), ("word_piece", "He is")):
        tokenizer = make_tokenizer(family, "text")
        first, second = encode(tokenizer, words)
        assert completion_text([first, tokenizer.pad_token_id, second], tokenizer) == words


def test_words_that_hold_a_tag(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer("word_level", "text")
    ids = encode(tokenizer, "<answer>B happy</answer> <answer>B")
    assert completion_text(ids, tokenizer) == "<answer>B happy</answer><answer>B"
    assert stage_ids(ids, tokenizer) == [3, 3, 0]


# --- the table and the steps -----------------------------------------------------------------


def test_tokens_added_later_are_seen(make_tokenizer: MakeTokenizer) -> None:
    tokenizer = make_tokenizer("byte_level", "text")
    new_id = len(tokenizer)
    assert token_pieces([new_id], tokenizer) == [b""]
    tokenizer.add_tokens(["hello there"])
    assert token_pieces([new_id], tokenizer) == [b"hello there"]
    tokenizer.add_special_tokens({"additional_special_tokens": ["hello there"]})
    assert token_pieces([new_id], tokenizer) == [b""]


def test_the_cache_lets_go_of_tokenizers(make_tokenizer: MakeTokenizer) -> None:
    for family in ("byte_level", "custom"):
        tokenizer = make_tokenizer(family, "text")
        stage_ids(encode(tokenizer, COMPLETIONS[0]), tokenizer)
        alive = weakref.ref(tokenizer)
        del tokenizer
        gc.collect()
        assert alive() is None


@pytest.mark.parametrize("text", COMPLETIONS)
def test_decoding_by_steps_gives_the_same_stages(make_tokenizer: MakeTokenizer, text: str) -> None:
    by_table, by_steps = make_tokenizer("byte_level", "text"), make_tokenizer("custom", "text")
    ids = encode(by_table, text)
    assert completion_text(ids, by_steps) == completion_text(ids, by_table)
    assert stage_ids(ids, by_steps) == stage_ids(ids, by_table)


def test_tokens_that_share_a_character_share_its_bytes(make_tokenizer: MakeTokenizer) -> None:
    by_table, by_steps = make_tokenizer("byte_level", "text"), make_tokenizer("custom", "text")
    ids = encode(by_table, "<think>微 flat 🙂</think>")
    assert ">å" in by_table.convert_ids_to_tokens(ids)
    assert token_pieces(ids, by_steps) == token_pieces(ids, by_table)


@pytest.mark.parametrize("text", COMPLETIONS)
def test_a_tokenizer_without_a_fast_backend(text: str) -> None:
    tokenizer = ByT5Tokenizer(extra_ids=0)  # each byte a token, incomplete characters dropped
    ids = tokenizer.encode(text)
    pieces = token_pieces(ids, tokenizer)
    assert pieces == [*(bytes([byte]) for byte in text.encode()), b""]
    assert stage_ids(ids, tokenizer) == expected_stages(pieces)


@pytest.mark.parametrize("text", ["she smiles ", "微笑🙂", "\ufffd"])
def test_decoding_by_steps_has_linear_cost(make_tokenizer: MakeTokenizer, text: str) -> None:
    tokenizer = make_tokenizer("custom", "text")
    decoder = CountingDecoder()
    tokenizer.backend_tokenizer.decoder = decoders.Decoder.custom(decoder)
    ids = encode(tokenizer, text * 100)
    decoded = completion_text(ids, tokenizer)
    # Without seeing bytes, U+FFFD in a text cannot be told from a character that is incomplete.
    assert decoded == text * 100 or set(decoded) == set(text) == {"\ufffd"}
    assert decoder.num_tokens <= 12 * len(ids)


@pytest.mark.parametrize(
    "decoder",
    [
        decoders.Sequence([decoders.Replace(Regex("▁+"), " "), decoders.Fuse()]),
        decoders.Sequence([decoders.Replace("▁", " "), decoders.Strip(" ", 1, 0), decoders.Fuse()]),
        decoders.BPEDecoder(suffix="</w>"),
    ],
)
def test_decoders_of_unknown_parts_are_decoded_by_steps(
    make_tokenizer: MakeTokenizer, decoder: decoders.Decoder
) -> None:
    tokenizer = make_tokenizer("sentencepiece_bpe", "special")
    tokenizer.backend_tokenizer.decoder = decoder
    ids = encode(tokenizer, "<context>she smiles</context>")
    text = completion_text(ids, tokenizer)
    assert text == tokenizer.decode(ids)
    check(tokenizer, ids)
    assert sorted(set(stage_ids(ids, tokenizer))) == [0, 1]
