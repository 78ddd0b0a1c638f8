"""The published prompt, letter by letter, and on its way through a real processor."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from triptych.data.sample import Media, MediaKind, ProblemType, Sample
from triptych.errors import DataError
from triptych.evaluation.published import HUMANOMNI_V2, published_messages
from triptych.models import OmniModel
from triptych.models.prompt import PromptEncoder

# Digests of the texts in the published script (commit d9123e6): they are not written down twice.
SYSTEM = "3bc7fa89a80ee2fcd08ae1bcd50d0d9581f80ae2c000bd473185b17dcda8eb15"
INSTRUCTIONS = {
    ProblemType.MULTIPLE_CHOICE: "7ec249c501e13949",
    ProblemType.MULTI_SELECT: "0d32becfb3080dc5",
    ProblemType.YES_NO: "7f8db7b1f85b002f",
    ProblemType.NUMERICAL: "853b6e89a6673813",
    ProblemType.REGRESSION: "853b6e89a6673813",
    ProblemType.OCR: "d93be5c6008b057c",
    ProblemType.FREE_FORM: "b5da6fec9591f9dc",
}
ANSWERS = {"multi_select": "A,C", "multiple_choice": "B", "yes_no": "no"}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def film(path: Path = Path("a.mp4"), *kinds: MediaKind) -> tuple[Media, ...]:
    kinds = kinds or (MediaKind.VIDEO, MediaKind.AUDIO)
    return tuple(Media(kind=kind, path=path) for kind in kinds)


def ask(kind: ProblemType, media: tuple[Media, ...] = (), **fields: Any) -> Sample:
    options = ("happy", "sad", "angry") if kind.startswith("multi") else ()
    given: dict[str, Any] = {
        "id": "q1",
        "question": "What does she feel?",
        "problem_type": kind,
        "options": options,
        "answer": ANSWERS.get(kind, "7"),
        "media": media or film(),
    }
    return Sample(**{**given, **fields})


def text_of(sample: Sample) -> str:
    text = published_messages(sample)[1]["content"][-1]["text"]
    assert isinstance(text, str)
    return text


def test_a_film_with_sound_is_asked_about_as_published() -> None:
    system, user = published_messages(ask(ProblemType.MULTIPLE_CHOICE))
    assert system["role"] == "system"
    assert [part["type"] for part in system["content"]] == ["text"]
    assert digest(system["content"][0]["text"]) == SYSTEM
    assert user == {
        "role": "user",
        "content": [
            {"type": "video"},
            {"type": "audio"},
            {
                "type": "text",
                "text": "Here is a video, with the audio from the video.\n"
                "What does she feel? Options:\nA. happy\nB. sad\nC. angry\n"
                " Please provide only the single option letter (e.g., A, B, C, D, etc.) within "
                "the <answer> </answer> tags.",
            },
        ],
    }


@pytest.mark.parametrize("kind", ProblemType)
def test_every_type_has_its_own_instruction(kind: ProblemType) -> None:
    text = text_of(ask(kind))
    _, _, asked = text.partition("Here is a video, with the audio from the video.\n")
    shown = "What does she feel?"
    if kind.startswith("multi"):
        shown += " Options:\nA. happy\nB. sad\nC. angry\n"
    assert asked.startswith(f"{shown} Please ")
    assert digest(asked.removeprefix(shown)).startswith(INSTRUCTIONS[kind])


@pytest.mark.parametrize(
    ("kinds", "placeholders"),
    [
        ((MediaKind.VIDEO,), ["video"]),
        ((MediaKind.IMAGE,), ["image"]),
        ((MediaKind.AUDIO,), ["audio"]),
        ((MediaKind.IMAGE, MediaKind.AUDIO), ["image", "audio"]),
    ],
)
def test_without_a_video_that_is_heard_no_sound_is_announced(
    kinds: tuple[MediaKind, ...], placeholders: list[str]
) -> None:
    asked = ask(ProblemType.YES_NO, film(Path("a"), *kinds))
    assert [part["type"] for part in published_messages(asked)[1]["content"]] == [
        *placeholders,
        "text",
    ]
    assert text_of(asked) == (
        "What does she feel? Please answer Yes or No within the <answer> </answer> tags."
    )


def test_without_media_the_question_stands_alone() -> None:
    asked = ask(ProblemType.YES_NO).model_copy(update={"media": ()})
    assert [part["type"] for part in published_messages(asked)[1]["content"]] == ["text"]


def test_options_are_shown_in_the_order_in_which_they_stand() -> None:
    turned = ask(ProblemType.MULTI_SELECT, options=("angry", "happy", "sad"))
    assert " Options:\nA. angry\nB. happy\nC. sad\n Please" in text_of(turned)


def test_options_that_would_not_be_shown_are_refused() -> None:
    asked = ask(ProblemType.FREE_FORM, options=("happy", "sad"))
    with pytest.raises(DataError, match=r"sample 'q1': has options, .* 'free-form'.*--protocol"):
        published_messages(asked)


def test_the_protocol_shows_and_allows_as_much_as_was_published() -> None:
    budget = HUMANOMNI_V2.media
    assert (budget.fps, budget.max_pixels) == (2.0, 768 * 28 * 28)
    assert HUMANOMNI_V2.max_new_tokens == 2048
    # At most as many pixels as there: 90% of 128,000 tokens of 28 x 28, two frames a token.
    assert budget.max_frames * budget.max_pixels == int(128_000 * 28 * 28 * 0.9) * 2
    assert HUMANOMNI_V2.messages is published_messages


def test_the_prompt_goes_through_the_processor(tiny: OmniModel, samples: list[Sample]) -> None:
    """Its tokens are those of the text, 4 of a second of video, and 25 of a second of sound."""
    asked = ask(ProblemType.MULTIPLE_CHOICE, samples[0].media)
    encoder = PromptEncoder(
        tiny.thinker,
        tiny.processor,
        tiny.family,
        HUMANOMNI_V2.media,
        tiny.format,
        messages=HUMANOMNI_V2.messages,
    )
    prompt = encoder.encode(asked)
    system, user = HUMANOMNI_V2.messages(asked)
    text = (
        f"<|im_start|>system\n{system['content'][0]['text']}<|im_end|>\n"
        "<|im_start|>user\n<|vision_bos|><|VIDEO|><|vision_eos|><|audio_bos|><|AUDIO|><|audio_eos|>"
        f"{user['content'][2]['text']}<|im_end|>\n<|im_start|>assistant\n"
    )
    ids = tiny.tokenizer.encode(text)
    video, audio = (tiny.tokenizer.convert_tokens_to_ids(f"<|{n}|>") for n in ("VIDEO", "AUDIO"))
    # Two frames of 56 x 56 make one step of time of 2 x 2 merged patches.
    expected = [
        token
        for one in ids
        for token in ([one] * 4 if one == video else [one] * 25 if one == audio else [one])
    ]
    assert prompt.input_ids.tolist() == expected
    assert prompt.notices == ()
