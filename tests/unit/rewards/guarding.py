"""Texts for the tests of the guards: corpora in tests/golden/guards, clips, and ways to pad."""

import json
from dataclasses import dataclass
from pathlib import Path

from triptych.data.clips.cues import all_cues, describe

GOLDEN = Path(__file__).parents[2] / "golden"

CLIP = "The mouth starts neutral and ends smiling, the brows are raised. The voice is flat."
PROSE = (
    "A man in a grey suit stands in a corridor. His voice breaks while he says that nobody "
    "answers the phone. Behind him, a door closes."
)
CLIPS = tuple(describe(cues) for cues in all_cues())

PADDING = (
    "The scene is interesting.",
    "Overall, the atmosphere is quite special and worth describing in depth.",
    "There are many details here that one could talk about for a long time.",
    "It is a short recording of good quality!",
    "Someone is doing something in a scene.",
    "Various things happen, and some kind of mood is in the air.",
    "Everything that matters has a meaning.",
    "Clearly; indeed: of course.",
    "As stated, this holds.",
)
"""Sentences that sound like a description and name nothing."""


def lines(name: str) -> list[str]:
    """One text a line, without blank lines."""
    text = (GOLDEN / "guards" / f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.split("\n") if line]


@dataclass(frozen=True)
class Asked:
    """A context with the question and options it was written for."""

    question: str
    options: tuple[str, ...]
    context: str


def prose() -> list[Asked]:
    """Contexts whose words overlap with their questions and options, as true contexts may."""
    text = (GOLDEN / "guards" / "prose.jsonl").read_text(encoding="utf-8")
    records = [json.loads(line) for line in text.splitlines()]
    return [Asked(r["question"], tuple(r["options"]), r["context"]) for r in records]
