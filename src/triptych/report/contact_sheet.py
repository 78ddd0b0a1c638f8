"""A data set as one HTML page to look at: a card for each sample, with its media and reference.

What records hold is untrusted text. The template escapes everything, and the page forbids scripts
and every external request by its content security policy, as the report does.
"""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from triptych.data.readers import Dataset
from triptych.data.sample import Element, ProblemType, Sample
from triptych.report.page import environment, words, write_page
from triptych.report.previews import Preview, Previewer, spread
from triptych.report.rollouts import Option, clean
from triptych.stages.prompt import OPTION_LETTERS

_CHOICES = (ProblemType.MULTIPLE_CHOICE, ProblemType.MULTI_SELECT)
_PROBLEMS = 50  # listed one by one; the rest is counted


@dataclass(frozen=True)
class ElementView:
    """A key element of the context: what names it, and what would contradict it."""

    name: str
    phrases: tuple[str, ...]
    contradictions: tuple[str, ...]
    relevant: bool


@dataclass(frozen=True)
class SampleCard:
    """One sample as it is shown.

    `stages` are the reference's texts by the stage that they are for; None where there is none.
    `extra` is JSON, "" when there is nothing in it.
    """

    sample_id: str
    type: str
    question: str
    options: tuple[Option, ...]
    gold: str
    previews: tuple[Preview, ...]
    stages: tuple[tuple[str, str | None], ...]
    elements: tuple[ElementView, ...]
    extra: str


def write_contact_sheet(dataset: Dataset, name: str, path: Path, limit: int) -> int:
    """Write a page of at most `limit` samples, at equal distances over the data set.

    The file appears whole or not at all.

    Args:
        dataset: what is shown; its problems are listed.
        name: what the data set is called on the page.
        path: the HTML file.
        limit: most samples on the page.

    Returns:
        The number of samples on the page.
    """
    samples, previewer = dataset.samples, Previewer(path.parent)
    cards = [sample_card(samples[i], previewer) for i in spread(len(samples), limit)]
    counts = Counter(str(sample.problem_type) for sample in samples)
    problems = [clean(f"{one.where}: {one.field}: {one.cause}") for one in dataset.problems]
    html = (
        environment()
        .get_template("contact_sheet.html.j2")
        .render(
            name=clean(name),
            form=clean(f"{dataset.form}: {dataset.why}"),
            count=len(samples),
            counts=[(words(kind), count) for kind, count in counts.most_common()],
            types=list(dict.fromkeys(card.type for card in cards)),
            cards=cards,
            problems=problems[:_PROBLEMS],
            further_problems=max(0, len(problems) - _PROBLEMS),
        )
    )
    write_page(path, html)
    return len(cards)


def sample_card(sample: Sample, previewer: Previewer) -> SampleCard:
    """A sample with previews of its media; media that cannot be decoded are named on the card."""
    reference = sample.reference
    stages = (("context", reference.context), ("think", reference.reasoning))
    return SampleCard(
        sample_id=clean(sample.id),
        type=words(sample.problem_type),
        question=clean(sample.question),
        options=_options(sample),
        gold=clean(sample.answer),
        previews=previewer.of([item.model_dump(mode="json") for item in sample.media]),
        stages=tuple((name, None if text is None else clean(text)) for name, text in stages),
        elements=tuple(map(_element, reference.elements)),
        extra=_extra(sample),
    )


def _options(sample: Sample) -> tuple[Option, ...]:
    gold = sample.answer.split(",") if sample.problem_type in _CHOICES else []
    return tuple(
        Option(letter, clean(text), gold=letter in gold, chosen=False)
        for letter, text in zip(OPTION_LETTERS, sample.options, strict=False)
    )


def _element(element: Element) -> ElementView:
    return ElementView(
        clean(element.name),
        _cleaned(element.phrases),
        _cleaned(element.contradictions),
        element.relevant,
    )


def _cleaned(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(clean, texts))


def _extra(sample: Sample) -> str:
    if not sample.extra:
        return ""
    return clean(json.dumps(sample.extra, ensure_ascii=False, indent=2, default=str))
