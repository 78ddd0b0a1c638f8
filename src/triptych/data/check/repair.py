"""From a data set with faults to one without: what can be repaired is, the rest is left out.

| fault | repair |
|---|---|
| an id is missing or stands twice | a new one, made from the place of the record |
| "(b)", "B. to tease", "Yes." as a native answer | "B", "yes", as of other forms |
| "A. to comfort" as a native option | "to comfort" |
| one option under two letters | the later letters are dropped, the answer follows |
| sound is asked of a silent video | it is no longer asked for |
| a sample stands twice | the later ones are left out |
| any other error | the sample is left out |

Samples that only warnings are about stay as they are.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from triptych.data.check.findings import Finding, Kind, Severity
from triptych.data.check.keys import CHOICES, text_key
from triptych.data.check.records import problem_kind
from triptych.data.check.run import Check
from triptych.data.readers import Dataset, read_dataset
from triptych.data.readers.base import Fields, RecordError, Row
from triptych.data.readers.fields import question
from triptych.data.readers.native import NATIVE
from triptych.data.readers.places import MediaFolder
from triptych.data.readers.stores import open_store
from triptych.data.sample import Media, Sample
from triptych.stages.prompt import OPTION_LETTERS


@dataclass(frozen=True)
class Rejected:
    """A record that is left out: where it is, why, and the sample if it is one."""

    where: str
    findings: tuple[Finding, ...]
    sample: Sample | None = None

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "where": self.where,
            "causes": [{"kind": str(one.kind), "detail": one.detail} for one in self.findings],
        }
        if self.sample:
            record["sample"] = self.sample.model_dump(mode="json", exclude_defaults=True)
        return record


@dataclass(frozen=True)
class Fixed:
    """The samples that are sound by now, how many were repaired of what, and what is left out."""

    samples: tuple[Sample, ...]
    repaired: Mapping[Kind, int]
    rejected: tuple[Rejected, ...]


def fix(
    dataset: Dataset,
    check: Callable[[Dataset], Check],
    path: Path,
    *,
    media_root: Path | None = None,
    form: str | None = None,
) -> Fixed:
    """Repair a data set.

    Args:
        dataset: what was read.
        check: checks a data set: what is read leniently may have faults of its own.
        path: what it was read from.
        media_root: as it was read with.
        form: as it was read with.
    """
    lenient = _read_leniently(dataset, path, media_root, form)
    still = {problem.where for problem in lenient.problems}
    repaired = Counter(problem_kind(one) for one in dataset.problems if one.where not in still)
    faults: dict[int, list[Finding]] = defaultdict(list)
    rejected: list[Rejected] = []
    for kind, found in check(lenient).findings.items():
        if kind.severity is not Severity.ERROR and kind is not Kind.DUPLICATE_SAMPLE:
            continue
        for finding in found:
            if finding.sample is None:
                rejected.append(Rejected(finding.where, (finding,)))
            else:
                faults[finding.sample].append(finding)
    samples: list[Sample] = []
    for number, sample in enumerate(lenient.samples):
        sound, left = _repair(sample, faults.get(number, ()))
        if left:
            rejected.append(Rejected(sample.id, tuple(left), sample))
        else:
            samples.append(sound)
            repaired.update({finding.kind for finding in faults.get(number, ())})
    return Fixed(tuple(samples), repaired, tuple(rejected))


# ---------------------------------------------------------------- records


def _read_leniently(
    dataset: Dataset, path: Path, media_root: Path | None, form: str | None
) -> Dataset:
    """The data set with new ids where they are needed, and native records in any writing."""
    if not dataset.problems:
        return dataset
    renamed = read_dataset(path, media_root=media_root, form=form, new_ids=True)
    if renamed.form != NATIVE.name:
        return renamed
    samples = {sample.id: sample for sample in renamed.samples}
    wanted = {problem.where: problem for problem in renamed.problems}
    store = open_store(path)
    folder = MediaFolder(store.folder if media_root is None else media_root)
    for row in store.rows:
        if row.where in wanted and (sample := _native_sample(row, folder, samples)):
            samples[sample.id] = sample
            del wanted[row.where]
    return Dataset(tuple(samples.values()), tuple(wanted.values()), renamed.form, renamed.why)


def _native_sample(row: Row, folder: MediaFolder, others: Mapping[str, Sample]) -> Sample | None:
    """A native record with options and answer as the readers of other forms take them."""
    try:
        fields = Fields(NATIVE.read(row, folder))
        asked, kind = fields.need("question"), fields.need("problem_type")
        answer, choices = fields.need("answer"), fields.take("options")
        reference, media = fields.take("reference"), fields.take("media")
        name, extra = fields.take("id"), fields.take("extra")
        taken = question(fields, asked, kind, choices, answer, reference or {})
        sample = Sample.model_validate(
            {
                **taken,
                "id": name if isinstance(name, str) and name.strip() else row.name,
                "media": media,
                "extra": {**(extra or {}), **taken["extra"]},
            }
        )
    except (RecordError, ValidationError, TypeError):
        return None
    return sample if sample.id not in others else sample.model_copy(update={"id": row.name})


# ---------------------------------------------------------------- samples


def _repair(sample: Sample, findings: Sequence[Finding]) -> tuple[Sample, list[Finding]]:
    """The sample as far as it can be repaired, and the findings that remain."""
    left, repaired = [], sample
    for finding in findings:
        after: Sample | None = None
        if finding.kind is Kind.DUPLICATE_OPTION:
            after = _merge_options(repaired)
        elif finding.kind is Kind.MEDIA_WITHOUT_AUDIO:
            after = _without_sound(repaired, finding.media)
        if after is None:
            left.append(finding)
        else:
            repaired = after
    return repaired, left


def _merge_options(sample: Sample) -> Sample | None:
    """Each option once, the letters of the answer moved along; None where one option is left."""
    letters: dict[str, str] = {}
    kept: list[str] = []
    for option in sample.options:
        if text_key(option) not in letters:
            letters[text_key(option)] = OPTION_LETTERS[len(kept)]
            kept.append(option)
    if len(kept) < 2:
        return None
    answer = sample.answer
    if sample.problem_type in CHOICES:
        chosen = (sample.options[OPTION_LETTERS.index(letter)] for letter in answer.split(","))
        answer = ",".join(sorted({letters[text_key(option)] for option in chosen}))
    return sample.model_copy(update={"options": tuple(kept), "answer": answer})


def _without_sound(sample: Sample, silent: Media | None) -> Sample | None:
    """The sample without its silent sound; None where the file is not seen as a video either."""
    media = tuple(item for item in sample.media if item != silent)
    seen = any(silent and item.path == silent.path for item in media)
    return sample.model_copy(update={"media": media}) if seen else None
