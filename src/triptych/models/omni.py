"""One interface over omni-modal model families.

``OmniModel`` is what the trainer and the generator hold: samples become prompts through the real
processor, prompts and completions become log-probs through the real encoders and decoder.

Shapes: B rows, L tokens of a row, P prompt tokens, N completion tokens over all rows, H hidden
size, V vocabulary, U different sets of allowed tokens, 3 rope axes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, PreTrainedModel

from triptych.data.media import MediaBudget
from triptych.data.sample import Sample
from triptych.errors import ModelError
from triptych.models.families import Family, family_for
from triptych.models.prompt import Prompt, PromptEncoder
from triptych.stages import DEFAULT_FORMAT, StageFormat


class OmniOutput(NamedTuple):
    """Per completion token: log-prob of the token, entropy of its distribution (both fp32)."""

    logps_N: Tensor
    entropies_N: Tensor


class AllowedTokens(NamedTuple):
    """What each completion token was chosen from, where the format was enforced.

    ``masks_UV`` holds every set once, True for each token that was allowed; ``index_N`` says which
    set stood at which completion token.
    """

    masks_UV: Tensor
    index_N: Tensor


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model.

    dtype: weights and compute. attention: ``sdpa`` is the one that honours the shared-prefix
    mask; eager attention misreads a boolean mask and flash attention cannot take it.
    """

    dtype: torch.dtype = torch.float32
    attention: str = "sdpa"


class OmniModel(nn.Module):
    """A thinker, its processor and what differs between families.

    Raises ModelError when the folder or hub id holds no model or no processor that can be used.
    """

    def __init__(
        self,
        thinker: PreTrainedModel,
        processor: Any,
        family: Family,
        *,
        budget: MediaBudget | None = None,
        fmt: StageFormat = DEFAULT_FORMAT,
    ) -> None:
        super().__init__()
        _check_layout(thinker, family)
        self.thinker = thinker
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.family = family
        self.format = fmt
        self.encoder = PromptEncoder(thinker, processor, family, budget or MediaBudget(), fmt)
        self.pad_token_id = _pad_token_id(self.tokenizer)
        self.end_token_ids = _end_token_ids(thinker, self.tokenizer)
        self.banned_ids: Tensor
        self.register_buffer("banned_ids", self._banned_ids(), persistent=False)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        options: LoadOptions | None = None,
        budget: MediaBudget | None = None,
        fmt: StageFormat = DEFAULT_FORMAT,
    ) -> Self:
        """Load from a hub id or a folder, through the family that its config names."""
        options = options or LoadOptions()
        try:
            config = AutoConfig.from_pretrained(str(path))
        except (OSError, ValueError) as error:
            raise ModelError(f"{path}: no model here ({_first_line(error)})") from error
        family = family_for(config.model_type)
        try:
            processor = family.load_processor(str(path))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(
                f"{path}: the model has no usable processor ({_first_line(error)}); copy the "
                "tokenizer and preprocessor files of the original model into the folder"
            ) from error
        try:
            thinker = family.load_thinker(
                str(path), dtype=options.dtype, attention=options.attention
            )
        except OSError as error:
            raise ModelError(f"{path}: no weights here ({_first_line(error)})") from error
        return cls(thinker, processor, family, budget=budget, fmt=fmt)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save weights and processor as an ordinary Hugging Face folder."""
        self.thinker.save_pretrained(str(folder))
        self.processor.save_pretrained(str(folder))

    @property
    def device(self) -> torch.device:
        return cast(torch.device, self.thinker.device)

    @property
    def config(self) -> Any:
        return self.thinker.config

    def encode(self, sample: Sample) -> Prompt:
        """The sample as model inputs. Decodes its media; raises MediaError by file and cause."""
        return self.encoder.encode(sample)

    def freeze(self, towers: Sequence[str]) -> None:
        """Stop training the named media encoders (``vision``, ``audio``)."""
        for tower in towers:
            path = self.family.towers.get(tower)
            if path is None:
                known = ", ".join(self.family.towers)
                raise ModelError(f"{self.family.name} has no tower {tower!r}; it has: {known}")
            self.thinker.get_submodule(path).requires_grad_(False)

    def checkpoint_activations(self) -> None:
        """Compute activations again in the backward pass: less memory, more time."""
        thinker = cast(Any, self.thinker)
        # transformers renamed the method within the range of versions that we support.
        name = "activation_checkpointing_enable"
        if not hasattr(thinker, name):
            name = "gradient_checkpointing_enable"
        getattr(thinker, name)({"use_reentrant": False})

    def add_stage_tokens(self) -> int:
        """Make each stage tag one special token and resize the embeddings.

        Returns the number of tokens added; 0 when the tokenizer has them already. Ids are always
        looked up in the tokenizer, never assumed.
        """
        added = int(
            self.tokenizer.add_special_tokens(
                {"additional_special_tokens": list(self.format.tags)},
                replace_extra_special_tokens=False,
            )
        )
        if len(self.tokenizer) > self.thinker.get_input_embeddings().weight.shape[0]:
            self.thinker.resize_token_embeddings(len(self.tokenizer))
        self.banned_ids = self._banned_ids().to(self.device)
        return added

    def forward(
        self,
        input_ids_BL: Tensor,
        position_ids_3BL: Tensor,
        attention_mask_B1LL: Tensor,
        features: dict[str, Tensor],
        source_N2: Tensor,
        targets_N: Tensor,
        allowed: AllowedTokens | None = None,
        temperature: float = 1.0,
    ) -> OmniOutput:
        """Log-probs of completion tokens; see `score_tokens`.

        ``source_N2`` holds (row, column) of the hidden state that predicts each target;
        ``attention_mask_B1LL`` is boolean, True where a query may look. The head runs on the
        selected states only: prompt logits are never made.
        """
        hidden_BLH = self.hidden(input_ids_BL, position_ids_3BL, attention_mask_B1LL, features)
        logits_NV = self.logits(hidden_BLH[source_N2[:, 0], source_N2[:, 1]])
        return score_tokens(logits_NV, targets_N, allowed, temperature)

    def hidden(
        self,
        input_ids_BL: Tensor,
        position_ids_3BL: Tensor,
        attention_mask_B1LL: Tensor,
        features: dict[str, Tensor],
    ) -> Tensor:
        """The decoder's last hidden states, (B, L, H), of rows that also hold media."""
        output = self.decoder(
            input_ids=input_ids_BL,
            position_ids=position_ids_3BL,
            attention_mask=attention_mask_B1LL,
            use_cache=False,
            **features,
        )
        return cast(Tensor, output.last_hidden_state)

    @property
    def decoder(self) -> Any:
        """The thinker without its head."""
        return cast(Any, self.thinker).model

    def logits(self, hidden: Tensor) -> Tensor:
        """fp32 logits (at least: fp64 stays) with the ids that must never be generated at -inf.

        A sampled media placeholder would break the next forward, and ids beyond the tokenizer
        (the head is padded) cannot be decoded. The same mask holds when sampling and when
        scoring, so the log-probs are those of the distribution that was sampled from.
        """
        logits: Tensor = cast(Any, self.thinker).lm_head(hidden)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        return logits.index_fill(-1, self.banned_ids, -torch.inf)

    def _banned_ids(self) -> Tensor:
        rows = self.thinker.get_output_embeddings().weight.shape[0]
        beyond = range(len(self.tokenizer), rows)
        return torch.tensor(
            sorted({*self.family.media_token_ids(self.thinker), *beyond}), device=self.device
        )


def score_tokens(
    logits_NV: Tensor,
    targets_N: Tensor,
    allowed: AllowedTokens | None = None,
    temperature: float = 1.0,
) -> OmniOutput:
    """Score tokens under the softmax of ``logits / temperature`` over what was allowed.

    That is the distribution that enforced completions are drawn from; without `allowed` it is the
    one over all tokens.
    """
    logits_NV = logits_NV / temperature
    if allowed is not None:
        # Out of autograd's sight, which would keep a mask (N, V) until the backward: the softmax
        # itself passes no gradient to what stands at -inf.
        with torch.no_grad():
            logits_NV.masked_fill_((~allowed.masks_UV)[allowed.index_N], -torch.inf)
    log_probs_NV = torch.log_softmax(logits_NV, dim=-1)
    logps_N = log_probs_NV.gather(-1, targets_N[:, None])[:, 0]
    with torch.no_grad():
        probs_NV = log_probs_NV.exp()
        entropies_N = -torch.where(probs_NV > 0, probs_NV * log_probs_NV, 0).sum(-1)
    return OmniOutput(logps_N, entropies_N)


def _check_layout(thinker: PreTrainedModel, family: Family) -> None:
    """The decoder that we call must hold the media encoders.

    Before transformers 5.21 `thinker.model` is the text model alone: it takes the media features as
    unknown keywords and trains blind and deaf, without an error.
    """
    for tower, path in family.towers.items():
        try:
            thinker.get_submodule(path)
        except AttributeError as error:
            raise ModelError(
                f"{family.name}: transformers {transformers.__version__} keeps no {tower} encoder "
                f"at {path}, so media would be ignored; install transformers 5.21 or newer"
            ) from error


def _pad_token_id(tokenizer: Any) -> int:
    pad = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if pad is None else pad)


def _end_token_ids(thinker: PreTrainedModel, tokenizer: Any) -> tuple[int, ...]:
    """Ids that end a completion; the first is the one that training targets end with."""
    configured = thinker.generation_config.eos_token_id if thinker.generation_config else None
    ids = configured if isinstance(configured, list) else [configured]
    return tuple(dict.fromkeys(int(i) for i in (tokenizer.eos_token_id, *ids) if i is not None))


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
