"""Words with their places: the short way that plain text takes gives what the long way gives."""

from hypothesis import given
from hypothesis import strategies as st

from triptych.rewards.guards.passages import _WORD, Word, fold, keys_of, words_of

_TEXTS = st.lists(
    st.sampled_from(["It's", "A.", "don't''", "_x", "3,5", "O'", "'s", " ", "\n", "Be-Bop", "9'9"])
    | st.text(st.characters(max_codepoint=126), max_size=12)
).map("".join)


@given(_TEXTS, st.integers(0, 40), st.integers(0, 40))
def test_words_of_plain_text(text: str, start: int, end: int) -> None:
    found = _WORD.finditer(text, start, end)
    assert words_of(text, start, end) == [Word(fold(one[0]), *one.span()) for one in found]
    assert keys_of(text) == tuple(fold(one[0]) for one in _WORD.finditer(text))
