"""HumanOmniV2's published evaluation as a protocol: its prompt, its media, its metric.

Source: github.com/HumanMLLM/HumanOmniV2, commit d9123e6, eval/eval_humanomniv2.py, and
qwen_omni_utils, which reads its media. The texts of the prompt are quoted from there letter by
letter, with the space at the end of a line: a prompt in other words is another protocol.

What a `MediaBudget` cannot say, and so differs:

* Frames. There, an even number, at least 4, from the first frame to the last; here, evenly spaced
  moments, rounded to 2 a second.
* Videos of more than 150 s. There, 2 frames a second up to 768, each the smaller the more there
  are, so that all of them hold 90 million pixels; here, 300 full frames over the whole length:
  the same number of pixels, and so of tokens.
* Videos of more than 300 s. There, all of the video and the first 300 s of its sound, which is
  what the model's feature extractor takes; here, the first 300 s of both, and a line that says so.
* Options that a record writes as "A.happy" are shown as "A. happy".

That evaluation runs in bfloat16 and passes no sampling settings: greedy, unless the checkpoint's
own generation_config.json says otherwise.
"""

from triptych.data.media import MediaBudget
from triptych.data.messages import Messages
from triptych.data.sample import MediaKind, Sample
from triptych.errors import DataError
from triptych.evaluation.protocol import Protocol
from triptych.evaluation.published_scores import PublishedType, published_score, published_type
from triptych.stages.prompt import OPTION_LETTERS

_SYSTEM = (
    "You are a helpful assistant. Your primary goal is to deeply analyze and interpret information "
    "from available various modalities (image, video, audio, text context) to answer questions "
    "with human-like depth and a clear, traceable thought process.\n\n"
    "Begin by thoroughly understanding the image, video, audio or other available context "
    "information, and then proceed with an in-depth analysis related to the question. \n\n"
    "In reasoning, It is encouraged to incorporate self-reflection and verification into your "
    "reasoning process. You are encouraged to review the image, video, audio, or other context "
    "information to ensure the answer accuracy.\n\n"
    "Provide your understanding of the image, video, and audio between the <context> </context> "
    "tags, detail the reasoning between the <think> </think> tags, and then give your final answer "
    "between the <answer> </answer> tags.\n"
)
_WITH_SOUND = "Here is a video, with the audio from the video.\n"
_WITHIN = "within the <answer> </answer> tags."
_NUMBER = f" Please provide the numerical value (e.g., 42 or 3.14) {_WITHIN}"
_INSTRUCTIONS = {
    PublishedType.MULTIPLE_CHOICE: (
        f" Please provide only the single option letter (e.g., A, B, C, D, etc.) {_WITHIN}"
    ),
    PublishedType.EMOTIONS: (
        " Please provide only the single or multiple option letter (e.g., A for single option or "
        f"A,E for multi option, etc.) {_WITHIN}"
    ),
    PublishedType.JUDGE: f" Please answer Yes or No {_WITHIN}",
    PublishedType.NUMERICAL: _NUMBER,
    PublishedType.REGRESSION: _NUMBER,
    PublishedType.OCR: (
        " Please transcribe text from the image/video clearly and provide your text answer "
        f"{_WITHIN}"
    ),
    PublishedType.FREE_FORM: f" Please provide your text answer {_WITHIN}",
}
_WITH_OPTIONS = (PublishedType.MULTIPLE_CHOICE, PublishedType.EMOTIONS)


def published_messages(sample: Sample) -> Messages:
    """The published prompt of a sample, media before the text.

    A video that is heard gets the line that says so. What is never asked there (sound alone, an
    image with sound, nothing at all) is asked as a silent video is: without that line.

    Raises:
        DataError: the sample has options, and the published prompt shows none of them.
    """
    kinds = [item.kind for item in sample.media]
    heard = MediaKind.VIDEO in kinds and MediaKind.AUDIO in kinds
    text = (_WITH_SOUND if heard else "") + _question(sample)
    return [
        {"role": "system", "content": [{"type": "text", "text": _SYSTEM}]},
        {
            "role": "user",
            "content": [*({"type": str(kind)} for kind in kinds), {"type": "text", "text": text}],
        },
    ]


def _question(sample: Sample) -> str:
    kind = published_type(sample)
    instruction = _INSTRUCTIONS[kind]
    if kind in _WITH_OPTIONS:
        pairs = zip(OPTION_LETTERS, sample.options, strict=False)
        options = "".join(f"{letter}. {option}\n" for letter, option in pairs)
        return f"{sample.question} Options:\n{options}{instruction}"
    if sample.options:
        raise DataError(
            f"sample {sample.id!r}: has options, and the published prompt shows none to a question "
            f"of type {kind.value!r}, so that it could only be guessed; make it multiple_choice, "
            "or ask by --protocol house"
        )
    return sample.question + instruction


HUMANOMNI_V2 = Protocol(
    name="HumanOmniV2",
    source="arXiv 2506.21277, github.com/HumanMLLM/HumanOmniV2 (d9123e6)",
    messages=published_messages,
    media=MediaBudget(fps=2.0, max_frames=300, max_pixels=768 * 28 * 28, max_seconds=300.0),
    max_new_tokens=2048,
    score=published_score,
)
"""The evaluation that figures on IntentBench, Daily-Omni and WorldSense were published with."""
