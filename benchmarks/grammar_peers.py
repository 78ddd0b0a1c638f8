"""Those that hold a model to the format, behind one interface: Triptych and its peers.

Peers get the format as near as they come to it, from `stages.export`: the stages and their order,
but no budgets. Each gets the form that it is quicker with: xgrammar the grammar, llguidance and
outlines-core, which takes no other, the regular expression. Peers write packed masks, 32 tokens to
an int32, and the kernel of xgrammar applies them to the logits, whichever peer wrote them, as in
vLLM.

Shapes: R rows of the batch, V tokens of the vocabulary.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from triptych.generation.enforcement import StageLogitsProcessor
from triptych.stages.automaton import compile_language
from triptych.stages.distances import StageBudget
from triptych.stages.export import to_ebnf, to_regex
from triptych.stages.grammar import Matcher, StageGrammar
from triptych.stages.language import Language
from triptych.stages.token_graph import TokenGraph
from triptych.stages.vocabulary import Vocabulary


@dataclass(frozen=True)
class Setting:
    """What all are given."""

    tokenizer: PreTrainedTokenizerBase
    end_token_id: int
    max_new_tokens: int
    budgets: Mapping[str, StageBudget]

    @property
    def size(self) -> int:
        return len(self.tokenizer)


class Refused(Exception):
    """A competitor does not accept a token that Triptych's grammar allows."""


class Competitor(ABC):
    """One way to hold completions to the format.

    Raises:
        ImportError: it is not installed.
    """

    package: str
    """The distribution that it comes in."""
    modules: tuple[str, ...]
    """What it needs to be imported."""
    given: str
    """In which form it gets the format."""
    enforces = "the stages in their order"

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        for module in self.modules:
            importlib.import_module(module)

    @abstractmethod
    def prepare(self) -> None:
        """Make what is made once for a tokenizer."""

    @abstractmethod
    def compile(self) -> None:
        """Make what is made once for a grammar."""

    @abstractmethod
    def start(self, rows: int) -> None:
        """Go to the start of `rows` completions."""

    @abstractmethod
    def advance(self, tokens: Sequence[int]) -> None:
        """Check a token of each completion and go on by it.

        Raises:
            Refused: a token is not allowed.
        """

    @abstractmethod
    def mask(self, logits_RV: Tensor) -> Tensor:
        """Logits with what may not come next at -inf; may be the same tensor."""

    def take(self, tokens: Sequence[int]) -> None:
        """Go on by a token of each completion that was drawn from masked logits."""
        self.advance(tokens)


class Triptych(Competitor):
    """Ours. The engine checks tokens and masks nothing; `StageLogitsProcessor` masks."""

    package = "triptych"
    modules = ()
    given = "the format itself"
    enforces = (
        "the stages in their order, budgets for each and for the whole, no token of two bodies"
    )

    vocabulary: Vocabulary
    grammar: StageGrammar
    _matchers: list[Matcher]
    _forced: list[list[bool]]
    _processor: StageLogitsProcessor
    _ids: Tensor
    _length: int

    def prepare(self) -> None:
        setting = self.setting
        self.vocabulary = Vocabulary(setting.tokenizer, setting.size, [setting.end_token_id])

    def compile(self) -> None:
        graph = TokenGraph(compile_language(Language()), self.vocabulary)
        self.grammar = StageGrammar(graph, self.setting.max_new_tokens, self.setting.budgets)

    def start(self, rows: int) -> None:
        self._matchers = [self.grammar.matcher() for _ in range(rows)]
        self._forced = [[] for _ in range(rows)]
        self._processor = StageLogitsProcessor(self.grammar, prompt_length=0)
        self._ids = torch.zeros(rows, self.setting.max_new_tokens, dtype=torch.long)
        self._length = 0

    def advance(self, tokens: Sequence[int]) -> None:
        """As `generation.enforcement.Draw` does where no draw is refused."""
        for matcher, forced, token in zip(self._matchers, self._forced, tokens, strict=True):
            choice = matcher.choice
            forced.append(choice.count == 1)
            if not choice.mask_V[token]:
                raise Refused(f"token {token}")
            matcher.advance(token)

    def mask(self, logits_RV: Tensor) -> Tensor:
        return self._processor(self._ids[:, : self._length], logits_RV)

    def take(self, tokens: Sequence[int]) -> None:
        """The processor reads the tokens when it is called next."""
        self._ids[:, self._length] = torch.tensor(tokens)
        self._length += 1


class Peer(Competitor):
    """Packed masks, applied in place by one kernel."""

    _masks: Tensor
    _matchers: list[Any]

    def start(self, rows: int) -> None:
        self._masks = torch.zeros(rows, (self.setting.size + 31) // 32, dtype=torch.int32)
        self._matchers = [self._matcher() for _ in range(rows)]

    def mask(self, logits_RV: Tensor) -> Tensor:
        from xgrammar import apply_token_bitmask_inplace

        for row, matcher in enumerate(self._matchers):
            self._fill(matcher, row)
        apply_token_bitmask_inplace(logits_RV, self._masks, vocab_size=self.setting.size)
        return logits_RV

    @abstractmethod
    def _matcher(self) -> Any:
        """A matcher at the start of a completion."""

    @abstractmethod
    def _fill(self, matcher: Any, row: int) -> None:
        """Write what is allowed next into a row of `_masks`."""


class XGrammar(Peer):
    """Sorts the vocabulary by each state of the grammar when it compiles."""

    package = "xgrammar"
    modules = ("xgrammar",)
    given = "a grammar (EBNF)"

    def prepare(self) -> None:
        from xgrammar import TokenizerInfo

        self._info = TokenizerInfo.from_huggingface(
            self.setting.tokenizer,
            vocab_size=self.setting.size,
            stop_token_ids=[self.setting.end_token_id],
        )

    def compile(self) -> None:
        from xgrammar import GrammarCompiler

        compiler = GrammarCompiler(self._info, max_threads=1, cache_enabled=False)
        self._compiled = compiler.compile_grammar(to_ebnf(Language()))

    def advance(self, tokens: Sequence[int]) -> None:
        for matcher, token in zip(self._matchers, tokens, strict=True):
            if not matcher.accept_token(token):
                raise Refused(f"token {token}")

    def _matcher(self) -> Any:
        from xgrammar import GrammarMatcher

        return GrammarMatcher(self._compiled)

    def _fill(self, matcher: Any, row: int) -> None:
        matcher.fill_next_token_bitmask(self._masks, row)


class LLGuidance(Peer):
    """Computes each mask when it is asked for, by a walk over the vocabulary as a tree."""

    package = "llguidance"
    modules = ("llguidance.hf", "xgrammar")
    given = "a regular expression"

    def prepare(self) -> None:
        from llguidance.hf import from_tokenizer

        setting = self.setting
        self._tokenizer = from_tokenizer(
            setting.tokenizer, n_vocab=setting.size, eos_token=setting.end_token_id
        )

    def compile(self) -> None:
        from llguidance import LLMatcher

        regex = LLMatcher.grammar_from_regex(to_regex(Language()))
        self._compiled = LLMatcher(self._tokenizer, regex)
        if self._compiled.is_error():
            raise ValueError(self._compiled.get_error())

    def advance(self, tokens: Sequence[int]) -> None:
        for matcher, token in zip(self._matchers, tokens, strict=True):
            if not matcher.consume_token(token):
                raise Refused(f"token {token}")

    def _matcher(self) -> Any:
        return self._compiled.deep_copy()

    def _fill(self, matcher: Any, row: int) -> None:
        mask = self._masks[row]
        matcher.unsafe_compute_mask_ptr(mask.data_ptr(), mask.numel() * mask.element_size())


class OutlinesCore(Peer):
    """Lists the tokens of each state when it compiles."""

    package = "outlines-core"
    modules = ("outlines_core", "xgrammar")
    given = "a regular expression"

    def prepare(self) -> None:
        from outlines_core import Vocabulary as OutlinesVocabulary

        from triptych.stages.spans import vocabulary_pieces

        pieces, _ = vocabulary_pieces(self.setting.tokenizer, self.setting.size)
        ids: dict[bytes, list[int]] = {}
        for token_id, piece in enumerate(pieces):
            if piece and token_id != self.setting.end_token_id:
                ids.setdefault(piece, []).append(token_id)
        self._vocabulary = OutlinesVocabulary(self.setting.end_token_id, ids)

    def compile(self) -> None:
        from outlines_core import Index

        self._index = Index(to_regex(Language()), self._vocabulary)

    def advance(self, tokens: Sequence[int]) -> None:
        for matcher, token in zip(self._matchers, tokens, strict=True):
            try:
                matcher.advance(token, return_tokens=False)
            except ValueError as error:
                raise Refused(f"token {token}") from error

    def _matcher(self) -> Any:
        from outlines_core import Guide

        return Guide(self._index)

    def _fill(self, matcher: Any, row: int) -> None:
        mask = self._masks[row]
        matcher.write_mask_into(mask.data_ptr(), mask.numel(), mask.element_size())


COMPETITORS: tuple[type[Competitor], ...] = (Triptych, XGrammar, LLGuidance, OutlinesCore)
