"""Which stage each token of a completion belongs to, for any Hugging Face tokenizer.

Tokens and tags do not line up: ".</" or ">B" can be one token, and one character can be spread
over several. So the alignment is done in bytes. `token_pieces` gives the bytes that each token
contributes; joined and decoded they are the completion's text (`completion_text`), and the same
bytes tell each token's stage (`stage_ids`). Text and stages therefore never disagree, even where
a completion ends inside a character.

What a token contributes:

* A token that is a tag of the format: the tag, whether it is a special token or not.
* Any other special token (end, padding, media placeholder), and an id beyond the vocabulary: none.
* Any other token: what the tokenizer's decoder makes of it, see `_Reading`.

The text is that of `tokenizer.decode`, save for the special tokens above and two kinds of space.
A decoder that drops the space at the start of a text does so only there, and a completion goes
on after a prompt: its first space counts. A decoder that puts spaces between words puts none
beside a tag, or the tag's own token would carry a byte of the body.
"""

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from triptych.stages.format import DEFAULT_FORMAT, Region, StageFormat, parse

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UTF8_MAX_BYTES = 4
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def token_pieces(
    token_ids: Sequence[int],
    tokenizer: "PreTrainedTokenizerBase",
    fmt: StageFormat = DEFAULT_FORMAT,
) -> list[bytes]:
    """The bytes that each token contributes to the completion's text, in UTF-8.

    Raises:
        ValueError: a negative id, such as the -100 of masked labels.
    """
    if token_ids and min(token_ids) < 0:
        raise ValueError(f"{min(token_ids)} is no token id; pass the ids of the completion alone")
    reading = _reading(tokenizer, fmt)
    if reading.table is None:
        return _decode_stepwise(token_ids, reading.fixed, tokenizer)
    pieces = [reading.table[token_id] for token_id in token_ids]
    return _space_words(pieces, fmt) if reading.words else pieces


def completion_text(
    token_ids: Sequence[int],
    tokenizer: "PreTrainedTokenizerBase",
    fmt: StageFormat = DEFAULT_FORMAT,
) -> str:
    """The text of a completion, as `parse` must see it. Bytes that are no UTF-8 become U+FFFD."""
    return b"".join(token_pieces(token_ids, tokenizer, fmt)).decode("utf-8", "replace")


def vocabulary_pieces(
    tokenizer: "PreTrainedTokenizerBase", size: int, fmt: StageFormat = DEFAULT_FORMAT
) -> tuple[list[bytes], bool]:
    """The bytes of each id below `size`, and whether a space goes between them (word level).

    Raises:
        ValueError: what a token contributes depends on its neighbours in other ways.
    """
    reading = _reading(tokenizer, fmt)
    if reading.table is None:
        raise ValueError(
            f"the tokens of {type(tokenizer).__name__} have no bytes of their own, so the format "
            "cannot be enforced; use a byte-level or SentencePiece tokenizer, or enforce nothing"
        )
    return [reading.table[token_id] for token_id in range(size)], reading.words


def stage_ids(
    token_ids: Sequence[int],
    tokenizer: "PreTrainedTokenizerBase",
    fmt: StageFormat = DEFAULT_FORMAT,
) -> list[int]:
    """The `Region` of each token: i for the i-th stage of the format, 0 for outside.

    A token that carries any byte of a body, white space included, belongs to that stage; one
    that carries bytes of two bodies, to the later one. By its first byte the token ">B" would
    belong to the tag, and an answer of one letter would have no token at all. A token that
    contributes no bytes is outside. A last body that is never closed is still its stage.

    Raises:
        ValueError: a negative id.
    """
    pieces = token_pieces(token_ids, tokenizer, fmt)
    # Unlike "replace", which `completion_text` uses, "surrogateescape" keeps the number of bytes:
    # offsets can be turned back into bytes. Both put only characters that are neither white space
    # nor part of a tag in place of invalid bytes, so that `parse` finds the same bodies.
    text = b"".join(pieces).decode("utf-8", "surrogateescape")
    bounds = [0, *accumulate(map(len, pieces))]
    starts, ends = bounds[:-1], bounds[1:]
    regions = [int(Region.OUTSIDE)] * len(pieces)
    spans = parse(text, fmt).spans
    numbered = [(span, region) for region, name in enumerate(fmt.names, 1) if (span := spans[name])]
    for (start, end), region in sorted(numbered):  # in text order: the later body overwrites
        if start == end:
            continue  # no byte is in it, though a token such as "><" can reach across it
        first = bisect_right(ends, _num_bytes(text[:start]))
        stop = bisect_left(starts, _num_bytes(text[:end]))
        regions[first:stop] = [region] * (stop - first)
    return [
        region if piece else int(Region.OUTSIDE)
        for region, piece in zip(regions, pieces, strict=True)
    ]


def _num_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


class _TokenTable(dict[int, bytes]):
    """The bytes of each token, found on first use and kept: no sweep over a large vocabulary."""

    def __init__(
        self,
        fixed: Mapping[int, bytes],
        to_token: Callable[[int], str | None],
        decode: Callable[[str], bytes],
    ) -> None:
        super().__init__(fixed)
        self._to_token = to_token
        self._decode = decode

    def __missing__(self, token_id: int) -> bytes:
        token = self._to_token(token_id)
        piece = b"" if token is None else self._decode(token)
        self[token_id] = piece
        return piece


@dataclass(frozen=True)
class _Reading:
    """How a tokenizer's ids become bytes: its decoder, which turns tokens into text, decides.

    * ByteLevel (GPT-2, Qwen, Llama 3): each character of a token stands for one byte.
    * Replace, Metaspace, ByteFallback (SentencePiece: Llama 2, Gemma, T5): a mark stands for a
      space, "<0x0A>" for one byte.
    * None (word level): tokens are words, with a space between them.
    * Anything else (WordPiece, decoders written in Python, tokenizers without a fast backend):
      there is no table, and completions are decoded step by step, at many times the cost.

    It must not hold the tokenizer itself, or the weak cache below would never let go of it.
    """

    fixed: Mapping[int, bytes]
    table: _TokenTable | None
    words: bool


# Per tokenizer and format: the state of the tokenizer that was read, and how it reads.
_READINGS: WeakKeyDictionary[Any, dict[StageFormat, tuple[object, _Reading]]] = WeakKeyDictionary()


def _reading(tokenizer: "PreTrainedTokenizerBase", fmt: StageFormat) -> _Reading:
    """The cached reading; made anew when tokens were added or special tokens redefined."""
    state = (len(tokenizer), tuple(tokenizer.all_special_ids))
    readings = _READINGS.setdefault(tokenizer, {})
    if fmt not in readings or readings[fmt][0] != state:
        readings[fmt] = (state, _read_tokenizer(tokenizer, fmt))
    return readings[fmt][1]


def _read_tokenizer(tokenizer: "PreTrainedTokenizerBase", fmt: StageFormat) -> _Reading:
    fixed = _fixed_pieces(tokenizer, fmt)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return _Reading(fixed, table=None, words=False)
    words = backend.decoder is None
    decode = str.encode if words else _token_decoder(backend.decoder)
    table = _TokenTable(fixed, backend.id_to_token, decode) if decode else None
    return _Reading(fixed, table, words)


def _fixed_pieces(tokenizer: "PreTrainedTokenizerBase", fmt: StageFormat) -> dict[int, bytes]:
    """Tokens whose bytes do not depend on the decoder: special tokens, then those that are tags."""
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    fixed = dict.fromkeys(special.union(tokenizer.all_special_ids), b"")
    for tag in fmt.tags:
        token_id = tokenizer.convert_tokens_to_ids(tag)
        # A tag that is no token has no id, or that of the unknown token.
        if isinstance(token_id, int) and tokenizer.convert_ids_to_tokens(token_id) == tag:
            fixed[token_id] = tag.encode()
    return fixed


def _token_decoder(decoder: Any) -> Callable[[str], bytes] | None:
    """What a decoder does to one token, or None where it is not known to do so token by token."""
    try:
        # Decoders have no public view of their parts; what they pickle to is their JSON form.
        state = json.loads(decoder.__getstate__())
    except Exception:  # tokenizers raises just this for a decoder written in Python
        return None
    steps = list(_flatten(state))
    if [step["type"] for step in steps] == ["ByteLevel"]:
        return _byte_level_bytes
    return _sentencepiece_decoder(steps)


def _flatten(step: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The steps of a decoder in order, sequences within sequences opened."""
    if step["type"] == "Sequence":
        for inner in step["decoders"]:
            yield from _flatten(inner)
    else:
        yield step


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's characters for the 256 bytes: printable ones stand for themselves."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1)]
    printable += range(ord("®"), ord("ÿ") + 1)
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {chr(byte): byte for byte in printable}
    return alphabet | {chr(256 + index): byte for index, byte in enumerate(others)}


_BYTE_OF = _byte_alphabet()


def _byte_level_bytes(token: str) -> bytes:
    if all(char in _BYTE_OF for char in token):
        return bytes(_BYTE_OF[char] for char in token)
    return token.encode()  # an added token, stored as plain text


def _sentencepiece_decoder(steps: Sequence[dict[str, Any]]) -> Callable[[str], bytes] | None:
    """A decoder made of replacements and byte tokens; None when it holds any other step."""
    replacements: list[tuple[str, str]] = []
    byte_fallback = fused = False
    for step in steps:
        match step:
            case {"type": "Replace", "pattern": {"String": old}, "content": new} if not fused:
                replacements.append((old, new))
            case {"type": "Metaspace", "replacement": mark} if not fused:
                replacements.append((mark, " "))
            case {"type": "ByteFallback"} if not fused:
                byte_fallback = True
            case {"type": "Fuse"}:
                fused = True
            case {"type": "Strip", "content": " ", "stop": 0} if fused:
                pass  # strips the start of the whole text, which a completion is not
            case _:
                return None

    def decode(token: str) -> bytes:
        if byte_fallback and (byte := _BYTE_TOKEN.fullmatch(token)):
            return bytes.fromhex(byte[1])
        for old, new in replacements:
            token = token.replace(old, new)
        return token.encode()

    return decode


def _space_words(words: Sequence[bytes], fmt: StageFormat) -> list[bytes]:
    """Put a space before each word, save the first and where a tag stands on either side."""
    tags = tuple(tag.encode() for tag in fmt.tags)
    pieces: list[bytes] = []
    previous = b""
    for word in words:
        apart = previous and word and not previous.endswith(tags) and not word.startswith(tags)
        pieces.append(b" " + word if apart else word)
        previous = word or previous  # a special token has no word
    return pieces


def _decode_stepwise(
    token_ids: Sequence[int], fixed: Mapping[int, bytes], tokenizer: "PreTrainedTokenizerBase"
) -> list[bytes]:
    """Decode the stretches between tags one token at a time; see `_increments`."""

    def decode(ids: Sequence[int]) -> str:
        # The clean-up would drop spaces before punctuation, which depends on later tokens.
        return str(tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))

    pieces = [fixed.get(token_id, b"") for token_id in token_ids]
    visible = [i for i, token_id in enumerate(token_ids) if fixed.get(token_id) != b""]
    for are_tags, positions in groupby(visible, key=lambda i: token_ids[i] in fixed):
        if not are_tags:
            stretch = list(positions)
            increments = _increments([token_ids[i] for i in stretch], decode)
            for position, piece in zip(stretch, increments, strict=True):
                pieces[position] = piece
    return pieces


def _increments(
    token_ids: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> Iterator[bytes]:
    """The bytes that each further token adds to the decoded text.

    Only the tokens since the last whole character are decoded again, so the cost stays linear.
    Of tokens that only together give a character, the first has the text before it, the last
    that after it, and they share the character's bytes.
    """
    # Tokens before `done` have been given out; those from `anchor` on are decoded for context.
    anchor = done = head = 0
    for end in range(1, len(token_ids) + 1):
        known, text = decode(token_ids[anchor:done]), decode(token_ids[anchor:end])
        added, pending = text[len(known) :], end - done
        # Of a character that is incomplete, decoders make U+FFFD or nothing at all.
        incomplete = not added or added.endswith("\ufffd")
        if incomplete and pending < _UTF8_MAX_BYTES and end < len(token_ids):
            if pending == 1:
                head = len(added.rstrip("\ufffd").encode())
            continue
        data = added.encode()
        cuts = [0, *range(head + 1, head + pending), len(data)]
        yield from (data[start:stop] for start, stop in pairwise(cuts))
        anchor, done = done, end
