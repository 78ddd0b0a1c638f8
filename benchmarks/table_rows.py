"""What each benchmark's JSON says in a line or a few: figure, target, and whether it is met.

A target counts as met where the whole interval lies on its side, as missed where all of it lies on
the other, and is not certain in between. Single timings have no interval; theirs are quartiles.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from benchmarks.gpu_report import within_noise
from benchmarks.harness import MedianInterval, Spread, figure
from benchmarks.plan import named
from benchmarks.plan_run import Case
from benchmarks.update import MOST_MEMORY, WANTED_OF_TOKENS, Shape

Record: TypeAlias = dict[str, Any]

NO_TARGET = "none set"


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    what: str
    figure: str
    target: str = NO_TARGET
    verdict: str = ""


@dataclass(frozen=True)
class Benchmark:
    """A script, what it measures, and how its JSON is read."""

    name: str
    """Of the JSON file."""
    asks: str
    rows: Callable[[Record], Iterator[Row]]
    command: str = ""

    @property
    def make(self) -> str:
        """How it is run."""
        return self.command or f"make bench-{self.name.replace('_', '-')}"


def at_least(what: str, shown: str, interval: Mapping[str, float], bound: float) -> Row:
    """A row whose interval should lie above a bound."""
    met, missed = interval["low"] >= bound, interval["high"] < bound
    return Row(what, shown, f">= {bound:g}", _verdict(met=met, missed=missed))


def at_most(what: str, shown: str, interval: Mapping[str, float], bound: float) -> Row:
    """A row whose interval should lie below a bound."""
    met, missed = interval["high"] <= bound, interval["low"] > bound
    return Row(what, shown, f"<= {bound:g}", _verdict(met=met, missed=missed))


def _verdict(*, met: bool, missed: bool) -> str:
    return "met" if met else "missed" if missed else "not certain"


def _interval(record: Mapping[str, Any]) -> str:
    return str(MedianInterval(**record))


def _spread(record: Mapping[str, Any]) -> str:
    return str(Spread(**record))


# ---------------------------------------------------------------- one for each benchmark


def _grammar(record: Record) -> Iterator[Row]:
    for loop in record["loops"]:
        ((name, bound),) = loop["target"].items()
        unit = {"ratio": "times a step without", "added_ms": "ms more a step"}[name]
        about = f"{loop['model']} model, {loop['vocabulary']:,} tokens, temperature"
        yield at_most(
            f"{unit}: {about} {loop['temperature']:g}", _interval(loop[name]), loop[name], bound
        )


def _media(record: Record) -> Iterator[Row]:
    for one in record["verdicts"]:
        verdict = "met" if one["met"] else "missed"
        yield Row(one["what"], figure(one["value"]), one["target"], verdict)


def _data_check(record: Record) -> Iterator[Row]:
    records = f"{record['settings']['records']:,} records"
    for name, one in record["figures"].items():
        shown = f"{_spread(one['seconds'])} s, {one['peak_mib']:,.0f} MiB"
        yield Row(f"{records}, {name}", shown)


def _rewards(record: Record) -> Iterator[Row]:
    for texts in record["texts"]:
        for one in texts["competitors"]:
            if not one["name"].startswith("ours"):
                continue
            name = f"{texts['name']}, {one['name'].removeprefix('ours, ')}"
            if "target" in one:
                rate = one["pairs_per_second"]
                yield at_least(f"pairs a second: {name}", _interval(rate), rate, one["target"])
            yield Row(f"times the pipeline's pairs: {name}", _interval(one["to_pipeline"]))


def _necessity(record: Record) -> Iterator[Row]:
    for one in record["runs"]:
        for name, call in one["calls"].items():
            what = f"of rollout and update: {name}, {one['rows_per_forward']} rows a forward"
            yield Row(what, _interval(call["ratio"]))


def _evaluation(record: Record) -> Iterator[Row]:
    for name, gain in record["gains"].items():
        yield at_least(f"times the loop: {name}", _interval(gain), gain, record["wanted"])


def _score(record: Record) -> Iterator[Row]:
    settings, seconds = record["settings"], record["figures"]["seconds"]
    yield at_most(
        f"seconds for {settings['predictions']:,} predictions",
        _spread(seconds),
        {"low": seconds["q1"], "high": seconds["q3"]},
        settings["most_seconds"],
    )


def _update(record: Record) -> Iterator[Row]:
    for one in record["runs"]:
        shape = f"hidden {one['hidden_size']}, {Shape(**one['shape'])}"
        ratio, peaks = one["ratio"], one["peak_mib"]
        yield at_least(
            f"naive / shared: {shape}",
            f"{_interval(ratio['prefix'])}; all multiply-adds {one['arithmetic_ideal']:.2f}",
            ratio["prefix"],
            round(WANTED_OF_TOKENS * one["token_ideal"], 3),
        )
        yield Row(f"naive / under a mask: {shape}", _interval(ratio["mask"]))
        peak = peaks["prefix"] / peaks[f"naive {one['shape']['completions']}"]
        yield at_most(
            f"peak of shared / naive at once: {shape}",
            f"{peak:.2f}",
            {"low": peak, "high": peak},
            MOST_MEMORY,
        )


def _update_peer(record: Record) -> Iterator[Row]:
    shape = f"hidden {record['hidden_size']}, {Shape(**record['shape'])}"
    yield Row(f"prefix-grouper / shared: {shape}", _interval(record["ratio"]["prefix-grouper"]))


def _slopes(record: Record) -> Iterator[Row]:
    for fit in record["fits"]:
        shown = f"{fit['r_squared']:.3f}; {figure(fit['ms_per_1000_tokens'])} ms per 1,000 tokens"
        yield Row(f"R squared of {fit['way']} times over {fit['tokens']} tokens", shown)


def _towers(record: Record) -> Iterator[Row]:
    for step in record["step"]:
        clips = f"{step['clips_per_prompt']} clips a prompt"
        yield Row(f"step, each forward / once: {clips}", _interval(step["speedup"]))
    for one in record["attention"]:
        for tower in ("vision", "audio"):
            what = f"attention, one by one / in one call: {one['model']}, {tower}"
            yield Row(what, _interval(one[tower]["speedup"]))


def _log_probs(record: Record) -> Iterator[Row]:
    for one in record["settings"]:
        about = f"V {one['vocabulary']:,}, N {one['tokens']:,}, H {one['hidden']}, {one['dtype']}"
        head = "frozen head" if one["frozen"] else "trained head"
        mib = " to ".join(figure(one[arm]["activations_mib"]) for arm in ("plain", "chunked"))
        shown = f"{_interval(one['ratio'])}; {mib} MiB"
        yield Row(f"in chunks / at once: {about}, {head}", shown)


def _rollout(record: Record) -> Iterator[Row]:
    for run in record["runs"]:
        setting = run["setting"]
        shape = Shape(setting["prompt"], setting["group"], setting["completion"])
        for arm in run["arms"]:
            what = f"{arm['name']} / ours: hidden {setting['hidden']}, {shape}"
            times = arm["times_ours"]
            if arm["target"] is not None:
                yield at_least(what, _interval(times), times, arm["target"])
            elif arm["name"] == "floor":
                yield Row(what, _interval(times))


def _step(record: Record) -> Iterator[Row]:
    for one in record["comparisons"]:
        times = one["times_ours_cpu"]
        yield at_least(
            f"{one['best']} / ours: {one['name']}", _interval(times), times, one["target"]
        )


def _plan(record: Record) -> Iterator[Row]:
    for one in record["runs"]:
        for unit, name in (("mib", "MiB"), ("s", "CPU s")):
            measured, planned = one[f"measured_{unit}"], one[f"planned_{unit}"]
            off, bound = planned / measured - 1, record["within"][unit]
            yield Row(
                f"{name}, planned and measured: {named(Case(**one['case']))}",
                f"{figure(planned)}, {figure(measured)}: {off:+.0%}",
                f"within {bound:.0%}",
                "met" if abs(off) <= bound else "missed",
            )


def _gpu(record: Record) -> Iterator[Row]:
    for case in record["cases"]:
        what = f"{case['kind']}: {case['model']}, {Shape(**case['shape'])}"
        result = case.get("result")
        if result is None:
            yield Row(what, case["failed"])
        elif case["kind"] == "parity":
            noise, error = (f"{result[of]['mean']:.2g}" for of in ("noise", "error"))
            shown = f"{result['shared']['mean']:.2g}; noise {noise}, an error {error}"
            verdict = "met" if within_noise(result) else "missed"
            yield Row(what, shown, "rounding alone", verdict)
        elif "times_faster" in result:
            yield Row(f"naive / shared, {what}", _interval(result["times_faster"]))
        else:
            yield Row(what, "one way does not fit")


BENCHMARKS = (
    Benchmark("step", "a whole step of GRPO, beside TRL's and beside no sharing", _step),
    Benchmark("update", "an update that shares its prompt, beside one that does not", _update),
    Benchmark("update_peer", "the same, beside prefix-grouper", _update_peer),
    Benchmark("slopes", "the same, as prompts, groups and completions grow", _slopes),
    Benchmark("rollout", "a group of completions, beside its prompt run for each", _rollout),
    Benchmark(
        "gpu", "the sizes of 7B and 3B on one CUDA device", _gpu, "make gpu-check PYTHON=python3"
    ),
    Benchmark("plan", "memory and time as planned, beside the run", _plan),
    Benchmark("log_probs", "log-probs in chunks, beside all logits at once", _log_probs),
    Benchmark("towers", "frozen towers: once per prompt, or in each forward", _towers),
    Benchmark("necessity", "the necessity reward, beside rollout and update", _necessity),
    Benchmark("grammar", "holding a model to the format", _grammar),
    Benchmark("evaluation", "a batched evaluation, beside one question at a time", _evaluation),
    Benchmark("score", "scoring predictions from files", _score),
    Benchmark("rewards", "a trained text scorer, beside the pipeline of transformers", _rewards),
    Benchmark("media", "sampling a long film, and decode workers", _media),
    Benchmark("data_check", "checking a data set", _data_check),
)
"""In the order of the table."""
