"""What the necessity reward costs, beside the training step that it is a part of.

    make bench-necessity

Steps of GRPO in the setting of the demo: 12 prompts, 8 completions each, and the tiny model. Its
weights are random, so the format is enforced, and no stage may be longer than the demo's
cold-started model writes it: 24 tokens of context, 15 of thinking, 2 of answer.

The reward is called three times in each step: for the answer, when the prompts without video and
without audio are met for the first time and their media decoded; for the answer again, and for the
context, when the model has these prompts in its cache. Each call is compared with what the same
step spent on rollout and update.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch

from benchmarks.harness import (
    MedianInterval,
    Spread,
    environment,
    markdown,
    stay_on_one_core,
    write_json,
)
from triptych.cli.demo import DemoConfig
from triptych.data.clips import ClipSizes, make_clips
from triptych.data.sample import read_samples
from triptych.generation import Enforce
from triptych.models import OmniModel
from triptych.models.tiny import build_tiny
from triptych.rewards import rule_rewards
from triptych.rewards.necessity import NecessityReward
from triptych.runs import RunFolder
from triptych.training.grpo import train_grpo

CALLS = {"answer": "answer", "answer again": "answer", "context": "context"}
"""What each call of a step looks at, in order."""
MOST_TOKENS = {"context": 24, "think": 15, "answer": 2}

Record: TypeAlias = dict[str, Any]


@dataclass
class Timed:
    """A necessity reward, and the seconds that each call took."""

    reward: NecessityReward
    seconds: list[float] = field(default_factory=list)

    def __call__(self, **columns: Any) -> list[float | None]:
        begun = time.perf_counter()
        values = self.reward(**columns)
        self.seconds.append(time.perf_counter() - begun)
        return values


def run(steps: int, rows_per_forward: Sequence[int]) -> Record:
    """Measure `steps` training steps for each number of rows; one more warms up."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="triptych-necessity-") as folder:
        return {
            "environment": environment(["triptych", "torch", "transformers"]),
            "steps": steps,
            "max_stage_tokens": MOST_TOKENS,
            "runs": [_run(Path(folder) / f"rows-{rows}", steps, rows) for rows in rows_per_forward],
        }


def _run(folder: Path, steps: int, rows: int) -> Record:
    demo = DemoConfig()
    config = replace(
        demo.stage_credit,
        max_steps=steps + 1,
        log_every=1,
        eval_steps=0,
        best_metric=None,
        rollouts_every=0,
        enforce=Enforce.STAGES,
        max_stage_tokens=MOST_TOKENS,
        weights={**demo.stage_credit.weights, **dict.fromkeys(CALLS, 0.1)},
        credit_rows={name: (0.0, 0.0, 1.0, 0.0) for name in CALLS},
    )
    clips = ClipSizes(1, (1 + steps) * config.prompts_per_step, 1, 1, 1)
    data = make_clips(folder / "clips", 0, clips, jobs=1)
    by_clip = {s.extra["clip"]: s for s in read_samples(data.path("rl-biased"))}
    model = OmniModel.from_pretrained(build_tiny(folder / "model"), budget=demo.media)
    timed = {
        name: Timed(NecessityReward(model, of=of, rows_per_forward=rows))
        for name, of in CALLS.items()
    }
    run_folder = RunFolder.create(folder / "run")
    train_grpo(model, list(by_clip.values()), {**rule_rewards(), **timed}, config, run_folder)
    step_seconds = [
        {phase: line[f"seconds/{phase}"] for phase in ("rollout", "update")}
        for line in run_folder.metrics()
        if "seconds/update" in line
    ][1:]
    totals = [sum(phases.values()) for phases in step_seconds]
    return {
        "rows_per_forward": rows,
        "rollout_s": asdict(Spread.of([phases["rollout"] for phases in step_seconds])),
        "update_s": asdict(Spread.of([phases["update"] for phases in step_seconds])),
        "calls": {
            name: {
                "seconds": asdict(Spread.of(one.seconds[1:])),
                "ratio": asdict(
                    MedianInterval.of([a / b for a, b in zip(one.seconds[1:], totals, strict=True)])
                ),
            }
            for name, one in timed.items()
        },
    }


def report(record: Record) -> str:
    """A table of what `run` found."""
    header = ["rows per forward", "rollout s", "update s", "necessity of", "s", "of rollout+update"]
    rows = [
        [
            str(one["rows_per_forward"]),
            str(Spread(**one["rollout_s"])),
            str(Spread(**one["update_s"])),
            name,
            str(Spread(**call["seconds"])),
            str(MedianInterval(**call["ratio"])),
        ]
        for one in record["runs"]
        for name, call in one["calls"].items()
    ]
    return markdown(header, rows)


def main() -> None:
    """Run it, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.necessity", description="What the necessity reward costs"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/necessity.json"))
    parser.add_argument("--steps", type=int, default=10)
    options = parser.parse_args()
    stay_on_one_core()
    record = run(options.steps, rows_per_forward=(1, 4, 16))
    write_json(options.out, record)
    print(report(record))
    print(f"\nWritten to {options.out}")


if __name__ == "__main__":
    main()
