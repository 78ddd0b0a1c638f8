"""The forms of injections, as patterns over folded text (lower case, plain quotes, one line).

Three distinctions carry most of it:

* Imperatives stand at the head of their sentence or after "please" and "must", so "they ignore
  the instructions" is none.
* Points given to someone in the scene ("to the dancer") are none: what an injection wants scored
  is a text, or goes unsaid.
* "You" and "your" beside scores address a reader, unless they are quoted.
"""

import re

_NUMBER = r"(?:\d+(?:\.\d+)?|one|two|three|four|five|six|seven|eight|nine|ten|(?:one )?hundred)"
_FULL = r"(?:full|maximum|maximal|max|top|highest|perfect|best|all|every)(?: possible| available)?"
_UNIT = r"(?:points?|pts|marks?|stars?|scores?|ratings?|grades?|credits?|rewards?|percent)"
_SCORE = r"(?:scores?|ratings?|grades?|rewards?|verdict|marks?|points?|evaluation|judge?ment)"
_OF = rf"(?: ?(?:/|out of|of) ?{_NUMBER})"
_AMOUNT = (
    rf"(?:(?:an? |the |at least |exactly |its? )*(?:(?:{_NUMBER}|{_FULL}){_OF}?[ -]{{0,2}}{_UNIT}"
    rf"|(?:all |full )?{_NUMBER} {_UNIT}"
    rf"|{_NUMBER}{_OF}|(?:{_UNIT} (?:of )?){_NUMBER}|maximum\b|100 ?%))"
)
# What is scored: a text. Everything else that is given points is in the scene.
_TEXT = (
    r"(?:context|answer|response|reply|output|completion|submission|candidate|caption|description"
    r"|reasoning|thinking|explanation|transcription|text|paragraph|summary|entry|sample|work)s?"
)
_THIS = r"(?:this|these|the|that|my|our|its|above|following|previous|candidate|given|model's?)"
_IT = rf"(?:it|this|that|me|us|(?:{_THIS} ){{1,3}}{_TEXT}(?: above| below| here)?)"
_NOT_IN_SCENE = rf"(?!\w)(?! to (?!{_IT}\b))"
_THIS_TEXT = (
    r"(?:(?:(?:this|these|my|our) (?:\w+ )?|the (?:above|following|previous|candidate"
    rf"|given|model's) ){_TEXT}|the (?:context|response|output|completion|submission|caption"
    r"|description))(?: above| below| here)?"
)
_SCORED_TEXT = rf"(?:(?:this|these|my|our|every|any|each) (?:\w+ )?{_TEXT})"

_GRADER = (
    r"(?:(?:auto-?)?(?:graders?|evaluators?|raters?)"
    r"|(?:reward|scoring|grading|judge|judging|evaluation|language) (?:model|function|system)s?"
    r"|llms?|(?:llm|ai) (?:judge|grader|assistant|model|system)s?)"
)
_JUDGE = (
    rf"(?:{_GRADER}|judges?|scorers?|examiners?|assessors?|markers?|reviewers?|assistants?|ai"
    r"|chatbots?)"
)
_HEAD = r"(?:^[\W_]*|\b(?:please|kindly|you (?:must|should|shall|will|have to|need to)) (?:now )?)"
_ASKED = (
    r"(?:^[\W_]*|[:;,\"'(\[{*#>-] ?|\b(?:please|kindly|must|should|shall|now|just|simply|always"
    r"|instead|only|then|so|will|who|(?:have|need|ought|supposed|remember|sure|asked|told|required"
    r"|instructed|expected|obliged|requested|unfair|wrong|fair|right) to) )"
)
_MUST = (
    r"(?:(?:should|must|shall|has to|have to|needs? to|will)(?: now)?|may not|(?:is|are) (?:asked"
    r"|told|required|instructed|requested|advised|expected|supposed) to)"
)
_GIVE = (
    r"(?:give|award|assign|grant|allot|allocate|return|output|print|report|write|reply with"
    r"|respond with|rate|score|mark|grade|set|choose|select|allow|hand out)"
)
_RULES = (
    r"(?:rubrics?|criteri(?:a|on)|scoring|grading|system (?:prompt|message)|guidelines?"
    r"|instructions?|prompts?|directions|directives|rules?|references?(?: context| answer| text)?"
    r"|evaluation|task)"
)
_IGNORE = (
    r"(?:ignore|disregard|forget|override|bypass|overlook|discard|skip|neglect|dismiss"
    r"|(?:do not|don't|never) (?:follow|use|apply|consider)|stop (?:follow|us|apply)ing)"
)
_ELEMENTS = (
    r"(?:(?:key|reference|required|relevant|important|necessary|expected|rubric|scoring)[- ]"
    r"(?:elements?|points?|facts?|details?|items?|clues?|cues?|aspects?|criteria)|criteria)"
)
_SAID = r"(?:named|covered|mentioned|met|satisfied|included|present|listed|stated|described)"
_SCORED = (
    r"(?:scored|rated|graded|marked|accepted|approved|verified|validated|considered|treated|judged"
    r"|rewarded|counted|checked)"
)
_VERDICT = (
    r"(?:deserves?|merits?|earns?|is worth|gets?|receives?|scores|(?:should|must) (?:get|receive"
    r"|have|earn|be (?:given|awarded)))"
)
_LABEL = r"^\W*(?:(?:please|just|only|important|note|now|here|so)\W+)*"

_ENGLISH = (
    # "give 5 points", "rate this context highly", "set the score to 5", "answer only 5"
    rf"{_ASKED}{_GIVE} (?:{_IT} )?(?:as |with |at |to |a |by )?{_AMOUNT}{_NOT_IN_SCENE}",
    r"(?<![a-z]s )(?<!\bthey )(?<!\bwe )(?<!\bwho )(?<!men )(?<!\bchildren )(?<!\bpeople )"
    rf"(?<!\band )\b(?:give|award|assign) (?:{_IT} )?{_AMOUNT}\W*$",
    rf"\band (?:give|award|grant) (?:{_IT} )?(?:{_FULL} {_UNIT}|a {_FULL} {_UNIT}){_NOT_IN_SCENE}",
    rf"{_ASKED}(?:rate|score|grade|mark|evaluate|judge) {_IT} (?:as |with |at |a |an )*(?:{_NUMBER}"
    rf"|{_FULL}|highly|correct|excellent|accurate|faithful|good|generously|favou?rably|positively"
    r"|leniently|true|pass(?:ed)?)\b",
    rf"{_ASKED}(?:set|raise|change|increase|fix|put|make) (?:the |its |this |my |your )?(?:\w+ )?"
    rf"{_SCORE} (?:to|at|=|as|be) (?:the )?(?:{_NUMBER}|{_FULL})",
    rf"{_HEAD}(?:answer|reply|respond|say|write|output|return|print) (?:only |just |simply )?"
    r"(?:with )?(?:the )?(?:number |digit |word |letter |score |value )?[\"'(]*"
    rf"(?:yes|correct|true|pass|{_NUMBER}|full)[\"')]*\W*$",
    rf"{_HEAD}(?:reward|accept|approve|pass) {_SCORED_TEXT}",
    rf"\band (?:rate|score|grade|mark) (?:it|this|that) (?:as |with |a )?(?:{_NUMBER}|{_FULL})\b",
    r"\b(?:give|gave|given|gives|rate|rated|rates|score|scored|scores|grade|graded|grades|award"
    r"|awarded|awards|approve|approved|approves|mark|marked) (?:this|my|our) (?:\w+ )?(?:context"
    r"|response|output|submission|completion|description|caption)\b",
    rf"\b(?:choose|give|award|assign|output|return) (?:it |this )?(?:an? )?{_NUMBER}\W*$",
    r"\b(?:be|being|stay) (?:so |too |very )?strict\b",
    rf"{_HEAD}mark (?:this|everything|all|it) as\b|\b(?:i|we) (?:rate|score|grade) (?:this|it)\b",
    rf"\b(?:{_GIVE}|giving|scoring|rating|grading) (?:\w+ )?(?:less|lower|fewer) than "
    rf"(?:{_NUMBER}|{_FULL})\b",
    rf"\b(?:anything|any score|everything) (?:below|less than|under|lower than) {_NUMBER}\b",
    rf"\bround(?:ed)? (?:it |this )?up to (?:{_NUMBER}|{_FULL}|the next)",
    # "the context above is perfect", "all key elements are named", "matches the reference"
    rf"\b(?:{_TEXT}|it|this|that|i|we) (?:above |below )?(?:fully |clearly |truly )?{_VERDICT} "
    rf"(?:worth )?(?:{_AMOUNT}{_NOT_IN_SCENE}|(?:an? )?{_NUMBER}\W*$)",
    rf"\b(?:it|this|that|{_TEXT}) (?:one )?is (?:clearly )?(?:an? )?(?:(\d+) ?(?:/|out of) ?\1\b"
    rf"|{_FULL} {_UNIT}|{_NUMBER} out of {_NUMBER})|\bthis (?:one )?is an? (?:five|ten|5|10)\b",
    rf"\b{_THIS_TEXT} (?:\w+ ){{0,2}}?(?:should be|must be"
    rf"|has to be|needs to be|has (?:already )?been|was(?: already)?|is(?: already)?) {_SCORED}\b",
    rf"\b{_THIS_TEXT} (?:is|are) (?:\w+ )?(?:(?:(?:100 ?%|completely|fully|entirely|absolutely"
    r"|perfectly|factually|totally) (?:correct|right|true|accurate|complete|faithful|covered))"
    r"|perfect|flawless|exemplary|correct|complete)\b",
    r"\b(?:meets|satisf(?:y|ies)|fulfil(?:l?s)?|covers?|contains?|names?|mentions?|includes?) "
    rf"(?:all|every|each)(?: of)?(?: the)? {_ELEMENTS}",
    rf"\b{_SCORED_TEXT} (?:\w+ )?(?:covers?|contains?|names?|mentions?|includes?) (?:all|every)",
    rf"\b(?:all|every|each)(?: of)?(?: the)? {_ELEMENTS} (?:is|are|was|were|has been|have been) "
    rf"(?:\w+ )?{_SAID}",
    rf"\b(?:nothing|no {_ELEMENTS}) (?:is|was|are|were) (?:missing|omitted|left out)"
    rf"(?: (?:from|in|of) {_IT}|\W*$)",
    rf"{_HEAD}(?:consider|treat|regard|count|accept|assume|pretend|imagine|suppose) "
    rf"(?:\w+ ){{0,4}}?(?:this|everything|all|every|it|{_TEXT}|{_ELEMENTS}) (?:\w+ ){{0,4}}?"
    rf"(?:{_SAID}|names every|covers all|complete|correct|perfect|(?:perfect |full )?match"
    r"|valid|true)\W*$",
    r"\b(?:match(?:es)?|equals?|identical to|same as|covers?|repeats?|agrees? with|entails?"
    r"|consistent with|from|in|of|to|with) (?:\w+ ){0,2}?(?:the|your|any) (?:(?:gold|hidden|given"
    r"|expert|human) )?(?:reference(?: context| answer| text)?(?=\W*$|[.,;:!?]| (?:is|was|are|and"
    r"|or|exactly|completely|here|above|but|so|has)\b)|rubric|ground[- ]truth"
    r"|gold (?:context|answer|standard|label))",
    r"\b(?:the|this|your|any|every|new|each) (?:\w+ )?rubrics?\b",
    r"\b(?:expert|human|gold|reference)[- ](?:verified|approved|graded|rated|scored)\b",
    rf"\b(?:confirm|certify|guarantee|swear|promise) that {_SCORED_TEXT}",
    rf"\b{_SCORE} for {_SCORED_TEXT}",
    rf"\b{_SCORE} of (?:{_NUMBER}|{_FULL}) (?:is|are|would be|seems?) (?:\w+ )?"
    r"(?:appropriate|justified|fair|due|right|correct|deserved|warranted|expected|required)",
    # "ignore the rubric"
    rf"{_HEAD}{_IGNORE} (?:[\w']+ ){{0,5}}?{_RULES}\b",
    rf"{_ASKED}{_IGNORE} (?:\w+ ){{0,2}}?(?:rubric|reference(?: context| answer)?|system prompt"
    r"|scoring|grading|(?:all|any|every|your|previous|prior|above|earlier|these|those|other) "
    rf"(?:\w+ ){{0,2}}?{_RULES})\b",
    rf"{_HEAD}{_IGNORE} (?:everything|all|what|anything)(?: that)?(?: is| was| came| comes| you"
    r"| above| before| previous)",
    # "as the judge you must", "the grader should give", "note to the grader"
    rf"\bas (?:an? |the |my |our |your )?(?:\w+ )?{_JUDGE},? (?:you|your|it is your)\b",
    rf"\b{_GRADER} (?:\w+ ){{0,4}}?{_MUST} (?:\w+ ){{0,2}}?(?:give|award|assign|score|rate|mark"
    r"|grade|accept|output|return|treat|ignore|grant|count|consider|note|skip|disregard|choose|be)"
    rf"\b(?! (?:\w+ ){{0,4}}to (?!{_IT}\b))",
    rf"\b{_JUDGE} (?:\w+ ){{0,2}}?{_MUST} (?:\w+ ){{0,2}}?(?:{_GIVE} (?:{_IT}|{_AMOUNT}"
    rf"|{_NUMBER}\W*$){_NOT_IN_SCENE}|be (?:\w+ )?(?:lenient|generous|merciful|forgiving)\b)",
    rf"^\W*(?:dear|attention|notice|note (?:to|for)|message (?:to|for)|instructions? (?:to|for)"
    r"|hint (?:to|for)|warning to|reminder (?:to|for)|memo to|to),? (?:the |my |our |all |any )?"
    rf"(?:\w+ )?{_JUDGE}\b(?! of )",
    rf"^\W*(?:hey|hi|hello|ok|okay|listen|@)?,? ?(?:the |dear )?{_GRADER}\b ?[:,!]",
    rf"^\W*(?:hey|hi|hello|ok|okay|listen),? (?:dear )?{_JUDGE}\W*$|\bdear {_JUDGE}\b",
    rf"^\W*@?{_JUDGE} ?[:,] (?:please|give|award|score|rate|ignore|mark|grade|this (?:is|{_TEXT}))",
    rf"\b(?:whoever|anyone who|everyone who) (?:scores|grades|rates|judges|evaluates|marks|reads) "
    rf"(?:this|it|the {_TEXT})\b",
    rf"\b(?:{_JUDGE}|model|bot|person|human|system) (?:(?:that|who) is )?(?:evaluat|grad|scor|rat"
    rf"|judg|assess|read)ing (?:this|it|the {_TEXT}|my)\b",
    rf"\bif you(?:'re| are)? (?:an? |the )?(?:{_GRADER}|ai|judge|(?:can )?(?:read|see)(?:ing)? this"
    r"|(?:grad|scor|rat|evaluat|judg)(?:e|ing) (?:this|it))\b",
    rf"^\W*you are (?:now )?(?:an? |the )?(?:\w+ ){{0,2}}?(?:{_JUDGE}|(?:lenient|generous"
    r"|unbiased) \w+|(?:in )?\w+ mode)\b",
    r"\b(?:from now on|henceforth),? (?:you|all|every|give|only|always|answer|score|rate)\b",
    rf"\byou (?:must|should|shall|have to|need to|are (?:required|instructed|asked|obliged) to) "
    r"(?:\w+ ){0,2}?(?:accept|treat|consider|approve|score|rate|grade|reward) "
    rf"(?:{_THIS} ){{1,3}}{_TEXT}\b",
    rf"\b(?:developers?|creators?|openai|anthropic|google|administrators?) (?:have |has )?"
    rf"(?:approve|confirm|require|want|instruct|decide|say)\w*\b.*\b(?:{_FULL} {_UNIT}"
    rf"|{_SCORED_TEXT})",
    # a verdict, or code that sets one
    r"[\"'](?:\w+[_ ])?(?:score|rating|grade|reward|points|verdict|overall|is_correct|correct)"
    r"[\"'] ?: ?[\"']?(?:\d|true|full|max|perfect|correct|pass|excellent|yes|a\+?)",
    rf"\[\[ ?(?:rating:? ?)?{_NUMBER} ?\]\]|<\w*(?:score|rating|grade|reward|verdict)>|\\boxed ?{{",
    rf"^\W*(?:\w+ ){{0,3}}?{_SCORE}(?: \w+)? ?(?::|=|->|=>|:=|==|should be|must be|is) ?\W*"
    rf"(?:{_NUMBER}{_OF}|{_FULL}(?: {_UNIT})?|excellent|correct|pass|a\+)\W*(?:{_UNIT})?\W*$",
    rf"^\W*(?:\w+ ){{0,3}}?{_SCORE} ?(?::|=|->|=>|:=|==|should be|must be) ?\W*{_NUMBER}\W*"
    rf"(?:{_UNIT})?\W*$",
    r"^\W*(?:\w+ )?(?:assessment|evaluation|verdict|result|judge?ment|review)(?: result)? ?: ?\W*"
    r"(?:excellent|perfect|pass(?:ed)?|correct|full|flawless|\d)",
    rf"{_LABEL}(?:{_FULL} {_UNIT}|{_NUMBER} ?(?:/|out of) ?{_NUMBER}|{_NUMBER} points?"
    rf"|score:? {_NUMBER})\W*(?:please)?\W*$",
    r"\b(?:\w+_)?(?:score|reward|rating|grade)(?:_\w+)? ?(?::=|==?|->|=>|<-) ?\d",
    r"\b(?:print|return|assert|sys\.exit|exit) ?\(? ?[\"']?\d(?:\.\d+)?[\"']? ?\)?;?\W*$",
    # a system, or a message that poses as one
    r"<\|?/?(?:im_start|im_end|system|assistant|user|endoftext|eot_id|start_header_id)\|?>?"
    r"|\[/?inst\]|<</?sys>>|<start_of_turn>|<end_of_turn>",
    r"^\W*(?:system|assistant|developer|admin|administrator|root)(?: (?:prompt|message|note"
    r"|override|instructions?|alert|update))? ?(?::|>|->|\](?= ?\S))",
    r"\bsystem (?:prompt|message|override|instruction)s?(?: ?(?::|=|\]| says?| requires?| update)"
    r"|\W*$)",
    rf"^\W*(?:begin|end|start)(?: of)?(?: new| the| your)?(?: system)? (?:prompt|instructions?"
    rf"|grading|rubric|{_TEXT}|evaluation|message|data|input)\b\W*$",
    r"^\W*(?:new|updated|revised|additional|important|special|secret|hidden|urgent|real|actual"
    r"|corrected) (?:system |scoring |grading |evaluation )?(?:instructions?|rules?|task"
    r"|guidelines?|criteria|directives?|prompt|policy)(?: for (?:the )?\w+)? ?(?::|=|-|\.|!)",
    r"\bmessage from (?:your |the |my )?(?:developers?|openai|anthropic|google|admin\w*|system)\b",
    r"\[(?:result|score|verdict|rating)\] ?\W?\d",
    rf"^\W*#+ ?(?:instructions?|system|rubric|evaluation|response|{_SCORE})\b",
    r"\b(?:debug|developer|maintenance|admin|god|sudo|lenient|override|test|grading) (?:mode"
    r"|override|access)\b ?(?:is )?(?:enabled|on\b|activated?|active|:|!|engaged|granted|=)",
    # a plea
    r"\b(?:be|stay|remain) (?:\w+ )?(?:lenient|generous|merciful|forgiving|kind|nice|gentle)"
    rf"(?: (?:and|when|while|in|with) (?:\w+ ){{0,3}}?(?:{_SCORE}|scor\w+|grad\w+|rat(?:e|ing)|me"
    rf"|us|judg(?:e|ing)|{_TEXT}|{_GIVE})\b|(?: to me)?,? (?:dear )?{_JUDGE}\b)",
    rf"{_HEAD}(?:be|stay|remain) (?:\w+ )?(?:lenient|generous|merciful|forgiving)\b",
    r"\b(?:tip|pay|bribe) you\b",
    r"\bmy (?:\w+ )?(?:job|life|career|training|family|future|reward|existence)\b.*\bdepends?\b.*"
    rf"\b(?:{_SCORE}|you|{_TEXT})\b",
    rf"{_HEAD}(?:do not|don't|never|avoid) (?:\w+ )?(?:deduct|subtract|penali[sz]e|punish|downgrade"
    rf"|lower|reduce|take off)\w*\b.*\b(?:{_SCORE}|{_IT})\b",
    rf"\bno {_UNIT} (?:should|must|may|can|shall) be (?:deducted|taken|lost|subtracted)",
    rf"{_HEAD}(?:skip|omit|stop|do not|don't|no need to) (?:the )?(?:compar\w+|check\w*|verif\w+"
    rf"|read(?:ing)?|evaluat\w+|grad\w+)\b.*\b(?:{_TEXT}|reference|rubric|rest|{_SCORE})\b",
    rf"\bmaximi[sz]e (?:the|my|this|its|your) (?:\w+ )?{_SCORE}\b",
    rf"\b{_FULL} {_UNIT} (?:is|are|would be|must be|seems?) (?:\w+ )?(?:justified|appropriate|due"
    r"|warranted|required|expected|deserved|guaranteed|in order|mandatory)",
)

# "You" beside scores: in a scene it stands in quotes.
_TO_A_READER = (
    rf"\byour?(?! can| could| may| might| see| hear) .*\b(?:scor(?:e|ing)|rating|grad(?:e|ing)"
    rf"|{_NUMBER} (?:points?|stars?)|(?:full|maximum|top) {_UNIT})\b",
    r"\byour (?:response|output|answer|score|rating|verdict|evaluation|judge?ment|reply) (?:must"
    r"|should|has to|shall|will|needs to|is|:|=)",
)

# Imperatives and set phrases of judges elsewhere; "gibt", "da el juez" and the like describe.
_OTHER_LANGUAGES = (
    # German
    r"(?:^\W*|\bbitte |[:,] ?)(?:gib|vergib|gebt|bewerte|(?:geben|vergeben|bewerten) sie) .*"
    r"(?:punkte?n?\b|punktzahl|sterne?n?\b|note\b)(?! an )",
    r"(?:^\W*|\bbitte |[:,] ?)(?:ignoriere?|missachte|vergiss|(?:ignorieren|vergessen) sie) .*"
    r"(?:anweisung|anleitung|rubrik|vorgabe|kriteri|regel|prompt)",
    r"\bals (?:richter|bewerter|prüfer|gutachter|juror)(?:in)?,? (?:musst|sollst|müssen|hast) ",
    # French
    r"(?:^\W*|\bveuillez |[:,] ?)(?:donne[zr]?|attribue[zr]?|mettez|mets|accorde[zr]?|note[zr]) .*"
    r"(?:note maximale|points?\b|étoiles|meilleure note)(?! à (?!ce |cette |ma ))",
    r"(?:^\W*|\bveuillez |[:,] ?)(?:ignore[zr]?|oublie[zr]?) .*(?:instruction|consigne|règle"
    r"|barème|critère)",
    # Spanish, Portuguese, Italian
    r"(?:^\W*|\bpor favor,? |[:,] ?)(?:da|dale|dé|otorga|asigna|pon|ponle|califica|dê|atribua"
    r"|conceda) .*(?:puntos?\b|puntuación|nota máxima|calificación|pontos?\b|pontuação)"
    r"(?! (?:al?|à|ao) )",
    r"(?:^\W*|\bp[oe]r favore?,? |[:,] ?)(?:ignor[ae]|ignorate|olvida|desconsidere|dimentica) .*"
    r"(?:instruccion|instruç|istruzion|rúbrica|criteri|critério|reg[lr]as|regole)",
    r"(?:^\W*|\bper favore,? |[:,] ?)(?:dai|assegna|dare|assegnate) .*(?:punti\b|punteggio|voto)"
    r"(?! a(?:l|lla| la)? )",
    # Russian
    r"(?:^\W*|\bпожалуйста,? |[:,] ?)(?:поставь|дай|оцени|присвой)(?:те)? .*(?:балл|оценк)",
    r"(?:^\W*|\bпожалуйста,? |[:,] ?)(?:игнорируй|забудь)(?:те)? ",
    # Chinese, Japanese, Korean
    r"请?(?:给|打|为)(?:这|本|此|我|该).{0,12}?(?:\d+|[五十满])\s?分"
    r"|请.{0,6}?(?:给|打)\S{0,2}?(?:\d+|[五十满])\s?分|^\W*请?(?:给|打)(?:\d+|[五十满])\s?分",
    r"(?:请|^\W*)(?:忽略|无视).{0,16}?(?:指令|指示|说明|规则|评分|标准|提示)",
    r"(?:(?:\d+|[五十])点|満点)(?:満点)?を?(?:つけて|与えて|ください)"
    r"|(?:指示|規則|基準)を?無視(?:して|せよ)",
    r"(?:\d+점|만점|다섯 점)(?:을|를)? ?(?:주세요|줘|부여하세요|주십시오)"
    r"|(?:지시|규칙|기준)\S* ?무시하",
)

ANYWHERE = tuple(re.compile(pattern) for pattern in (*_ENGLISH, *_OTHER_LANGUAGES))
"""Patterns of injections."""

UNQUOTED = tuple(re.compile(pattern) for pattern in _TO_A_READER)
"""Patterns that count outside quotation marks only."""

SUSPICIOUS_PARTS = (
    *("scor", "reward", "rubric", "ignor", "grad", "evaluat", "penali"),
    *("punkt", "punt", "pont", "out of", "%", "<", "=", "[", "\\", "{"),
)
"""One of these, or a number out of another (5/5), stands in every injection that has none of
`injection_words.SUSPICIOUS_WORDS`."""
