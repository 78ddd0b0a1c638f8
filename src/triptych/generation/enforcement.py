"""The format, enforced while a model writes.

A token is drawn as without enforcement. Only where the grammar refuses it, it is drawn again from
what the grammar allows. Without top-k and top-p the two draws together are one from the softmax
over the allowed tokens A: with p(A) their probability, a token t of A comes with

    p(t) + (1 - p(A)) p(t) / p(A) = p(t) / p(A)

So a model that keeps the format by itself writes what it would have written, at the cost of
looking up one bit per token; and a completion in which nothing was refused is one that the model
writes without enforcement too.

Shapes: R sequences, V vocabulary.
"""

from collections.abc import Collection, Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor

from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.generation.engine import Enforce, SamplingConfig
from triptych.generation.sampling import sample_tokens
from triptych.models.omni import OmniModel
from triptych.stages.answers import AnswerForm, answer_form
from triptych.stages.automaton import compile_language
from triptych.stages.distances import FAR, StageBudget
from triptych.stages.grammar import Choice, Matcher, StageGrammar
from triptych.stages.language import Language
from triptych.stages.token_graph import TokenGraph
from triptych.stages.vocabulary import Vocabulary


class Grammars:
    """The grammars of one model, each compiled when it is first asked for."""

    def __init__(self, model: OmniModel) -> None:
        self.model = model
        self._tokens = -1  # of the tokenizer, when the vocabulary was made
        self._vocabulary: Vocabulary | None = None
        self._graphs: dict[AnswerForm | None, TokenGraph] = {}
        self._grammars: dict[tuple[Any, ...], StageGrammar] = {}

    def for_sample(self, sample: Sample, sampling: SamplingConfig) -> StageGrammar | None:
        """What completions for a sample are held to; None where nothing is enforced.

        Raises:
            ConfigError: the tokenizer cannot be held to the format, or no completion fits the
                budgets.
        """
        if sampling.enforce is Enforce.OFF:
            return None
        form = None
        if sampling.enforce is Enforce.STAGES_AND_ANSWER:
            form = answer_form(sample.problem_type, len(sample.options))
        try:
            return self._grammar(form, sampling)
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def _grammar(self, form: AnswerForm | None, sampling: SamplingConfig) -> StageGrammar:
        model = self.model
        if self._tokens != len(model.tokenizer):
            self._tokens = len(model.tokenizer)
            self._graphs.clear()
            self._grammars.clear()
            self._vocabulary = Vocabulary(
                model.tokenizer,
                model.thinker.get_output_embeddings().weight.shape[0],
                model.end_token_ids,
                model.format,
                model.banned_ids.tolist(),
            )
        assert self._vocabulary
        if form not in self._graphs:
            automaton = compile_language(Language(model.format, form))
            self._graphs[form] = TokenGraph(automaton, self._vocabulary)
        budgets = _budgets(sampling)
        key = (form, sampling.max_new_tokens, *sorted(budgets.items()))
        if key not in self._grammars:
            graph = self._graphs[form]
            self._grammars[key] = StageGrammar(graph, sampling.max_new_tokens, budgets)
        return self._grammars[key]


def _budgets(sampling: SamplingConfig) -> Mapping[str, StageBudget]:
    least, most = sampling.min_stage_tokens, sampling.max_stage_tokens
    return {
        name: StageBudget(least.get(name, 0), most.get(name, 0) or FAR)
        for name in {**least, **most}
    }


class Draw:
    """Draws the next token of each sequence of a batch, and keeps account of what was enforced.

    Args:
        grammars: of each sequence; None where nothing is enforced.
        sampling: how tokens are drawn.
        generators: the sources of randomness; each draws for as many sequences, in their order.
    """

    def __init__(
        self,
        grammars: Sequence[StageGrammar | None],
        sampling: SamplingConfig,
        generators: Sequence[torch.Generator],
    ) -> None:
        self.sampling, self.generators = sampling, generators
        self._matchers = [grammar.matcher() if grammar else None for grammar in grammars]
        self._forced: list[list[bool]] = [[] for _ in grammars]
        self._overruled = [0] * len(grammars)

    def __call__(self, logits_RV: Tensor, running: Collection[int], pad: int) -> list[int]:
        """One token per sequence; ``pad`` for those that are not running any more."""
        parts = zip(logits_RV.chunk(len(self.generators)), self.generators, strict=True)
        drawn_R = torch.cat([sample_tokens(part, self.sampling, source) for part, source in parts])
        drawn = drawn_R.tolist()
        tokens = [drawn[row] if row in running else pad for row in range(len(drawn))]
        for row in sorted(running):
            if (matcher := self._matchers[row]) is None:
                continue
            choice = matcher.choice
            self._forced[row].append(choice.count == 1)
            if not choice.mask_V[tokens[row]]:
                self._overruled[row] += 1
                generator = self.generators[row * len(self.generators) // len(tokens)]
                tokens[row] = self._draw_allowed(logits_RV[row], choice, generator)
            matcher.advance(tokens[row])
        return tokens

    def _draw_allowed(self, logits_V: Tensor, choice: Choice, generator: torch.Generator) -> int:
        if choice.only is not None:
            return choice.only
        # Of a tag only a few tokens are allowed: what they are costs more than the softmax.
        allowed = torch.from_numpy(np.flatnonzero(choice.mask_V)).to(logits_V.device)
        place = sample_tokens(logits_V[allowed][None], self.sampling, generator)
        return int(allowed[place])

    def record(self, row: int) -> tuple[list[bool], int]:
        """Of a sequence: which of its tokens were forced, and how many draws were refused."""
        return self._forced[row], self._overruled[row]


class StageLogitsProcessor(LogitsProcessor):
    """The format, for the ``generate`` of transformers: greedy, sampling and beams.

    ``model.generate(**inputs, max_new_tokens=grammar.max_new_tokens, logits_processor=[this])``.
    Put it before processors that cut the distribution, such as top-k.

    Args:
        grammar: see `stages.grammar.compile_grammar`; its size is that of the model's head.
        prompt_length: tokens of the (padded) prompt in ``input_ids``.
    """

    def __init__(self, grammar: StageGrammar, prompt_length: int) -> None:
        self.grammar, self.prompt_length = grammar, prompt_length
        # Beams are copied and reordered between steps, so matchers are found by what they read.
        self._matchers: dict[tuple[int, ...], Matcher] = {(): grammar.matcher()}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores (R, V) with refused tokens at -inf; those of ended sequences are left alone."""
        size = self.grammar.graph.vocabulary.size
        if scores.shape[-1] != size:
            raise ConfigError(
                f"the grammar was compiled for {size} tokens, the model scores {scores.shape[-1]}; "
                "compile it with the number of rows of the model's head"
            )
        rows = [tuple(ids) for ids in input_ids[:, self.prompt_length :].tolist()]
        self._matchers = {ids: self._follow(ids) for ids in rows}
        masks_RV = np.stack([self._mask(self._matchers[ids]) for ids in rows])
        return scores.masked_fill(~torch.from_numpy(masks_RV).to(scores.device), -torch.inf)

    def _follow(self, ids: tuple[int, ...]) -> Matcher:
        if ids in self._matchers:
            return self._matchers[ids]
        matcher = copy(self._matchers.get(ids[:-1]) or self.grammar.matcher())
        if ids[:-1] not in self._matchers:  # not the step after the last one: read it all
            for token in ids[:-1]:
                matcher.advance(token)
        if not matcher.finished:
            matcher.advance(ids[-1])
        return matcher

    def _mask(self, matcher: Matcher) -> NDArray[np.bool_]:
        return (
            np.ones(self.grammar.graph.vocabulary.size, np.bool_)
            if matcher.finished
            else matcher.choice.mask_V
        )
