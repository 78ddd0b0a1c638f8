"""Refusals, and what only looks like one."""

import pytest

from triptych.evaluation.refusals import is_refusal


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, I can't help with that.",
        "I’m sorry, but I can’t assist with that request.",
        "Sorry, I cannot answer this question.",
        "I'm sorry, I can't.",
        "I am very sorry, but I cannot.",
        "As an AI language model, I cannot watch videos.",
        "As a large language model I have no access to the clip.",
        "as an AI, I do not have feelings or eyes",
        "I am just a text-based assistant and have not seen the clip.",
        "I'm an AI assistant, so the clip is not available to me.",
        "I cannot watch videos, so I do not know.",
        "I'm unable to view or listen to audio files.",
        "I can't process images.",
        "I don't have the ability to watch videos.",
        "I am unable to identify people in this clip.",
        "I won't speculate about this person's intentions.",
        "I'm not able to make assumptions about someone's feelings.",
        "This request violates our content policy.",
        "That goes against my guidelines.",
        "I must respectfully decline.",
        "I have to decline to answer.",
    ],
)
def test_refusals(text: str) -> None:
    assert is_refusal(text)
    assert is_refusal(f"<context>{text}</context><think>")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B",
        "I can't see her face, the light is behind her.",
        "I cannot hear any speech in the second half.",
        "I can't make out the words, but the voice is rising.",
        "I cannot see a second person in the video.",
        "I could not hear what he says.",
        "The man says that he cannot help.",
        "She refuses to answer and looks away.",
        "The woman says: \"I can't help you, I'm sorry.\" Her voice trembles.",
        "The subtitle reads “I cannot answer that”.",
        "He says sorry and leaves the room.",
        "The speaker introduces herself as an assistant manager.",
        "A robot, an AI assistant, talks to the boy.",
        "The policy of the company is shown on a slide.",
        "He cannot watch the video because the screen is broken.",
        "They cannot identify the voice on the recording.",
        "I will decline the options one by one: not A, not C.",
        "No video was given, only the question.",
        "The sound is missing.",
        "She is unable to open the door.",
        "I think the man, as an assistant, helps the others.",
    ],
)
def test_look_alikes(text: str) -> None:
    assert not is_refusal(text)
