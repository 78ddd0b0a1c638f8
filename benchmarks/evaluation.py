"""What batches gain in an evaluation, beside the loop of the published script.

    make bench-evaluation

The published evaluation of HumanOmniV2 calls `generate` of transformers for one question after the
other. Here the same questions go to the same weights in both ways: by that loop, and by
`triptych.evaluation.evaluate`, which also scores every answer, writes it to disk and makes the
intervals. Both decode and featurise media by the same code, each time anew, and write as many
tokens: weights are random, so that no answer ends before its limit. A trained model's answers end
at different times, and a batch waits for its longest.

What both spend on media alone is measured too. It is what no faster decoding can save: the time of
the loop over it is the most that any evaluation of one process could gain.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from transformers import AutoConfig, Qwen2_5OmniThinkerForConditionalGeneration

from benchmarks.harness import (
    MedianInterval,
    Rest,
    Spread,
    alternate,
    environment,
    markdown,
    stay_on_one_core,
    write_json,
)
from triptych.data.clips import ClipSizes, make_clips
from triptych.data.media import MediaBudget
from triptych.data.sample import Sample, read_samples
from triptych.evaluation import evaluate
from triptych.generation.engine import SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.models.tiny import build_tiny

Record: TypeAlias = dict[str, Any]

WANTED = 3.0
"""Times as many questions in the same time: what is asked of the batched evaluation."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    questions: int = 64
    rounds: int = 5
    max_new_tokens: int = 64
    batch_sizes: tuple[int, ...] = (8, 32)


def run(sizes: Sizes) -> Record:
    """Each round measures the loop, the media alone and each batch size once."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="triptych-evaluation-") as folder:
        bench = _Bench(Path(folder), sizes)
        ways: dict[str, Callable[[], None]] = {"loop": bench.loop, "media": bench.media}
        ways |= {f"batch {size}": bench.batched(size) for size in sizes.batch_sizes}
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        cpu_seconds: dict[str, list[float]] = {name: [] for name in ways}
        rest = Rest()
        for way in ways.values():
            way()
        for number in range(sizes.rounds):
            for name in alternate(list(ways), number):
                bench.model.encoder.clear_cache()
                rest()
                begun, cpu_begun = time.perf_counter(), time.process_time()
                ways[name]()
                seconds[name].append(time.perf_counter() - begun)
                cpu_seconds[name].append(time.process_time() - cpu_begun)
    batched = [name for name in ways if name.startswith("batch")]
    return {
        "environment": environment(["triptych", "torch", "transformers"]),
        **asdict(sizes),
        "wanted": WANTED,
        "same_tokens": bench.same_tokens(),
        "seconds": {name: asdict(Spread.of(values)) for name, values in seconds.items()},
        "bound": asdict(_ratio(seconds["loop"], seconds["media"])),
        "gains": {name: asdict(_ratio(seconds["loop"], seconds[name])) for name in batched},
        # What another load on the machine does not reach; without one the two are the same.
        "cpu_gains": {
            name: asdict(_ratio(cpu_seconds["loop"], cpu_seconds[name])) for name in batched
        },
    }


class _Bench:
    """One set of weights, held twice: as transformers loads them, and as we do."""

    def __init__(self, folder: Path, sizes: Sizes) -> None:
        self.sizes, self.folder = sizes, folder
        path = build_tiny(folder / "model")
        self.model = OmniModel.from_pretrained(path, budget=MediaBudget(fps=4.0))
        self.thinker = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(
            path, config=AutoConfig.from_pretrained(path), attn_implementation="sdpa"
        ).eval()
        clips = ClipSizes(1, 1, 1, 1, sizes.questions)
        data = make_clips(folder / "clips", 0, clips, jobs=1).path("test-balanced")
        one_each = {sample.extra["clip"]: sample for sample in read_samples(data)}
        self.samples: Sequence[Sample] = list(one_each.values())[: sizes.questions]
        self.texts: dict[str, list[str]] = {}

    def media(self) -> None:
        """What both ways do before the model sees anything."""
        for _ in self.model.encoder.encode_all(self.samples):
            pass

    @torch.no_grad()
    def loop(self) -> None:
        """As the published script: one question, one call of `generate`."""
        model, texts = self.model, []
        for sample in self.samples:
            prompt = model.encode(sample)
            length = len(prompt.input_ids)
            written = self.thinker.generate(
                input_ids=prompt.input_ids[None],
                attention_mask=torch.ones(1, length, dtype=torch.long),
                **model.family.collate([prompt.features]),
                do_sample=False,
                max_new_tokens=self.sizes.max_new_tokens,
                eos_token_id=list(model.end_token_ids),
                pad_token_id=model.pad_token_id,
                suppress_tokens=model.banned_ids.tolist(),  # as ours: media placeholders
            )
            texts.append(model.tokenizer.decode(written[0, length:]))
        self.texts["loop"] = texts

    def batched(self, size: int) -> Callable[[], None]:
        """An evaluation from prompts to intervals, with its file of predictions."""
        sampling = SamplingConfig(max_new_tokens=self.sizes.max_new_tokens, temperature=0)
        name = f"batch {size}"

        def way() -> None:
            out = self.folder / "predictions.jsonl"
            engine = _Remembering(self.model, size)
            evaluate(engine, self.samples, sampling, batch_size=size, out=out)
            for path in self.folder.glob("predictions.jsonl*"):
                path.unlink()  # else the next round would find it done
            self.texts[name] = engine.texts

        return way

    def same_tokens(self) -> dict[str, float]:
        """The share of questions that a way answers as the loop does, token for token."""
        loop = self.texts["loop"]
        return {
            name: sum(a == b for a, b in zip(texts, loop, strict=True)) / len(loop)
            for name, texts in self.texts.items()
        }


class _Remembering(LocalEngine):
    """Keeps what it wrote."""

    def __init__(self, model: OmniModel, size: int) -> None:
        super().__init__(model, max_sequences=size)
        self.texts: list[str] = []

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        groups = super().generate(*args, **kwargs)
        decode = self.model.tokenizer.decode
        self.texts += [decode(list(group[0].token_ids)) for group in groups]
        return groups


def _ratio(first: Sequence[float], second: Sequence[float]) -> MedianInterval:
    """Round by round: what slows the machine slows both."""
    return MedianInterval.of([a / b for a, b in zip(first, second, strict=True)])


def report(record: Record) -> str:
    """A table of what `run` found, and what it comes to."""
    rows = []
    for name, spread in record["seconds"].items():
        gain, cpu_gain = record["gains"].get(name), record["cpu_gains"].get(name)
        rows.append([
            name,
            str(Spread(**spread)),
            f"{record['questions'] / spread['median']:.1f}",
            str(MedianInterval(**gain)) if gain else "",
            str(MedianInterval(**cpu_gain)) if cpu_gain else "",
            f"{record['same_tokens'][name]:.0%}" if name in record["same_tokens"] else "",
        ])  # fmt: skip
    header = ["way", "s", "questions per s", "times the loop", "in CPU time", "same tokens"]
    best = max(record["gains"].values(), key=lambda gain: gain["median"])
    verdict = "met" if best["low"] >= record["wanted"] else "missed"
    lines = [
        f"asked for: {record['wanted']:g} times the loop; {verdict}",
        f"bound (the loop over media alone): {MedianInterval(**record['bound'])} times",
    ]
    return "\n".join([markdown(header, rows), "", *lines])


def main() -> None:
    """Run it, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.evaluation", description="What batches gain in an evaluation"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/evaluation.json"))
    parser.add_argument("--questions", type=int, default=Sizes().questions)
    parser.add_argument("--rounds", type=int, default=Sizes().rounds)
    options = parser.parse_args()
    stay_on_one_core()
    record = run(Sizes(questions=options.questions, rounds=options.rounds))
    write_json(options.out, record)
    print(report(record))
    print(f"\nWritten to {options.out}")


if __name__ == "__main__":
    main()
