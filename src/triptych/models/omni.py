"""One interface over omni-modal model families.

``OmniModel`` is what the trainer and the generator hold: samples become prompts through the real
processor, prompts and completions become log-probs through the real encoders and decoder.

Shapes: L tokens of all groups, P prompt tokens, N completion tokens of all groups, B groups, S
tokens of the longest group, H hidden size, V vocabulary, U different sets of allowed tokens, 3 rope
axes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, cast

import torch
import transformers
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoConfig, PreTrainedModel

from triptych.data.media import MediaBudget
from triptych.data.sample import Sample
from triptych.errors import ModelError
from triptych.models.families import Family, family_for
from triptych.models.log_probs import AllowedTokens, OmniOutput, score_states
from triptych.models.prefix_attention import Attention, attention_of, set_attention
from triptych.models.prefix_layout import Layout, shared_prefix_mask
from triptych.models.prompt import Prompt, PromptEncoder
from triptych.models.tower_attention import batch_segments
from triptych.models.towers import embed_inputs, in_prompt
from triptych.stages import DEFAULT_FORMAT, StageFormat


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model.

    dtype: weights and compute. attention: how completions look back at their prompt.
    """

    dtype: torch.dtype = torch.float32
    attention: Attention = Attention.PREFIX


class OmniModel(nn.Module):
    """A thinker, its processor and what differs between families.

    Raises ModelError when the folder or hub id holds no model or no processor that can be used, or
    a model whose attention cannot share prompts.
    """

    def __init__(
        self,
        thinker: PreTrainedModel,
        processor: Any,
        family: Family,
        *,
        budget: MediaBudget | None = None,
        fmt: StageFormat = DEFAULT_FORMAT,
        attention: Attention = Attention.PREFIX,
    ) -> None:
        super().__init__()
        _check_layout(thinker, family)
        set_attention(thinker, attention)
        batch_segments(thinker, family)
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
            thinker = family.load_thinker(str(path), dtype=options.dtype)
        except OSError as error:
            raise ModelError(f"{path}: no weights here ({_first_line(error)})") from error
        return cls(thinker, processor, family, budget=budget, fmt=fmt, attention=options.attention)

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

    @property
    def attention(self) -> Attention:
        """How completions look back at their prompt."""
        return attention_of(self.thinker)

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
        input_ids_L: Tensor,
        position_ids_3L: Tensor,
        layout: Layout,
        features: dict[str, Tensor],
        source_N: Tensor,
        targets_N: Tensor,
        allowed: AllowedTokens | None = None,
        temperature: float = 1.0,
    ) -> OmniOutput:
        """Log-probs of completion tokens; see `log_probs.score_tokens`.

        ``source_N`` says where the hidden state stands that predicts each target. The head runs on
        these states only: prompt logits are never made.
        """
        hidden_LH = self.hidden(input_ids_L, position_ids_3L, layout, features)
        return self.score(hidden_LH[source_N], targets_N, allowed, temperature)

    def score(
        self,
        hidden_NH: Tensor,
        targets_N: Tensor,
        allowed: AllowedTokens | None = None,
        temperature: float = 1.0,
    ) -> OmniOutput:
        """Log-probs of the tokens that hidden states predict; see `score_states`."""
        vocabulary = self.thinker.get_output_embeddings().weight.shape[0]
        return score_states(hidden_NH, self.logits, vocabulary, targets_N, allowed, temperature)

    def hidden(
        self,
        input_ids_L: Tensor,
        position_ids_3L: Tensor,
        layout: Layout,
        features: dict[str, Tensor],
    ) -> Tensor:
        """The decoder's last hidden states, (L, H), of groups and the media of their prompts."""
        prompt_mask_L = in_prompt(layout).to(input_ids_L.device)
        inputs_LH = self.embed(input_ids_L, features, prompt_mask_L)
        if self.attention is Attention.PREFIX:
            return self._decode(inputs_LH[None], position_ids_3L[:, None], prefix_layout=layout)[0]
        sizes = [group.length for group in layout]
        hidden_BSH = self._decode(
            pad_sequence(list(inputs_LH.split(sizes)), True),
            pad_sequence(list(position_ids_3L.T.split(sizes)), True).permute(2, 0, 1),
            attention_mask=shared_prefix_mask(layout).to(input_ids_L.device),
        )
        return torch.cat([row[:size] for row, size in zip(hidden_BSH, sizes, strict=True)])

    def embed(
        self, input_ids: Tensor, features: Mapping[str, Tensor], prompt_mask: Tensor | None = None
    ) -> Tensor:
        """Embeddings (..., H) of tokens and media; see `towers.embed_inputs`."""
        return embed_inputs(self.thinker, self.family, input_ids, features, prompt_mask)

    def _decode(
        self, inputs_embeds: Tensor, position_ids: Tensor, **attention: Tensor | Layout
    ) -> Tensor:
        output = self.decoder(
            inputs_embeds=inputs_embeds, position_ids=position_ids, use_cache=False, **attention
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
        return logits.index_fill_(-1, self.banned_ids, -torch.inf)

    def _banned_ids(self) -> Tensor:
        rows = self.thinker.get_output_embeddings().weight.shape[0]
        beyond = range(len(self.tokenizer), rows)
        return torch.tensor(
            sorted({*self.family.media_token_ids(self.thinker), *beyond}), device=self.device
        )


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
