"""Reasoning as models write it: what it says last in passing is not what it concludes.

Right answers whose reasoning goes on to speak of the other options count, and reasoning that
plainly ends elsewhere than its answer does not, in several styles.
"""

import pytest

from triptych.rewards.answer import answer_reward
from triptych.rewards.conclusion import conclusion
from triptych.rewards.judge.reward import _contradicts_itself
from triptych.rewards.reasoning import reasoning_reward
from triptych.stages.format import parse
from triptych.stages.prompt import ProblemType

FEELINGS = ("happy", "angry", "sad", "calm")
SHOWN = ("joy", "tension", "surprise", "hesitation")
CONTEXT = "She shouts with furrowed brows."
REFERENCE = {"context": CONTEXT, "reasoning": "Shouting with furrowed brows is anger."}

ONE = "multiple_choice"
RIGHT_AND_SAID = [
    "The correct option is (B). Options A, C and D do not match.",
    "The answer is (B), since (A) would need a smile.",
    "B is correct. (C) lacks support.",
    "(B) is correct. The tears that (C) speaks of are nowhere.",
    "The answer is B. (A) is less likely than (B).",
    "So (B) fits best. (D) calm is less likely.",
    "Her brows are furrowed, so she is angry (B). Option (D) was tempting.",
    "The best match is (B) angry, because (A) happy would need a smile.",
    "Thus the answer is **B**. A, C and D can be excluded.",
    "Answer: B\nExplanation: the shouting speaks against (D).",
    "Therefore the correct choice is B. The smile of (A) is missing.",
    "Shouting means angry (B). (C) would need tears.",
    "It is (B): nobody smiles, as in (A), and nobody cries, as in (C).",
    "I choose (B). One could think of (D) at first, while she listens.",
    "Let us go through them.\n(A) happy: no smile.\n(C) sad: no tears.\nSo the answer is (B).",
    "This makes (B) the most plausible choice. (C) is about somebody else.",
    "Answer (A) is about joy, answer (C) about grief. The shouting is that of anger (B).",
    "So the best fit is (B). (B) explains the lack of a smile, too, and (A) is for grins.",
    "Clearly B. (D) is what the others in the room look like.",
    "(A) happy does not fit. (C) and (D) are excluded. That leaves (B).",
    "The final answer is \\boxed{B}. (A) and (D) lack evidence.",
    "$\\boxed{\\text{B}}$ (C) lacks tears.",
]
RIGHT_AND_NOT_SAID_LAST = [
    "(A) happy: no smile. (B) angry: shouting fits. (C) sad: no tears. (D) calm: hardly.",
    "Going by the list, (B) explains the shouting, and (D) the pause before it.",
    "A smile would point to (A). Tears would point to (C).",
    "Options A, C and D need other cues.",
    "The video shows a calm street, in which she shouts.",
]
WRONG = [
    "So the answer is A.",
    "So the answer is (A). (B) is less likely.",
    "The correct option is (A). Options B, C and D do not match.",
    "A is correct. (B) lacks support.",
    "Her brows are furrowed, so she is sad (C).",
    "Shouting means happy (A).",
    "The answer is B. Wait, the voice is flat: calm (D).",
    "Hmm, it could be (B), but in the end the answer is (A).",
    "(B) does not fit. It must be calm (D).",
    "Of the four the voice and the brows point to calm (D).",
]


def completion(think: str, answer: str) -> str:
    return f"<context>{CONTEXT}</context><think>{think}</think><answer>{answer}</answer>"


def rewards(think: str, answer: str, kind: str, options: tuple[str, ...]) -> list[float | None]:
    """By the answer rule, for the gold answer, and by the reasoning rule."""
    return [
        function(
            ["?"],
            [completion(f"She shouts with furrowed brows. {think}", answer)],
            problem_type=[kind],
            options=[options],
            answer=[answer],
            reference=[REFERENCE],
        )[0]
        for function in (answer_reward, reasoning_reward)
    ]


def contradicts(think: str, answer: str, kind: str, options: tuple[str, ...]) -> bool:
    """What a judge is not asked about."""
    return _contradicts_itself(parse(completion(think, answer)), ProblemType(kind), options)


@pytest.mark.parametrize("think", RIGHT_AND_SAID)
def test_a_right_answer_that_the_reasoning_states(think: str) -> None:
    stated = conclusion(think, ProblemType.MULTIPLE_CHOICE, FEELINGS)
    assert stated is not None
    assert (stated.value, stated.final, stated.coherent) == ("B", True, True)
    answered, _ = rewards(think, "B", ONE, FEELINGS)
    assert answered == 1.0
    assert not contradicts(think, "B", ONE, FEELINGS)
    assert rewards(think, "A", ONE, FEELINGS) == [0.0, 0.0]


@pytest.mark.parametrize("think", RIGHT_AND_NOT_SAID_LAST)
def test_a_mere_mention_is_neither_for_nor_against(think: str) -> None:
    answered, reasoned = rewards(think, "B", ONE, FEELINGS)
    assert answered == 1.0
    assert not contradicts(think, "B", ONE, FEELINGS)
    assert reasoned is not None
    said = rewards(f"{think} So the answer is (B).", "B", ONE, FEELINGS)[1]
    assert said is not None
    assert 0.0 < reasoned < said


@pytest.mark.parametrize("think", WRONG)
def test_reasoning_that_concludes_otherwise_fails_the_answer(think: str) -> None:
    assert rewards(think, "B", ONE, FEELINGS) == [0.0, 0.0]
    assert contradicts(think, "B", ONE, FEELINGS)


@pytest.mark.parametrize(
    "think",
    [
        "She smiles (A) and speaks slowly (D). (B) and (C) are excluded.",
        "So the answers are (A) and (D). (B) and (C) lack support.",
        "The smile is joy (A), the pauses are hesitation (D).",
        "A and D are correct. (B) would need a raised voice.",
        "Therefore the correct options are A and D. The brows of (C) are level.",
        "Smile: joy (A). Pauses: hesitation (D). Tension (B) does not fit.",
        "The correct options are (A) and (D), since (B) would need a loud voice.",
    ],
)
def test_several_options(think: str) -> None:
    answered, _ = rewards(think, "A,D", "multi_select", SHOWN)
    assert answered == 1.0
    assert not contradicts(think, "A,D", "multi_select", SHOWN)
    for other in ("B", "A", "A,B,D"):
        assert contradicts(think, other, "multi_select", SHOWN)


@pytest.mark.parametrize(
    ("think", "others_fail"),
    [
        ("Two and three men: $\\boxed{5}$", True),
        ("There are 5 people. The clip makes 1 cut.", False),
        ("The answer is 5. The camera makes 2 moves.", True),
        ("So 5 people speak. 2 of them are women, which gives 40 percent.", True),
        ("2 men and 3 women, altogether 5. The clip gives 3 of them a close-up.", True),
        ("So far 3 people sat down; 2 more come. In all, 5.", True),
        ("3 + 2 = 5. The video lasts 12 seconds.", False),
        ("3 + 2 = 5", True),
    ],
)
def test_numbers(think: str, others_fail: bool) -> None:
    answered, _ = rewards(think, "5", "numerical", ())
    assert answered == 1.0
    assert not contradicts(think, "5", "numerical", ())
    assert contradicts(think, "7", "numerical", ()) is others_fail
