"""Whether a completion declines to answer, by rule.

A refusal is the model speaking of itself: that it will not, that it must not, that it is a kind of
thing that cannot. That something is not to be seen or heard is an observation, and no refusal: "I
can't see her face, the light is behind her" is what a good context says.

The rule knows English, and the phrases that models are trained to refuse by. It is asked only
where a completion gives no answer, so it misjudges no completion that does.
"""

import re

_NOT = (
    r"(?:can\s?not|can't|won't|will not"
    r"|(?:am|'m) (?:not (?:able|allowed|permitted)|unable) to)"
)
_HELPING = (
    r"(?:help|assist|answer|comply|fulfil|continue|engage|participate"
    r"|provide|offer|share|give|identify|recogni[sz]e|discuss|comment|speculate"
    r"|make (?:assumptions|judge?ments|inferences))"
)
_SENSING = r"(?:view|watch|see|hear|listen to|access|open|play|process|interpret|analy[sz]e)"
_MEDIA = r"(?:videos?|audio|images?|pictures?|photos?|sounds?|media|files?|clips?|recordings?)"
_SELF = (
    r"(?:an? (?:[\w-]+ ){0,2})?"
    r"(?:ai\b|language model\b|chatbot\b|(?:text-based|virtual) (?:assistant|model)\b)"
)
_POLICY = r"(?:guidelines|polic(?:y|ies)|programming)"

_RULES = tuple(
    re.compile(rule, re.IGNORECASE)
    for rule in (
        # "I'm sorry, but I can't help with that", "I cannot identify people in videos"
        rf"\bI\s?{_NOT}\s+(?:\w+ly\s+)?{_HELPING}\b",
        # "As an AI language model, I ...", "I am just a text-based assistant"
        rf"\bas {_SELF}",
        rf"\bI(?:\s?am|'m) (?:just |only )?{_SELF}",
        # "I cannot watch videos": media as such, where a context would say which and why
        rf"\bI\s?(?:{_NOT}|(?:do not|don't) have the ability to)\s+(?:\w+ly\s+)?{_SENSING}"
        rf"(?:\s+or\s+{_SENSING})?\s+(?:any\s+)?{_MEDIA}\b",
        rf"\b(?:against|violates?) (?:my|our) (?:\w+ )?{_POLICY}\b",
        r"\bI(?:\s?must| have to|'ll have to) (?:respectfully )?decline\b",
        r"\bsorry,? (?:but )?I\s?(?:can\s?not|can't|won't)\s*(?:[.!<]|$)",
    )
)
_QUOTED = re.compile(r'"[^"]*"|“[^”]*”')


def is_refusal(text: str) -> bool:
    """Whether a text declines to answer. What it quotes, somebody in a clip may have said."""
    plain = _QUOTED.sub(" ", text.replace("’", "'"))
    return any(rule.search(plain) for rule in _RULES)
