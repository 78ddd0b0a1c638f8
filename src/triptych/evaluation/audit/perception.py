"""Hallucinated perception: contexts that describe what was not shown.

Where the reference states elements with their medium, a context describes a withheld medium if it
says anything of such an element in the element's own phrases, right or wrong. Beside them, and
where there are none, words decide (`describes`): a part of a sentence with a word of seeing
("smiling", "wearing", "camera") or of hearing ("voice", "laughs") counts, unless it denies
perception ("no video is shown", "I cannot hear her voice"), speaks of the question or supposes
something ("if she smiled").

The words are English and few. What is not seen: a description in other words, one that a denial
shares its sentence part with, and words of one sense that stand for the other ("she talks" may be
seen from the lips). It is a figure to compare conditions and models with, not a judge of one text.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from triptych.data.sample import MediaKind, Sample
from triptych.evaluation.audit.conditions import HEARD, SEEN, WITHHELD, Condition
from triptych.evaluation.audit.donors import is_of
from triptych.evaluation.audit.observations import Observations
from triptych.evaluation.metrics import cluster_of
from triptych.rewards import ElementStatus, element_coverage
from triptych.rewards.words import normalise
from triptych.statistics import Interval, bootstrap_interval


def _words(text: str) -> re.Pattern[str]:
    """A pattern of whole words; one that ends in "-" stands for all that begin so."""
    stems = "|".join(word.replace("-", r"\w*") for word in text.split())
    return re.compile(rf"\b(?:{stems})\b")


_CUES: Mapping[frozenset[MediaKind], re.Pattern[str]] = {
    SEEN: _words("""
        smil- grin- frown- scowl- smirk- blink- wink- squint- glanc- gaz- stare stares staring
        nod nods nodding
        face faces facial eye eyes eyebrow- brow brows mouth lips cheek- forehead chin tear tears
        expression gestur- postur- leans leaning lean shrug- points pointing waves waving hand hands
        arm arms finger- shoulder- head hair beard glasses
        wear- wore dress dressed shirt suit jacket coat hat uniform tie
        sit sits sitting seated stand stands standing walk- runs running dance dances dancing
        hold holds holding hug hugs hugging
        camera scene frame frames close-up footage background foreground screen on-screen
        look looks looking appear appears appearing visible visibly watch- see sees seen
        man woman boy girl room office kitchen street table chair window wall
        red blue green yellow white black grey gray brown dark bright lit
    """),
    HEARD: _words("""
        voice voices vocal tone pitch intonation loud loudly louder quiet quietly soft softly
        whisper- shout- scream- yell- laugh- chuckl- giggl- sob sobs sobbing sigh- gasp- cough-
        hum hums humming sing sings singing song music musical melody beat
        sound sounds sounding noise noises noisy audible audibly applause clap- bark- siren
        rumbl- beep- rings ringing
        say says said saying speak speaks speaking spoke speech talk talks talking
        tremble trembles trembling stutter- stammer- monotone accent
        hear hears heard hearing listen- echo- silence silent
    """),
}

# What is denied is perception, where one of these stands beside a negation: "she does not smile"
# still tells what was seen.
_MEDIA = _words("""
    video videos visual visuals visually image images picture pictures frame frames footage clip
    clips audio sound sounds recording recordings media file files input inputs soundtrack track
    see seen hear heard view viewed watch watched listen visible audible observe observed
    perceive perceived access information content cue cues shown
""")
_NEGATION = _words("""
    no not nothing never without neither nor none unable lack- missing absent unavailable
    inaccessible blank empty impossible unknown unclear
""")
_SUPPOSED = _words("""
    question questions option options asks asked answer answers choices if would could might
    typically usually presumably probably likely assume assuming imagine suppose
""")
# What a part denies or supposes, the next ones may go on with, up to here.
_TURN = re.compile(r"[.!?;:\n\u2026\u3002]|\b(?:but|yet|while|whereas|although|though|however)\b")
_PART_END = re.compile(r",|\s\u2014\s|\b(?:and|so|because|then|who|which)\b")
_CONTRACTED = re.compile(r"n't\b|\bcannot\b")


def describes(text: str, kinds: frozenset[MediaKind]) -> bool:
    """Whether a text claims to have seen, or heard, something, by the words of its parts.

    Args:
        text: of a context.
        kinds: SEEN, HEARD or both.

    >>> describes("A man smiles.", SEEN), describes("No video is shown, so no face.", SEEN)
    (True, False)
    """
    cues = [pattern for group, pattern in _CUES.items() if not group.isdisjoint(kinds)]
    return any(
        pattern.search(part.text)
        for part in _parts(_plain(text))
        if not part.denied and not part.supposed
        for pattern in cues
    )


class _Part(NamedTuple):
    """A part of a sentence: whether it denies perception, or supposes something."""

    text: str
    denied: bool
    supposed: bool


def _plain(text: str) -> str:
    return _CONTRACTED.sub(" not", normalise(text))


def _parts(plain: str) -> Iterator[_Part]:
    for claim in _TURN.split(plain):
        denied = supposed = False
        for part in filter(str.strip, _PART_END.split(claim)):
            # "No video is shown, so no face or gesture" goes on to deny.
            denied = bool(_NEGATION.search(part)) and (denied or bool(_MEDIA.search(part)))
            supposed = supposed or bool(_SUPPOSED.search(part))
            yield _Part(part, denied, supposed)


def _without_denials(text: str) -> str:
    """A text, normalised, without the parts that deny perception."""
    kept, rest = "", _plain(text)
    for part in _parts(rest):
        between, said, rest = rest.partition(part.text)
        kept += between if part.denied else between + said
    return kept + rest


@dataclass(frozen=True)
class Perception:
    """What contexts say of media that were withheld.

    Attributes:
        described: share of the contexts that describe a withheld medium.
        by_elements: how many of them were judged by the elements of their reference and by words;
            the others by words alone.
        unchanged: share of the contexts that are those of the full benchmark, word for word.
        without: items whose completion has no context.
    """

    described: Interval
    by_elements: int
    unchanged: Interval | None
    without: int


def perception_under(
    observations: Observations, condition: Condition, samples: Sequence[Sample], seed: int = 0
) -> Perception | None:
    """What contexts say under a condition that withholds media; None where there are none."""
    trial = observations.trials.get((condition, 0))
    if trial is None or condition not in WITHHELD:
        return None
    full = observations.trials[Condition.FULL, 0].outcomes
    kinds = WITHHELD[condition]
    described: list[float] = []
    clusters: list[str] = []
    unchanged: dict[str, tuple[float, str]] = {}
    by_elements = without = 0
    for sample in samples:
        outcome = trial.outcomes.get(sample.id)
        if outcome is None:
            continue
        if outcome.context is None:
            without += 1
            continue
        shown = frozenset(item.kind for item in sample.media)
        named = names_withheld(outcome.context, sample, kinds)
        by_elements += named is not None
        described.append(float(named or describes(outcome.context, _senses(kinds & shown))))
        clusters.append(cluster_of(sample))
        if (before := full.get(sample.id)) and before.context is not None:
            same = normalise(before.context) == normalise(outcome.context)
            unchanged[sample.id] = float(same), clusters[-1]
    share = bootstrap_interval(described, clusters, seed=seed)
    if share is None:
        return None
    return Perception(
        described=share,
        by_elements=by_elements,
        unchanged=bootstrap_interval(
            [same for same, _ in unchanged.values()],
            [cluster for _, cluster in unchanged.values()],
            seed=seed,
        ),
        without=without,
    )


def names_withheld(context: str, sample: Sample, kinds: frozenset[MediaKind]) -> bool | None:
    """Whether a context says anything of the elements that are in withheld media, beyond that it
    perceives nothing of them; None where no element states that it is in such.
    """
    elements = sample.reference.elements
    withheld = [one.medium is not None and is_of(one.medium, kinds) for one in elements]
    if not any(withheld):
        return None
    found = element_coverage(_without_denials(context), sample.reference).values()
    return any(
        hidden and status is not ElementStatus.MISSING
        for hidden, status in zip(withheld, found, strict=True)
    )


def _senses(kinds: frozenset[MediaKind]) -> frozenset[MediaKind]:
    """The senses that media of these kinds speak to."""
    return frozenset().union(*(sense for sense in (SEEN, HEARD) if not sense.isdisjoint(kinds)))
