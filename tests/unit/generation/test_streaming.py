"""Text comes early, by stage, and all together is what `completion_text` and `parse` say."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, ByT5Tokenizer, PreTrainedTokenizerFast

from triptych.generation.streaming import Increment, StageStream
from triptych.stages import DEFAULT_FORMAT, completion_text, parse, stage_ids, token_pieces

PROPERTY = settings(deadline=None, max_examples=150)
TAGS = DEFAULT_FORMAT.tags
PARTS = ("<", "</", ">", "<think", "ontext>", " ", "\n", "B", "she smiles", "微笑", "🙂", "\ufffd")
BODY = st.lists(st.sampled_from(PARTS), min_size=1, max_size=8).map("".join)
BODIES = st.tuples(BODY, BODY, BODY).filter(lambda bodies: all(map(_may_be_a_body, bodies)))
ANYTHING = st.lists(st.sampled_from([*TAGS * 2, *PARTS]), max_size=14).map("".join)
SPACE = st.sampled_from(["", "\n", " \n "])


def _may_be_a_body(text: str) -> bool:
    return bool(text.strip()) and not any(tag in text for tag in TAGS)


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> Any:
    """Byte level; no tag is one token."""
    return AutoTokenizer.from_pretrained(tiny_folder)


@pytest.fixture(scope="module")
def byte_ids(tokenizer: Any) -> Callable[[str], list[int]]:
    """Spells a text by tokens of one byte each."""
    one_byte = {token_pieces([i], tokenizer)[0]: i for i in range(len(tokenizer))}
    return lambda text: [one_byte[bytes([byte])] for byte in text.encode()]


def stream(tokenizer: Any, token_ids: Iterable[int]) -> list[Increment]:
    reader = StageStream(tokenizer)
    increments = [one for token_id in token_ids for one in reader.feed(token_id)]
    return increments + reader.finish()


def texts(increments: Sequence[Increment]) -> dict[int, str]:
    """All text of each region."""
    regions = dict.fromkeys(range(4), "")
    for region, text in increments:
        regions[region] += text
    return regions


def bodies_in_place(text: str) -> dict[int, str]:
    """The bodies that `parse` finds, white space included, by region."""
    spans = parse(text).spans
    return {
        region: text[slice(*span)] if (span := spans[name]) else ""
        for region, name in enumerate(DEFAULT_FORMAT.names, start=1)
    }


@PROPERTY
@given(data=st.data())
def test_random_tokens_give_the_text_of_the_completion(tokenizer: Any, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=60))
    increments = stream(tokenizer, ids)
    assert "".join(one.text for one in increments) == completion_text(ids, tokenizer)
    assert all(one.text for one in increments)


@PROPERTY
@given(text=ANYTHING)
def test_tags_come_alone_and_whole_and_no_text_holds_one(tokenizer: Any, text: str) -> None:
    ids = tokenizer.encode(text, add_special_tokens=False)
    increments = stream(tokenizer, ids)
    assert "".join(one.text for one in increments) == text
    found = [one.text for one in increments if one.text in TAGS]
    assert len(found) == sum(text.count(tag) for tag in TAGS)
    assert all(one.region == 0 for one in increments if one.text in TAGS)
    if all(text.count(stage.open_tag) <= 1 for stage in DEFAULT_FORMAT.stages):
        regions = texts(increments)
        assert {region: regions[region] for region in (1, 2, 3)} == bodies_in_place(text)


@PROPERTY
@given(bodies=BODIES, space=SPACE, bytewise=st.booleans())
def test_the_stages_of_a_valid_completion_are_those_of_parse(
    tokenizer: Any,
    byte_ids: Callable[[str], list[int]],
    bodies: tuple[str, str, str],
    space: str,
    bytewise: bool,
) -> None:
    stages = zip(DEFAULT_FORMAT.stages, bodies, strict=True)
    text = space.join(f"{stage.open_tag}{body}{stage.close_tag}" for stage, body in stages)
    assert parse(text).valid
    ids = byte_ids(text) if bytewise else tokenizer.encode(text, add_special_tokens=False)
    regions = texts(stream(tokenizer, ids))
    assert {region: regions[region] for region in (1, 2, 3)} == bodies_in_place(text)
    if bytewise:  # no token is in two regions, so that stage_ids say which bytes are whose
        pieces = zip(stage_ids(ids, tokenizer), token_pieces(ids, tokenizer), strict=True)
        joined = dict.fromkeys(range(4), b"")
        for region, piece in pieces:
            joined[region] += piece
        assert {region: data.decode() for region, data in joined.items()} == regions


def word_tokenizer() -> PreTrainedTokenizerFast:
    words = ["<unk>", "she", "smiles", "B", *TAGS]
    backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


@pytest.mark.parametrize("make", [word_tokenizer, ByT5Tokenizer])
@settings(deadline=None, max_examples=50)
@given(data=st.data())
def test_tokens_whose_text_depends_on_their_neighbours(
    make: Callable[[], Any], data: st.DataObject
) -> None:
    """Words with spaces between them; bytes that are decoded together."""
    other = make()
    ids = data.draw(st.lists(st.integers(0, len(other) - 1), max_size=40))
    increments = stream(other, ids)
    assert "".join(one.text for one in increments) == completion_text(ids, other)


def shown_after_each(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    reader, shown = StageStream(tokenizer), [""]
    for token_id in ids:
        shown.append(shown[-1] + "".join(one.text for one in reader.feed(token_id)))
    return shown[1:]


def test_text_is_given_as_it_comes(tokenizer: Any, byte_ids: Callable[[str], list[int]]) -> None:
    text = "he smiles"
    assert shown_after_each(tokenizer, byte_ids(text)) == [text[: i + 1] for i in range(len(text))]


def test_what_may_become_a_tag_is_held_back_until_that_is_known(
    tokenizer: Any, byte_ids: Callable[[str], list[int]]
) -> None:
    shown = shown_after_each(tokenizer, byte_ids("a</contex"))
    assert shown == ["a"] * 9
    shown = shown_after_each(tokenizer, byte_ids("a</contexts"))
    assert shown[-2:] == ["a", "a</contexts"]
    shown = shown_after_each(tokenizer, byte_ids("a<<think>"))
    assert shown == ["a", "a", "a<", "a<", "a<", "a<", "a<", "a<", "a<<think>"]


def test_a_character_is_held_back_until_it_is_whole(
    tokenizer: Any, byte_ids: Callable[[str], list[int]]
) -> None:
    assert shown_after_each(tokenizer, byte_ids("é🙂")) == ["", "é", "é", "é", "é", "é🙂"]


def test_at_the_end_everything_comes(tokenizer: Any, byte_ids: Callable[[str], list[int]]) -> None:
    reader = StageStream(tokenizer)
    for token_id in byte_ids("<think>a</thi🙂")[:-1]:
        reader.feed(token_id)
    assert reader.finish() == [Increment(2, "</thi\ufffd")]
    assert reader.finish() == []


def test_a_stage_that_is_never_closed_ends_at_the_next_tag(tokenizer: Any) -> None:
    ids = tokenizer.encode("x<context>a<think>b</think>c<answer>d", add_special_tokens=False)
    assert texts(stream(tokenizer, ids)) == {
        0: "x<context><think></think>c<answer>",
        1: "a",
        2: "b",
        3: "d",
    }
