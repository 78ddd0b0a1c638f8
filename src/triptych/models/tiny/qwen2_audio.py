"""A toy-size Qwen2-Audio."""

from pathlib import Path
from typing import Any

from transformers import (
    PreTrainedTokenizerFast,
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
)

from triptych.models.tiny.sizes import (
    TinyConfig,
    audio_sizes,
    feature_extractor,
    save,
    text_sizes,
    with_random_weights,
)
from triptych.models.tiny.tokenization import chat_template, train_tokenizer

MEDIA_TOKENS = {
    "audio_token": "<|AUDIO|>",
    "audio_bos_token": "<|audio_bos|>",
    "audio_eos_token": "<|audio_eos|>",
}
CHAT_TEMPLATE = chat_template({"audio": "<|audio_bos|><|AUDIO|><|audio_eos|>\n"})


def build_tiny_qwen2_audio(
    folder: str | Path, seed: int = 0, config: TinyConfig | None = None
) -> Path:
    """Build model, tokenizer and processor from ``seed`` and save them to ``folder``."""
    config = config or TinyConfig()
    tokenizer = train_tokenizer(MEDIA_TOKENS)
    return save(folder, _build_model(tokenizer, config, seed), _build_processor(tokenizer, config))


def _build_processor(tokenizer: PreTrainedTokenizerFast, config: TinyConfig) -> Any:
    return Qwen2AudioProcessor(
        feature_extractor=feature_extractor(config),
        tokenizer=tokenizer,
        chat_template=CHAT_TEMPLATE,
    )


def _build_model(
    tokenizer: PreTrainedTokenizerFast, config: TinyConfig, seed: int
) -> Qwen2AudioForConditionalGeneration:
    text = text_sizes(tokenizer, config)
    rope = {name: value for name, value in text["rope_parameters"].items() if "mrope" not in name}
    model_config = Qwen2AudioConfig(
        audio_config={
            "model_type": "qwen2_audio_encoder",
            **audio_sizes(config),
            # 100 mel frames a second, two of them a position.
            "max_source_positions": 50 * config.audio_seconds,
        },
        text_config={"model_type": "qwen2", **text, "rope_parameters": rope, "bos_token_id": None},
        audio_token_index=tokenizer.convert_tokens_to_ids(MEDIA_TOKENS["audio_token"]),
    )
    return with_random_weights(Qwen2AudioForConditionalGeneration, model_config, tokenizer, seed)
