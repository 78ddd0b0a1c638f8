"""A group of completions, beside the two ways that run its prompt for each of them.

    make bench-rollout

One prompt of 1,024 tokens, 8 completions of 64, sampled at temperature 1 without an end token, by a
tiny model (hidden size 256, random weights). The prompt is text alone: media would be encoded once
by ours and 8 times by the others, to their further disadvantage.

* ours: `LocalEngine`, which prefills once and expands the cache.
* repeated: the same engine, given the prompt 8 times.
* generate: transformers' own, with `num_return_sequences=8`.

Greedily all three write the same tokens, which is checked first.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch

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
from triptych.data.sample import Sample
from triptych.generation import SamplingConfig
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.models.families import family_for
from triptych.models.tiny import TinyConfig, build_processor, build_thinker, build_tokenizer
from triptych.stages import ProblemType

Record: TypeAlias = dict[str, Any]

TARGETS = {"repeated": 3.0, "generate": 2.5}
"""How many times as long each must take."""


@dataclass(frozen=True)
class Setting:
    """Tokens of the prompt (at least), completions, tokens of each, hidden size."""

    prompt: int = 1024
    group: int = 8
    completion: int = 64
    hidden: int = 256


class Task:
    """A model, a prompt, and the ways to complete it."""

    def __init__(self, setting: Setting) -> None:
        config = TinyConfig(hidden_size=setting.hidden)
        tokenizer = build_tokenizer()
        thinker = build_thinker(tokenizer, config, seed=0)
        processor = build_processor(tokenizer, config)
        self.model = OmniModel(thinker, processor, family_for("qwen2_5_omni_thinker")).eval()
        ends = torch.tensor(self.model.end_token_ids)
        self.model.banned_ids = torch.cat([self.model.banned_ids, ends])
        self.setting, self.engine = setting, LocalEngine(self.model)
        words = 0
        self.input_ids = torch.zeros(1, 0)
        while (missing := setting.prompt - self.input_ids.shape[1]) > 0:
            words += missing if words else 1
            self.sample = _sample(words)
            self.input_ids = self.model.encode(self.sample).input_ids[None]

    def ours(self, temperature: float = 1.0) -> list[list[int]]:
        (group,) = self.engine.generate(
            [self.sample], self.setting.group, self._sampling(temperature)
        )
        return [list(one.token_ids) for one in group]

    def repeated(self, temperature: float = 1.0) -> list[list[int]]:
        samples = [self.sample] * self.setting.group
        groups = self.engine.generate(samples, 1, self._sampling(temperature))
        return [list(one.token_ids) for group in groups for one in group]

    def generate(self, temperature: float = 1.0) -> list[list[int]]:
        sampled = temperature > 0
        output = self.model.thinker.generate(
            input_ids=self.input_ids,
            attention_mask=torch.ones_like(self.input_ids),
            max_new_tokens=self.setting.completion,
            suppress_tokens=self.model.banned_ids.tolist(),
            do_sample=sampled,
            top_k=0 if sampled else None,
            num_return_sequences=self.setting.group if sampled else 1,
        )
        return [row.tolist() for row in output[:, self.input_ids.shape[1] :]]

    def _sampling(self, temperature: float) -> SamplingConfig:
        return SamplingConfig(max_new_tokens=self.setting.completion, temperature=temperature)


def _sample(words: int) -> Sample:
    return Sample(
        id="q",
        question="What does the person intend?" + " voice" * words,
        problem_type=ProblemType.MULTIPLE_CHOICE,
        options=("to comfort", "to tease"),
        answer="A",
        media=(),
    )


def run(setting: Setting, rounds: int) -> Record:
    """Time the three ways `rounds` times, in turns."""
    torch.set_num_threads(1)
    task = Task(setting)
    arms: dict[str, Callable[..., list[list[int]]]] = {
        "ours": task.ours,
        "repeated": task.repeated,
        "generate": task.generate,
    }
    _check_equal([arm(temperature=0.0) for arm in arms.values()])
    seconds: dict[str, list[float]] = {name: [] for name in arms}
    rest = Rest()
    for number in range(rounds + 1):
        for name in alternate(list(arms), number):
            begun = time.perf_counter()
            written = arms[name]()
            seconds[name].append(time.perf_counter() - begun)
            assert [len(ids) for ids in written] == [setting.completion] * setting.group
            rest()
    seconds = {name: values[1:] for name, values in seconds.items()}  # the first warms up
    return {
        "environment": environment(["triptych", "torch", "transformers"]),
        "setting": asdict(setting) | {"prompt_tokens": task.input_ids.shape[1]},
        "arms": [
            {"name": name, "seconds": asdict(Spread.of(values))}
            | {"times_ours": asdict(_ratio(values, seconds["ours"])), "target": TARGETS.get(name)}
            for name, values in seconds.items()
        ],
    }


def _ratio(values: Sequence[float], ours: Sequence[float]) -> MedianInterval:
    return MedianInterval.of([a / b for a, b in zip(values, ours, strict=True)])


def _check_equal(written: Sequence[list[list[int]]]) -> None:
    different = {tuple(ids) for arm in written for ids in arm}
    if len(different) != 1:
        raise AssertionError(f"greedily {len(different)} different completions were written")


def report(record: Record) -> str:
    """A table of what `run` found."""
    rows = [
        [
            one["name"],
            str(Spread(**one["seconds"])),
            str(MedianInterval(**one["times_ours"])),
            "" if one["target"] is None else str(one["target"]),
        ]
        for one in record["arms"]
    ]
    title = "prompt {prompt_tokens}, {group} x {completion} tokens, hidden {hidden}"
    table = markdown(["way", "s", "times ours", "at least"], rows)
    return f"{title.format(**record['setting'])}\n\n{table}"


def main() -> None:
    """Run it, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rollout", description="A group of completions of one prompt"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/rollout.json"))
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    stay_on_one_core()
    record = run(Setting(), options.rounds)
    write_json(options.out, record)
    print(report(record))
    print(f"\nWritten to {options.out}")


if __name__ == "__main__":
    main()
