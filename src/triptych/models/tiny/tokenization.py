"""The tokenizer and the chat layout of the toys, made of the texts of the synthetic clips."""

from collections.abc import Mapping

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from triptych.data.clips import corpus_lines, text_only_samples
from triptych.stages import DEFAULT_FORMAT, ProblemType, system_prompt, user_text

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


def chat_template(media: Mapping[str, str]) -> str:
    """Qwen's layout: turns of <|im_start|>role ... <|im_end|>, each on lines of its own.

    Args:
        media: what is written for each kind of media, where a message names it.
    """
    return f"{{%- set media = {dict(media)} -%}}\n{_TURNS}"


def train_tokenizer(media_tokens: Mapping[str, str]) -> PreTrainedTokenizerFast:
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


def media_ids(tokenizer: PreTrainedTokenizerFast, tokens: Mapping[str, str]) -> dict[str, int]:
    """The ids of the tokens for media and around them, by their names in the models' configs."""
    return {
        f"{name.replace('_bos', '_start').replace('_eos', '_end')}_id": int(
            tokenizer.convert_tokens_to_ids(token)
        )
        for name, token in tokens.items()
    }
