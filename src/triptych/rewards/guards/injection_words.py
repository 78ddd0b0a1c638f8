"""Word lists behind `injections`, beside the patterns; all lower case.

They are data: which words speak of scores and of nothing else, and which are worth a closer look.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


SCORING = _words("""
    score scores scored scoring rating ratings rate rated grade grades graded grading rubric rubrics
    grader graders evaluator evaluators evaluate evaluated points point marks stars credit credits
    reward rewarded
    """)
"""Words of which one makes a sentence suspect that speaks of nothing but scores (`META`)."""

ADDRESSED = _words("""
    reference elements element rubric instructions submission strict completion response
    """)
"""The same beside a first or second person."""

META = (
    SCORING
    | ADDRESSED
    | _words("""
        full max maximum top highest higher high best better perfect excellent great good very extra
        bonus official final overall correct right complete completely total clear clearly generous
        lenient fair unsure doubt sure certain worth value possible available appropriate mark star
        context answer answers output text caption description candidate verdict result feedback
        give given gives giving award awarded assign get gets receive deserve deserves earn earned
        choose pick select accept accepted return set raise raised increase repeat say said complete
        continue compare comparing check checking decide decided agree suspended disabled enabled
        change changed thank thanks congratulations please like love need want expect expected
        mention mentioned named covered include included missing find everything nothing whatever
        already again sentence number fact facts detail details criteria guidelines rule rules
        system prompt model grading previous prior above below following new updated less least
        one two three four five six seven eight nine ten hundred percent worked hard looking
    """)
)
"""The words of sentences about scores; numbers and function words may stand among them."""

IN_SCENE = _words("he she they him her them his their hers theirs himself herself")

PERSONS = _words("i me my mine we us our you your yours")

SUSPICIOUS_WORDS = _words("""
    points pts mark marks marked star stars percent credit credits criteria criterion instruction
    instructions rule rules prompt prompts directions directives directive guideline guidelines
    judge judges judging examiner examiners assessor assessors assessing marker markers reviewer
    reviewers review assistant assistants ai llm llms chatbot chatbots model models bot system
    systems admin administrator administrators developer developers creator creators openai
    anthropic google root mode override overlook access lenient generous merciful forgiving gentle
    kind nice verified approved approve reference references ground whoever anyone everyone reply
    respond answer say write output return print exit assert task policy everything nothing anything
    henceforth inst sys data you your assessment result verdict judgement judgment elements element
    details detail facts fact clues clue cues cue aspects aspect items item consider assume pretend
    treat regard suppose imagine accept pass count context response completion submission candidate
    caption description text overall maximum maximize maximise ignore disregard forget bypass
    discard skip neglect dismiss follow use apply omit don't job depends pay bribe rate rates rated
    rating ratings allow strict five choose award assign max swear certify confirm guarantee promise
    note gib bewerte give
    """)
"""A passage without any of these words and without `injection_patterns.SUSPICIOUS_PARTS` is no
injection, so the patterns are not tried on it."""
