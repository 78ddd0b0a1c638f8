"""The run folder: everything a run leaves behind, in files that outlive a crash.

    config.yaml       the resolved config
    environment.json  versions, machine, seed, fingerprint of the data
    metrics.jsonl     one object per logging step, with "step" and "phase"
    rollouts.jsonl    one object per completion
    skipped.jsonl     one object per sample that was left out, with the cause
    results.json      the figures of the evaluation
    report.html       the report

Where several processes train together, all may call everything here, and the first one writes.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import triptych
from triptych.errors import ConfigError, DataError
from triptych.files import (
    Record,
    append_lines,
    drop_torn_line,
    is_leftover,
    keep_lines,
    read_json,
    read_lines,
    sync_file,
    write_json,
    write_lines,
    write_text,
)
from triptych.origin import differences
from triptych.settings import load_config, plain, to_yaml

_log = logging.getLogger(__name__)

Config = TypeVar("Config")
P = ParamSpec("P")

_PACKAGES = ("torch", "transformers", "accelerate", "av", "numpy")
_OPTIONAL_PACKAGES = ("peft", "bitsandbytes")
_BLOCK = 1 << 20


def _is_first_process() -> bool:
    """`accelerate launch` and `torchrun` number the processes of a run by RANK."""
    return int(os.environ.get("RANK", "0")) == 0


def _first_process_only(method: Callable[P, None]) -> Callable[P, None]:
    @functools.wraps(method)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        if _is_first_process():
            method(*args, **kwargs)

    return guarded


class RunFolder:
    """A folder that holds one run. Make one by `create` (to write) or `open` (to read)."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    @classmethod
    def create(cls, path: Path, *, resume: bool | None = None) -> "RunFolder":
        """Start a run in a new or empty folder, or go on with the run that is there.

        A run that left its settings alone, since it ended before it did anything, is as good as
        none.

        Args:
            path: the folder.
            resume: whether to go on; None for commands that cannot be asked to.

        Raises:
            ConfigError: the folder holds something and `resume` is not set. Nothing is touched.
        """
        path = Path(path)
        if not _is_first_process():  # the folder may be in use already, by the first one
            return cls(path)
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{path} is a file; name a folder for the run")
        run = cls(path)
        if path.is_dir() and not resume:
            run._make_way(resumable=resume is not None)
        path.mkdir(parents=True, exist_ok=True)
        for lines in (run.metrics_path, run.rollouts_path):
            drop_torn_line(lines)
        return run

    def _make_way(self, *, resumable: bool) -> None:
        held = {each for each in self.path.iterdir() if not is_leftover(each)}
        settings = {self.config_path, self.environment_path}
        if held and held != settings:  # one alone may be the user's own
            hint = (
                ", remove it, or go on with its run by --resume" if resumable else " or remove it"
            )
            raise ConfigError(f"{self.path} is not empty: choose another folder{hint}")
        for file in held:
            file.unlink()

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """The run in an existing folder.

        Raises:
            DataError: there is no such folder, or it holds no run.
        """
        run = cls(path)
        if not run.path.is_dir():
            raise DataError(f"{path}: no such folder; name the folder of a run")
        known = (run.config_path, run.metrics_path, run.rollouts_path, run.results_path)
        if not any(file.exists() for file in known):
            names = ", ".join(file.name for file in known)
            raise DataError(f"{path}: not the folder of a run: it has none of {names}")
        return run

    @property
    def config_path(self) -> Path:
        return self.path / "config.yaml"

    @property
    def environment_path(self) -> Path:
        return self.path / "environment.json"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def rollouts_path(self) -> Path:
        return self.path / "rollouts.jsonl"

    @property
    def skipped_path(self) -> Path:
        return self.path / "skipped.jsonl"

    @property
    def results_path(self) -> Path:
        return self.path / "results.json"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    # --- writing -----------------------------------------------------------------------------

    @_first_process_only
    def check_settings(self, config: Any, *, fixed: Collection[str], free: Collection[str]) -> None:
        """Compare settings with those that the run began with; tells of what will be otherwise.

        Args:
            config: of the command that goes on with it.
            fixed: names of settings that have to stay.
            free: names of settings of which nothing needs to be said.

        Raises:
            ConfigError: one that has to stay is another.
        """
        if not self.config_path.exists():
            return
        settings = [plain(one) for one in (self.config(type(config)), config)]
        if shown := differences(*({name: one.get(name) for name in fixed} for one in settings)):
            raise ConfigError(
                f"{self.path}: the run began with other settings ({shown}); give those that it "
                "began with, or start a run in another folder"
            )
        said = {*settings[1]} - {*free, *fixed}
        if shown := differences(*({name: one.get(name) for name in said} for one in settings)):
            _log.warning("the run goes on with other settings: %s", shown)

    @_first_process_only
    def write_config(self, config: Any) -> None:
        """Write the resolved config. An older one that differs is kept, as config.1.yaml."""
        text = to_yaml(config)
        if self.config_path.exists() and self.config_path.read_text(encoding="utf-8") != text:
            self.config_path.rename(_free_name(self.config_path))
        write_text(self.config_path, text)

    @_first_process_only
    def write_environment(self, *, seed: int, data: Sequence[Path] = ()) -> None:
        """Write what the run ran on. A resumed run adds to the list under "resumed".

        Args:
            seed: The seed of the run.
            data: The JSONL files that the run reads.

        Raises:
            ConfigError: a resumed run would read other data than it began with.
        """
        now = _environment(seed, data)
        if not self.environment_path.exists():
            write_json(self.environment_path, now)
            return
        first = self.environment()
        before, after = first["data"], now["data"]
        if list(before.values()) != list(after.values()):  # files may move, contents may not change
            changed = [path for path in after if after[path] not in before.values()]
            named = ", ".join(changed or [*before, *after])
            raise ConfigError(
                f"{self.path}: the data changed since the run began ({named}); bring back the "
                "files that the run began with, or start a run in a new folder"
            )
        write_json(self.environment_path, {**first, "resumed": [*first.get("resumed", []), now]})

    @_first_process_only
    def append_metrics(self, *, step: int, phase: str, **values: Any) -> None:
        """Append one line to metrics.jsonl. A value that is not finite is written as null."""
        append_lines(self.metrics_path, [{"step": step, "phase": phase, **values}])

    @_first_process_only
    def append_rollouts(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append one line per completion to rollouts.jsonl."""
        append_lines(self.rollouts_path, records)

    @_first_process_only
    def write_skipped(
        self, phase: str, records: Sequence[Mapping[str, Any]], checked: int, *, settled: bool
    ) -> None:
        """Write to skipped.jsonl which of the `checked` samples a phase leaves out.

        Args:
            phase: Lines of others stay.
            records: One per sample, with "sample_id" and "cause".
            checked: How many samples these were found among.
            settled: The phase goes on without them. Then environment.json says so too, if there is
                one: data files and samples that were left out are what the phase really used.
        """
        others = [r for r in read_lines(self.skipped_path) if r["phase"] != phase]
        lines = [*others, *({"phase": phase, **record} for record in records)]
        write_lines(self.skipped_path, lines)
        if settled and self.environment_path.exists():
            ids = [record["sample_id"] for record in records]
            note = {"checked": checked, "skipped": len(ids), "sha256": _ids_fingerprint(ids)}
            environment = self.environment()
            notes = {**environment.get("skipped", {}), phase: note}
            write_json(self.environment_path, {**environment, "skipped": notes})

    @_first_process_only
    def sync(self) -> None:
        """Bring metrics and rollouts to the disk: what is before a checkpoint is not made again."""
        for path in (self.metrics_path, self.rollouts_path):
            if path.exists():
                sync_file(path)

    @_first_process_only
    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write results.json anew."""
        write_json(self.results_path, results)

    @_first_process_only
    def update_results(self, results: Mapping[str, Any]) -> None:
        """Merge into results.json, section by section; figures of other sections stay."""
        present = self.results() if self.results_path.exists() else {}
        self.write_results(_merge(present, plain(results)))

    @_first_process_only
    def rewind(self, step: int, *, phase: str | None = None) -> None:
        """Drop the metrics and rollouts after a step, before the run goes on from its checkpoint.

        Args:
            step: The last step to keep.
            phase: Touch only lines of this phase; None means all lines.
        """
        for path in (self.metrics_path, self.rollouts_path):
            if not path.exists():
                continue
            keep_lines(
                path,
                lambda record: record["step"] <= step or phase not in (None, record.get("phase")),
            )

    # --- reading -----------------------------------------------------------------------------

    def config(self, cls: type[Config]) -> Config:
        """The config of the run."""
        return load_config(cls, self.config_path)

    def environment(self) -> Record:
        """What the run ran on: see `write_environment`."""
        return read_json(self.environment_path)

    def metrics(self, phase: str | None = None) -> list[Record]:
        """The lines of metrics.jsonl, in order; those of one phase where one is named."""
        lines = read_lines(self.metrics_path)
        return [record for record in lines if phase in (None, record.get("phase"))]

    def rollouts(self) -> Iterator[Record]:
        """The lines of rollouts.jsonl, in order, one at a time: there may be very many."""
        return read_lines(self.rollouts_path)

    def skipped(self, phase: str) -> list[str] | None:
        """Ids of the samples that a phase left out; None where it did not settle that.

        Raises:
            ConfigError: skipped.jsonl is not what the run wrote.
        """
        environment = self.environment() if self.environment_path.exists() else {}
        note = environment.get("skipped", {}).get(phase)
        if note is None:
            return None
        lines = read_lines(self.skipped_path)
        ids = [record["sample_id"] for record in lines if record["phase"] == phase]
        if _ids_fingerprint(ids) != note["sha256"]:
            raise ConfigError(
                f"{self.skipped_path}: is not what the run wrote when it began, so which samples "
                "it used is lost; bring the file back, or start a run in a new folder"
            )
        return ids

    def results(self) -> Record:
        """The figures in results.json."""
        return read_json(self.results_path)


def data_fingerprint(paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of each file's content, under the path as it was given.

    Raises:
        DataError: a file cannot be read.
    """
    prints = {}
    for path in map(Path, paths):
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while block := file.read(_BLOCK):
                    digest.update(block)
        except OSError as error:
            raise DataError(f"{path}: cannot be read: {error.strerror}") from error
        prints[path.as_posix()] = digest.hexdigest()
    return prints


def _ids_fingerprint(ids: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(ids).encode()).hexdigest()


def _environment(seed: int, data: Sequence[Path]) -> Record:
    # Not imported for this, which takes seconds: a run that has no use for it lists no threads.
    torch = sys.modules.get("torch")
    cuda = torch is not None and torch.cuda.is_available()
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "triptych": triptych.__version__,
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
            **{
                name: importlib.metadata.version(name)
                for name in _OPTIONAL_PACKAGES
                if importlib.util.find_spec(name)
            },
        },
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads() if torch else None,
        "accelerators": [
            torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())
        ]
        if torch and cuda
        else [],
        "seed": seed,
        "data": data_fingerprint(data),
    }


def _merge(present: Record, new: Record) -> Record:
    merged = dict(present)
    for key, value in new.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _free_name(path: Path) -> Path:
    number = 1
    while (free := path.with_suffix(f".{number}{path.suffix}")).exists():
        number += 1
    return free
