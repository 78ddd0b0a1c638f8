"""`triptych data check PATH`: what is wrong with a data set, before a run finds out."""

import gc
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.bars import progress_bars
from triptych.cli.config import argument, several
from triptych.cli.model import check_at_least
from triptych.data.media import MediaBudget
from triptych.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from triptych.data.check import Check, Fixed
    from triptych.data.check.media import Decode
    from triptych.data.check.priors import Priors

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NARROWEST = 120  # columns: a pipe has none, and a paragraph in 80 is hard to search
_WIDEST = 48  # characters of an answer in the table


@dataclass(frozen=True, kw_only=True)
class CheckConfig:
    """What is checked, and how closely."""

    path: Path = argument()
    """The data set, in any form that `triptych data convert` reads."""
    against: tuple[Path, ...] = several()
    """Other data sets of which nothing may be in this one, such as the test set of a training
    set: questions, and media by content."""
    form: str | None = None
    """Form of its records, if it cannot be told from them; see `triptych data convert`."""
    media_root: Path | None = None
    """Folder that media paths are relative to, those of --against included; by default the folder
    of each data set."""
    decode: bool = False
    """Decode every media file, to find broken and silent ones and what the budget cuts."""
    media: MediaBudget = MediaBudget()
    """How much of each clip a model would be given."""
    hash: bool = False
    """Compare media by content within the data set, too."""
    jobs: int | None = None
    """Files that are read or decoded at the same time; as many as there are cores by default."""
    json: bool = False
    """Print one JSON object in place of tables."""
    examples: int = 3
    """Examples of each kind of finding that are shown."""
    strict: bool = False
    """Exit code 1 for warnings, too."""
    fix: Path | None = None
    """JSONL file for the samples that are sound or can be repaired; the others are listed beside
    it, in FIX.rejected.jsonl with their causes."""

    def __post_init__(self) -> None:
        check_at_least(0, self, "examples")
        if self.jobs is not None:
            check_at_least(1, self, "jobs")
        if self.fix and self.fix.resolve() in {one.resolve() for one in (self.path, *self.against)}:
            raise ConfigError(f"fix is {self.fix}, which is being checked; name another file")


def run(config: CheckConfig) -> int:
    """Check a data set: records, options, answers, references, media, leakage, shortcuts.

    Media are looked for, but not decoded without `--decode`. Exit code 1 when there are errors,
    whether or not `--fix` repairs them.
    """
    from triptych.data.check import MediaFiles, Severity, check, fix
    from triptych.data.readers import read_dataset
    from triptych.rewards.vagueness import vagueness

    jobs = config.jobs or os.cpu_count() or 1
    with _no_garbage_collection(), _decoder(config, jobs) as decode:
        dataset = read_dataset(config.path, media_root=config.media_root, form=config.form)
        others = [read_dataset(path, media_root=config.media_root) for path in config.against]
        check_this = partial(
            check,
            vagueness=vagueness,
            files=MediaFiles(jobs, decode),
            against=dict(zip(map(str, config.against), others, strict=True)),
            compare_contents=config.hash,
        )
        found, fixed = check_this(dataset), None
        if config.fix:
            fixed = fix(
                dataset, check_this, config.path, media_root=config.media_root, form=config.form
            )
    if config.fix and fixed:
        _write(config.fix, fixed)
    if config.json:
        print(json.dumps(_record(config, found, fixed), ensure_ascii=False, indent=1))
    else:
        _show(config, found, fixed)
    wrong = found.count(Severity.ERROR) + config.strict * found.count(Severity.WARNING)
    return 1 if wrong else 0


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Samples are millions of objects that live on: looking for garbage among them, again and
    again, would take as long as the check itself.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _decoder(config: CheckConfig, jobs: int) -> Iterator["Decode | None"]:
    """What decodes media in processes of their own, with a bar while there is a terminal."""
    if not config.decode:
        yield None
        return
    from triptych.data.decoding import DecodeLimits, DecodePool

    with DecodePool(DecodeLimits(workers=jobs)) as pool, progress_bars() as bars:
        yield lambda media: bars.track(
            pool.outcomes(media, config.media), total=len(media), description="decoding"
        )


def _write(path: Path, fixed: "Fixed") -> None:
    """The sound samples, and beside them what was left out."""
    from triptych.data.sample import write_samples
    from triptych.files import write_lines

    write_samples(path, fixed.samples)
    write_lines(_rejected_path(path), (one.to_json() for one in fixed.rejected))


def _rejected_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.rejected.jsonl")


def _record(config: CheckConfig, found: "Check", fixed: "Fixed | None") -> dict[str, Any]:
    record = {"path": str(config.path), **found.to_json(config.examples)}
    if fixed:
        record["fix"] = {
            "path": str(config.fix),
            "samples": len(fixed.samples),
            "repaired": {str(kind): count for kind, count in fixed.repaired.items()},
            "rejected": len(fixed.rejected),
        }
    return record


def _show(config: CheckConfig, found: "Check", fixed: "Fixed | None") -> None:
    """Tables for people: what there is, what is wrong with it, how far blind answers get."""
    from rich.console import Console

    from triptych.data.check import Severity

    console = Console(width=max(Console().width, _NARROWEST))
    console.print(_text(f"{config.path}: {found.form}"), soft_wrap=True)
    console.print(_counts_table(found))
    if found.findings:
        console.print(_findings_table(found, config.examples))
    if found.priors.answers:
        console.print(_answers_table(found.priors))
    for name, other in found.against.items():
        line = f"compared with {name}: {other.samples} samples, {other.unreadable} unreadable"
        if other.missing:
            line += f", {other.missing} media files not found and compared by their paths alone"
        console.print(_text(line), soft_wrap=True)
    if config.fix and fixed:
        repaired = ", ".join(f"{kind} {count}" for kind, count in fixed.repaired.items())
        console.print(
            _text(
                f"written: {config.fix}, {len(fixed.samples)} samples, repaired: "
                f"{repaired or 'none'}; left out: {len(fixed.rejected)}, "
                f"listed in {_rejected_path(config.fix)}"
            ),
            soft_wrap=True,
        )
    errors, warnings = found.count(Severity.ERROR), found.count(Severity.WARNING)
    console.print(f"{errors} errors, {warnings} warnings", style="bold", highlight=False)


def _counts_table(found: "Check") -> "Table":
    table = _table("samples", "by", "what", "count")
    table.add_row("all", "samples", str(found.samples))
    table.add_row("", "unreadable records", str(found.unreadable))
    parts = (("type", found.by_type), ("source", found.by_source), ("media", found.by_media))
    for name, counts in parts:
        for number, (value, count) in enumerate(counts.items()):
            table.add_row("" if number else name, _text(value), str(count))
    return table


def _findings_table(found: "Check", examples: int) -> "Table":
    from triptych.data.check import Severity

    styles = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.INFO: "dim"}
    table = _table("findings", "severity", "finding", "count", "meaning and examples")
    for kind, cases in found.findings.items():
        table.add_row(
            _text(kind.severity, styles[kind.severity]), kind, str(len(cases)), kind.meaning
        )
        for one in cases[:examples]:
            table.add_row("", "", "", _text(f"- {one.where}: {one.detail}", "dim"))
    return table


def _answers_table(priors: "Priors") -> "Table":
    """How often the most common answer, or a letter, is right; by chance, where that is known."""
    table = _table("answers without looking", "questions", "answer", "n", "right", "by chance")
    for kind, prior in priors.answers.items():
        answer = prior.answer if len(prior.answer) <= _WIDEST else f"{prior.answer[:_WIDEST]}..."
        table.add_row(kind, _text(answer), str(prior.questions), f"{prior.share:.1%}", "")
    for letter, of_letter in priors.letters.items():
        shares = (f"{of_letter.share:.1%}", f"{of_letter.expected:.1%}")
        table.add_row("multiple_choice", f"letter {letter}", str(priors.questions), *shares)
    return table


def _table(title: str, *columns: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    for column in columns:
        right = column in ("count", "n", "right", "by chance")
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _text(text: str, style: str = "") -> "Text":
    """Text from data: no markup in it is obeyed, and no control character reaches a terminal."""
    from rich.text import Text

    return Text(_CONTROLS.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split())), style)
