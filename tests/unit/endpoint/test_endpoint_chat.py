from pathlib import Path
from typing import Any

import pytest

from triptych.data.messages import stage_messages
from triptych.data.sample import Media, MediaKind, Sample
from triptych.endpoint.chat import Part, chat_messages, text_part
from triptych.stages.prompt import ProblemType, system_prompt

PICTURE: Part = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,AA"}}
SOUND: Part = {"type": "input_audio", "input_audio": {"data": "BB", "format": "wav"}}
SOUND_PLACE: Part = {"type": "audio"}


def test_media_take_their_places_and_a_text_alone_is_one_string() -> None:
    media = (
        Media(kind=MediaKind.VIDEO, path=Path("a.mp4")),
        Media(kind=MediaKind.AUDIO, path=Path("a.mp4")),
    )
    sample = Sample(
        id="q",
        question="Is he glad?",
        problem_type=ProblemType.YES_NO,
        answer="yes",
        media=media,
    )
    items = [("video", [PICTURE, PICTURE]), ("audio", [SOUND])]
    assert chat_messages(stage_messages()(sample), items) == [
        {"role": "system", "content": system_prompt()},
        {
            "role": "user",
            "content": [
                PICTURE,
                PICTURE,
                SOUND,
                {"type": "text", "text": "Is he glad?\nAnswer yes or no."},
            ],
        },
    ]


def test_media_stand_where_the_messages_want_them() -> None:
    messages: list[dict[str, Any]] = [
        {
            "role": "user",
            "content": [
                text_part("Before "),
                {"type": "image"},
                text_part("and"),
                {"type": "audio"},
            ],
        },
        {"role": "assistant", "content": "Well."},
        {"role": "user", "content": [text_part("So"), text_part("?"), SOUND_PLACE]},
    ]
    filled = chat_messages(messages, [("image", [PICTURE]), ("audio", [SOUND]), ("audio", [])])
    assert [message["content"] for message in filled] == [
        [text_part("Before "), PICTURE, text_part("and"), SOUND],
        "Well.",
        "So?",
    ]
    assert messages[0]["content"][1] == {"type": "image"}  # theirs are left as they are


@pytest.mark.parametrize(
    ("places", "kinds", "cause"),
    [
        ([], ["image"], "no place for 1 of 1 media items"),
        (["image"], [], "a place for image where nothing comes"),
        (["image", "audio"], ["audio", "image"], "a place for image where audio comes"),
        (["image"], ["image", "image"], "no place for 1 of 2"),
    ],
)
def test_places_and_media_that_do_not_fit(places: list[str], kinds: list[str], cause: str) -> None:
    content = [{"type": place} for place in places]
    with pytest.raises(ValueError, match=cause):
        chat_messages([{"role": "user", "content": content}], [(kind, [PICTURE]) for kind in kinds])
