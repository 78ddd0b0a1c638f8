"""The decode loop of the engine on the tiny model, enforced and not.

Shapes: R rows of the batch, V tokens of the vocabulary.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, replace
from statistics import fmean
from threading import Semaphore
from typing import Any, TypeAlias

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from benchmarks.completions import ROWS, SEED, Length, draw_completions
from benchmarks.harness import MedianInterval, Rest, Spread, alternate
from triptych.data.sample import Sample
from triptych.generation import Completion, Enforce, SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.models.families import family_for
from triptych.models.tiny import TinyConfig, build_processor, build_thinker
from triptych.stages import ProblemType

Record: TypeAlias = dict[str, Any]


def measure_loops(tokenizer: PreTrainedTokenizerFast, length: Length, pairs: int) -> list[Record]:
    """Fluent and untrained, greedy and at temperature 1, with one vocabulary."""
    loop = _Loop(tokenizer, length, pairs)
    return [
        loop.measure(fluent=fluent, temperature=temperature)
        for fluent in (True, False)
        for temperature in (0.0, 1.0)
    ]


class _Loop:
    """The engine on one model, once enforced and once not."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, length: Length, pairs: int) -> None:
        self.size, self.pairs, self.rest = len(tokenizer), pairs, Rest()
        thinker = build_thinker(tokenizer, TinyConfig(), SEED).eval()
        processor = build_processor(tokenizer, TinyConfig())
        family = family_for("qwen2_5_omni_thinker")
        self.engines = {
            enforce: LocalEngine(OmniModel(thinker, processor, family).eval())
            for enforce in (Enforce.STAGES, Enforce.OFF)
        }
        self.questions = [
            Sample(
                id=f"question-{row}",
                question="What does the person intend?",
                problem_type=ProblemType.MULTIPLE_CHOICE,
                options=("to comfort", "to tease"),
                answer="A",
                media=(),
            )
            for row in range(ROWS)
        ]
        self.sampling = SamplingConfig(length.max_new_tokens, max_stage_tokens=length.budgets)
        held = self.engines[Enforce.STAGES]
        grammar = held.grammars.for_sample(
            self.questions[0], replace(self.sampling, enforce=Enforce.STAGES)
        )
        assert grammar
        end = held.model.end_token_ids[0]
        self.completions = [[*ids, end] for ids in draw_completions(grammar, ROWS)]

    def measure(self, *, fluent: bool, temperature: float) -> Record:
        """Pairs of runs with the same seed; of each run, the mean over the steps both took."""
        held, free, steps = list[float](), list[float](), list[int]()
        refused = tokens = 0
        for number in range(self.pairs + 1):  # the first warms up
            sampling = replace(self.sampling, temperature=temperature, seed=SEED + number)
            runs = self._run_pair(sampling, fluent, alternate(list(self.engines), number))
            held_ms, held_wrote = runs[Enforce.STAGES]
            free_ms, free_wrote = runs[Enforce.OFF]
            if fluent:
                same = all(
                    a.token_ids == b.token_ids for a, b in zip(held_wrote, free_wrote, strict=True)
                )
                assert same, "a fluent model writes the same, held or not"
            if number:
                steps.append(min(len(held_ms), len(free_ms)))
                held.append(fmean(held_ms[: steps[-1]]))
                free.append(fmean(free_ms[: steps[-1]]))
                refused += sum(one.overruled for one in held_wrote)
                tokens += sum(len(one.token_ids) for one in held_wrote)
        pairs = list(zip(held, free, strict=True))
        return {
            "vocabulary": self.size,
            "rows": ROWS,
            "model": "fluent" if fluent else "untrained",
            "temperature": temperature,
            "steps": min(steps),
            "refused": refused / tokens,
            "off_ms": asdict(Spread.of(free)),
            "stages_ms": asdict(Spread.of(held)),
            "ratio": asdict(MedianInterval.of([a / b for a, b in pairs])),
            "added_ms": asdict(MedianInterval.of([a - b for a, b in pairs])),
        }

    def _run_pair(
        self, sampling: SamplingConfig, fluent: bool, order: Sequence[Enforce]
    ) -> dict[Enforce, tuple[list[float], list[Completion]]]:
        """By arm, milliseconds of each step after the first, and what was written.

        The two take turns step by step: whatever else the machine does slows both.
        """
        turns, rest = _Turns(), self.rest
        rest()

        def run(place: int) -> tuple[list[float], list[Completion]]:
            torch.set_num_threads(1)  # of this thread
            engine = self.engines[order[place]]
            begins, ends = list[float](), list[float]()

            def on_step(_: Sequence[int]) -> None:
                ends.append(time.perf_counter())
                rest()
                turns.hand_over(place)
                begins.append(time.perf_counter())

            with (
                turns.taking_part(place),
                prefer(engine.model, self.completions) if fluent else nullcontext(),
            ):
                arm = replace(sampling, enforce=order[place])
                groups = engine.generate(self.questions, 1, arm, on_step)
            steps = [(end - begin) * 1e3 for begin, end in zip(begins, ends[1:], strict=False)]
            return steps, [group[0] for group in groups]

        with ThreadPoolExecutor(len(order)) as threads:
            return dict(zip(order, threads.map(run, range(len(order))), strict=True))


class _Turns:
    """Two threads of which one runs at a time."""

    def __init__(self) -> None:
        self._may_run = (Semaphore(1), Semaphore(0))
        self._left = [False, False]

    @contextmanager
    def taking_part(self, place: int) -> Iterator[None]:
        """Waits for the first turn; leaves all further ones to the other."""
        self._may_run[place].acquire()
        try:
            yield
        finally:
            self._left[place] = True
            self._may_run[1 - place].release()

    def hand_over(self, place: int) -> None:
        """Let the other one run, until it hands over; nothing if it has left."""
        if not self._left[1 - place]:
            self._may_run[1 - place].release()
            self._may_run[place].acquire()


@contextmanager
def prefer(model: OmniModel, completions: Sequence[Sequence[int]]) -> Iterator[None]:
    """For one decode: the model is sure of one completion for each sequence."""
    rows, original = torch.arange(len(completions)), model.logits
    steps = iter(zip(*completions, strict=True))

    def logits(hidden: Tensor) -> Tensor:
        scores = original(hidden)
        scores[rows, next(steps)] += 1000.0
        return scores

    model.logits = logits  # type: ignore[method-assign]
    try:
        yield
    finally:
        model.logits = original  # type: ignore[method-assign]
