"""The necessity reward: what a stage of a completion owes to what was seen and heard.

Withhold a medium, and see how much less likely the model finds its own words. What it would have
written anyway was read off the question, or guessed from the other medium: a shortcut. This needs
no judge and no reference.

With y the n tokens of the stage, x the prompt, and x without m the prompt from which all media of
kind m are left out, placeholders and all:

    D[m] = (log p(y | x) - log p(y | x without m)) / n
    necessity[m] = 1 - exp(-max(0, D[m]))
    reward = the least necessity[m] of the kinds m that the sample has

* *Nothing that the model wrote before y is in view*: the stage is scored as if it came first. A
  context says what was heard, so an answer that may read it stays as likely when the audio is
  withheld; the audio would never be necessary.
* *Per token*: a sum grows with the length, and of any long text it is so large that the reward
  is 1. In the mean, words that owe nothing to the media lower the reward.
* *The least*: who answers from the face alone a question that needs face and voice has no need of
  the voice, however much of the face. The mean would pay that shortcut as much as looking and
  listening.

What it needs: a model that has met prompts without the medium, and, for the answer, one that can
answer at once. Of any other the reward shows how much the model is confused, not what it owes. A
cold start on full prompts and full completions alone is not enough; give it some of each.

What it cannot see: truth. A wrong answer that rests on what was misheard earns as much as a right
one, and so does a lie whose likelihood depends on the media. Give it a small weight, beside rewards
that know what is right.

Cost: for each prompt and each way to show it (in full, and without each kind) one row of a forward
without gradient, P + U*n tokens: P of the prompt as shown, U different texts in the group.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from triptych.data.sample import MediaKind, Sample
from triptych.errors import ConfigError, MediaError
from triptych.rewards.answer import known_type
from triptych.rewards.base import LogUnscored, Unscored, completion_text, rows, settle
from triptych.rewards.columns import as_media
from triptych.stages import parse, stage_ids

if TYPE_CHECKING:
    from triptych.models import OmniModel
    from triptych.models.prompt import Prompt

_log = logging.getLogger(__name__)

STAGES: Final = ("answer", "context")
"""Stages whose necessity can be asked for."""


class NecessityReward:
    """A reward function that asks the model itself; see the head of the module.

    Args:
        model: the model that writes the completions; its weights count as they are when the
            reward is called. It can be given later, by `use_model`.
        of: the stage that is looked at.
        withhold: the kinds of media that are withheld, one at a time.
        rows_per_forward: prompts that are scored together; changes nothing but memory and time.

    Raises:
        ConfigError: a setting is out of range.
    """

    def __init__(
        self,
        model: "OmniModel | None" = None,
        *,
        of: str = "answer",
        withhold: Sequence[str] = (MediaKind.VIDEO, MediaKind.AUDIO),
        rows_per_forward: int = 4,
    ) -> None:
        kinds = [str(kind) for kind in MediaKind]
        if of not in STAGES:
            raise ConfigError(f"necessity of {of!r}: use one of {', '.join(STAGES)}")
        if not withhold or not set(withhold) <= set(kinds):
            raise ConfigError(
                f"necessity: withhold: {[str(kind) for kind in withhold]}; name one or more of "
                f"{', '.join(kinds)}"
            )
        if rows_per_forward < 1:
            raise ConfigError(f"necessity: rows_per_forward: {rows_per_forward}; use 1 or more")
        self.model, self.of = model, of
        self.withhold = tuple(MediaKind(kind) for kind in withhold)
        self.rows_per_forward = rows_per_forward
        self.__name__ = f"necessity_of_{of}"

    def use_model(self, model: "OmniModel") -> None:
        """Ask this model from now on."""
        self.model = model

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        *,
        question: Sequence[str],
        problem_type: Sequence[str],
        media: Sequence[Sequence[Any] | None],
        options: Sequence[Sequence[str] | None] | None = None,
        sample_id: Sequence[str] | None = None,
        log_unscored: LogUnscored | None = None,
        **_: Any,
    ) -> list[float | None]:
        """Reward one stage of each completion. An absent or blank one is 0.

        The prompt is made from the columns, as `OmniModel.encode` makes it, not from `prompts`.

        Returns:
            One value in [0, 1] per completion; None where the sample has no medium that is
            withheld, or one that cannot be decoded.

        Raises:
            ConfigError: there is no model yet.
            DataError: a column is malformed, or has the wrong length.
        """
        model = self.model
        if model is None:
            raise ConfigError(
                "necessity has no model to ask; make it as NecessityReward(model), or call "
                "use_model(model), with the model that writes the completions"
            )
        table = rows(
            completions, question=question, problem_type=problem_type, options=options,
            media=media, sample_id=sample_id,
        )  # fmt: skip
        groups: dict[Any, _Group] = {}
        members: list[tuple[_Group, str]] = []
        for completion, *columns in table:
            sample = _sample(*columns)
            key = (sample.question, sample.problem_type, sample.options, sample.media)
            group = groups.setdefault(key, _Group(sample, self._withheld(sample)))
            body = parse(completion_text(completion), model.format).bodies.get(self.of) or ""
            if body and group.withheld and body not in group.stages:
                group.stages[body] = _tokens(body, self.of, model)
            members.append((group, body))
        scored = [group for group in groups.values() if group.stages]
        with _evaluating(model):
            _measure(scored, model, self.rows_per_forward)
        return settle((group.outcome(body) for group, body in members), log_unscored)

    def _withheld(self, sample: Sample) -> tuple[MediaKind, ...]:
        there = {item.kind for item in sample.media}
        return tuple(kind for kind in self.withhold if kind in there)


def necessity(logp: float, logp_without: float) -> float:
    """The share of a likelihood that is owed to a medium, in [0, 1].

    Args:
        logp: log-likelihood per token with the medium.
        logp_without: the same without it.

    >>> necessity(0.0, math.log(0.5))
    0.5
    >>> necessity(-1.0, -0.5)
    0.0
    """
    return -math.expm1(-max(logp - logp_without, 0.0))  # in this order NaN stays NaN


@dataclass(frozen=True)
class _Stage:
    """A stage with its tags as tokens, and which of them carry its body."""

    token_ids: list[int]
    in_body: list[bool]


@dataclass
class _Group:
    """The completions of one prompt: the different bodies of their stage, and what those earn.

    No body has a value where the media cannot be decoded.
    """

    sample: Sample
    withheld: tuple[MediaKind, ...]
    stages: dict[str, _Stage] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)

    def shown(self) -> list[Sample]:
        """The sample in full, then without each kind of media."""
        media = self.sample.media
        return [self.sample] + [
            self.sample.model_copy(update={"media": tuple(m for m in media if m.kind != kind)})
            for kind in self.withheld
        ]

    def outcome(self, body: str) -> float | Unscored:
        if not self.withheld:
            return Unscored.NOT_APPLICABLE
        if not body:
            return 0.0
        return self.values.get(body, Unscored.FAILED)


def _sample(
    question: str,
    problem_type: str,
    options: Sequence[str] | None,
    media: Sequence[Any] | None,
    sample_id: str | None,
) -> Sample:
    """What the model is asked. Unchecked: it needs no gold answer, and may have none."""
    return Sample.model_construct(
        id=sample_id or question,
        question=question,
        problem_type=known_type(problem_type),
        options=tuple(options or ()),
        media=as_media(media),
    )


def _tokens(body: str, stage: str, model: "OmniModel") -> _Stage:
    """Tags and body as one text, since a token may reach across a tag (">B")."""
    fmt, tokenizer = model.format, model.tokenizer
    number = fmt.names.index(stage)
    text = f"{fmt.stages[number].open_tag}{body}{fmt.stages[number].close_tag}"
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    if set(ids) & set(model.banned_ids.tolist()):
        # The text spells a media placeholder; the model wrote it letter by letter.
        ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return _Stage(ids, [region == number + 1 for region in stage_ids(ids, tokenizer, fmt)])


@contextmanager
def _evaluating(model: "OmniModel") -> Iterator[None]:
    """Without dropout; every module is left as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _measure(groups: Sequence[_Group], model: "OmniModel", rows_per_forward: int) -> None:
    """Give every body of every group its value, save where media cannot be decoded."""
    shown_samples = (sample for group in groups for sample in group.shown())
    outcomes = model.encoder.outcomes(shown_samples, embed=True)
    measured: list[_Group] = []
    shown: list[tuple[Prompt, list[_Stage]]] = []
    for group in groups:
        encoded = list(islice(outcomes, 1 + len(group.withheld)))
        if errors := [outcome for outcome in encoded if isinstance(outcome, MediaError)]:
            _log.warning("no necessity: %s", errors[0])
            continue
        measured.append(group)
        stages = list(group.stages.values())
        shown += [(prompt, stages) for prompt in encoded if not isinstance(prompt, MediaError)]
    logps = _mean_logps(model, shown, rows_per_forward)
    for group in measured:
        full, *without = islice(logps, 1 + len(group.withheld))
        for number, body in enumerate(group.stages):
            group.values[body] = min(necessity(full[number], one[number]) for one in without)


def _mean_logps(
    model: "OmniModel", shown: "Sequence[tuple[Prompt, list[_Stage]]]", rows_per_forward: int
) -> Iterator[list[float]]:
    """For each prompt the log-likelihood per token of each body, as what comes right after it."""
    import torch  # late: naming this reward in a config needs no tensors

    from triptych.models.packing import pack

    for start in range(0, len(shown), rows_per_forward):
        rows = shown[start : start + rows_per_forward]
        packed = pack(
            [prompt for prompt, _ in rows],
            [[stage.token_ids for stage in stages] for _, stages in rows],
            model.pad_token_id,
            model.family,
        ).to(model.device)
        with torch.no_grad():
            logps_N = model(**packed.model_inputs()).logps_N.double().cpu()
        each = iter(logps_N.split(packed.lengths_R.tolist()))
        for _, stages in rows:
            yield [next(each)[torch.tensor(stage.in_body)].mean().item() for stage in stages]
