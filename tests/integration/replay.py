"""An engine with fixed answers: every test of the update sees the same rollouts."""

from collections.abc import Sequence
from dataclasses import dataclass

from triptych.data.sample import Sample
from triptych.generation import Completion, SamplingConfig, StopReason
from triptych.models import OmniModel


@dataclass
class ReplayEngine:
    """Writes the same four completions of a sample every time: right, wrong answer, poor context,
    broken off."""

    model: OmniModel

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig
    ) -> list[list[Completion]]:
        assert n == 4
        return [self._group(sample) for sample in samples]

    def _group(self, sample: Sample) -> list[Completion]:
        bodies = {
            "context": sample.reference.context or "",
            "think": sample.reference.reasoning or "",
            "answer": sample.answer,
        }
        render = self.model.format.render
        wrong = "B" if sample.answer == "A" else "A"
        right = render(bodies)
        return [
            self._completion(right),
            self._completion(render({**bodies, "answer": wrong})),
            self._completion(render({**bodies, "context": "a person"})),
            self._completion(right[: len(right) // 2], StopReason.LENGTH),
        ]

    def _completion(self, text: str, stop: StopReason = StopReason.END) -> Completion:
        ids = self.model.tokenizer(text, add_special_tokens=False)["input_ids"]
        if stop is StopReason.END:
            ids = [*ids, self.model.end_token_ids[0]]
        return Completion(tuple(ids), text, stop, (False,) * len(ids))
