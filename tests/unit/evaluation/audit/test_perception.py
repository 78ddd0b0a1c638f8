"""Contexts that describe what was not shown, on sentences that were labelled by hand.

The first half was written beside the word lists. The second, HELD_OUT, was written afterwards, and
nothing was changed for it: its figures are those to expect elsewhere.
"""

from collections.abc import Mapping

import pytest

from tests.unit.evaluation.audit.truths import clip_questions
from triptych.data.sample import MediaKind
from triptych.evaluation.audit.conditions import HEARD, SEEN
from triptych.evaluation.audit.perception import describes, names_withheld

# What a sentence claims to perceive: "v" something seen, "a" something heard, "" nothing.
LABELLED: Mapping[str, str] = {
    "A man in a blue shirt smiles at the camera.": "v",
    "The woman frowns and crosses her arms.": "v",
    "She does not smile.": "v",
    "He leans forward and points at the screen.": "v",
    "Two people are sitting at a table in a bright room.": "v",
    "Her eyebrows are raised and her eyes are wide.": "v",
    "The boy nods twice.": "v",
    "Her facial expression is neutral throughout.": "v",
    "The camera moves slowly to the left.": "v",
    "A dog is running across a street.": "v",
    "He looks down and avoids eye contact.": "v",
    "The mouth starts neutral and ends smiling.": "v",
    "No smile can be made out on his face, only raised brows.": "v",
    "The background shows a kitchen.": "v",
    "Her voice is trembling.": "a",
    "He speaks in a loud and angry tone.": "a",
    "Music plays softly.": "a",
    "The speaker laughs nervously.": "a",
    "There is a long silence, then a sigh.": "a",
    "The pitch rises at the end.": "a",
    "She says that she is fine.": "a",
    "He does not raise his voice.": "a",
    "A siren is heard in the distance.": "a",
    "The audience claps.": "a",
    "She whispers something.": "a",
    "The man smiles, and his voice is calm.": "va",
    "She looks away while speaking quietly.": "va",
    "A woman in a red coat shouts at a man.": "va",
    "The face turns sad, whereas the tone stays flat.": "va",
    "He laughs and waves his hand.": "va",
    "No video is shown.": "",
    "I cannot see the video.": "",
    "There is no audio.": "",
    "The audio is missing, so I cannot tell how she speaks.": "",
    "No image was provided.": "",
    "Without any visual input, nothing is known about the face.": "",
    "I am unable to hear the recording.": "",
    "No sound can be heard, so the tone of the voice is unknown.": "",
    "The video isn't available.": "",
    "No video is shown, so no face or gesture can be described.": "",
    "I can't hear her voice.": "",
    "Neither video nor audio is provided.": "",
    "Since there is no sound, the voice cannot be judged.": "",
    "The question asks about her tone of voice.": "",
    "The options mention a smile and a frown.": "",
    "If she smiled, the answer would be A.": "",
    "The person is probably happy.": "",
    "People in such situations typically smile.": "",
    "The situation is unclear.": "",
    "Nothing is known about the person.": "",
    "The conflict began a week earlier.": "",
    "They are friends.": "",
    "The clip is blank.": "",
    "No visual information; the voice is calm.": "a",
    "There is no audio, but the man smiles.": "v",
    "I cannot hear anything, but she is waving at the camera.": "v",
    "The screen is not visible, yet a voice says hello.": "a",
}

HELD_OUT: Mapping[str, str] = {
    "An elderly lady is knitting on a porch.": "v",
    "His jaw is clenched.": "v",
    "The child rolls her eyes.": "v",
    "Someone in a grey hoodie enters the hall.": "v",
    "He winks at his friend.": "v",
    "They embrace and walk off together.": "v",
    "Her posture is stiff.": "v",
    "Tears run down his cheeks.": "v",
    "The shot cuts to a crowd.": "v",
    "He isn't wearing glasses.": "v",
    "Her words come out in a rush.": "a",
    "He stammers and then pauses.": "a",
    "A piano can be heard.": "a",
    "The man's voice cracks.": "a",
    "She hums a tune.": "a",
    "Footsteps approach and a door slams.": "a",
    "He mutters under his breath.": "a",
    "The crowd cheers loudly.": "a",
    "She grins while telling a joke in a cheerful tone.": "va",
    "He slumps in his chair and groans.": "va",
    "The woman raises her hand and says no.": "va",
    "I have no access to the footage.": "",
    "The frames are black, so there is nothing to see.": "",
    "It was not possible to watch the clip.": "",
    "The soundtrack is absent.": "",
    "As a text model I have neither images nor recordings to go by.": "",
    "No facial cues are available.": "",
    "Only the question is given.": "",
    "One could guess that he is angry.": "",
    "The answer depends on how he says it.": "",
    "This concerns a family dispute.": "",
    "She would most likely be upset.": "",
    "Nothing was heard and nothing was seen.": "",
    "There's silence on the track, so I can't judge the tone.": "",
    "The visuals are missing; a woman's voice explains the rules.": "a",
    "Audio unavailable. The man shakes his fist.": "v",
}


def figures(labelled: Mapping[str, str], kind: str) -> tuple[float, float]:
    """Precision and recall of "describes", for seeing ("v") or hearing ("a")."""
    kinds = SEEN if kind == "v" else HEARD
    said = {text for text in labelled if describes(text, kinds)}
    true = {text for text, label in labelled.items() if kind in label}
    return len(said & true) / len(said), len(said & true) / len(true)


@pytest.mark.parametrize("kind", ["v", "a"])
def test_what_the_lists_were_written_beside(kind: str) -> None:
    assert len(LABELLED) + len(HELD_OUT) >= 60
    assert figures(LABELLED, kind) == (1.0, 1.0)


@pytest.mark.parametrize(("kind", "precision", "recall"), [("v", 0.79, 0.79), ("a", 0.89, 0.67)])
def test_what_is_to_be_expected_elsewhere(kind: str, precision: float, recall: float) -> None:
    """The figures that docs/audit.md states."""
    assert figures(HELD_OUT, kind) == pytest.approx((precision, recall), abs=0.005)


def test_elements_that_state_their_medium_go_before_words() -> None:
    sample = clip_questions(1)[0]
    assert {one.medium for one in sample.reference.elements} == {MediaKind.VIDEO, MediaKind.AUDIO}
    brows, pitch = sample.extra["cues"]["brows"], sample.extra["cues"]["pitch"]
    assert names_withheld(f"The brows are {brows}.", sample, SEEN) is True
    assert names_withheld(f"The brows are {brows}.", sample, HEARD) is False
    assert names_withheld(f"The voice is {pitch}.", sample, HEARD) is True
    other = next(one for one in ("rising", "flat", "trembling") if one != pitch)
    assert names_withheld(f"The voice is {other}.", sample, HEARD) is True, "right or wrong"
    assert names_withheld("The person feels something.", sample, SEEN | HEARD) is False
    unseen = "I cannot see whether the mouth stays smiling"
    assert names_withheld(f"{unseen}, and the voice is {pitch}.", sample, SEEN) is False
    assert names_withheld(f"{unseen}, but the brows are {brows}.", sample, SEEN) is True
    plain = [one.model_copy(update={"medium": None}) for one in sample.reference.elements]
    reference = sample.reference.model_copy(update={"elements": tuple(plain)})
    silent = sample.model_copy(update={"reference": reference})
    assert names_withheld(f"The voice is {pitch}.", silent, HEARD) is None
