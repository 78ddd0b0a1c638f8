"""The check of a data set: every kind of finding, counted, as figures and as JSON."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from triptych.data.check.findings import Finding, Kind, Severity
from triptych.data.check.leakage import Questions, check_leakage
from triptych.data.check.media import MediaFiles, check_copies, check_decoding, check_files
from triptych.data.check.priors import Priors, answer_priors, check_priors
from triptych.data.check.records import Vagueness, check_problems, check_samples
from triptych.data.readers import Dataset
from triptych.data.sample import Sample
from triptych.data.source import source_of


@dataclass(frozen=True)
class Compared:
    """Other data that were compared with: their records, and how many media files were not there.

    What is not there can be compared by its path alone.
    """

    samples: int
    unreadable: int
    missing: int


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        samples: how many records are samples.
        unreadable: how many are not.
        form: how the file was read, and why so, in one sentence.
        by_type, by_source, by_media: how many samples there are of each.
        priors: what the answers are.
        files: how many media files the samples name.
        hashed: how many files were read for their content, those of the other data included.
        against: what was compared with, by name.
        findings: by kind, the worst first; a kind of which there is nothing is left out.
    """

    samples: int
    unreadable: int
    form: str
    by_type: Mapping[str, int]
    by_source: Mapping[str, int]
    by_media: Mapping[str, int]
    priors: Priors
    files: int
    hashed: int
    against: Mapping[str, Compared]
    findings: Mapping[Kind, Sequence[Finding]]

    def count(self, severity: Severity) -> int:
        """How many findings there are of a severity."""
        return sum(len(found) for kind, found in self.findings.items() if kind.severity is severity)

    def to_json(self, examples: int) -> dict[str, Any]:
        """All of it as plain JSON, with so many examples of each kind."""
        return {
            "samples": self.samples,
            "unreadable": self.unreadable,
            "form": self.form,
            "by_type": dict(self.by_type),
            "by_source": dict(self.by_source),
            "by_media": dict(self.by_media),
            "files": {"named": self.files, "hashed": self.hashed},
            "against": {name: asdict(other) for name, other in self.against.items()},
            "answers": {str(kind): asdict(prior) for kind, prior in self.priors.answers.items()},
            "letters": {letter: asdict(prior) for letter, prior in self.priors.letters.items()},
            "errors": self.count(Severity.ERROR),
            "warnings": self.count(Severity.WARNING),
            "findings": [
                {
                    "kind": str(kind),
                    "severity": str(kind.severity),
                    "meaning": kind.meaning,
                    "count": len(found),
                    "examples": [
                        {"where": one.where, "detail": one.detail} for one in found[:examples]
                    ],
                }
                for kind, found in self.findings.items()
            ],
        }


def check(
    dataset: Dataset,
    vagueness: Vagueness,
    files: MediaFiles,
    *,
    against: Mapping[str, Dataset] | None = None,
    compare_contents: bool = False,
) -> Check:
    """Look for everything in a data set that would fail a run or make its figures wrong.

    Args:
        dataset: what was read.
        vagueness: says of a reference why it is too vague; rewards know what they need.
        files: finds out about media; what it knows of an earlier check is not asked for again.
        against: other data, by name, of which nothing should be in `dataset`.
        compare_contents: find copies of one content within `dataset`.
    """
    samples, against = dataset.samples, against or {}
    found = [*check_problems(dataset.problems), *check_samples(samples, vagueness)]
    found += check_files(samples, files)
    found += check_decoding(samples, files)
    if against or compare_contents:
        everything = [samples, *(other.samples for other in against.values())]
        identities = files.identities(path for part in everything for path in _paths(part))
        own = Questions("", samples, identities)
        for name, other in against.items():
            found += check_leakage(own, Questions(name, other.samples, identities))
        if compare_contents:
            found += check_copies(samples, identities)
    priors = answer_priors(samples)
    found += check_priors(priors)
    return Check(
        samples=len(samples),
        unreadable=len(dataset.problems),
        form=f"{dataset.form}: {dataset.why}",
        by_type=_counts(str(sample.problem_type) for sample in samples),
        by_source=_counts(map(source_of, samples)),
        by_media=_counts(_media(sample) for sample in samples),
        priors=priors,
        files=len(_paths(samples)),
        hashed=files.num_hashed,
        against={name: _compared(other, files) for name, other in against.items()},
        findings=_by_kind(found),
    )


def _paths(samples: Sequence[Sample]) -> dict[Path, None]:
    return dict.fromkeys(item.path for sample in samples for item in sample.media)


def _compared(other: Dataset, files: MediaFiles) -> Compared:
    missing = sum(files.fault(path) is not None for path in _paths(other.samples))
    return Compared(len(other.samples), len(other.problems), missing)


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _media(sample: Sample) -> str:
    kinds = dict.fromkeys(str(item.kind) for item in sample.media)
    return " + ".join(sorted(kinds)) or "none"


def _by_kind(found: Iterable[Finding]) -> dict[Kind, list[Finding]]:
    by_kind: dict[Kind, list[Finding]] = defaultdict(list)
    for finding in found:
        by_kind[finding.kind].append(finding)
    return {kind: by_kind[kind] for kind in Kind if kind in by_kind}
