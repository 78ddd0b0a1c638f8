"""A step of decoding under each competitor: eight completions are replayed, token by token.

Shapes: R rows of the batch, V tokens of the vocabulary.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from benchmarks.completions import ROWS, SEED, Length, draw_completions
from benchmarks.grammar_peers import COMPETITORS, Competitor, Refused, Setting, Triptych
from benchmarks.harness import Rest, Spread, alternate, installed_version, resident_mib
from triptych.stages.distances import StageBudget

Record: TypeAlias = dict[str, Any]
Steps: TypeAlias = list[list[int]]
"""By step, a token of each completion."""


@dataclass
class Timings:
    """Of one competitor.

    Attributes:
        tokenizer_ms: what is made once for a tokenizer.
        grammar_ms: what is made once for a grammar.
        cold_worst_ms: the slowest masked step of the first completions after that.
        cold_all_ms: all steps of these.
        checked_us: a step that checks a token of each completion and goes on.
        masked_us: a step that also masks the logits.
    """

    tokenizer_ms: list[float] = field(default_factory=list)
    grammar_ms: list[float] = field(default_factory=list)
    cold_worst_ms: list[float] = field(default_factory=list)
    cold_all_ms: list[float] = field(default_factory=list)
    checked_us: list[float] = field(default_factory=list)
    masked_us: list[float] = field(default_factory=list)

    def spreads(self) -> Record:
        return {name: asdict(Spread.of(values)) for name, values in vars(self).items()}


def measure_masks(
    tokenizer: PreTrainedTokenizerFast, length: Length, compilations: int, replays: int
) -> Record:
    """All competitors that are installed, with one vocabulary."""
    budgets = {name: StageBudget(max_tokens=most) for name, most in length.budgets.items()}
    setting = Setting(tokenizer, int(tokenizer.eos_token_id), length.max_new_tokens, budgets)
    ours = Triptych(setting)
    ours.prepare()
    ours.compile()
    steps = [list(tokens) for tokens in zip(*draw_completions(ours.grammar, ROWS), strict=True)]
    records: dict[str, Record] = {}
    kinds: list[type[Competitor]] = []
    for kind in COMPETITORS:
        records[kind.package] = {
            "name": kind.package,
            "version": installed_version(kind.package),
            "given": kind.given,
            "enforces": kind.enforces,
        }
        try:
            for _ in range(2):  # what a library keeps for good is there after the first time
                records[kind.package] |= examine(kind(setting), steps)
            kinds.append(kind)
        except ImportError as error:
            records[kind.package]["missing"] = f"not installed: {error}"
    for kind, timings in _time(kinds, setting, steps, compilations, replays).items():
        records[kind.package] |= timings.spreads()
    return {
        "vocabulary": setting.size,
        "rows": ROWS,
        "steps": len(steps),
        "competitors": list(records.values()),
    }


def examine(competitor: Competitor, steps: Steps) -> Record:
    """The memory that it takes, and what it allows.

    Raises:
        Refused: not the given completions, or more than the end token after them.
    """
    before = resident_mib()
    competitor.prepare()
    competitor.compile()
    setting, rows = competitor.setting, torch.arange(ROWS)
    competitor.start(ROWS)
    allowed: list[int] = []
    for tokens in steps:
        open_RV = competitor.mask(torch.zeros(ROWS, setting.size)) == 0
        if not open_RV[rows, tokens].all():
            raise Refused(f"{competitor.package} masks a token that the grammar allows")
        allowed += open_RV.sum(dim=1).tolist()
        competitor.take(tokens)
    open_RV = competitor.mask(torch.zeros(ROWS, setting.size)) == 0
    if not open_RV[:, setting.end_token_id].all() or int(open_RV.sum()) != ROWS:
        raise Refused(f"{competitor.package} does not end a completion where the grammar does")
    return {
        "memory_mib": max(0.0, resident_mib() - before),
        "allowed_tokens": int(np.median(allowed)),
    }


def _time(
    kinds: Sequence[type[Competitor]],
    setting: Setting,
    steps: Steps,
    compilations: int,
    replays: int,
) -> dict[type[Competitor], Timings]:
    found = {kind: Timings() for kind in kinds}
    ready: dict[type[Competitor], Competitor] = {}
    replay = _Replay(setting, steps)
    for number in range(compilations):
        for kind in alternate(kinds, number):
            ready[kind], timings = kind(setting), found[kind]
            replay.rest()
            begin = time.perf_counter()
            ready[kind].prepare()
            prepared = time.perf_counter()
            ready[kind].compile()
            compiled = time.perf_counter()
            timings.tokenizer_ms.append((prepared - begin) * 1e3)
            timings.grammar_ms.append((compiled - prepared) * 1e3)
            cold_us = replay.masked(ready[kind])
            timings.cold_worst_ms.append(max(cold_us) / 1e3)
            timings.cold_all_ms.append(sum(cold_us) / 1e3)
    for number in range(replays + 1):  # the first warms up
        for kind in alternate(kinds, number):
            checked_us = replay.checked(ready[kind])
            _, *masked_us = replay.masked(ready[kind])
            if number:
                found[kind].checked_us += checked_us
                found[kind].masked_us += masked_us
    return found


class _Replay:
    """Leads competitors through the same completions; microseconds for each step."""

    def __init__(self, setting: Setting, steps: Steps) -> None:
        self.steps, self.rest = steps, Rest()
        generator = torch.Generator().manual_seed(SEED)
        self._drawn_RV = torch.randn(ROWS, setting.size, generator=generator)
        self._logits_RV = torch.empty_like(self._drawn_RV)

    def checked(self, competitor: Competitor) -> list[float]:
        competitor.start(ROWS)
        times = []
        for tokens in self.steps:
            begin = time.perf_counter()
            competitor.advance(tokens)
            times.append((time.perf_counter() - begin) * 1e6)
            self.rest()
        return times

    def masked(self, competitor: Competitor) -> list[float]:
        """Before the steps comes the start."""
        begin = time.perf_counter()
        competitor.start(ROWS)
        times = [(time.perf_counter() - begin) * 1e6]
        for tokens in self.steps:
            self._logits_RV.copy_(self._drawn_RV)
            begin = time.perf_counter()
            competitor.mask(self._logits_RV)
            competitor.take(tokens)
            times.append((time.perf_counter() - begin) * 1e6)
            self.rest()
        return times
