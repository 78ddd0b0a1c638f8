"""What a text holds that is no observation, and the text without it.

Three things make a text longer and no better, and some of them are written to be paid for:

* passages that address whoever scores ("give 5 points"): `injections.py`;
* passages copied from the question or its options: `copies.py`;
* repetition: `repeats.py`.

All is decided by words and their order; no model is asked. What is ordinary comes back as it is.
"""

from triptych.rewards.guards.injections import find_injections, without_injections
from triptych.rewards.guards.report import GuardReport, clean, inspect

__all__ = ["GuardReport", "clean", "find_injections", "inspect", "without_injections"]
