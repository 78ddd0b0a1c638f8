"""What `triptych plan` says beside what a run takes: memory and time of steps of GRPO.

    make bench-plan

Tiny Qwen2.5-Omni models with random weights on clips with sound; no completion ends early; fp32,
one thread. Each configuration runs twice, each time in a process of its own which has trained
another, smaller model before, so that what libraries keep for themselves is not counted.

* Memory: the most that the process held (VmHWM) until the end of the second step, beyond what it
  held before the model was made. glibc is told to give back what is freed
  (MALLOC_MMAP_THRESHOLD_ and MALLOC_TRIM_THRESHOLD_ of 64 KiB), or its leftovers would be measured.
* Time: CPU seconds of a step, the mean of all steps but the first, with glibc as it is. Media were
  decoded before. The rates of the machine are measured in the same process, after the run.

The plan was not adjusted on these configurations, but on others. Fitted: how many times a bare
addition an operation takes inside a model (hidden 64, 2 and 6 layers; `planning.devices`). Looked
at while the arithmetic was corrected: (hidden, layers, clips, prompts, prompts of a forward,
completions, tokens) = (384, 4, 12, 2, 1, 4, 64); (256, 4, 16, 2, 2, 8, 48) under checkpointing; and
(512, 4, 8, 2, 1, 8, 96) with trained encoders.
"""

import argparse
import os
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from benchmarks.harness import environment, markdown, stay_on_one_core, write_json
from benchmarks.plan_run import Case, run_case
from triptych.data.clips import ClipSizes, make_clips
from triptych.data.sample import ProblemType, Sample, read_samples

Record: TypeAlias = dict[str, Any]

CASES = (
    Case(256, 3, 12, 2, 1, 8, 64),
    Case(256, 3, 12, 2, 1, 8, 64, checkpointing=True),
    Case(384, 3, 6, 2, 2, 8, 96, frozen=False, tower=128),
    Case(512, 3, 8, 2, 1, 4, 64, reference=False),
    Case(512, 3, 16, 1, 1, 4, 48, frozen=False, reference=False),
    Case(256, 6, 24, 2, 1, 4, 32, checkpointing=True, frozen=False),
)
WITHIN = {"mib": 0.20, "s": 0.30}
"""How far the plan may be off, as a share of what is measured."""

_GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}


def samples_of(case: Case, folder: Path, steps: int) -> list[Sample]:
    """As many prompts as a run sees, each with the same number of clips."""
    number = case.prompts * steps
    sizes = ClipSizes(1, number * case.clips, 1, 1, 1)
    data = make_clips(folder / f"{number}x{case.clips}", 0, sizes, jobs=1)
    clips = list({one.media: None for one in read_samples(data.path("rl-biased"))})
    return [
        Sample(
            id=str(n),
            question="What does the person intend?",
            problem_type=ProblemType.MULTIPLE_CHOICE,
            options=("to comfort", "to tease"),
            answer="A",
            media=tuple(m for clip in clips[n * case.clips :][: case.clips] for m in clip),
        )
        for n in range(number)
    ]


def run(cases: tuple[Case, ...], steps: int) -> Record:
    """Measure all configurations."""
    with TemporaryDirectory(prefix="triptych-plan-") as folder:
        runs = [_run(case, Path(folder), steps) for case in cases]
    return {
        "environment": environment(["triptych", "torch", "transformers"]),
        "steps": steps,
        "within": WITHIN,
        "runs": runs,
    }


def _run(case: Case, folder: Path, steps: int) -> Record:
    memory = _in_a_process(case, samples_of(case, folder, 2), 2, _GIVE_BACK)
    timed = _in_a_process(case, samples_of(case, folder, steps), steps, {})
    of_memory = {name: value for name, value in memory.items() if "mib" in name}
    of_time = {name: value for name, value in timed.items() if name.endswith("_s")}
    return {"case": asdict(case), "prompt": memory["prompt"], **of_memory, **of_time}


def _in_a_process(
    case: Case, samples: list[Sample], steps: int, settings: dict[str, str]
) -> dict[str, Any]:
    before = dict(os.environ)
    os.environ.update(settings)  # glibc reads them when a process starts
    try:
        with get_context("spawn").Pool(1) as pool:
            return pool.apply(run_case, (case, samples, steps))
    finally:
        os.environ.clear()
        os.environ.update(before)


def named(case: Case) -> str:
    """A configuration in words."""
    words = [
        f"hidden {case.hidden}",
        f"{case.layers} layers",
        f"{case.clips} clips",
        f"{case.prompts} prompts by {case.micro_batch}",
        f"{case.group} x {case.tokens}",
        *["checkpointing"] * case.checkpointing,
        "towers frozen" if case.frozen else f"towers of {case.tower} trained",
        *["no reference"] * (not case.reference),
    ]
    return ", ".join(words)


def report(record: Record) -> str:
    """A table of what `run` found."""
    header = ["configuration", "prompt", "MiB", "planned", "off", "CPU s", "planned", "off"]
    rows = []
    for one in record["runs"]:
        cells = []
        for unit in ("mib", "s"):
            measured, planned = one[f"measured_{unit}"], one[f"planned_{unit}"]
            cells += [f"{measured:.3g}", f"{planned:.3g}", f"{planned / measured - 1:+.0%}"]
        rows.append([named(Case(**one["case"])), str(one["prompt"]), *cells])
    return markdown(header, rows)


def main() -> None:
    """Run it, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.plan", description="A plan beside the run that it is of"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/plan.json"))
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args()
    stay_on_one_core()
    record = run(CASES, options.steps)
    write_json(options.out, record)
    print(report(record))
    print(f"\nWritten to {options.out}")


if __name__ == "__main__":
    main()
