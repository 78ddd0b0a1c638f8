"""Samples to chat messages: what a model is asked, in whose words."""

from collections.abc import Callable
from typing import Any, TypeAlias

from triptych.data.sample import Sample
from triptych.stages import DEFAULT_FORMAT, StageFormat, build_messages

Messages: TypeAlias = list[dict[str, Any]]
"""Hugging Face chat messages. Content is a list of parts: {"type": "text", "text": ...}, and
{"type": KIND} for each media item of the sample, in its order."""

MessageBuilder: TypeAlias = Callable[[Sample], Messages]


def stage_messages(fmt: StageFormat = DEFAULT_FORMAT) -> MessageBuilder:
    """The prompt that asks for the stages of a format; see `stages.build_messages`."""

    def build(sample: Sample) -> Messages:
        kinds = [str(item.kind) for item in sample.media]
        return build_messages(sample.question, sample.problem_type, sample.options, kinds, fmt)

    return build
