"""What can be seen of records without opening their media."""

import re
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import TypeAlias

from triptych.data.check.findings import Finding, Kind
from triptych.data.check.keys import answer_key, question_key, text_key
from triptych.data.readers import Problem
from triptych.data.sample import ProblemType, Reference, Sample

Vagueness: TypeAlias = Callable[[Reference], str | None]
"""Says why a reference is too vague to be compared with, or None."""

_KIND_OF_FIELD = {
    **dict.fromkeys(("id", "qid"), Kind.BAD_ID),
    **dict.fromkeys(("options", "choice", "choices", "candidates"), Kind.BAD_OPTIONS),
    **dict.fromkeys(("answer", "solution", "answer_idx", "ground_truth"), Kind.BAD_ANSWER),
    **dict.fromkeys(("media", "path", "data_type", "vid_name", "video_id"), Kind.BAD_MEDIA),
    **dict.fromkeys(("image", "video", "audio", "images", "videos", "audios"), Kind.BAD_MEDIA),
}
_ABSENT = re.compile(r"missing|has stages, but no|.*(?:\(found (?:None|''|\s*)\))$")


def check_problems(problems: Sequence[Problem]) -> Iterator[Finding]:
    """The records that a reader could not make samples of, by the field at fault."""
    for problem in problems:
        yield Finding(problem_kind(problem), problem.where, _detail(problem))


def problem_kind(problem: Problem) -> Kind:
    """What is wrong with a record that is no sample, by the field at fault."""
    kind = _KIND_OF_FIELD.get(problem.field.split(".")[0].lower(), Kind.BAD_RECORD)
    if kind is Kind.BAD_ID and " already stands " in problem.cause:
        return Kind.DUPLICATE_ID
    if kind is Kind.BAD_ANSWER and _ABSENT.match(problem.cause):
        return Kind.NO_ANSWER
    return kind


def _detail(problem: Problem) -> str:
    named = f"sample {problem.sample_id}: " if problem.sample_id is not None else ""
    return f"{named}{problem.field}: {problem.cause}"


def check_samples(samples: Sequence[Sample], vagueness: Vagueness) -> Iterator[Finding]:
    """Options, references and media of each sample, then samples that repeat each other."""
    for number, sample in enumerate(samples):
        if repeated := repeated_options(sample):
            detail = f"{', '.join(map(repr, repeated))} of {len(sample.options)} options"
            yield Finding(Kind.DUPLICATE_OPTION, sample.id, detail, number)
        if not sample.media:
            yield Finding(Kind.NO_MEDIA, sample.id, sample.question, number)
        if fault := _reference_fault(sample.reference, vagueness):
            yield Finding(fault[0], sample.id, fault[1], number)
    yield from _repetitions(samples)


def repeated_options(sample: Sample) -> list[str]:
    """The options of a sample that stand there more than once."""
    counts = Counter(map(text_key, sample.options))
    return [text for text, count in counts.items() if count > 1]


def _reference_fault(reference: Reference, vagueness: Vagueness) -> tuple[Kind, str] | None:
    stages = {"context": reference.context, "reasoning": reference.reasoning}
    missing = [name for name, text in stages.items() if text is None]
    if len(missing) == len(stages):
        if reference.elements:
            return Kind.INCOMPLETE_REFERENCE, "it has elements, but neither context nor reasoning"
        return Kind.NO_REFERENCE, "it has none"
    if blank := [name for name, text in stages.items() if text is not None and not text.strip()]:
        return Kind.EMPTY_REFERENCE, f"its {' and its '.join(blank)} is blank"
    if missing:
        return Kind.INCOMPLETE_REFERENCE, f"its {missing[0]} is missing"
    if cause := vagueness(reference):
        return Kind.VAGUE_REFERENCE, cause
    return None


def _repetitions(samples: Sequence[Sample]) -> Iterator[Finding]:
    """Samples that ask the same about the same media."""
    # First by a number alone: the keys of all samples would fill as much memory as their texts.
    numbers = [hash(_subject(sample)) for sample in samples]
    counts = Counter(numbers)
    groups: dict[Hashable, list[int]] = {}
    for index, number in enumerate(numbers):
        if counts[number] > 1:
            groups.setdefault(_subject(samples[index]), []).append(index)
    for group in groups.values():
        answers = {answer_key(samples[index]) for index in group}
        if len(answers) == 1:
            for index in group[1:]:
                detail = f"the same as {samples[group[0]].id}"
                yield Finding(Kind.DUPLICATE_SAMPLE, samples[index].id, detail, index)
        elif samples[group[0]].problem_type is not ProblemType.FREE_FORM:  # many wordings are right
            for index in group:
                detail = f"{answer_key(samples[index])!r} of {sorted(answers)}"
                yield Finding(Kind.CONTRADICTION, samples[index].id, detail, index)


def _subject(sample: Sample) -> Hashable:
    return question_key(sample), frozenset(sample.media)
