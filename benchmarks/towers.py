"""What frozen towers cost in a step of GRPO: once for each prompt, or in every forward.

    python -m benchmarks.towers

Two things are timed.

A step, in the setting of the demo (12 prompts, 8 completions each, tiny model) with both towers
frozen: as it is, and with towers that run in each forward (rollout, reference, update), as they do
where they are trained. Both arms see the same clips, each for the first time, and draw the same
completions; steps are compared one by one. The model is untrained, so the format is enforced, with
stages as long as the demo's model writes them. A prompt holds one clip, as in the demo, where most
of it is text; or eight, where most of it is media, as in a real one.

The attention of the towers over 32 clips: segments of equal length in one call, and one by one in
transformers' own loop; for the tiny model and for two layers as wide as a real one (1280).
"""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

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
from triptych.cli.demo import DemoConfig
from triptych.data.clips import ClipSizes, make_clips
from triptych.data.sample import Sample, read_samples
from triptych.errors import MediaError
from triptych.generation import Enforce
from triptych.models import OmniModel
from triptych.models.families import family_for
from triptych.models.prompt import Prompt, PromptEncoder
from triptych.models.tiny import TinyConfig, build_thinker, build_tiny, build_tokenizer
from triptych.models.tower_attention import batch_segments
from triptych.rewards import rule_rewards
from triptych.runs import RunFolder
from triptych.training.grpo import train_grpo

MOST_TOKENS = {"context": 24, "think": 15, "answer": 2}
PHASES = ("data", "rollout", "reference", "update")
CLIPS_PER_PROMPT = (1, 8)
CLIPS = 32
WIDTHS = {"tiny": TinyConfig(), "1280 wide": TinyConfig(tower_size=1280)}

Record: TypeAlias = dict[str, Any]


class EachForward(PromptEncoder):
    """Gives no embeddings, as if every tower were trained."""

    def outcomes(
        self, samples: Iterable[Sample], *, embed: bool = False
    ) -> Iterator[Prompt | MediaError]:
        return super().outcomes(samples, embed=False)


ARMS: dict[str, type[PromptEncoder]] = {"once": PromptEncoder, "each forward": EachForward}


def run(rounds: int, steps: int, repeats: int) -> Record:
    """Measure both: `rounds` runs of each arm of `steps` steps, and `repeats` calls of towers."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="triptych-towers-") as folder:
        return {
            "environment": environment(["triptych", "torch", "transformers"]),
            "rounds": rounds,
            "steps": steps,
            "max_stage_tokens": MOST_TOKENS,
            "step": [_steps(Path(folder), clips, rounds, steps) for clips in CLIPS_PER_PROMPT],
            "attention": [_attention(name, repeats) for name in WIDTHS],
        }


def _steps(folder: Path, clips: int, rounds: int, steps: int) -> Record:
    demo = DemoConfig()
    # One more step warms up.
    sizes = ClipSizes(1, (1 + steps) * demo.stage_credit.prompts_per_step, 1, 1, 1)
    data = make_clips(folder / f"clips {clips}", 0, sizes, jobs=1)
    samples = [
        sample.model_copy(update={"media": sample.media * clips})
        for sample in {s.extra["clip"]: s for s in read_samples(data.path("rl-biased"))}.values()
    ]
    model = build_tiny(folder / "model")
    runs: dict[str, list[_Run]] = defaultdict(list)
    for number in range(rounds):
        for arm in alternate(list(ARMS), number):
            runs[arm].append(
                _run(model, folder / f"{clips} {arm} {number}", ARMS[arm], samples, steps)
            )
    totals = {
        arm: [sum(step.values()) for one in of for step in one.steps] for arm, of in runs.items()
    }
    pairs = zip(totals["each forward"], totals["once"], strict=True)
    return {
        "clips_per_prompt": clips,
        "arms": {
            arm: {
                "step_s": asdict(Spread.of(totals[arm])),
                "towers_share": asdict(Spread.of([one.towers_share for one in of])),
                **{
                    f"{phase}_s": asdict(Spread.of([s[phase] for one in of for s in one.steps]))
                    for phase in PHASES
                },
            }
            for arm, of in runs.items()
        },
        "speedup": asdict(MedianInterval.of([each / once for each, once in pairs])),
    }


class _Run(NamedTuple):
    """Seconds of each phase of each step after the first; the share of all that towers took."""

    steps: list[dict[str, float]]
    towers_share: float


def _run(
    path: Path, folder: Path, kind: type[PromptEncoder], samples: Sequence[Sample], steps: int
) -> _Run:
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
        freeze=("vision", "audio"),
    )
    model = OmniModel.from_pretrained(path, budget=demo.media)
    model.encoder = kind(model.thinker, model.processor, model.family, demo.media, model.format)
    spent = _clock(model)
    run_folder = RunFolder.create(folder)
    train_grpo(model, samples, rule_rewards(), config, run_folder)
    timed = [
        {phase: line[f"seconds/{phase}"] for phase in PHASES}
        for line in run_folder.metrics()
        if "seconds/update" in line
    ]
    return _Run(timed[1:], sum(spent) / sum(sum(step.values()) for step in timed))


def _clock(model: OmniModel) -> list[float]:
    """Seconds of each call of a tower, of those of a frozen copy too: hooks are copied along."""
    spent: list[float] = []
    begun: list[float] = []
    for path in model.family.towers.values():
        tower = model.thinker.get_submodule(path)
        tower.register_forward_pre_hook(lambda *_: begun.append(time.perf_counter()))
        tower.register_forward_hook(lambda *_: spent.append(time.perf_counter() - begun.pop()))
    return spent


@torch.no_grad()
def _attention(name: str, repeats: int) -> Record:
    """Milliseconds of a tower call over clips that are all alike, by both attentions."""
    tokenizer, family = build_tokenizer(), family_for("qwen2_5_omni_thinker")
    one_by_one, batched = (build_thinker(tokenizer, WIDTHS[name], 0).eval() for _ in range(2))
    batch_segments(batched, family)
    grids = torch.tensor([[4, 4, 4]] * CLIPS)  # eight frames of 56 x 56
    calls = {
        "vision": (
            "video",
            {
                "pixel_values_videos": torch.randn(int(grids.prod(-1).sum()), 1176),
                "video_grid_thw": grids,
            },
        ),
        "audio": (
            "audio",
            {
                "input_features": torch.randn(CLIPS, 128, 100),  # a second
                "feature_attention_mask": torch.ones(CLIPS, 100, dtype=torch.long),
            },
        ),
    }
    found: Record = {"model": name}
    rest = Rest()
    for tower, (kind, inputs) in calls.items():
        seconds: dict[str, list[float]] = {"loop": [], "batch": []}
        outputs: dict[str, Tensor] = {}
        arms = [("loop", one_by_one), ("batch", batched)]
        for number in range(repeats + 1):
            for arm, thinker in alternate(arms, number):
                rest()
                begun = time.perf_counter()
                outputs[arm] = family.embed_media(thinker, kind, inputs)
                seconds[arm].append(time.perf_counter() - begun)
        pairs = zip(seconds["loop"][1:], seconds["batch"][1:], strict=True)
        found[tower] = {
            "loop_ms": asdict(Spread.of([1e3 * s for s in seconds["loop"][1:]])),
            "batch_ms": asdict(Spread.of([1e3 * s for s in seconds["batch"][1:]])),
            "speedup": asdict(MedianInterval.of([loop / batch for loop, batch in pairs])),
            "largest_difference": float((outputs["loop"] - outputs["batch"]).abs().max()),
        }
    return found


def report(record: Record) -> str:
    """Tables of what `run` found."""
    arms = [
        [
            str(step["clips_per_prompt"]),
            arm,
            *(str(Spread(**one[f"{phase}_s"])) for phase in PHASES),
            str(Spread(**one["step_s"])),
            f"{one['towers_share']['median']:.1%}",
            str(MedianInterval(**step["speedup"])) if arm == "once" else "",
        ]
        for step in record["step"]
        for arm, one in step["arms"].items()
    ]
    header = ["clips", "towers run", *(f"{phase} s" for phase in PHASES), "step s", "of it towers"]
    towers = [
        [
            one["model"],
            tower,
            str(Spread(**one[tower]["loop_ms"])),
            str(Spread(**one[tower]["batch_ms"])),
            str(MedianInterval(**one[tower]["speedup"])),
            f"{one[tower]['largest_difference']:.1g}",
        ]
        for one in record["attention"]
        for tower in ("vision", "audio")
    ]
    return "\n\n".join(
        [
            markdown([*header, "each forward / once"], arms),
            markdown(
                ["model", "tower", "loop ms", "batch ms", "loop / batch", "differ by"], towers
            ),
        ]
    )


def main() -> None:
    """Run it, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.towers", description="What frozen towers cost in a step of GRPO"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/towers.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=20)
    options = parser.parse_args()
    stay_on_one_core()
    record = run(options.rounds, options.steps, options.repeats)
    write_json(options.out, record)
    print(report(record))
    print(f"\nWritten to {options.out}")


if __name__ == "__main__":
    main()
