"""A whole step of GRPO: rollout, rewards, reference and update, beside two other ways.

    make bench-step

Tiny models with random weights, their towers trained; no completion may end; every step sees
prompts that it has not seen. The time of a step is all that passes from the end of the one before.

* images: Qwen2.5-VL on one picture and a question, beside TRL's GRPOTrainer, with as many rows in a
  forward as suit it best. It was checked that both do the same: on TRL's completions ours gives its
  rewards, loss and gradients. TRL makes the inputs of each image once for every completion, and
  again for its forwards: that is its way, and counted.
* clips: Qwen2.5-Omni on video and sound, beside our own parts without what they share, see
  `step_ways.Naive`, likewise with the rows that suit it best, and checked in the same manner. It
  decodes and featurises each prompt once, as ours does, and keeps no metrics.

Which number of rows suits best is tried once, before the rounds.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import torch
from PIL import Image

from benchmarks.harness import (
    MedianInterval,
    Spread,
    alternate,
    environment,
    markdown,
    stay_on_one_core,
    write_json,
)
from benchmarks.step_trl import Trl
from benchmarks.step_ways import FirstStep, Naive, Other, Ours, Seconds, Task, Way
from triptych.data.clips import ClipSizes, make_clips
from triptych.data.media import MediaBudget
from triptych.data.sample import Media, MediaKind, ProblemType, Sample, read_samples
from triptych.models.tiny import TinyConfig, build_tiny
from triptych.models.tiny.qwen2_5_vl import build_tiny_qwen2_5_vl

Record: TypeAlias = dict[str, Any]

TARGETS = {"images": 3.0, "clips": 3.5}
"""How many times as long the other way must take."""
ROWS = (2, 4, 8)
"""Of a forward, where the prompt stands before every completion; one by one was no faster."""
TOLERANCE = 1e-4
"""Of losses and gradients, where two ways must agree; fp32."""


@dataclass(frozen=True)
class Setting:
    """What a step is, and how many are timed.

    Attributes:
        prompts: groups of a step.
        group: completions of each.
        tokens: of each completion.
        hidden: hidden size of the models.
        pixels: height and width of an image.
        clips: clips of a second in a prompt.
        steps: steps of a run that are timed.
    """

    prompts: int = 2
    group: int = 8
    tokens: int = 64
    hidden: int = 256
    pixels: int = 672
    clips: int = 12
    steps: int = 2

    @property
    def samples(self) -> int:
        """Prompts of the longest run, which has two steps that are not timed."""
        return (2 + self.steps) * self.prompts


def image_task(folder: Path, setting: Setting) -> Task:
    """Questions about pictures of coloured blobs."""
    config = TinyConfig(hidden_size=setting.hidden, max_pixels=setting.pixels**2)
    model = build_tiny_qwen2_5_vl(folder / "vl", config=config)
    random = np.random.default_rng(0)
    samples = []
    for number in range(setting.samples):
        path = folder / f"{number}.png"
        blobs = Image.fromarray(random.integers(0, 256, (12, 12, 3), dtype=np.uint8))
        blobs.resize((setting.pixels, setting.pixels), Image.Resampling.BICUBIC).save(path)
        media = (Media(kind=MediaKind.IMAGE, path=path),)
        samples.append(_question(number, media))
    return _task(model, samples, setting, MediaBudget(max_pixels=setting.pixels**2))


def clip_task(folder: Path, setting: Setting) -> Task:
    """Questions about several clips with their sound."""
    config = TinyConfig(hidden_size=setting.hidden)
    model = build_tiny(folder / "omni", config=config)
    sizes = ClipSizes(1, setting.samples * setting.clips, 1, 1, 1)
    data = make_clips(folder / "clips", 0, sizes, jobs=1)
    clips = list({s.media: None for s in read_samples(data.path("rl-biased"))})
    samples = []
    for number in range(setting.samples):
        here = clips[number * setting.clips :][: setting.clips]
        samples.append(_question(number, tuple(item for clip in here for item in clip)))
    return _task(model, samples, setting, MediaBudget(fps=8.0))


def _question(number: int, media: tuple[Media, ...]) -> Sample:
    return Sample(
        id=str(number),
        question="What does the person intend?",
        problem_type=ProblemType.MULTIPLE_CHOICE,
        options=("to comfort", "to tease"),
        answer="A",
        media=media,
    )


def _task(model: Path, samples: list[Sample], setting: Setting, budget: MediaBudget) -> Task:
    return Task(model, samples, setting.prompts, setting.group, setting.tokens, budget)


def run(setting: Setting, rounds: int) -> Record:
    """Compare in both settings."""
    torch.set_num_threads(1)
    rows = [rows for rows in ROWS if setting.group % rows == 0]
    with TemporaryDirectory(prefix="triptych-step-") as folder:
        images, clips = image_task(Path(folder), setting), clip_task(Path(folder), setting)
        comparisons = [
            compare("images", images, [Trl(images, n) for n in rows], setting, rounds),
            compare("clips", clips, [Naive(clips, n) for n in rows], setting, rounds),
        ]
    return {
        "environment": environment(["triptych", "torch", "transformers", "trl"]),
        "setting": asdict(setting),
        "rounds": rounds,
        "comparisons": comparisons,
    }


def compare(
    name: str, task: Task, others: Sequence[Other], setting: Setting, rounds: int
) -> Record:
    """Check that both do the same, and time ours and the best of the others in turns."""
    ours = Ours(task)
    first = others[-1].first_step()
    agreement = check(first, ours.replay(first, all_tokens=name == "images"))
    tried = {other.name: other.steps(1)[0].cpu for other in others}
    best = min(others, key=lambda other: tried[other.name])
    pair: list[Way] = [ours, best]
    seconds: dict[str, list[Seconds]] = {way.name: [] for way in pair}
    for number in range(rounds):
        for way in alternate(pair, number):
            seconds[way.name] += way.steps(setting.steps)
    return {
        "name": name,
        "prompt_tokens": len(task.model().encode(task.samples[0]).input_ids),
        "agreement": agreement,
        "tried_cpu_s": tried,
        "best": best.name,
        "cpu_s": {way.name: asdict(Spread.of(_cpu(seconds[way.name]))) for way in pair},
        "wall_s": {way.name: asdict(Spread.of(_wall(seconds[way.name]))) for way in pair},
        "times_ours_cpu": asdict(_ratio(_cpu(seconds[best.name]), _cpu(seconds[ours.name]))),
        "times_ours_wall": asdict(_ratio(_wall(seconds[best.name]), _wall(seconds[ours.name]))),
        "target": TARGETS[name],
    }


def check(theirs: FirstStep, ours: FirstStep) -> Record:
    """How far two first steps on the same completions lie apart.

    Raises:
        AssertionError: they are not the same, to rounding.
    """
    lengths = {len(ids) for group in theirs.completions.values() for ids in group}
    if len(lengths) != 1:
        raise AssertionError(f"completions of {sorted(lengths)} tokens, not of one length")
    for name, rewards in theirs.rewards.items():
        if not np.allclose(rewards, ours.rewards[name], rtol=0, atol=1e-6):
            raise AssertionError(f"sample {name}: rewards {rewards} and {ours.rewards[name]}")
    loss = abs(ours.loss - theirs.loss) / abs(theirs.loss)
    if theirs.gradients.keys() != ours.gradients.keys():
        raise AssertionError("other weights have gradients")
    whole = torch.cat([gradient.flatten() for gradient in theirs.gradients.values()])
    apart = torch.cat([(ours.gradients[n] - g).flatten() for n, g in theirs.gradients.items()])
    gradient = float(apart.norm() / whole.norm())
    if not max(loss, gradient) < TOLERANCE:
        raise AssertionError(f"losses are {loss:.1e} apart, gradients {gradient:.1e}")
    return {"loss": loss, "gradient": gradient}


def _cpu(seconds: Sequence[Seconds]) -> list[float]:
    return [one.cpu for one in seconds]


def _wall(seconds: Sequence[Seconds]) -> list[float]:
    return [one.wall for one in seconds]


def _ratio(theirs: Sequence[float], ours: Sequence[float]) -> MedianInterval:
    return MedianInterval.of([a / b for a, b in zip(theirs, ours, strict=True)])


def report(record: Record) -> str:
    """A table of what `run` found."""
    header = [
        "step on", "prompt tokens", "other way, rows", "its CPU s", "our CPU s",
        "times ours, CPU", "times ours, wall", "at least",
    ]  # fmt: skip
    rows = [
        [
            one["name"],
            str(one["prompt_tokens"]),
            one["best"],
            str(Spread(**one["cpu_s"][one["best"]])),
            str(Spread(**one["cpu_s"]["triptych"])),
            str(MedianInterval(**one["times_ours_cpu"])),
            str(MedianInterval(**one["times_ours_wall"])),
            str(one["target"]),
        ]
        for one in record["comparisons"]
    ]
    title = "{prompts} prompts a step, {group} x {tokens} tokens each, hidden {hidden}"
    return f"{title.format(**record['setting'])}\n\n{markdown(header, rows)}"


def main() -> None:
    """Run it, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step", description="A whole step of GRPO"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/step.json"))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    stay_on_one_core()
    record = run(Setting(), options.rounds)
    write_json(options.out, record)
    print(report(record))
    print(f"\nWritten to {options.out}")


if __name__ == "__main__":
    main()
