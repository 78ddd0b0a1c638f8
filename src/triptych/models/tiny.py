"""A toy-size Qwen2.5-Omni, built offline: the real architecture, processor and chat layout.

About a million parameters, random weights, and a byte-level BPE tokenizer trained on the texts of
the synthetic clips. It is saved as an ordinary model folder, so that everything which runs on it
runs on ``Qwen/Qwen2.5-Omni-7B`` too.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
    WhisperFeatureExtractor,
)
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from triptych.data.clips import corpus_lines, text_only_samples
from triptych.models import pil_processor
from triptych.stages import DEFAULT_FORMAT, ProblemType, system_prompt, user_text

MEDIA_TOKENS = {
    "image_token": "<|IMAGE|>",
    "audio_token": "<|AUDIO|>",
    "video_token": "<|VIDEO|>",
    "vision_bos_token": "<|vision_bos|>",
    "vision_eos_token": "<|vision_eos|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
TURN_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")

_TURNS = """\
{%- for message in messages -%}
{{ '<|im_start|>' ~ message.role ~ '\\n' }}
{%- if message.content is string -%}{{ message.content }}
{%- else -%}
{%- for part in message.content -%}{{ media[part.type] or part.text }}{%- endfor -%}
{%- endif -%}
{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""


def chat_template(media: Mapping[str, str]) -> str:
    """Qwen's layout: turns of <|im_start|>role ... <|im_end|>, each on lines of its own.

    Args:
        media: what is written for each kind of media, where a message names it.
    """
    return f"{{%- set media = {dict(media)} -%}}\n{_TURNS}"


CHAT_TEMPLATE = chat_template(
    {
        "image": "<|vision_bos|><|IMAGE|><|vision_eos|>",
        "video": "<|vision_bos|><|VIDEO|><|vision_eos|>",
        "audio": "<|audio_bos|><|AUDIO|><|audio_eos|>",
    }
)

# An option with its letter is one word to the tokenizer ("A. happy", " (B)"): matching letters is
# what a model of this size finds hardest. Otherwise Qwen's rule: one leading sign joins a word.
_WORDS = (
    r"\p{Lu}\. ?\p{Ll}+"
    r"| ?\(\p{Lu}\)"
    r"|[^\r\n\p{L}\p{N}]?\p{L}+"
    r"|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+"
    r"|\s+(?!\S)"
    r"|\s+"
)


@dataclass(frozen=True)
class TinyConfig:
    """Sizes of the toy model; the defaults learn the clips on two cores in a minute or two."""

    hidden_size: int = 128
    num_layers: int = 3
    num_heads: int = 4
    num_key_value_heads: int = 4
    tower_size: int = 64
    tower_layers: int = 2
    mel_bins: int = 128
    initializer_range: float = 0.08
    """Wide: with the usual 0.02 a model of this size learns several times slower."""
    audio_seconds: int = 4
    """Longest audio, as the feature extractor's chunk length."""
    max_pixels: int = 112 * 112
    """Most pixels of an image or frame, after which they are patches."""


def build_tiny(folder: str | Path, seed: int = 0, config: TinyConfig | None = None) -> Path:
    """Build model, tokenizer and processor from ``seed`` and save them to ``folder``."""
    config = config or TinyConfig()
    tokenizer = build_tokenizer()
    folder = Path(folder)
    build_thinker(tokenizer, config, seed).save_pretrained(folder)
    build_processor(tokenizer, config).save_pretrained(folder)
    return folder


def build_tokenizer(
    media_tokens: Mapping[str, str] = MEDIA_TOKENS,
) -> PreTrainedTokenizerFast:
    """Byte-level BPE with Qwen's special tokens, trained on what the clips can say."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [*TURN_TOKENS, *media_tokens.values()]
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(token, special=True) for token in special],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        extra_special_tokens=dict(media_tokens),
    )


def _corpus() -> list[str]:
    """Prompts and completions as they will stand: a token that straddles a tag needs the tag."""
    lines = corpus_lines()
    wrapped = [
        f"{stage.open_tag}{line}{stage.close_tag}"
        for stage in DEFAULT_FORMAT.stages
        for line in lines
    ]
    instructions = [user_text("?", kind, ["one", "two"]) for kind in ProblemType]
    turns = [f"{role}\n" for role in ("system", "user", "assistant")]
    joints = [
        a.close_tag + b.open_tag for a in DEFAULT_FORMAT.stages for b in DEFAULT_FORMAT.stages
    ]
    drills = [
        f"{user_text(drill.question, drill.problem_type, drill.options)} "
        f"{drill.reference.context} {drill.reference.reasoning}"
        for drill in text_only_samples(200, seed=0)
    ]
    return [*lines, *drills, *wrapped, *instructions, *turns, *joints, system_prompt()]


def build_processor(tokenizer: PreTrainedTokenizerFast, config: TinyConfig) -> Any:
    """The real processor with small limits."""
    size = pixel_limits(config)
    return pil_processor.OmniProcessor(
        image_processor=Qwen2VLImageProcessorPil(size=size),
        video_processor=pil_processor.Qwen2VLVideoProcessor(size=size),
        feature_extractor=WhisperFeatureExtractor(
            feature_size=config.mel_bins,
            chunk_length=config.audio_seconds,
            return_attention_mask=True,
        ),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )


def build_thinker(
    tokenizer: PreTrainedTokenizerFast, config: TinyConfig, seed: int
) -> Qwen2_5OmniThinkerForConditionalGeneration:
    """Random weights from ``seed``."""
    towers = config.tower_size
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in MEDIA_TOKENS.items()}
    thinker_config = Qwen2_5OmniThinkerConfig(
        audio_config={
            "num_mel_bins": config.mel_bins,
            "encoder_layers": config.tower_layers,
            "encoder_attention_heads": 4,
            "encoder_ffn_dim": towers * 2,
            "d_model": towers,
            "n_window": 50,
            "max_source_positions": 256,
            "output_dim": config.hidden_size,
            "initializer_range": config.initializer_range,
        },
        vision_config=vision_sizes(config),
        text_config=text_sizes(tokenizer, config),
        initializer_range=config.initializer_range,
        image_token_id=ids["image_token"],
        video_token_id=ids["video_token"],
        audio_token_id=ids["audio_token"],
        vision_start_token_id=ids["vision_bos_token"],
        vision_end_token_id=ids["vision_eos_token"],
        audio_start_token_id=ids["audio_bos_token"],
        audio_end_token_id=ids["audio_eos_token"],
    )
    thinker: Qwen2_5OmniThinkerForConditionalGeneration = with_random_weights(
        Qwen2_5OmniThinkerForConditionalGeneration, thinker_config, tokenizer, seed
    )
    return thinker


def vision_sizes(config: TinyConfig) -> dict[str, Any]:
    """The config of the vision tower, which is the same in all of Qwen2.5."""
    return {
        "depth": config.tower_layers,
        "hidden_size": config.tower_size,
        "intermediate_size": config.tower_size * 2,
        "num_heads": 4,
        "window_size": 112,
        "fullatt_block_indexes": [config.tower_layers - 1],
        "out_hidden_size": config.hidden_size,
        "initializer_range": config.initializer_range,
    }


def text_sizes(tokenizer: PreTrainedTokenizerFast, config: TinyConfig) -> dict[str, Any]:
    """The config of the text decoder, likewise."""
    half_head = config.hidden_size // config.num_heads // 2
    spatial = half_head * 3 // 8
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": config.hidden_size,
        "intermediate_size": config.hidden_size * 3,
        "num_hidden_layers": config.num_layers,
        "num_attention_heads": config.num_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "max_position_embeddings": 2048,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            # Time, height and width share half a head.
            "mrope_section": [half_head - 2 * spatial, spatial, spatial],
        },
        "initializer_range": config.initializer_range,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def pixel_limits(config: TinyConfig) -> dict[str, int]:
    """The least and most pixels that a processor makes of an image or frame."""
    return {"shortest_edge": 56 * 56, "longest_edge": config.max_pixels}


def with_random_weights(
    kind: type[PreTrainedModel], config: Any, tokenizer: PreTrainedTokenizerFast, seed: int
) -> Any:
    """A model of this kind from ``seed``; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(config)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model
