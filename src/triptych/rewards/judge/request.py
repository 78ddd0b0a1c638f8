"""What is sent to a judge: messages in which the candidate's text is data, and their name.

The user message is JSON in which `<` and `[` stand as escapes: servers read the special tokens of
their chat template out of any text, so that a candidate could otherwise end its own message with
"<|im_end|>" or "[/INST]" and go on as the system.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from triptych.data.sample import Media
from triptych.endpoint.chat import ChatMessages, Part, text_part
from triptych.rewards.judge.config import JudgeConfig
from triptych.rewards.judge.rubrics import WARNING, Rubric
from triptych.settings import plain


@dataclass(frozen=True)
class Query:
    """One thing to be judged.

    Attributes:
        rubric: how.
        facts: what it is graded by, by name: the question, the reference. None is left out.
        candidate: what the model wrote, by name.
        media: sent along, in this order.
    """

    rubric: Rubric
    facts: Mapping[str, Any]
    candidate: Mapping[str, str]
    media: Sequence[Media] = ()


def messages(query: Query, parts: Sequence[Part] = (), *, flagged: bool = False) -> ChatMessages:
    """The chat messages of a query.

    Args:
        query: what is to be judged.
        parts: its media, as `media.message_parts` gives them.
        flagged: whether the candidate's text addresses its judge; the judge is then warned.
    """
    instructions = query.rubric.instructions
    if flagged:
        instructions += f"\n\n{WARNING}"
    facts = {name: value for name, value in query.facts.items() if value is not None}
    text = _json({**facts, "candidate": query.candidate})
    content = [*parts, text_part(text)] if parts else text
    return [
        {"role": "system", "content": instructions},
        {"role": "user", "content": content},
    ]


def sampling(config: JudgeConfig) -> dict[str, Any]:
    """The fields of a request that say how the judge samples."""
    named = {
        "temperature": config.temperature,
        "seed": config.seed,
        "max_tokens": config.max_tokens,
    }
    return {name: value for name, value in named.items() if value is not None}


def key(config: JudgeConfig, query: Query, digests: Sequence[str], *, flagged: bool = False) -> str:
    """SHA-256 over all that decides about the reply; where the server stands does not.

    Args:
        config: of the judge.
        query: what is to be judged.
        digests: of the content of its media's files, in order.
        flagged: as for `messages`.
    """
    media = [
        [str(item.kind), digest, item.start, item.end]
        for item, digest in zip(query.media, digests, strict=True)
    ]
    parts = {
        "model": config.model,
        "rubric": [query.rubric.name, query.rubric.version],
        "sampling": sampling(config),
        "extra_body": plain(config.extra_body),
        "messages": messages(query, flagged=flagged),
        "media": [asdict(config.media), media] if media else [],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _json(value: Any) -> str:
    """JSON that holds no special token of any chat template, one entry of the object a line."""
    match value:
        case Mapping():
            return "{" + ",\n".join(f"{_json(str(k))}: {_json(v)}" for k, v in value.items()) + "}"
        case str():
            whole = value.encode("utf-8", "replace").decode()  # half characters cannot be sent
            text = json.dumps(whole, ensure_ascii=False)
            return text.replace("<", "\\u003c").replace("[", "\\u005b")
        case Iterable():
            return "[" + ", ".join(map(_json, value)) + "]"
        case _:
            return json.dumps(value)
