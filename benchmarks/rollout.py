"""A group of completions, beside the two ways that run its prompt for each of them.

    make bench-rollout

One prompt, 8 completions of it, sampled at temperature 1 without an end token, by a tiny model
(random weights): 1,024 + 64 tokens at hidden size 256 and 512, and 2,048 + 256 tokens at 256. The
prompt is text alone: media would be encoded once by ours and 8 times by the others, to their
further disadvantage.

* ours: `LocalEngine`, which prefills once and shares what the prompt left in the cache.
* repeated: the same engine, given the prompt 8 times.
* generate: transformers' own, with `num_return_sequences=8`.

Greedily all three write the same tokens, which is checked first. Beside them stand two parts of
ours that no way can do without, together its floor:

* prefill: one token for each completion, which takes no decoding step.
* products: the bare matrix products of all decoding steps, of 8 rows with the weights, with the
  prompt's keys and values and with their own. Norms, rotations, softmax and the draw are left out.

Times are the CPU time of one thread, compared with ours round by round.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import process_time
from typing import Any, TypeAlias

import torch
from torch.nn.functional import linear

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


SETTINGS = (Setting(), Setting(hidden=512), Setting(prompt=2048, completion=256))


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
        text = self.model.decoder
        self.weights = [p for p in text.layers.parameters() if p.dim() == 2]
        self.weights.append(self.model.thinker.get_output_embeddings().weight)
        heads, layers = text.config.num_attention_heads, len(text.layers)
        group, size = setting.group, setting.hidden // heads
        self.prompts = torch.randn(layers, 2, heads, self.input_ids.shape[1], size)
        self.own = torch.randn(layers, 2, group, heads, setting.completion, size)

    def ours(self, temperature: float = 1.0) -> list[list[int]]:
        return self._group(self._sampling(temperature))

    def prefill(self) -> list[list[int]]:
        return self._group(replace(self._sampling(1.0), max_new_tokens=1))

    @torch.inference_mode()
    def products(self) -> None:
        group, heads, _, size = self.own.shape[2:]
        queries = torch.randn(group, heads, 1, size)
        of_prompt = queries[:, :, 0].transpose(0, 1).contiguous()
        rows = {width: torch.randn(group, width) for width in {w.shape[1] for w in self.weights}}
        for tokens in range(1, self.setting.completion):
            for weight in self.weights:
                linear(rows[weight.shape[1]], weight)
            for keys, values in self.prompts:
                of_prompt @ keys.mT @ values
            for keys, values in self.own[..., :tokens, :]:
                queries @ keys.mT @ values

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

    def _group(self, sampling: SamplingConfig) -> list[list[int]]:
        (group,) = self.engine.generate([self.sample], self.setting.group, sampling)
        return [list(one.token_ids) for one in group]

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


def run(rounds: Sequence[int]) -> Record:
    """Time each setting as many rounds as its place says."""
    torch.set_num_threads(1)
    return {
        "environment": environment(["triptych", "torch", "transformers"]),
        "runs": [_run(*each) for each in zip(SETTINGS, rounds, strict=True)],
    }


def _run(setting: Setting, rounds: int) -> Record:
    task = Task(setting)
    ways: dict[str, Callable[..., Any]] = {
        "ours": task.ours,
        "repeated": task.repeated,
        "generate": task.generate,
    }
    _check_equal([way(temperature=0.0) for way in ways.values()])
    parts: dict[str, Callable[..., Any]] = {"prefill": task.prefill, "products": task.products}
    seconds: dict[str, list[float]] = {name: [] for name in (*ways, *parts)}
    rest = Rest()
    for number in range(rounds + 1):
        for name, go in alternate([*ways.items(), *parts.items()], number):
            begun = process_time()
            written = go()
            seconds[name].append(process_time() - begun)
            if name in ways:
                lengths = [len(ids) for ids in written]
                assert lengths == [setting.completion] * setting.group
            rest()
    seconds = {name: values[1:] for name, values in seconds.items()}  # the first warms up
    seconds["floor"] = [sum(both) for both in zip(*(seconds[name] for name in parts), strict=True)]
    return {
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
    """A table for each setting."""
    return "\n\n".join(map(_report, record["runs"]))


def _report(record: Record) -> str:
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
    """Run it, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.rollout", description="A group of completions of one prompt"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/rollout.json"))
    parser.add_argument(
        "--rounds", type=int, nargs=len(SETTINGS), default=(11, 7, 5), help="of each setting"
    )
    options = parser.parse_args()
    stay_on_one_core()
    record = run(options.rounds)
    write_json(options.out, record)
    print(report(record))
    print(f"\nWritten to {options.out}")


if __name__ == "__main__":
    main()
