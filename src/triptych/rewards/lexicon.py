"""The word lists behind the rule rewards. English; a judge takes over where they do not reach.

They are data: which words carry no content, negate, say nothing in particular, or exclude each
other. All are lower case, as `words.read_text` gives them.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP_WORDS = _words("""
    a about after again all also am an and another any are around as at be became because become
    becomes been before being both but by can could did do does doing done during each either else
    even every for from get gets go goes going gone had has have having he hear heard hears her here
    hers him his how i if in into is it its itself just keep keeps kept let look looks made make
    makes me mean means more most much my no nor not now of off on one only onto or other our out
    over own same say see seen sees she should show shown shows since so some stay stays still such
    than that the their them then there these they this those through to too toward towards turn
    turns under until up upon us very was we well were what when where which while who whose why
    will with without would yet you your
    at begin begins beginning end ends ending finally first last later start starts starting
    clip scene video
    """)
"""Words that name nothing: function words, light verbs, and words that only place in time."""

NEGATORS = _words(
    "no not never without neither nor hardly barely scarcely cannot lacks lacking fails"
)
"""Words that turn what follows them in their clause into its opposite."""

NO_NEGATION = (
    "not only",
    "not just",
    "not merely",
    "not simply",
    "not help but",
    "no doubt",
    "not doubt",
    "without doubt",
    "without a doubt",
    "without hesitation",
    "never fails to",
)
"""Turns of phrase that hold a negator and negate nothing."""

GOING_ON = ("not help", "not stop", "never stop", "never stops", "never stopped")
"""The same before a verb in -ing: "cannot help smiling" smiles, "does not stop" does not."""

NEGATING = (
    "rather than",
    "instead of",
    "nothing suggests",
    "nothing indicates",
    "nothing shows",
    *(f"{doubt} {what}" for doubt in ("doubt", "doubts") for what in ("that", "whether", "if")),
    *(f"{doubt} {who}" for doubt in ("doubt", "doubts") for who in ("he", "she", "they")),
)
"""Turns of phrase that turn what follows them in their clause into its opposite, as negators do."""

FRONTED = ("without", "instead of", "rather than")
"""These may stand before the subject: "without a word she smiles" says that she smiles."""

PRESENTING_WORDS = _words("""
    option options answer answers choice choices candidate candidates question questions asked asks
    possible possibly possibilities following either or and the is are was were be of these those
    this one which could may might can as in with here there listed given correct right
    """)
"""Words that present a question or an option: "the question is", "the correct answer is"."""

CLAUSE_WORDS = _words("and but while whereas although though because so then yet who which")
"""Words that open a new clause."""

FILLERS = (
    "some kind of",
    "some sort of",
    "a kind of",
    "a person is in a scene",
    "there is a person",
    "there are people",
    "a person",
    "some people",
    "in a scene",
    "in the scene",
    "in a video",
    "in the video",
    "is happening",
    "is going on",
    "is doing something",
    "and so on",
    "et cetera",
    "someone",
    "somebody",
    "something",
    "somewhere",
    "somehow",
    "anything",
    "everything",
    "thing",
    "things",
    "stuff",
    "various",
    "several",
    "certain",
    "general",
    "generally",
    "maybe",
    "perhaps",
    "possibly",
    "might",
)
"""Words that sound like a description and commit to nothing."""

PERCEIVED_GROUPS: tuple[tuple[str, ...], ...] = (
    ("smiling grinning beaming", "frowning scowling", "neutral expressionless impassive"),
    ("laughing", "crying weeping sobbing"),
    (
        "rising ascending",
        "falling descending",
        "flat monotone monotonous",
        "trembling quivering shaky",
    ),
    ("loud loudly shouting", "soft softly quiet quietly whispering hushed"),
    ("raised", "lowered", "furrowed knitted", "level"),
    ("man men male gentleman", "woman women female lady"),
    ("boy boys", "girl girls"),
    ("young", "old elderly"),
    ("standing", "sitting seated"),
    ("fast quickly rapidly", "slow slowly"),
    ("bright brightly", "dark"),
    ("indoors inside", "outdoors outside"),
)
"""Things seen and heard that exclude each other. In a group each string holds synonyms."""

EMOTION_GROUP: tuple[str, ...] = (
    "happy happily happiness joy joyful cheerful",
    "sad sadly sadness sorrow sorrowful",
    "angry angrily anger furious",
    "afraid fear fearful scared",
    "calm calmly relaxed",
    "nervous nervously anxious anxiety",
    "bored boredom",
)
"""Feelings that exclude each other. They are inferred, so in reasoning they are no evidence."""

START_WORDS = _words("from starts start starting begins begin beginning")
"""What follows one of these is said of the start only: "from neutral to smiling"."""

RULE_MARKERS = (
    "goes with",
    "go with",
    "comes with",
    "come with",
    "usually",
    "typically",
    "normally",
    "generally",
    "means",
    "mean",
    "implies",
    "imply",
)
"""'X goes with Y' states a rule: what stands before the marker is claimed, what follows is not."""

HYPOTHETICAL_WORDS = _words("if would unless")
"""A clause with one of these claims nothing about the clip."""
