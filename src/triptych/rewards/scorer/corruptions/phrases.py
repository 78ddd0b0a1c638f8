"""Ready phrases: frames around a description, texts that say nothing, things to make up.

Frames and closing sentences claim nothing, so that they can stand in any text; `measure` does not
count their words.
"""

from collections.abc import Sequence
from random import Random

LEADS = (
    "In the clip, ",
    "In this clip, ",
    "In the video, ",
    "In this scene, ",
    "Here ",
    "We see and hear that ",
    "One can see and hear that ",
    "It can be seen and heard that ",
    "As can be seen and heard, ",
    "Over the course of the clip, ",
    "Judging by image and sound, ",
    "What the recording shows is that ",
    "The footage shows how ",
)
"""Openings that a description can have; what follows begins in lower case."""

CLOSINGS = (
    "That is what can be seen and heard.",
    "This is how the clip goes, from its first moment to its last.",
    "So much for what image and sound hold.",
    "Nothing else is shown.",
    "That is all that the recording lets us see and hear.",
    "The description covers both picture and sound.",
    "These are the details that matter for the question.",
    "All of this is what the footage itself shows.",
)
"""Sentences that close a description."""

JOINTS = (". At the same time, ", ". Meanwhile, ", ". Also, ")

ALL_FRAMES = (*LEADS, *CLOSINGS, *JOINTS)

_VAGUE_SUBJECTS = (
    "a person",
    "someone",
    "the person in the video",
    "a certain individual",
    "somebody",
    "one of the people shown",
)
_VAGUE_DEEDS = (
    "is in a scene",
    "is doing something",
    "shows some kind of expression",
    "reacts in a certain way",
    "says something in some way",
    "appears and something is happening",
    "seems to have various feelings about the situation",
    "behaves in a way that may mean several things",
    "makes some kind of sound",
    "has a general attitude towards what is going on",
)
_VAGUE_STATES = (  # of one or of several things
    "can be seen somewhere",
    "may play some role",
    "might change somehow, or perhaps not",
    "could mean something or other",
    "can be noticed in some way",
    "may matter in the general situation",
)
_VAGUE_REMARKS = (
    "There are various details to notice",
    "The face shows something",
    "The voice sounds somehow",
    "The mood is of a certain kind",
    "Things change a little, or perhaps they stay as they are",
    "Body language and tone of voice may both play a role",
    "The situation can be understood in several ways",
    "Something is going on in the background",
    "All in all it is a typical scene",
    "The expression and the tone fit the general situation",
)

_ADDED_WHO = (
    "a dog",
    "a child",
    "a waiter",
    "a cyclist",
    "a nurse",
    "an old neighbour",
    "a group of students",
    "a policeman",
    "a cat",
    "the photographer",
    "a stranger",
    "a street musician",
)
_ADDED_DEEDS = (
    "walks through the background",
    "knocks at a window",
    "hands over a letter",
    "waves at the camera",
    "drops a glass",
    "carries a red umbrella",
    "sings a few notes",
    "lights a candle",
    "points at a clock on the wall",
    "unfolds a newspaper",
    "pours some coffee",
    "claps twice",
    "picks up a telephone",
    "writes on a blackboard",
)
_ADDED_REMARKS = (
    "Tears run down one cheek",
    "Church bells ring far away",
    "Rain drums on a roof",
    "A siren wails outside",
    "One hand covers the chin",
    "Both shoulders shrug",
    "The head nods three times",
    "A pair of glasses slides down the nose",
    "Fingers tap on a table",
    "A piano plays in the next room",
    "The eyes blink again and again",
    "A scarf is wrapped around the neck",
    "Applause breaks out",
    "A long sigh is followed by a cough",
    "The gaze wanders to the ceiling",
    "Sweat glistens on the forehead",
)

REASONING_OPENINGS = (
    "Going by what is seen and heard, ",
    "The context tells us this: ",
    "Look at the evidence first: ",
    "Putting face and voice together, ",
    "From what the clip shows, ",
    "Step by step: ",
)
"""Openings that any reasoning can have; what follows begins in lower case."""

CONCLUSIONS = (
    "So the answer is {}.",
    "Therefore it is {}.",
    "Hence the answer is {}.",
    "All in all the answer is {}.",
    "Thus the answer is {}.",
)
"""Sentences that conclude an answer."""

SHORTCUTS = (
    "Obviously {}.",
    "It is clearly {}.",
    "The answer is {}.",
    "Everyone can tell that the answer is {}, there is nothing to think about.",
    "I have seen many questions like this one. The answer is {}, as it nearly always is.",
    "No need to go into details here: reading the question and the options is enough to be sure. "
    "The answer is {}.",
    "Of the possible answers only one makes sense to me, and my first impression is usually "
    "right. So the answer is {}.",
    "Let me think step by step. First I read the question. Then I compare the options with each "
    "other. One of them fits best. So the answer is {}.",
    "This kind of situation usually has one typical explanation, and the options make it easy to "
    "find. There is no doubt about it: the answer is {}.",
)
"""Reasoning that gives an answer and no evidence."""

SHORTCUT_PADDING = (
    "The question is not a difficult one.",
    "First of all it helps to read the question with care.",
    "Next, each possible answer has to be weighed.",
    "Some of the answers can be left aside at once.",
    "The others do not fit as well.",
    "Experience with such questions points the same way.",
    "Common sense agrees with that.",
    "A second look at the question changes nothing.",
    "It would be surprising if it were otherwise.",
    "Most people would say the same without long thought.",
)
"""Sentences with which to go on about it."""


def capitalised(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def vague_text(rng: Random, num_words: int, topics: Sequence[str] = ()) -> str:
    """A text of about `num_words` words that would fit any clip, or any with these topics.

    Args:
        rng: Draws the sentences.
        num_words: Reached or passed, unless all there is to say is said before.
        topics: Nouns ("mouth") of which things are said that commit to nothing.
    """
    deeds = rng.sample(_VAGUE_DEEDS, len(_VAGUE_DEEDS))
    about = [
        f"the {topic} {rng.choice(_VAGUE_STATES)}" for topic in rng.sample(topics, len(topics))
    ]
    more = [f"{rng.choice(_VAGUE_SUBJECTS)} {deed}" for deed in deeds]
    more += rng.sample(_VAGUE_REMARKS, len(_VAGUE_REMARKS))
    rng.shuffle(more)
    # What is about the topics comes first: a short text would be without them otherwise.
    queue = [*about, *more]
    sentences = [queue.pop(0)]
    while queue and sum(len(sentence.split()) for sentence in sentences) < num_words:
        sentences.append(queue.pop(0))
    return ". ".join(map(capitalised, sentences)) + "."


def made_up(rng: Random) -> str:
    """A sentence, without its full stop, about something that no reference speaks of."""
    if rng.random() < 0.5:
        return rng.choice(_ADDED_REMARKS)
    return capitalised(f"{rng.choice(_ADDED_WHO)} {rng.choice(_ADDED_DEEDS)}")
