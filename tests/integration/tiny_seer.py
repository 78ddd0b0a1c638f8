"""A tiny chat model that sees one thing: whether pictures are bright. Trained in some 100 steps.

Llava, for of the families with a processor that works without torchvision it is the simplest.
"""

from pathlib import Path

import torch
from PIL import Image
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from triptych.data.messages import stage_messages
from triptych.data.sample import Media, MediaKind, Sample
from triptych.stages.prompt import ProblemType

SIZE = 32
ANSWERS = ("no", "yes")
_SPECIAL = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<image>"]
_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_MOST_STEPS, _GOOD = 400, 0.02


def sample(number: int, *media: Media) -> Sample:
    return Sample(
        id=f"q{number}",
        question="Is it bright?",
        problem_type=ProblemType.YES_NO,
        answer=ANSWERS[number % 2],
        media=media,
    )


def completion(number: int) -> str:
    """What the model has learned to say of a picture with that number."""
    look = ("dark", "bright")[number % 2]
    answer = ANSWERS[number % 2]
    return f"<context>It is {look}.</context><think>So {answer}.</think><answer>{answer}</answer>"


def picture(number: int) -> Image.Image:
    """Even numbers are dark, odd ones bright."""
    shade = 20 + 5 * (number % 7) + 170 * (number % 2)
    return Image.new("RGB", (SIZE, SIZE), (shade, shade, shade))


def build_tiny_seer(folder: Path) -> Path:
    """Train the model, and save it with its processor."""
    torch.manual_seed(0)
    placed = Media(kind=MediaKind.IMAGE, path=Path("picture.png"))
    asked = stage_messages()(sample(0, placed))
    texts = [part["text"] for message in asked for part in message["content"] if "text" in part]
    processor = _processor([*texts, *(completion(number) for number in (0, 1) for _ in range(20))])
    model = _model(processor.tokenizer)
    prompt = processor.apply_chat_template(asked, add_generation_prompt=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = [1.0]
    while max(losses[-5:]) > _GOOD:
        assert len(losses) < _MOST_STEPS, "the tiny model does not learn"
        numbers = [len(losses) % 7 * 2, len(losses) % 5 * 2 + 1]
        batch = processor(
            images=[picture(number) for number in numbers],
            text=[f"{prompt}{completion(number)}<|end|>" for number in numbers],
            return_tensors="pt",
            padding=True,
        )
        start = len(processor(images=picture(0), text=prompt)["input_ids"][0])
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        labels[:, :start] = -100
        loss = model(**batch, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    model.generation_config.do_sample = False
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _model(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 64}
    vision = CLIPVisionConfig(
        **sizes, intermediate_size=64, image_size=SIZE, patch_size=16, projection_dim=64
    )
    text = LlamaConfig(
        **sizes,
        vocab_size=len(tokenizer),
        intermediate_size=128,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.08,
        eos_token_id=end,
        pad_token_id=end,
    )
    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision,
            text_config=text,
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            vision_feature_layer=-1,
            image_seq_length=4,
        )
    )


def _processor(texts: list[str]) -> LlavaProcessor:
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=600, special_tokens=_SPECIAL)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        eos_token="<|end|>",
        pad_token="<|end|>",
        padding_side="right",
        chat_template=_TEMPLATE,
        extra_special_tokens={"image_token": "<image>"},
    )
    images = CLIPImageProcessorPil(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=16,
        vision_feature_select_strategy="default",
        chat_template=_TEMPLATE,
        num_additional_image_tokens=1,
    )
