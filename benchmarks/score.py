"""Time and memory of `triptych score` on 100,000 predictions.

    python -m benchmarks.score --out benchmarks/results/score.json

2,500 questions, half about the synthetic clips (stated elements, three kinds of answer) and half in
prose (elements found in the words), with 40 completions each. These have three stages and about
120 words: parts of the reference, of others, and an answer. All of them differ, so that no cache of
texts helps. The command runs as a user runs it, in a process of
its own; its time holds the start of Python, reading both files, parsing, all rule rewards, the
intervals and writing the run. Where other programs keep the machine busy, only the time of the
processor means something.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import Spread, environment, markdown, write_json
from triptych.data.clips.cues import Mouth, Pitch, describe, draw_cues
from triptych.data.clips.questions import (
    emotion_question,
    intention_questions,
    sincerity_question,
)
from triptych.data.sample import Sample, read_samples, write_samples
from triptych.stages.format import DEFAULT_FORMAT

PREDICTIONS = 100_000
QUESTIONS = 2_500
MOST_SECONDS = 30.0
_PROSE = Path(__file__).parents[1] / "tests/golden/rewards/prose.jsonl"
_SENTENCE = re.compile(r"(?<=[.!?]) ")


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the figures")
    parser.add_argument("--predictions", type=int, default=PREDICTIONS)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="triptych-score-") as name:
        folder = Path(name)
        words = make_files(folder, args.predictions, args.questions)
        runs = [run_once(folder, number, args.predictions) for number in range(args.rounds)]
    spreads = {key: Spread.of([one[key] for one in runs]) for key in ("seconds", "cpu_seconds")}
    peak = max(one["peak_mib"] for one in runs)
    rows = [[f"{args.predictions:,}", *map(str, spreads.values()), f"{peak:.0f}"]]
    print(markdown(["predictions", "seconds", "CPU seconds", "peak MiB of a process"], rows))
    figures = {key: asdict(spread) for key, spread in spreads.items()} | {"peak_mib": peak}
    record = {
        "environment": environment(("triptych", "pydantic", "numpy")),
        "settings": {
            "predictions": args.predictions,
            "questions": args.questions,
            "words_per_completion": words,
            "most_seconds": MOST_SECONDS,
        },
        "figures": figures,
    }
    write_json(args.out, record)


def make_files(folder: Path, predictions: int, questions: int) -> float:
    """``data.jsonl`` and ``predictions.jsonl``; returns the mean length in words."""
    rng = random.Random(0)
    samples = _questions(questions, rng)
    write_samples(folder / "data.jsonl", samples)
    sentences = [text for sample in samples for text in _sentences(sample)]
    words = 0
    with (folder / "predictions.jsonl").open("w", encoding="utf-8") as file:
        for sample in samples:
            texts = [_completion(sample, sentences, rng) for _ in range(predictions // questions)]
            words += sum(len(text.split()) for text in texts)
            record = {"sample_id": sample.id, "completions": [{"text": text} for text in texts]}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return words / predictions


def _questions(count: int, rng: random.Random) -> list[Sample]:
    prose = read_samples(_PROSE)
    made = []
    for number in range(count):
        if number % 2:
            made.append(_prose_question(number, prose, rng))
            continue
        cues = draw_cues(rng, rng.choice(list(Mouth)), rng.choice(list(Pitch)))
        clip = f"question-{number}"
        made += rng.choice(
            (
                intention_questions(clip, cues, 1, rng),
                [emotion_question(clip, cues, rng)],
                [sincerity_question(clip, cues)],
            )
        )
    return made


def _prose_question(number: int, prose: Sequence[Sample], rng: random.Random) -> Sample:
    """One of the samples, with a sentence of another one in its context."""
    one, other = prose[number // 2 % len(prose)], rng.choice(prose)
    context = _SENTENCE.split(one.reference.context or "")
    context.insert(1, rng.choice(_SENTENCE.split(other.reference.context or "")))
    reference = one.reference.model_copy(update={"context": " ".join(context)})
    return one.model_copy(update={"id": f"prose-{number}", "reference": reference})


def _sentences(sample: Sample) -> list[str]:
    return _SENTENCE.split(sample.reference.context or "")


def _completion(sample: Sample, sentences: Sequence[str], rng: random.Random) -> str:
    """Most of the reference's sentences, some others, its reasoning or one with gaps, an answer."""
    context = [text for text in _sentences(sample) if rng.random() < 0.8]
    reasoning = _SENTENCE.split(sample.reference.reasoning or "")
    if sample.reference.elements and rng.random() < 0.5:
        context.append(describe(draw_cues(rng, rng.choice(list(Mouth)), rng.choice(list(Pitch)))))
    while sum(len(text.split()) for text in context) < 55:
        context.insert(rng.randint(0, len(context)), rng.choice(sentences))
    while sum(len(text.split()) for text in reasoning) < 35:
        reasoning.insert(0, rng.choice(sentences))
    answer = sample.answer if rng.random() < 0.6 else rng.choice(("A", "B", "C", "yes", "no"))
    bodies = {"context": " ".join(context), "think": " ".join(reasoning), "answer": answer}
    return DEFAULT_FORMAT.render(bodies)


def run_once(folder: Path, number: int, predictions: int) -> dict[str, float]:
    """Seconds on the clock and of the processors, and peak memory, of a process of its own."""
    out = folder / f"run-{number}"
    command = [sys.executable, "-m", "triptych", "score", str(folder / "predictions.jsonl")]
    command += ["--data", str(folder / "data.jsonl"), "--out", str(out)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    if results["questions"]["answered"] != predictions:
        raise SystemExit(f"{' '.join(command)} did not score all {predictions} predictions")
    cpu_seconds = usage.ru_utime + usage.ru_stime  # of its workers, too, once they have ended
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mib": usage.ru_maxrss / 1024}


if __name__ == "__main__":
    main()
