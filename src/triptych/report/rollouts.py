"""Completions as cards: the question, what was seen and heard, and the three stages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from triptych.report.load import Json, RolloutPlace, is_number, read_record
from triptych.report.previews import Preview, Previewer, spread
from triptych.rewards.reading import read_answer
from triptych.stages.prompt import OPTION_LETTERS, ProblemType

_REWARD_OF_STAGE = {"context": "context", "think": "reasoning", "answer": "answer"}
# Control characters would be invisible at best: show them as the pictures that Unicode has.
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {127: 0x2421}


@dataclass(frozen=True)
class Option:
    """One choice of a question."""

    letter: str
    text: str
    gold: bool
    chosen: bool


@dataclass(frozen=True)
class StageView:
    """One panel of a completion.

    ``body`` is None where the stage is missing, ``reward`` where the record does not name it.
    """

    name: str
    body: str | None
    reward: str | None


@dataclass(frozen=True)
class CompletionView:
    """What one completion said and what it earned; ``rewards`` are those of no single stage.

    ``absent`` says why there is none, where a server gave none.
    """

    arm: str
    step: str | None
    stages: tuple[StageView, ...]
    rewards: tuple[tuple[str, str], ...]
    violations: tuple[str, ...]
    text: str
    stop_reason: str | None
    enforcement: str | None
    outcome: str
    absent: str | None


@dataclass(frozen=True)
class Card:
    """One question with its media and one completion, or one per arm."""

    sample_id: str
    question: str
    tags: tuple[str, ...]
    options: tuple[Option, ...]
    gold: str
    previews: tuple[Preview, ...]
    completions: tuple[CompletionView, ...]


def rollout_cards(
    places: Sequence[RolloutPlace], previewer: Previewer, wanted: int = 20
) -> list[Card]:
    """Cards of ``wanted`` rollouts, the same number per arm, at equal distances over training."""
    by_arm: dict[str, list[RolloutPlace]] = {}
    for place in places:
        by_arm.setdefault(place.arm, []).append(place)
    shares = _shares({arm: len(of_arm) for arm, of_arm in by_arm.items()}, wanted)
    chosen = [
        of_arm[index]
        for arm, of_arm in by_arm.items()
        for index in spread(len(of_arm), shares[arm])
    ]
    cards = []
    for place in chosen:
        record = read_record(place)
        cards.append(_card(record, [_completion(record, place.arm)], previewer))
    return cards


def _shares(sizes: Mapping[str, int], wanted: int) -> dict[str, int]:
    """An equal share for every arm; what a small arm cannot fill falls to the larger ones."""
    shares: dict[str, int] = {}
    for arm in sorted(sizes, key=lambda name: sizes[name]):
        share = -(-wanted // (len(sizes) - len(shares)))
        shares[arm] = min(share, sizes[arm])
        wanted -= shares[arm]
    return shares


def comparison_cards(
    predictions: Mapping[str, Sequence[RolloutPlace]], previewer: Previewer, wanted: int = 6
) -> list[Card]:
    """The same questions answered by every arm, spread over the test set.

    Where samples say whether voice and face agree, half of the questions come from each sort.
    """
    records = {
        arm: {str(record.get("sample_id")): record for record in map(read_record, places)}
        for arm, places in predictions.items()
    }
    first = next(iter(records.values()), {})
    shared = [key for key in first if all(key in of_arm for of_arm in records.values())]
    by_alignment: dict[str, list[str]] = {}
    for key in shared:
        by_alignment.setdefault(str(first[key].get("alignment")), []).append(key)
    share = -(-wanted // max(1, len(by_alignment)))
    chosen = [keys[i] for keys in by_alignment.values() for i in spread(len(keys), share)]
    return [
        _card(
            first[key],
            [_completion(of_arm[key], arm) for arm, of_arm in records.items()],
            previewer,
        )
        for key in chosen[:wanted]
    ]


def _card(record: Json, completions: Sequence[CompletionView], previewer: Previewer) -> Card:
    tags = [record.get("kind"), record.get("alignment"), record.get("problem_type")]
    answers = [record] if len(completions) == 1 else []
    return Card(
        sample_id=clean(record.get("sample_id", "")),
        question=clean(record.get("question", "")),
        tags=tuple(clean(tag).replace("_", " ") for tag in tags if tag),
        options=_options(record, answers),
        gold=clean(record.get("answer", "")),
        previews=previewer.of(record.get("media")),
        completions=tuple(completions),
    )


def _options(record: Json, answered: Sequence[Json]) -> tuple[Option, ...]:
    options = record.get("options")
    if not isinstance(options, list | tuple):
        return ()
    texts = [clean(text) for text in options]
    gold = _letters(record.get("answer"), record, texts)
    chosen = {x for one in answered for x in _letters(_bodies(one).get("answer"), record, texts)}
    return tuple(
        Option(letter, text, letter in gold, letter in chosen)
        for letter, text in zip(OPTION_LETTERS, texts, strict=False)
    )


def _letters(answer: Any, record: Json, options: Sequence[str]) -> set[str]:
    """The options that an answer means, read as the answer reward reads it."""
    kind = record.get("problem_type")
    if kind not in (ProblemType.MULTIPLE_CHOICE, ProblemType.MULTI_SELECT):
        return set()
    read = read_answer(str(answer or ""), ProblemType(kind), options)
    return set(read.split(",")) if read else set()


def _completion(record: Json, arm: str) -> CompletionView:
    rewards = {str(name): value for name, value in _mapping(record.get("rewards")).items()}
    step = record.get("step")
    stop_reason = record.get("stop_reason")
    return CompletionView(
        arm=arm,
        step=clean(step) if step is not None else None,
        stages=tuple(
            StageView(
                name=clean(name),
                body=None if body is None else clean(body),
                reward=_reward(rewards, _REWARD_OF_STAGE.get(name, name)),
            )
            for name, body in _bodies(record).items()
        ),
        rewards=tuple(
            (clean(name), _figure(value))
            for name, value in rewards.items()
            if name not in _REWARD_OF_STAGE.values()
        ),
        violations=_violations(record.get("violations")),
        text=clean(record.get("text", "")),
        stop_reason=clean(stop_reason) if stop_reason is not None else None,
        enforcement=_enforcement(record),
        outcome=_outcome(record, rewards),
        absent=_absent(record.get("error")),
    )


def _absent(error: Any) -> str | None:
    if error is None:
        return None
    told = _mapping(error)
    return clean(": ".join(str(told[key]) for key in ("reason", "cause") if key in told) or error)


def _enforcement(record: Json) -> str | None:
    """What enforcing the format did to a completion; None where it did nothing."""
    forced, overruled = record.get("forced"), record.get("overruled")
    if not is_number(forced) or not is_number(overruled) or not (forced or overruled):
        return None
    return f"{forced:g} tokens without a choice, {overruled:g} refused"


def _bodies(record: Json) -> dict[str, Any]:
    return {str(name): body for name, body in _mapping(record.get("bodies")).items()}


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}


def _reward(rewards: Mapping[str, Any], name: str) -> str | None:
    return _figure(rewards[name]) if name in rewards else None


def _figure(value: Any) -> str:
    return f"{value:.2f}" if is_number(value) else "unscored"


def _outcome(record: Json, rewards: Mapping[str, Any]) -> str:
    """By the answer's reward; where none was asked for, as in an audit, by its own score."""
    if record.get("error") is not None:
        return "unanswered"
    alone = _mapping(record.get("scores")).get("answer.alone")
    answer_reward = rewards.get("answer", alone)
    if not is_number(answer_reward):
        return "unscored"
    if answer_reward >= 1.0:
        return "right"
    return "partly" if answer_reward > 0.0 else "wrong"


def _violations(value: Any) -> tuple[str, ...]:
    """Violations as words; each may be a string or ``{kind, stage, position}``."""
    names = []
    for item in value if isinstance(value, list | tuple) else []:
        if isinstance(item, Mapping):
            stage = item.get("stage")
            name = f"{item.get('kind')} ({stage})" if stage else f"{item.get('kind')}"
        else:
            name = str(item)
        names.append(clean(name).replace("_", " "))
    return tuple(names)


def clean(value: Any) -> str:
    """Text with control characters made visible; escaping is the template's work."""
    return str(value).translate(_CONTROLS)
