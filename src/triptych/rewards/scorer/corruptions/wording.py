"""Words that can stand for each other, and words that exclude each other, form by form.

The lexicon of the rule rewards knows concepts; to write a text, the inflection has to fit as well.
Both tables list words of one inflection, and only such as mean one thing in descriptions of people.
Of `SAME` the lexicon knows a part; `measure` takes all of a line for one word.
"""

import re
from collections.abc import Mapping, Set
from random import Random


def _groups(lines: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(line.split()) for line in lines.strip().splitlines())


_SAME = _groups("""
    smiles grins beams
    smiling grinning beaming
    smiled grinned beamed
    smile grin
    frowns scowls
    frowning scowling
    frowned scowled
    frown scowl
    crying weeping sobbing
    cries weeps sobs
    monotone monotonous
    trembling quivering
    softly quietly
    quiet hushed
    furrowed knitted
    man gentleman
    woman lady
    seated sitting
    quickly rapidly
    nervous anxious
    nervously anxiously
    angry furious
    calm relaxed
    afraid scared
    happiness joy
    sadness sorrow
    happy cheerful
    neutral expressionless impassive
    mutters murmurs
    glances peeks
    talks speaks
    talk speak
    talking speaking
    shouts yells
    shouting yelling
    hurries rushes
    stares gazes
    stops halts
    closes shuts
    lifts raises
    lifted raised
    pulls tugs
    throws tosses
    giggles titters
    grasps grips
    swift quick
    abruptly suddenly
    hoarsely huskily
    hoarse husky
    big large
    huge enormous
    stout plump
    wet damp
    tired weary
    strange odd
    terrible awful
    irritated annoyed
    bright brilliant
    shrill piercing
    kid child
    kids children
    mum mother
    dad father
    photograph photo
    photographs photos
    sofa couch
    corridor hallway
    car automobile
    telephone phone
    rucksack backpack
    pullover sweater
    eyebrows brows
    physician doctor
    crimson scarlet
    carpet rug
    shelf rack
    cupboard cabinet
    audience public
    guest visitor
    """)

# "a b": either for the other. "a > b c": b or c for a, not the other way round, since b and c mean
# other things as well ("he leaves it open").
_EXCLUDE = """
    smiles frowns
    smiling frowning
    smiled frowned
    smile frown
    grins > scowls
    grinning > scowling
    grin > scowl
    beams > scowls
    beaming > scowling
    nods > frowns
    laughs > cries
    laughing crying
    laughed cried
    laugh > cry
    laughter sobbing
    rising falling
    rises > falls
    trembling > steady
    quivering > steady
    flat > trembling rising
    monotone > trembling
    loudly softly
    loud soft
    shouting whispering
    shouts whispers
    louder quieter
    raised lowered
    raises lowers
    knitted > raised
    furrowed > raised
    man woman
    men women
    boy girl
    boys girls
    gentleman lady
    husband wife
    brother sister
    father mother
    son daughter
    young old
    younger older
    elderly > young
    standing sitting
    stands sits
    stood sat
    seated > standing
    quickly slowly
    fast slow
    quick > slow
    rapidly > slowly
    bright dark
    brightly > darkly
    indoors outdoors
    happy > sad angry afraid
    sad > happy angry
    angry > calm happy
    afraid > calm angry
    happily > sadly angrily
    sadly > happily
    angrily > calmly
    calm > nervous angry
    calmly > nervously angrily
    nervous > calm
    nervously > calmly
    anxious > calm
    joy > sadness anger fear
    sadness > joy anger
    anger > joy
    fear > joy
    relaxed tense
    left right
    left-hand right-hand
    two > three five
    three > two four
    four > two six
    five > three seven
    twice > thrice
    red > blue green
    blue > red yellow
    green > red purple
    yellow > blue brown
    white black
    grey > orange
    brown > green
    orange > grey
    opens closes
    closed > open
    opened closed
    pushes pulls
    enters > leaves
    arrives > leaves
    agrees > refuses
    accepts > refuses
    praises > insults
    hugs > slaps
    warm cold
    warmly coldly
    high low
    higher lower
    steady shaky
    firmly > weakly
    strong weak
    wide narrow
    tight loose
    tightly loosely
    forward backward
    forwards backwards
    upward downward
    upwards downwards
    long short
    morning evening
    day night
    wet dry
    empty > full
    politely rudely
    gently > harshly
    gentle > harsh
    deep > shallow
    """

_PRONOUNS = {
    "he": "she",
    "his": "her",
    "him": "her",
    "himself": "herself",
    "she": "he",
    "her": "his",  # or "him", where no noun follows
    "hers": "his",
    "herself": "himself",
}
_SEXED = frozenset(
    word
    for line in (
        "he him his himself man men gentleman boy boys husband brother father son",
        "grandfather uncle",
        "she her hers herself woman women lady girl girls wife sister mother daughter",
        "grandmother aunt hostess host bride groom grandson granddaughter policeman policewoman",
    )
    for word in line.split()
)
_MALE = frozenset(("man", "boy", "gentleman", "husband", "brother", "father", "son"))
_FEMALE = frozenset(("woman", "girl", "lady", "wife", "sister", "mother", "daughter"))
# As a side; not "he left", "all right".
_SIDES = frozenset(("left", "right"))
_OF_A_SIDE = re.compile(r"\b(?:the|his|her|their|its|upper|lower)\s+$", re.IGNORECASE)
_NO_NOUN = re.compile(
    r"\s*(?:[^\w\s]|$|(?:with|to|and|in|on|at|for|from|as|but|or|while|when|after|before|until"
    r"|again|then|from|over|into|by|about|that|is|was|so|off|out|up|down)\b)"
)

WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")
_ARTICLE = re.compile(r"\b([Aa])n?(?=\s+([^\W\d_]))")
# Words with these beginnings sound otherwise than they are written.
_SOUNDS_OTHERWISE = re.compile(r"(?:one|once|un[aeiou]|us[aei]|eu|hour|honest|honou?r|heir)", re.I)


def _same() -> dict[str, tuple[str, ...]]:
    return {
        word: tuple(other for other in group if other != word) for group in _SAME for word in group
    }


def _exclude() -> dict[str, tuple[str, ...]]:
    table: dict[str, tuple[str, ...]] = {}
    for line in _EXCLUDE.strip().splitlines():
        word, *others = line.replace(">", " ").split()
        table[word] = (*table.get(word, ()), *others)
        if ">" not in line:
            for other in others:
                table[other] = (*table.get(other, ()), word)
    return table


SAME: Mapping[str, tuple[str, ...]] = _same()
"""A word -> the words that can stand in its place."""

EXCLUDE: Mapping[str, tuple[str, ...]] = _exclude()
"""A word -> the words that say something else in its place."""


def like(word: str, model: str) -> str:
    """`word` with the capitals of `model`."""
    return word[:1].upper() + word[1:] if model[:1].isupper() else word


def exchange(text: str, word: str, other: str) -> str:
    """`text` with every `word` (in lower case) exchanged for `other`; a and an follow.

    Where a man becomes a woman, or the other way round, the pronouns follow, if the text speaks of
    no one else by sex.
    """
    table = {word: other}
    if (word in _MALE and other in _FEMALE) or (word in _FEMALE and other in _MALE):
        own, others = ({"he", "his", "him", "himself"}, {"she", "her", "hers", "herself"})
        if word in _FEMALE:
            own, others = others, own
        said = {match[0].lower() for match in WORD.finditer(text)} & _SEXED
        if said <= own | {word}:
            table |= {pronoun: _PRONOUNS[pronoun] for pronoun in own}

    def replaced(match: re.Match[str]) -> str:
        new = table.get(match[0].lower())
        if word in _SIDES and not _OF_A_SIDE.search(text, max(0, match.start() - 8), match.start()):
            return match[0]
        if new == "his" and match[0].lower() == "her" and _NO_NOUN.match(text, match.end()):
            new = "him"
        return like(new, match[0]) if new else match[0]

    return with_articles(WORD.sub(replaced, text))


def with_articles(text: str) -> str:
    """The text with "a" before consonants and "an" before vowels, by the letter."""

    def article(match: re.Match[str]) -> str:
        rest = text[match.end() :].lstrip()
        vowel = match[2] in "aeiouAEIOU"
        if _SOUNDS_OTHERWISE.match(rest):
            return match[0]
        return f"{match[1]}n" if vowel else match[1]

    return _ARTICLE.sub(article, text)


def varied(text: str, rng: Random, share: float, keep: Set[str] = frozenset()) -> str:
    """`text` with a share of its words that have synonyms exchanged for one, save those to keep."""

    def choose(match: re.Match[str]) -> str:
        others = SAME.get(match[0].lower())
        if not others or match[0].lower() in keep or rng.random() >= share:
            return match[0]
        return like(rng.choice(others), match[0])

    return with_articles(WORD.sub(choose, text))
