"""Questions drawn at random, written as each family writes them, are read as they were meant."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.data.readers import FORMS, read_dataset
from triptych.data.sample import ProblemType, Sample, read_samples, write_samples
from triptych.errors import DataError

LETTERS = "ABCDEFGH"


@dataclass(frozen=True)
class Asked:
    """A question, apart from any form: what every family must give back."""

    question: str
    kind: ProblemType
    options: tuple[str, ...]
    answer: str
    film: str
    context: str
    reasoning: str
    more: dict[str, Any]


# Texts that hold no tag of the format and no letter of an option.
characters = st.characters(categories=["L", "N", "P", "Zs"], exclude_characters="<>()")
text = st.text(characters, max_size=30)
phrase = text.map(lambda written: f"so {written}".strip())
name = st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True)
number = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | number | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=6,
)
unknown = st.dictionaries(name.map(lambda key: f"more_{key}"), plain, max_size=3)


@st.composite
def questions(draw: st.DrawFn, *kinds: ProblemType) -> Asked:
    kind = draw(st.sampled_from(kinds))
    options: tuple[str, ...] = ()
    if kind in (ProblemType.MULTIPLE_CHOICE, ProblemType.MULTI_SELECT):
        options = tuple(draw(st.lists(phrase, min_size=2, max_size=8, unique_by=str.casefold)))
        most = 1 if kind is ProblemType.MULTIPLE_CHOICE else len(options)
        chosen = st.sets(st.sampled_from(LETTERS[: len(options)]), min_size=1, max_size=most)
        answer = ",".join(sorted(draw(chosen)))
    elif kind is ProblemType.YES_NO:
        answer = draw(st.sampled_from(["yes", "no"]))
    elif kind in (ProblemType.NUMERICAL, ProblemType.REGRESSION):
        answer = str(draw(st.integers(-(10**9), 10**9)))
    else:
        answer = draw(phrase)
    return Asked(
        question=draw(phrase),
        kind=kind,
        options=options,
        answer=answer,
        film=f"{draw(name)}/{draw(name)}.mp4",
        context=draw(phrase),
        reasoning=draw(phrase),
        more=draw(unknown),
    )


PUBLISHED = {
    ProblemType.MULTIPLE_CHOICE: "multiple choice",
    ProblemType.MULTI_SELECT: "emer_ov_mc",
    ProblemType.YES_NO: "judge",
    ProblemType.NUMERICAL: "numerical",
    ProblemType.OCR: "OCR",
    ProblemType.FREE_FORM: "free-form",
    ProblemType.REGRESSION: "regression",
}


def with_letters(options: tuple[str, ...]) -> list[str]:
    return [f"{letter}. {option}" for letter, option in zip(LETTERS, options, strict=False)]


def humanomni(asked: Asked) -> dict[str, Any]:
    answer = f"{int(asked.answer):,}" if asked.kind is ProblemType.NUMERICAL else asked.answer
    return {
        "problem": asked.question,
        "problem_type": PUBLISHED[asked.kind],
        "options": with_letters(asked.options),
        "solution": f"<context>{asked.context}</context>\n<think>{asked.reasoning}</think>\n"
        f"<answer>{answer.title() if asked.kind is ProblemType.YES_NO else answer}</answer>",
        "data_type": "video",
        "path": asked.film,
        **asked.more,
    }


def video_r1(asked: Asked) -> dict[str, Any]:
    return {
        "problem": asked.question,
        "problem_type": PUBLISHED[asked.kind],
        "options": with_letters(asked.options),
        "process": f"<think>{asked.reasoning}</think>",
        "solution": f"<answer>{asked.answer}</answer>",
        "data_type": "video",
        "path": f"./{asked.film}",
        "problem_id": 7,
        **asked.more,
    }


def daily_omni(asked: Asked) -> dict[str, Any]:
    return {
        "Question": asked.question,
        "Choice": with_letters(asked.options),
        "Answer": asked.answer,
        "video_id": asked.film.partition("/")[0],
        **asked.more,
    }


def worldsense(asked: Asked) -> dict[str, Any]:
    return {
        "question": asked.question,
        "candidates": with_letters(asked.options),
        "answer": asked.answer,
        "video_path": f"./{asked.film}",
        **asked.more,
    }


def social_iq(asked: Asked) -> dict[str, Any]:
    options = [*asked.options, "w", "x", "y", "z"][:4]
    return {
        "qid": "one",
        "q": asked.question,
        "vid_name": asked.film.partition("/")[0],
        "answer_idx": LETTERS.index(asked.answer) % 4,
        **{f"a{i}": option for i, option in enumerate(options)},
        **asked.more,
    }


def chat(asked: Asked) -> dict[str, Any]:
    shown = "\n".join([asked.question, *with_letters(asked.options)])
    stages = f"<context>{asked.context}</context><think>{asked.reasoning}</think>"
    return {
        "messages": [
            {"role": "user", "content": f"<video><audio>{shown}"},
            {"role": "assistant", "content": f"{stages}<answer>{asked.answer}</answer>"},
        ],
        "videos": [asked.film],
        "audios": [asked.film],
        "problem_type": asked.kind,
        **asked.more,
    }


def columns(asked: Asked) -> dict[str, Any]:
    return {
        "Question": asked.question,
        **{
            f"option_{letter}": text
            for letter, text in zip("abcdefgh", asked.options, strict=False)
        },
        "answer": asked.answer,
        "question_type": PUBLISHED[asked.kind],
        "video": asked.film,
        "context": asked.context,
        "rationale": asked.reasoning,
        **asked.more,
    }


OPTION_COLUMNS = [f"option_{letter}" for letter in "abcdefgh"]
ALL = tuple(ProblemType)
CHOICE = (ProblemType.MULTIPLE_CHOICE,)
WRITERS: dict[str, tuple[Callable[[Asked], dict[str, Any]], tuple[ProblemType, ...]]] = {
    "humanomni": (humanomni, ALL),
    "video_r1": (video_r1, ALL),
    "daily_omni": (daily_omni, CHOICE),
    "worldsense": (worldsense, CHOICE),
    "social_iq": (social_iq, CHOICE),
    "chat": (chat, ALL),
    "columns": (columns, ALL),
}
HEARD = ("humanomni", "daily_omni", "worldsense", "social_iq", "chat")
REASONED = ("humanomni", "video_r1", "chat", "columns")
SEEN_AND_HEARD = ("humanomni", "chat", "columns")


def test_every_form_but_the_native_one_has_a_writer() -> None:
    assert WRITERS.keys() == FORMS.keys() - {"native"}


@pytest.mark.parametrize("form", WRITERS)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_what_a_family_writes_is_read_as_it_was_meant(
    form: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    write, kinds = WRITERS[form]
    asked = data.draw(questions(*kinds))
    folder = tmp_path_factory.getbasetemp() / "properties"
    folder.mkdir(exist_ok=True)
    path = folder / "data.json"
    path.write_text(json.dumps([write(asked)]), encoding="utf-8")
    dataset = read_dataset(path)
    assert (dataset.form, dataset.problems) == (form, ())
    (sample,) = dataset.samples
    check(sample, asked, form)
    write_samples(folder / "out.jsonl", dataset.samples)
    assert read_samples(folder / "out.jsonl") == list(dataset.samples)


def check(sample: Sample, asked: Asked, form: str) -> None:
    assert sample.question == asked.question
    assert sample.problem_type == asked.kind
    if form == "social_iq":
        assert sample.options[LETTERS.index(sample.answer)] == (
            asked.options[LETTERS.index(asked.answer)]
            if LETTERS.index(asked.answer) < 4
            else sample.options[LETTERS.index(asked.answer) % 4]
        )
    else:
        assert (sample.options, sample.answer) == (asked.options, asked.answer)
    reference = sample.reference
    assert reference.reasoning == (asked.reasoning if form in REASONED else None)
    assert reference.context == (asked.context if form in SEEN_AND_HEARD else None)
    kinds = [str(item.kind) for item in sample.media]
    assert kinds == ["video", "audio"] if form in HEARD else ["video"]
    if form in ("humanomni", "video_r1", "worldsense", "chat", "columns"):
        places = {item.path.as_posix() for item in sample.media}
        assert all(place.endswith(f"properties/{asked.film}") for place in places)
    assert {**sample.extra, **asked.more} == sample.extra


# --- whatever a record holds, reading goes on -----------------------------------------------------

FIELDS = sorted(
    {"id", "options", "path", "data_type", "process", "task0", "prompt", "completion", "a2", "a3"}
    | {"A", "B", "C", "answer_idx", "extra", "reference", "context", "label", "choices", "videos"}
    | {name for form in FORMS.values() for names in form.marks for name in names}
)
values = plain | st.sampled_from(
    ["A", "B,A", "yes", "multiple choice", "[1, 2]", "<answer>B</answer>", "<think>", "video", "\0"]
)
media = st.dictionaries(st.sampled_from(["kind", "path", "type", "start"]), values)
turn = st.dictionaries(st.sampled_from(["role", "content", "from", "value"]), values)
anything = values | st.lists(values | media | turn, max_size=3) | media


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, max_examples=60)
@given(records=st.lists(st.dictionaries(st.sampled_from(FIELDS), anything, max_size=9), max_size=3))
def test_any_record_becomes_a_sample_or_a_problem(
    form: str, records: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp() / "anything"
    folder.mkdir(exist_ok=True)
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in [*records, {"id": "x"}]))
    dataset = read_dataset(path, form=form)
    assert len(dataset.samples) + len(dataset.problems) >= len(records) + 1
    write_samples(folder / "out.jsonl", dataset.samples)
    if dataset.samples:
        assert read_samples(folder / "out.jsonl") == list(dataset.samples)


@settings(deadline=None, max_examples=100)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_file_is_read_or_refused(
    content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-file"
    path.write_bytes(content)
    dataset, refused = None, ""
    try:
        dataset = read_dataset(path)
    except DataError as error:
        refused = str(error)
    if dataset is None:
        assert str(path) in refused
    else:
        assert dataset.samples or dataset.problems
