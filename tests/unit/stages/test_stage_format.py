"""The format's language, its violations, and what is read from broken text."""

import pickle
import re
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from triptych.stages import (
    DEFAULT_FORMAT,
    Region,
    StageFormat,
    StageSpec,
    ViolationKind,
    parse,
)

K = ViolationKind
QUICK = settings(deadline=None, max_examples=200)
VALID = "<context>a smile</context><think>so glad</think><answer>B</answer>"

NOTES_FORMAT = StageFormat(
    (
        StageSpec("notes", "[notes]", "[/notes]", may_be_empty=True),
        StageSpec("reply", "«réponse»", "«/réponse»"),
    )
)

# Pieces of which broken texts are made: tags, tags in part or in other case, and plain text.
FRAGMENTS = [
    *DEFAULT_FORMAT.tags,
    *DEFAULT_FORMAT.tags,
    *("<", ">", "</", "<con", "<think", "think>", "</answer", "<Answer>", "</ think>"),
    *(" ", "\n", "\u3000", "\x1c", "B", "a smile", "微笑", "🙂", "é", "\ufffd"),
]
broken_texts = st.lists(st.sampled_from(FRAGMENTS), max_size=14).map("".join)
plain_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def holds_no_tag(text: str) -> bool:
    return not any(tag in text for tag in DEFAULT_FORMAT.tags)


body_texts = st.one_of(
    plain_texts, st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=6).map("".join)
).filter(lambda text: bool(text.strip()) and holds_no_tag(text))
valid_bodies = st.fixed_dictionaries({name: body_texts for name in DEFAULT_FORMAT.names})


def kinds(text: str, fmt: StageFormat = DEFAULT_FORMAT) -> list[tuple[ViolationKind, str | None]]:
    return [(violation.kind, violation.stage) for violation in parse(text, fmt).violations]


def is_in_the_language(text: str) -> bool:
    """The format's language written down a second time, as one regular expression."""
    any_tag = "|".join(map(re.escape, DEFAULT_FORMAT.tags))
    body = rf"((?:(?!{any_tag})[\s\S])*)"
    stages = r"(\s*)".join(f"<{name}>{body}</{name}>" for name in DEFAULT_FORMAT.names)
    match = re.fullmatch(rf"\s*{stages}\s*", text)
    return match is not None and all(match[group].strip() for group in (1, 3, 5))


def test_the_example_of_the_format_is_read() -> None:
    output = parse(VALID)
    assert output.valid
    assert (output.context, output.think, output.answer) == ("a smile", "so glad", "B")
    assert output.spans == {"context": (9, 16), "think": (33, 40), "answer": (56, 57)}
    assert output.bodies == {"context": "a smile", "think": "so glad", "answer": "B"}


@given(valid_bodies)
@QUICK
def test_what_is_rendered_is_read_back(bodies: dict[str, str]) -> None:
    text = DEFAULT_FORMAT.render(bodies)
    output = parse(text)
    assert output.valid
    assert output.bodies == {name: body.strip() for name, body in bodies.items()}
    assert {name: text[slice(*span)] for name, span in output.spans.items() if span} == bodies


@given(valid_bodies, st.lists(st.sampled_from(["", " ", "\n\n", "\t"]), min_size=4, max_size=4))
@QUICK
def test_white_space_around_stages_is_allowed(bodies: dict[str, str], spaces: list[str]) -> None:
    stages = [f"<{name}>{bodies[name]}</{name}>" for name in DEFAULT_FORMAT.names]
    text = "".join(a + b for a, b in zip(spaces, [*stages, ""], strict=True))
    assert parse(text).valid


@given(st.one_of(broken_texts, plain_texts))
@settings(deadline=None, max_examples=150)
def test_any_text_is_read_and_valid_means_in_the_language(text: str) -> None:
    output = parse(text)
    assert output.text == text
    assert output.valid == is_in_the_language(text)
    assert output == parse(text)


@given(broken_texts)
@settings(deadline=None, max_examples=150)
def test_bodies_of_broken_text_hold_no_tag_and_do_not_overlap(text: str) -> None:
    output = parse(text)
    spans = [span for span in output.spans.values() if span]
    for name, span in output.spans.items():
        opening = f"<{name}>"
        assert (span is None) == (opening not in text) == (output.bodies[name] is None)
        if span:
            body = text[slice(*span)]
            assert text[: span[0]].endswith(opening)
            assert holds_no_tag(body)
            assert output.bodies[name] == body.strip()
    assert all(a[1] <= b[0] or b[1] <= a[0] for a, b in combinations(spans, 2))


@given(broken_texts)
@QUICK
def test_violations_stand_in_order_within_the_text(text: str) -> None:
    positions = [violation.position for violation in parse(text).violations]
    assert positions == sorted(positions)
    assert all(0 <= position <= len(text) for position in positions)


@given(valid_bodies, st.data())
@QUICK
def test_a_tag_inserted_anywhere_makes_it_invalid(
    bodies: dict[str, str], data: st.DataObject
) -> None:
    text = DEFAULT_FORMAT.render(bodies)
    position = data.draw(st.integers(0, len(text)))
    tag = data.draw(st.sampled_from(DEFAULT_FORMAT.tags))
    assert not parse(text[:position] + tag + text[position:]).valid


@given(valid_bodies)
@QUICK
def test_a_tag_deleted_doubled_or_swapped_makes_it_invalid(bodies: dict[str, str]) -> None:
    text = DEFAULT_FORMAT.render(bodies)
    for tag in DEFAULT_FORMAT.tags:
        assert not parse(text.replace(tag, "")).valid
        assert not parse(text.replace(tag, tag + tag)).valid
        assert not parse(text.replace(tag, tag + "x" + tag)).valid
    for first, second in combinations(DEFAULT_FORMAT.tags, 2):
        swapped = text.replace(first, "\0").replace(second, first).replace("\0", second)
        assert not parse(swapped).valid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [(K.MISSING, name) for name in DEFAULT_FORMAT.names]),
        (
            "Sure!",
            [(K.TEXT_OUTSIDE, None), *((K.MISSING, name) for name in DEFAULT_FORMAT.names)],
        ),
        ("<context>a</context><answer>B</answer>", [(K.MISSING, "think")]),
        (
            "<think>t</think><context>a</context><answer>B</answer>",
            [(K.OUT_OF_ORDER, "context")],
        ),
        (VALID + "<answer>C</answer>", [(K.DUPLICATE, "answer")]),
        (
            "<context>a<think>t</think></context><answer>B</answer>",
            [(K.NESTED, "think")],
        ),
        (
            "<context>a<think>t</think><answer>B</answer>",
            [(K.TRUNCATED, "context"), (K.NESTED, "think"), (K.NESTED, "answer")],
        ),
        (VALID.replace("so glad", " \n"), [(K.EMPTY, "think")]),
        ("Well: " + VALID, [(K.TEXT_OUTSIDE, None)]),
        (VALID + "\nDone.", [(K.TEXT_OUTSIDE, None)]),
        (VALID.replace("<think>", "then <think>"), [(K.TEXT_OUTSIDE, None)]),
        (VALID.removesuffix("</answer>"), [(K.TRUNCATED, "answer")]),
        (VALID.removesuffix("B</answer>"), [(K.TRUNCATED, "answer")]),
        (VALID + "</answer>", [(K.TEXT_OUTSIDE, "answer")]),
        ("</think>" + VALID, [(K.TEXT_OUTSIDE, "think")]),
        (
            VALID.replace("so glad", "so </answer> glad"),
            [(K.NESTED, "answer"), (K.TEXT_OUTSIDE, None)],
        ),
        (VALID.replace("so glad", "so <think> glad"), [(K.DUPLICATE, "think")]),
    ],
)
def test_each_kind_of_violation(
    text: str, expected: list[tuple[ViolationKind, str | None]]
) -> None:
    assert kinds(text) == expected


@pytest.mark.parametrize(
    ("text", "kind", "found"),
    [
        (" Well: " + VALID, K.TEXT_OUTSIDE, "Well"),
        (VALID + " \n Done.", K.TEXT_OUTSIDE, "Done"),
        (VALID + "<answer>C</answer>", K.DUPLICATE, "<answer>C"),
        (VALID.replace("so glad", "  "), K.EMPTY, "  </think>"),
        (VALID.removesuffix("</answer>"), K.TRUNCATED, "<answer>B"),
        (VALID.replace("<answer>B</answer>", ""), K.MISSING, ""),
    ],
)
def test_positions_point_at_the_fault(text: str, kind: ViolationKind, found: str) -> None:
    [violation] = parse(text).violations
    assert violation.kind is kind
    assert text[violation.position :].startswith(found)
    assert found or violation.position == len(text)


@pytest.mark.parametrize(
    ("text", "context", "think", "answer"),
    [
        ("<context>a smi", "a smi", "", ""),
        ("<context>a<think>t</think><answer>B</answer>", "a", "t", "B"),
        ("<think>t <answer> is asked; B.</think><answer>B</answer>", "", "t", "B"),
        ("<answer>A</answer><answer>B</answer>", "", "", "A"),
        ("<answer>A<answer>B", "", "", "A"),
        ("<answer>A<answer>B</answer>", "", "", "B"),
        ("<context>a</think>b</context>", "a", "", ""),
    ],
)
def test_bodies_of_broken_text(text: str, context: str, think: str, answer: str) -> None:
    output = parse(text)
    assert not output.valid
    assert (output.context, output.think, output.answer) == (context, think, answer)


def test_a_stage_that_may_be_empty() -> None:
    assert parse("[notes][/notes]«réponse»oui«/réponse»", NOTES_FORMAT).valid
    assert kinds("[notes] [/notes]«réponse» «/réponse»", NOTES_FORMAT) == [(K.EMPTY, "reply")]
    assert (
        NOTES_FORMAT.render({"notes": "", "reply": "oui"})
        == "[notes][/notes]«réponse»oui«/réponse»"
    )


def test_stages_of_other_names_leave_the_usual_ones_empty() -> None:
    output = parse("[notes]n[/notes]«réponse»oui«/réponse»", NOTES_FORMAT)
    assert (output.context, output.think, output.answer) == ("", "", "")
    assert output.bodies == {"notes": "n", "reply": "oui"}


def test_regions_number_the_stages_of_the_default_format() -> None:
    assert [region.name.lower() for region in Region] == ["outside", *DEFAULT_FORMAT.names]
    assert [int(region) for region in Region] == [0, 1, 2, 3]
    assert DEFAULT_FORMAT.tags[:3] == ("<context>", "</context>", "<think>")


def test_values_survive_pickling() -> None:
    output = parse(VALID, NOTES_FORMAT)
    assert pickle.loads(pickle.dumps(output)) == output
    assert pickle.loads(pickle.dumps(NOTES_FORMAT)) == NOTES_FORMAT


@pytest.mark.parametrize(
    ("bodies", "message"),
    [
        ({"context": "a", "think": "t"}, "given, the format has"),
        ({"context": "a", "think": "t", "answer": "B", "notes": "n"}, "given, the format has"),
        ({"context": "a", "think": " \n", "answer": "B"}, "'think' is empty"),
        ({"context": "a", "think": "see <answer>", "answer": "B"}, "holds the tag '<answer>'"),
    ],
)
def test_render_refuses_what_could_not_be_read_back(bodies: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DEFAULT_FORMAT.render(bodies)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "at least one stage"),
        ([("a", "<a>", "</a>"), ("a", "<b>", "</b>")], "names that differ"),
        ([("", "<a>", "</a>")], "names that differ"),
        ([("a", "", "</a>")], "cannot be a tag"),
        ([("a", "<a> ", "</a>")], "cannot be a tag"),
        ([("a", "<\ufffd>", "</a>")], "cannot be a tag"),
        ([("a", "<a>", "<a>")], "lies within"),
        ([("a", "<a>", "#<a>#x")], "lies within"),
        ([("a", "##", "</a>")], "can start tag"),
        ([("a", "<a<", "</a>")], "can start tag"),
    ],
)
def test_formats_that_would_be_ambiguous_are_refused(
    stages: list[tuple[str, str, str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        StageFormat(tuple(StageSpec(*stage) for stage in stages))
