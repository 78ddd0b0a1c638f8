"""The tables of the check on a GPU."""

from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.gpu_cases import Record
from benchmarks.harness import MedianInterval, Spread, figure, markdown
from benchmarks.update import Shape

MOST_TO_NOISE, MOST_TO_ERROR = 2.0, 0.1
"""Mean difference of the shared prompt's log-probs: at most so many times that between two batch
sizes, which may agree to the bit, or this share of what an error makes."""


def report(record: Record) -> str:
    """The figures as Markdown."""
    device, versions = record["device"], record["environment"]["versions"]
    parts = [
        f"{device['name']}, CUDA {device['cuda']}, torch {versions['torch']}, transformers "
        f"{versions['transformers']}, {record['dtype']}, {record['environment']['date']}, "
        f"{record['seconds']:.0f} s; shapes are (P, G, C); medians (quartiles; 95% intervals)"
    ]
    for title, kinds, header, rows in _TABLES:
        done = [case for case in record["cases"] if case["kind"] in kinds and "result" in case]
        if done:
            parts += [f"## {title}", markdown(header, [row for case in done for row in rows(case)])]
    if notes := _optimizer_notes(record["cases"]):
        parts.append("\n".join(notes))
    if missing := [case for case in record["cases"] if "failed" in case]:
        lines = [f"* {_name(case)}: {case['failed']}" for case in missing]
        parts.append("\n".join(["## Not measured", "", *lines]))
    return "\n\n".join(parts)


def failures(record: Record) -> list[str]:
    """What must not be: cases that broke, and log-probs that differ by more than noise."""
    wrong = []
    for case in record["cases"]:
        if case.get("failed", "").startswith("error"):
            wrong.append(f"{_name(case)}: {case['failed']}")
        if case["kind"] == "parity" and "result" in case and not within_noise(case["result"]):
            wrong.append(f"{_name(case)}: log-probs differ by more than rounding explains")
    return wrong


def within_noise(parity: Record) -> bool:
    """Whether sharing changes log-probs by no more than rounding does."""
    shared, noise, error = (parity[of]["mean"] for of in ("shared", "noise", "error"))
    return bool(shared <= max(MOST_TO_NOISE * noise, MOST_TO_ERROR * error))


def _name(case: Record) -> str:
    return f"{case['model']}, {case['kind']}, {Shape(**case['shape'])}"


def _parity_rows(case: Record) -> list[list[str]]:
    result = case["result"]
    figures = [
        f"{result[of]['mean']:.2g} ({result[of]['max']:.2g})" for of in ("shared", "noise", "error")
    ]
    verdict = "agrees" if within_noise(result) else "off"
    return [[case["model"], str(Shape(**case["shape"])), *figures, verdict]]


def _update_rows(case: Record) -> list[list[str]]:
    result = case["result"]
    rows = []
    for way in ("naive", "shared"):
        first = [case["model"], case["kind"].removeprefix("update, "), str(Shape(**case["shape"]))]
        batch = f", {result['best_micro_batch']} at a time" if way == "naive" else ""
        figures = result[way]
        if isinstance(figures, str):
            rows.append([*first, way, figures, "", "", "", ""])
            continue
        share = figures["utilisation"]
        rows.append(
            [
                *first,
                way + batch,
                str(Spread(**figures["seconds"])),
                figure(figures["completion_tokens_per_s"]),
                _gib(figures["peak_gib"]),
                "unknown" if share is None else f"{share:.0%}",
                _times(result) if way == "shared" else "",
            ]
        )
    return rows


def _rollout_rows(case: Record) -> list[list[str]]:
    result = case["result"]
    rows = []
    for way in ("naive", "shared"):
        shape = f"({result['prompt_tokens']}, {case['shape']['completions']})"
        first = [case["model"], f"{shape} x {result['new_tokens']}", way]
        figures = result[way]
        if isinstance(figures, str):
            rows.append([*first, figures, "", "", "", ""])
            continue
        rows.append(
            [
                *first,
                str(Spread(**figures["seconds"])),
                str(Spread(**figures["first_token_s"])),
                str(Spread(**figures["step_ms"])),
                _gib(figures["peak_gib"]),
                _times(result) if way == "shared" else "",
            ]
        )
    return rows


def _optimizer_notes(cases: Sequence[Record]) -> list[str]:
    notes = {}
    for case in cases:
        result = case.get("result", {})
        if "optimizer_held" not in result:
            continue
        gib = f"{result['optimizer_gib']:.3g} GiB"
        notes[case["model"]] = (
            f"* {case['model']}, full: AdamW's states ({gib}) are in memory, and a step takes "
            f"{figure(result['optimizer_step_s'])} s more"
            if result["optimizer_held"]
            else f"* {case['model']}, full: gradients only; AdamW's states ({gib}) do not fit"
        )
    return list(notes.values())


def _gib(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1f}"


def _times(result: Record) -> str:
    ratio: dict[str, Any] | None = result.get("times_faster")
    return "" if ratio is None else str(MedianInterval(**ratio))


_TABLES: tuple[tuple[str, tuple[str, ...], list[str], Callable[[Record], list[list[str]]]], ...] = (
    (
        "Log-probs: mean (largest) difference from the prompt before each completion",
        ("parity",),
        ["model", "shape", "prompt shared", "noise", "an error", ""],
        _parity_rows,
    ),
    (
        "Update: forward and backward of a group",
        ("update, full", "update, LoRA"),
        ["model", "trained", "shape", "prompt", "s", "completion tokens/s", "peak GiB",
         "utilisation", "naive / shared"],
        _update_rows,
    ),
    (
        "Rollout",
        ("rollout",),
        ["model", "(P, G) x tokens", "prompt", "s", "to the first token, s", "a step, ms",
         "peak GiB", "naive / shared"],
        _rollout_rows,
    ),
)  # fmt: skip
