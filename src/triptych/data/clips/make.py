"""Make the splits: plan every clip, render the files, write the questions.

Layout: ``<split>/0000.mp4 ...`` and ``<split>.jsonl`` for each split, and ``manifest.json``.

All chance is spent in the plan. It is drawn from (seed, split, index) alone, so the number of
processes that render changes nothing.
"""

import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from triptych.data.clips.baselines import Baselines, measure_baselines
from triptych.data.clips.cues import HABITUAL_PITCH, INTENTIONS, Cues, Mouth, Pitch, draw_cues
from triptych.data.clips.questions import (
    emotion_question,
    intention_questions,
    sincerity_question,
)
from triptych.data.clips.render import Nuisance, draw_nuisance, render_clip
from triptych.data.sample import Sample, write_samples
from triptych.errors import ConfigError, DataError

SPLITS: tuple[str, ...] = (
    "cold-start",
    "rl-biased",
    "rl-balanced",
    "validation",
    "test-balanced",
)
BIAS = 0.9
"""Share of clips in the biased split whose voice is the habitual one of the face."""

_MANIFEST = "manifest.json"
_FORMAT = "triptych-clips"
_MIN_CLIPS_PER_PROCESS = 64  # below this, starting a process costs more than it saves


@dataclass(frozen=True)
class ClipSizes:
    """Clips per split, and intention questions per clip (each with its own four options).

    Every clip also gets one emotion question and, but for the choice that keeps yes and no even,
    one sincerity question. Validation and test ask for the intention once a clip.
    """

    cold_start: int = 320
    """Clips of the cold-start split."""
    rl_biased: int = 320
    """Clips of the rl-biased split, where the face gives the voice away nine times out of ten."""
    rl_balanced: int = 320
    """Clips of the rl-balanced split."""
    validation: int = 64
    """Clips of the validation split."""
    test_balanced: int = 300
    """Clips of the test-balanced split."""
    cold_start_intentions: int = 4
    """Intention questions of each clip of the cold-start split."""
    rl_intentions: int = 2
    """Intention questions of each clip of the two splits for reinforcement."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ConfigError(
                    f"clip sizes: {field.name} is {getattr(self, field.name)}; use 1 or more"
                )

    def clips(self, split: str) -> int:
        """Number of clips of a split."""
        return int(getattr(self, split.replace("-", "_")))

    def intentions(self, split: str) -> int:
        """Intention questions per clip of a split."""
        if split == "cold-start":
            return self.cold_start_intentions
        return self.rl_intentions if split.startswith("rl-") else 1


@dataclass(frozen=True)
class ClipSummary:
    """What a set holds.

    `counts` is questions by split, kind and alignment; `baselines` are on test-balanced;
    `reused` tells that the set was there already, `replaced` the seed of the set whose place it
    took; None where there was none.
    """

    folder: Path
    seed: int
    sizes: ClipSizes
    counts: dict[str, dict[str, dict[str, int]]]
    baselines: Baselines
    reused: bool
    replaced: int | None = None

    def path(self, split: str) -> Path:
        """The JSONL file of a split."""
        return self.folder / f"{split}.jsonl"


@dataclass(frozen=True)
class _Clip:
    name: str  # "<split>/<index>"
    cues: Cues
    nuisance: Nuisance


def make_clips(
    folder: Path, seed: int, sizes: ClipSizes | None = None, jobs: int | None = None
) -> ClipSummary:
    """Make all splits in `folder`, or reuse the set there if it is the same one, whole.

    A set is built beside `folder` and moved into place at the end: a run that is killed leaves no
    half-made set. An older set of clips in `folder` is replaced; anything else there is not.

    Args:
        folder: where the set goes.
        seed: same seed, same clips and byte-identical JSONL.
        sizes: clips and questions per split.
        jobs: processes that render; every core by default. Changes nothing but the time. They
            are spawned, so a script that calls this needs ``if __name__ == "__main__":``.

    Raises:
        ConfigError: a size or `jobs` is below 1.
        DataError: `folder` holds something else, or cannot be written.
    """
    folder, sizes = Path(os.path.abspath(folder)), sizes or ClipSizes()
    jobs = jobs if jobs is not None else os.cpu_count() or 1
    if jobs < 1:
        raise ConfigError(f"jobs is {jobs}; use 1 or more")
    manifest = _read_manifest(folder)
    if manifest is not None and _is_same_and_whole(folder, manifest, seed, sizes):
        return _summary(folder, manifest, sizes, reused=True)
    _refuse_foreign_files(folder, is_clips=manifest is not None)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _beside(folder) as partial:
            built = _build(partial, seed, sizes, jobs)
            _move_into_place(partial, folder)
    except OSError as error:
        raise DataError(f"{folder}: clips cannot be written: {error}") from error
    summary = _summary(folder, built, sizes, reused=False)
    return replace(summary, replaced=manifest.get("seed") if manifest else None)


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """An empty folder on the same file system, gone at the end unless it was moved."""
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        partial.chmod(0o755)  # mkdtemp keeps others out
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _build(folder: Path, seed: int, sizes: ClipSizes, jobs: int) -> dict[str, Any]:
    """Fill `folder` and return its manifest."""
    samples: dict[str, list[Sample]] = {}
    clips: list[_Clip] = []
    for split in SPLITS:
        (folder / split).mkdir()
        planned = _plan_clips(split, seed, sizes.clips(split))
        clips += planned
        samples[split] = _ask(split, seed, planned, sizes.intentions(split))
    _render(folder, clips, jobs)
    for split in SPLITS:
        write_samples(folder / f"{split}.jsonl", [_rooted(s, folder) for s in samples[split]])
    manifest = {
        "format": _FORMAT,
        "code": _code_digest(),
        "seed": seed,
        "sizes": asdict(sizes),
        "sha256": {split: _digest(folder / f"{split}.jsonl") for split in SPLITS},
        "media": {split: _media_sizes(folder / split) for split in SPLITS},
        "counts": {split: _count(samples[split]) for split in SPLITS},
        "baselines": asdict(
            measure_baselines(fit_on=samples["cold-start"], score_on=samples["test-balanced"])
        ),
    }
    text = json.dumps(manifest, indent=2) + "\n"
    (folder / _MANIFEST).write_text(text, encoding="utf-8", newline="\n")
    return manifest


def _plan_clips(split: str, seed: int, count: int) -> list[_Clip]:
    rng = Random(f"{seed}/{split}")
    cells = _biased_cells(count, rng) if split == "rl-biased" else _balanced_cells(count, rng)
    clips = []
    for index, cell in enumerate(cells):
        own = Random(f"{seed}/{split}/{index}")
        clips.append(_Clip(f"{split}/{index:04d}", draw_cues(own, *cell), draw_nuisance(own)))
    return clips


def _balanced_cells(count: int, rng: Random) -> list[tuple[Mouth, Pitch]]:
    """Every pair of mouth and pitch equally often (to within one), in random order."""
    cells = _evenly(list(INTENTIONS), count, rng)
    rng.shuffle(cells)
    return cells


def _biased_cells(count: int, rng: Random) -> list[tuple[Mouth, Pitch]]:
    """A share `BIAS` of habitual pairs, the rest of the others; evenly within each."""
    habitual = list(HABITUAL_PITCH.items())
    others = [cell for cell in INTENTIONS if cell not in habitual]
    num_habitual = round(BIAS * count)
    cells = _evenly(habitual, num_habitual, rng) + _evenly(others, count - num_habitual, rng)
    rng.shuffle(cells)
    return cells


def _evenly(
    cells: Sequence[tuple[Mouth, Pitch]], count: int, rng: Random
) -> list[tuple[Mouth, Pitch]]:
    """`count` cells, each equally often; which ones come once more is drawn."""
    whole, rest = divmod(count, len(cells))
    return [*cells] * whole + rng.sample(list(cells), rest)


def _ask(split: str, seed: int, clips: Sequence[_Clip], num_intentions: int) -> list[Sample]:
    about_sincerity = _clips_about_sincerity(split, seed, clips)
    samples: list[Sample] = []
    for clip in clips:
        rng = Random(f"{seed}/{clip.name}/questions")
        samples += intention_questions(clip.name, clip.cues, num_intentions, rng)
        samples.append(emotion_question(clip.name, clip.cues, rng))
        if clip.name in about_sincerity:
            samples.append(sincerity_question(clip.name, clip.cues))
    return samples


def _clips_about_sincerity(split: str, seed: int, clips: Sequence[_Clip]) -> frozenset[str]:
    """Which clips get a sincerity question.

    In balanced splits a third of the clips is sincere. All of them are asked about, and as many
    of the others, evenly over the pairs of mouth and pitch: yes and no are half each, and neither
    face nor voice alone tells them apart. The biased split asks about every clip, mostly yes.
    """
    if split == "rl-biased":
        return frozenset(clip.name for clip in clips)
    aligned = [clip.name for clip in clips if clip.cues.aligned]
    by_cell: dict[tuple[Mouth, Pitch], list[str]] = {}
    for clip in clips:
        if not clip.cues.aligned:
            by_cell.setdefault((clip.cues.mouth_end, clip.cues.pitch), []).append(clip.name)
    columns = list(by_cell.values())
    Random(f"{seed}/{split}/sincerity").shuffle(columns)
    rounds = itertools.chain.from_iterable(itertools.zip_longest(*columns))
    others = [name for name in rounds if name is not None]
    return frozenset(aligned + others[: len(aligned)])


def _rooted(sample: Sample, folder: Path) -> Sample:
    media = tuple(m.model_copy(update={"path": folder / m.path}) for m in sample.media)
    return sample.model_copy(update={"media": media})


def _render(folder: Path, clips: Sequence[_Clip], jobs: int) -> None:
    jobs = min(jobs, max(1, len(clips) // _MIN_CLIPS_PER_PROCESS))
    if jobs == 1:
        _render_some((folder, clips))
        return
    # Spawned, not forked: a fork of a process with running threads (torch's) may hang.
    parts = [(folder, part) for part in _batches(clips, 32)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(_render_some, parts):
            pass


def _batches(clips: Sequence[_Clip], size: int) -> list[Sequence[_Clip]]:
    return [clips[start : start + size] for start in range(0, len(clips), size)]


def _render_some(work: tuple[Path, Sequence[_Clip]]) -> None:
    folder, clips = work
    for clip in clips:
        render_clip(folder / f"{clip.name}.mp4", clip.cues, clip.nuisance)


def _count(samples: Iterable[Sample]) -> dict[str, dict[str, int]]:
    tally = Counter((sample.extra["kind"], sample.extra["alignment"]) for sample in samples)
    counts: dict[str, dict[str, int]] = {}
    for (kind, alignment), number in sorted(tally.items()):
        counts.setdefault(kind, {})[alignment] = number
    return counts


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _code_digest() -> str:
    """Identifies the code that makes clips: a set that an older version made is made again."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a set of clips in `folder`; None where there is none."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(manifest, dict) or manifest.get("format") != _FORMAT:
        return None
    return manifest


def _is_same_and_whole(folder: Path, manifest: dict[str, Any], seed: int, sizes: ClipSizes) -> bool:
    wanted = {"code": _code_digest(), "seed": seed, "sizes": asdict(sizes)}
    if any(manifest.get(key) != value for key, value in wanted.items()):
        return False
    try:
        return all(
            _digest(folder / f"{split}.jsonl") == manifest["sha256"][split]
            and _media_sizes(folder / split) == manifest["media"][split]
            for split in SPLITS
        )
    except (OSError, KeyError):
        return False


def _media_sizes(folder: Path) -> dict[str, int]:
    """How many clips a split holds and their bytes in all; a lost or cut one changes them."""
    sizes = [path.stat().st_size for path in folder.glob("*.mp4")]
    return {"clips": len(sizes), "bytes": sum(sizes)}


def _refuse_foreign_files(folder: Path, is_clips: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DataError(f"{folder}: is a file; choose another folder for the clips")
    ours = {_MANIFEST, *SPLITS, *(f"{split}.jsonl" for split in SPLITS)} if is_clips else set()
    foreign = sorted(entry.name for entry in folder.iterdir() if entry.name not in ours)
    if foreign:
        raise DataError(
            f"{folder}: holds {foreign[0]!r}, which is no part of a set of clips; "
            "choose another folder, or empty this one"
        )


def _move_into_place(partial: Path, folder: Path) -> None:
    with _beside(folder) as old:
        if folder.exists():
            folder.rename(old)
        partial.rename(folder)


def _summary(folder: Path, manifest: dict[str, Any], sizes: ClipSizes, reused: bool) -> ClipSummary:
    return ClipSummary(
        folder=folder,
        seed=manifest["seed"],
        sizes=sizes,
        counts=manifest["counts"],
        baselines=Baselines(**manifest["baselines"]),
        reused=reused,
    )
