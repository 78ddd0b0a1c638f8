"""Which samples a model can answer: their media decode, and they fit the model's positions."""

from collections.abc import Callable, Iterator, Sequence

from triptych.data.sample import Sample
from triptych.errors import ConfigError, MediaError
from triptych.models.omni import OmniModel
from triptych.models.prompt import Prompt


def screen(
    model: OmniModel, samples: Sequence[Sample], completion_tokens: Callable[[Sample], int]
) -> Iterator[Prompt | MediaError | ConfigError]:
    """Encode samples in order; what cannot be used comes as an error and does not end it.

    Args:
        model: whose prompts they become.
        samples: what to encode.
        completion_tokens: the most tokens that will follow the prompt of a sample.
    """
    for sample, outcome in zip(samples, model.encoder.outcomes(samples), strict=True):
        if isinstance(outcome, Prompt):
            tokens = len(outcome.input_ids)
            try:
                model.check_length(tokens, completion_tokens(sample), sample.id)
            except ConfigError as error:
                yield error
                continue
        yield outcome
