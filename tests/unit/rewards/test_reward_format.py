import pytest

from triptych.rewards.format import format_reward
from triptych.stages.format import DEFAULT_FORMAT

VALID = DEFAULT_FORMAT.render({"context": "A smile.", "think": "It fits.", "answer": "A"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (VALID, 1.0),
        (f"\n {VALID}\n", 1.0),
        ("", 0.0),
        ("A", 0.0),
        (f"Sure! {VALID}", 0.0),
        (VALID + VALID, 0.0),
        (VALID.replace("A smile.", " "), 0.0),
        (VALID.removesuffix("</answer>"), 0.0),
        (VALID.replace("think", "answer"), 0.0),
        (VALID.upper(), 0.0),
    ],
)
def test_all_or_nothing(text: str, expected: float) -> None:
    assert format_reward(["?"], [text], answer=["A"], trainer_state=None) == [expected]
    assert format_reward(["?"], [[{"role": "assistant", "content": text}]]) == [expected]
