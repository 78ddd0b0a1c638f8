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
from triptych.errors import ConfigError, ModelError
from triptych.models.adapters import (
    LoraSettings,
    add_adapter,
    has_adapter,
    load_adapter,
    load_adapter_weights,
    read_adapter_config,
    save_adapter,
)
from triptych.models.families import Family, family_for
from triptych.models.log_probs import AllowedTokens, OmniOutput, score_states
from triptych.models.module_names import named_modules
from triptych.models.prefix_attention import Attention, attention_of, set_attention
from triptych.models.prefix_layout import Layout, shared_prefix_mask
from triptych.models.prompt import Prompt, PromptEncoder
from triptych.models.quantization import Quantize, keep_trainable, loading_keywords
from triptych.models.stage_tokens import add_tokens
from triptych.models.tower_attention import batch_segments
from triptych.models.towers import DecoderInputs, embed_inputs, in_prompt
from triptych.stages import DEFAULT_FORMAT, StageFormat


@dataclass(frozen=True)
class LoadOptions:
    """How to load a model.

    dtype: weights and compute. attention: how completions look back at their prompt. quantize: how
    the text decoder's weights are held.
    """

    dtype: torch.dtype = torch.float32
    attention: Attention = Attention.PREFIX
    quantize: Quantize = Quantize.NONE


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
        self._new_tokens = 0

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        options: LoadOptions | None = None,
        budget: MediaBudget | None = None,
        fmt: StageFormat = DEFAULT_FORMAT,
    ) -> Self:
        """Load from a hub id or a folder, through the family that its config names.

        Where an adapter is, its base model is loaded and the adapter put beside it; see `adapters`.
        """
        options = options or LoadOptions()
        adapter = read_adapter_config(path)
        base = str(path) if adapter is None else adapter.base_model_name_or_path
        try:
            config = AutoConfig.from_pretrained(base)
        except (OSError, ValueError) as error:
            raise ModelError(_no_model(path, adapter, error)) from error
        family = family_for(config.model_type)
        with_processor = adapter is None or (Path(path) / "tokenizer_config.json").exists()
        try:
            processor = family.load_processor(str(path) if with_processor else base)
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(
                f"{path}: the model has no usable processor ({_first_line(error)}); copy the "
                "tokenizer and preprocessor files of the original model into the folder"
            ) from error
        try:
            thinker = family.load_thinker(
                base,
                dtype=options.dtype,
                **loading_keywords(options.quantize, family, options.dtype),
            )
        except OSError as error:
            raise ModelError(f"{base}: no weights here ({_first_line(error)})") from error
        keep_trainable(thinker)
        if adapter is not None:
            load_adapter(thinker, path, adapter)
        return cls(thinker, processor, family, budget=budget, fmt=fmt, attention=options.attention)

    def save_pretrained(self, folder: str | Path) -> None:
        """Save weights and processor as an ordinary Hugging Face folder.

        Where there is an adapter, it alone is saved, as PEFT does.
        """
        if has_adapter(self.thinker):
            save_adapter(self.thinker, folder)
        else:
            self.thinker.save_pretrained(str(folder))
        self.processor.save_pretrained(str(folder))

    def load_weights(self, folder: str | Path) -> None:
        """Take the weights in a folder that `save_pretrained` of this very model wrote."""
        if has_adapter(self.thinker):
            load_adapter_weights(self.thinker, folder)
            return
        # Through the family's loader: the names on disk need not be those in memory.
        loaded = self.family.load_thinker(str(folder), dtype=self.thinker.dtype)
        self.thinker.load_state_dict(loaded.state_dict(), strict=True)

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

    def freeze(self, names: Sequence[str]) -> None:
        """Stop training modules (``vision``, ``layers.0-3``); see `module_names`."""
        for module in named_modules(self.thinker, self.family, names).values():
            module.requires_grad_(False)

    def prepare_training(self, lora: LoraSettings) -> None:
        """Put the adapter that is asked for, if one is, beside the weights; it alone is trained.

        Raises:
            ConfigError: the model has another adapter, or cannot be trained in this way.
        """
        if self._new_tokens and (lora.rank or has_adapter(self.thinker)):
            raise ConfigError(
                f"stage_tokens added {self._new_tokens} tokens, whose embeddings an adapter does "
                "not train; leave out stage_tokens, or train without lora first"
            )
        if lora.rank:
            add_adapter(self.thinker, self.family, lora)
        elif getattr(self.thinker, "is_quantized", False) and not has_adapter(self.thinker):
            raise ConfigError("quantised weights cannot be trained; set lora.rank for an adapter")

    def checkpoint_activations(self) -> None:
        """Compute activations again in the backward pass: less memory, more time."""
        thinker = cast(Any, self.thinker)
        # transformers renamed the method within the range of versions that we support.
        name = "activation_checkpointing_enable"
        if not hasattr(thinker, name):
            name = "gradient_checkpointing_enable"
        getattr(thinker, name)({"use_reentrant": False})

    def add_stage_tokens(self) -> int:
        """Make each stage tag one token; returns the number of tokens added.

        Ids are always looked up in the tokenizer, never assumed.
        """
        added = add_tokens(self.thinker, self.tokenizer, self.format.tags)
        self.banned_ids = self._banned_ids().to(self.device)
        self._new_tokens += added
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
        idle: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> OmniOutput:
        """Log-probs of completion tokens; see `log_probs.score_tokens`.

        ``source_N`` says where the hidden state stands that predicts each target. The head runs on
        these states only: prompt logits are never made. ``idle`` holds features, by kind of media,
        that towers read in vain, so that they get a gradient of zeros.
        """
        hidden_LH = self.hidden(input_ids_L, position_ids_3L, layout, features, idle)
        return self.score(hidden_LH[source_N], targets_N, allowed, temperature)

    def check_length(self, prompt: int, completion: int, sample: str = "") -> None:
        """Refuse what is longer than the model's positions reach.

        Args:
            prompt: its tokens, media included.
            completion: tokens behind it.
            sample: whose prompt it is, if that is known.

        Raises:
            ConfigError: together they are too many.
        """
        longest = self.family.longest(self.config)
        if longest is not None and prompt + completion > longest:
            whose = f"sample {sample}: " if sample else ""
            raise ConfigError(
                f"{whose}a prompt of {prompt} tokens and a completion of {completion} are "
                f"{prompt + completion}, and {self.family.name} takes {longest}; lower "
                "max_new_tokens, or cut media shorter (media.max_pixels, media.max_seconds)"
            )

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
        idle: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> Tensor:
        """The decoder's last hidden states, (L, H), of groups and the media of their prompts."""
        for group in layout:
            self.check_length(group.prompt, max(group.completions, default=0))
        prompt_mask_L = in_prompt(layout).to(input_ids_L.device)
        # First: what runs first gets its gradient last, see `TowerDuty`.
        nothing = [
            0 * self.family.embed_media(self.thinker, kind, read).sum()
            for kind, read in (idle or {}).items()
        ]
        inputs_L = self.embed(input_ids_L, features, prompt_mask_L)
        for zero in nothing:
            inputs_L = inputs_L._replace(embeddings=inputs_L.embeddings + zero)
        if self.attention is Attention.PREFIX:
            inputs_1L = inputs_L.rows([len(input_ids_L)])
            output = self.decode(
                position_ids_3L[:, None],
                use_cache=False,
                prefix_layout=layout,
                **inputs_1L.keywords(),
            )
            return cast(Tensor, output.last_hidden_state[0])
        sizes = [group.length for group in layout]
        hidden_BSH = self.decode(
            pad_sequence(list(position_ids_3L.T.split(sizes)), True).permute(2, 0, 1),
            use_cache=False,
            attention_mask=shared_prefix_mask(layout).to(input_ids_L.device),
            **inputs_L.rows(sizes).keywords(),
        ).last_hidden_state
        return torch.cat([row[:size] for row, size in zip(hidden_BSH, sizes, strict=True)])

    def embed(
        self, input_ids: Tensor, features: Mapping[str, Tensor], prompt_mask: Tensor | None = None
    ) -> DecoderInputs:
        """Embeddings of tokens and media; see `towers.embed_inputs`."""
        return embed_inputs(self.thinker, self.family, input_ids, features, prompt_mask)

    def decode(self, position_ids_3BL: Tensor, **inputs: Any) -> Any:
        """Run the text decoder, without its head; returns what transformers' decoder returns.

        Args:
            position_ids_3BL: rope positions; a decoder whose rope has one axis takes the first.
            inputs: its further keyword arguments.
        """
        positions = position_ids_3BL if self.family.rope_axes == 3 else position_ids_3BL[0]
        return self.decoder(position_ids=positions, **inputs)

    @property
    def decoder(self) -> Any:
        """The text decoder: without head and towers."""
        return self.thinker.get_submodule(self.family.decoder)

    def logits(self, hidden: Tensor) -> Tensor:
        """fp32 logits (at least: fp64 stays) with the ids that must never be generated at -inf.

        A sampled media placeholder would break the next forward, and ids beyond the tokenizer
        (the head is padded) cannot be decoded. The same mask holds when sampling and when
        scoring, so the log-probs are those of the distribution that was sampled from.
        """
        logits: Tensor = self.thinker.get_output_embeddings()(hidden)
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


def _no_model(path: str | Path, adapter: Any, error: Exception) -> str:
    if adapter is None:
        if inside := sorted(
            {str(file.parent) for file in Path(path).glob("models/*/*config.json")}
        ):
            return f"{path}: a run folder, and no model itself; its models: {', '.join(inside)}"
        return f"{path}: no model here ({_first_line(error)})"
    return (
        f"{path}: the adapter's base model {adapter.base_model_name_or_path} is not there "
        f"({_first_line(error)}); enter where it is as base_model_name_or_path in "
        f"{path}/adapter_config.json"
    )


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
