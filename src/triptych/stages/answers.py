"""The forms that an answer can be held to, by problem type.

A form is a set of texts, twice: as an automaton over characters, which the token masks are made
of, and as a regular expression, which servers take. White space around the text is not part of
it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from triptych.stages.prompt import OPTION_LETTERS, ProblemType

_DIGITS = "0123456789"


@dataclass(frozen=True, eq=False)
class AnswerForm:
    """Texts that an answer may be. States are names; "" is the start. Equal forms are one object.

    Attributes:
        pattern: the texts as a regular expression without look-around, to match as a whole.
        moves: per state, the state after each character that may come next.
        complete: the states in which the text may end.
    """

    pattern: str
    moves: Mapping[str, Mapping[str, str]]
    complete: frozenset[str]

    @property
    def alphabet(self) -> frozenset[str]:
        """All characters that occur."""
        return frozenset(char for moves in self.moves.values() for char in moves)


def answer_form(problem_type: ProblemType, num_options: int = 0) -> AnswerForm | None:
    """The form of answers to a question; None where any text may be one.

    * Multiple choice: the letter of an option.
    * Multi-select: letters in order, each at most once, separated by "," or ", ".
    * Yes/no: either word, lower case or capitalised.
    * Numerical, regression: digits, with a sign and a decimal point where needed.
    """
    letters = OPTION_LETTERS[:num_options]
    match problem_type:
        case ProblemType.MULTIPLE_CHOICE:
            return _one_letter(letters)
        case ProblemType.MULTI_SELECT:
            return _letter_set(letters)
        case ProblemType.YES_NO:
            return _words(("yes", "no", "Yes", "No"))
        case ProblemType.NUMERICAL | ProblemType.REGRESSION:
            return _number()
        case _:
            return None


@lru_cache
def _one_letter(letters: str) -> AnswerForm:
    return _words(tuple(letters))


@lru_cache
def _words(words: tuple[str, ...]) -> AnswerForm:
    moves: dict[str, dict[str, str]] = {}
    for word in words:
        for end, char in enumerate(word):
            moves.setdefault(word[:end], {})[char] = word[: end + 1]
    return AnswerForm("|".join(words), moves, frozenset(words))


@lru_cache
def _letter_set(letters: str) -> AnswerForm:
    moves: dict[str, dict[str, str]] = {"": {letter: letter for letter in letters}}
    for index, letter in enumerate(letters[:-1]):
        later = {other: other for other in letters[index + 1 :]}
        moves[letter] = {",": f"{letter},"}
        moves[f"{letter},"] = {" ": f"{letter}, ", **later}
        moves[f"{letter}, "] = later
    return AnswerForm("|".join(_sets_by_first(letters)), moves, frozenset(letters))


def _sets_by_first(letters: str) -> Iterator[str]:
    """One pattern per smallest letter: any of the later ones may follow, in order."""
    for index, letter in enumerate(letters):
        yield letter + "".join(f"(?:, ?{other})?" for other in letters[index + 1 :])


@lru_cache
def _number() -> AnswerForm:
    digits = dict.fromkeys(_DIGITS, "whole")
    moves = {
        "": {"-": "sign", **digits},
        "sign": digits,
        "whole": {**digits, ".": "point"},
        "point": dict.fromkeys(_DIGITS, "part"),
        "part": dict.fromkeys(_DIGITS, "part"),
    }
    return AnswerForm(r"-?[0-9]+(?:\.[0-9]+)?", moves, frozenset({"whole", "part"}))
