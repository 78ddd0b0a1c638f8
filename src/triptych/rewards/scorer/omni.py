"""A reward model that looks and listens: how well does a context describe what is there?

The thinker of a model family reads the prompt (the clip, the question) and a candidate context,
and a small head says how good the context is. It needs no reference::

    logit = a . h_end + b + sum over tokens t of softplus(c . h_t + d) * log p(t | all before it)

`h_t` is the hidden state at a token, `h_end` the one at the closing tag, p the thinker's own
distribution. How well a word fits the clip a language model knows by itself: it is the probability
that it gives to the word. The head weighs these by what the word is (a cue, or a mere phrase) and
adds what the whole text says. From the last state alone a thinker would have to learn anew to
compare words with the clip.

All candidates of one prompt share its row (`models.packing`): the clip is encoded once for them. A
candidate sees the prompt and itself, so its score is the one that it would get alone.

Shapes: L tokens of all rows, R candidates of all rows, N their tokens, H hidden size.
"""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import softplus

from triptych.data.media import MediaBudget
from triptych.errors import ConfigError, DataError, MediaError
from triptych.models.omni import LoadOptions, OmniModel
from triptych.models.packing import PackedBatch, pack
from triptych.models.prompt import PromptEncoder
from triptych.rewards.base import Unscored
from triptych.rewards.guards import clean
from triptych.rewards.scorer.base import Candidate, read_scorer_file, write_scorer_file
from triptych.rewards.scorer.calibration import Calibration
from triptych.rewards.scorer.omni_rows import Asked, Row, batches, rows

_log = logging.getLogger(__name__)

KIND = "omni"
HEAD_FILE = "head.safetensors"


class Reading(NamedTuple):
    """The logit of each candidate, and the log-prob of each of their tokens, row by row."""

    logits_R: Tensor
    logps_N: Tensor


class ContextHead(nn.Module):
    """From hidden states and log-probs to one logit per candidate; see the head of the module."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.whole = nn.Linear(hidden_size, 1)
        self.word = nn.Linear(hidden_size, 1)
        # No seed: at first the whole says nothing, and all words weigh alike and little.
        for layer in (self.whole, self.word):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.word.bias, -4.0)

    def forward(self, states_NH: Tensor, logps_N: Tensor, lengths_R: Tensor) -> Tensor:
        """(R,): the logits of candidates whose tokens follow one another."""
        states_NH = states_NH.to(self.whole.weight.dtype)
        last_R = lengths_R.cumsum(0) - 1
        weights_N = softplus(self.word(states_NH)[:, 0])
        number_N = torch.repeat_interleave(
            torch.arange(len(last_R), device=last_R.device), lengths_R
        )
        words_R = torch.zeros_like(last_R, dtype=weights_N.dtype)
        words_R = words_R.index_add(0, number_N, weights_N * logps_N.to(weights_N.dtype))
        logits_R: Tensor = self.whole(states_NH[last_R])[:, 0] + words_R
        return logits_R


class OmniScorer(nn.Module):
    """A thinker with a `ContextHead`.

    Args:
        model: the thinker, with its processor and media budget.
        calibration: from logits to scores.
        name: what the model was before it was trained.
        with_media: whether it is shown the media. Without them it scores what can be told from
            the text alone: the baseline of one that looks and listens.
    """

    stage: Literal["context"] = "context"
    needs_reference = False

    def __init__(
        self,
        model: OmniModel,
        calibration: Calibration | None = None,
        name: str = "",
        *,
        with_media: bool = True,
    ) -> None:
        super().__init__()
        self.model, self.name, self.with_media = model, name, with_media
        self.calibration = calibration or Calibration()
        hidden_size = model.thinker.get_input_embeddings().weight.shape[1]
        self.head = ContextHead(hidden_size).to(model.device)  # fp32, whatever the thinker is

    @classmethod
    def load(cls, folder: str | Path, device: str = "auto") -> Self:
        """The scorer in a folder.

        Raises:
            ConfigError: the folder holds none.
            DataError: scorer.json or the head is broken.
            ModelError: the thinker or its processor cannot be loaded.
        """
        settings = read_scorer_file(Path(folder))
        if settings.get("kind") != KIND:
            raise ConfigError(f"{folder}: kind: {settings.get('kind')!r} is not {KIND!r}")
        try:
            budget = MediaBudget(**settings["media"])
            options = LoadOptions(dtype=getattr(torch, settings["dtype"]))
            in_turns, with_media = bool(settings["audio_in_video"]), bool(settings["with_media"])
            weights = load_file(Path(folder) / HEAD_FILE)
        except (KeyError, TypeError, AttributeError, OSError) as error:
            raise DataError(
                f"{folder}: the scorer is not whole ({error}); train it again"
            ) from error
        model = OmniModel.from_pretrained(folder, options=options, budget=budget)
        model.encoder = PromptEncoder(
            model.thinker,
            model.processor,
            model.family,
            budget,
            model.format,
            audio_in_video=in_turns,
        )
        scorer = cls(
            model,
            Calibration.from_dict(settings.get("calibration")),
            str(settings.get("base_model", "")),
            with_media=with_media,
        )
        scorer.head.load_state_dict(weights)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return scorer.to(device).eval()

    def save(self, folder: str | Path) -> None:
        """Write the scorer: an ordinary model folder, the head, and scorer.json last."""
        folder = Path(folder)
        self.model.save_pretrained(folder)
        save_file(self.head.state_dict(), folder / HEAD_FILE)
        write_scorer_file(
            folder,
            kind=KIND,
            stage=self.stage,
            calibration=self.calibration.to_dict(),
            base_model=self.name,
            dtype=str(self.model.thinker.dtype).removeprefix("torch."),
            media=asdict(self.model.encoder.budget),
            audio_in_video=self.model.encoder.audio_in_video,
            with_media=self.with_media,
        )

    def forward(self, packed: PackedBatch) -> "Reading":
        """Read rows of candidates."""
        hidden_LH = self.model.hidden(
            packed.input_ids_L, packed.position_ids_3L, packed.layout, packed.features
        )
        logps_N = self.model.score(hidden_LH[packed.source_N], packed.targets_N).logps_N
        return Reading(
            self.head(hidden_LH[_own_places(packed)], logps_N, packed.lengths_R), logps_N
        )

    # --- from candidates to scores -------------------------------------------------------------

    def score(self, candidates: Sequence[Candidate]) -> list[float | Unscored]:
        """See `Scorer.score`. Equal texts for one prompt are read once and score the same.

        Unscored: a candidate without media (NOT_APPLICABLE, unless the scorer does without), and
        one whose media cannot be decoded or that is too long for the model (FAILED; the log says
        why).

        Raises:
            DataError: a problem type is unknown.
        """
        logits = self.read(candidates)
        numbers = [logit for logit in logits if not isinstance(logit, Unscored)]
        scores = iter(self.calibration.scores(np.array(numbers)).tolist())
        return [logit if isinstance(logit, Unscored) else next(scores) for logit in logits]

    def read(self, candidates: Sequence[Candidate]) -> list[float | Unscored]:
        """As `score`, before calibration: logits, of a blank text minus infinity."""
        keys = [
            _Key(Asked.of(one, with_media=self.with_media), _cleaned(one)) for one in candidates
        ]
        outcomes: dict[_Key, float | Unscored] = {}
        unread: dict[Asked, dict[_Key, None]] = {}
        for key in keys:
            if not key.text:
                outcomes[key] = -math.inf
            elif self.with_media and not key.asked.media:
                outcomes[key] = Unscored.NOT_APPLICABLE
            else:
                unread.setdefault(key.asked, {})[key] = None
        distinct = [key for together in unread.values() for key in together]
        outcomes.update(dict.fromkeys(distinct, Unscored.FAILED))
        for batch in batches(self._rows(distinct, list(unread))):
            places = [place for row in batch for place in row.texts]
            for place, logit in zip(places, self.logits(batch), strict=True):
                outcomes[distinct[place]] = logit
        return [outcomes[key] for key in keys]

    def _rows(self, keys: "Sequence[_Key]", asked: Sequence[Asked]) -> Iterator[Row]:
        """What can be read, in rows; the log says what cannot."""
        most = self.model.config.get_text_config().max_position_embeddings
        prompts = self.model.encoder.outcomes((one.sample() for one in asked), embed=True)
        of_prompt = groupby(range(len(keys)), key=lambda i: keys[i].asked)
        for prompt, (_, places) in zip(prompts, of_prompt, strict=True):
            if isinstance(prompt, MediaError):
                _log.warning("no score: %s", prompt)
                continue
            ids = {i: self.token_ids(keys[i].text) for i in places}
            room = most - int(prompt.next_position)
            for i in [i for i in ids if len(ids[i]) > room]:
                _log.warning(
                    "no score: prompt and context together take more than the %d positions of the "
                    "model: %.80s...",
                    most,
                    keys[i].text,
                )
                del ids[i]
            yield from rows(prompt, list(ids.values()), list(ids))

    @torch.no_grad()
    def logits(self, batch: Sequence[Row]) -> list[float]:
        """What the model says of each candidate, row by row."""
        logits: list[float] = self(self.pack(batch).to(self.model.device)).logits_R.tolist()
        return logits

    def pack(self, batch: Sequence[Row]) -> PackedBatch:
        """Rows laid out for one forward."""
        return pack(
            [row.prompt for row in batch],
            [row.ids for row in batch],
            self.model.pad_token_id,
            self.model.family,
        )

    def token_ids(self, text: str) -> list[int]:
        """A context as the model would write it, between its tags.

        Special tokens that the text spells out ("<|VIDEO|>") are read as ordinary text: as tokens
        they would ask for media that are not there.
        """
        tokenizer, stage = self.model.tokenizer, self.model.format.stages[0]
        plain = {"add_special_tokens": False, "split_special_tokens": True}
        if stage.open_tag not in tokenizer.all_special_tokens:
            whole = f"{stage.open_tag}{text}{stage.close_tag}"
            return list(tokenizer(whole, **plain)["input_ids"])
        opening, closing = tokenizer.convert_tokens_to_ids([stage.open_tag, stage.close_tag])
        return [opening, *tokenizer(text, **plain)["input_ids"], closing]


class _Key(NamedTuple):
    """A text and what it was asked for: what a score depends on."""

    asked: Asked
    text: str


def _cleaned(candidate: Candidate) -> str:
    return clean(candidate.text, candidate.question, candidate.options).strip()


def _own_places(packed: PackedBatch) -> Tensor:
    """Where each candidate token itself stands, (N,).

    `source_N` names the token before it, which for the first token of a candidate is the end of
    the prompt. A candidate has two tags, so the first token has a next one, and stands before it.
    """
    before_N = packed.source_N
    own_N = before_N + 1
    first_R = packed.lengths_R.cumsum(0) - packed.lengths_R
    own_N[first_R] = before_N[first_R + 1]
    return own_N
