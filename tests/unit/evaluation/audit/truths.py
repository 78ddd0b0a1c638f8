"""Engines of which it is known what they look at, and questions about clips that need no files.

They are shown media by path, as any engine is, and know what is in the clip of that path. Who is
given another clip's voice answers by that voice.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

from triptych.data.clips.cues import INTENTIONS, Cues, Mouth, Pitch, describe, draw_cues
from triptych.data.clips.questions import (
    emotion_question,
    intention_questions,
    sincerity_question,
)
from triptych.data.sample import MediaKind, Sample
from triptych.generation.engine import Completion, SamplingConfig, StopReason
from triptych.stages.format import DEFAULT_FORMAT
from triptych.stages.prompt import OPTION_LETTERS

FOLDER = Path("/clips")  # nothing is there
CELL_OF = {meaning: cell for cell, meaning in INTENTIONS.items()}


def clip_questions(count: int, seed: int = 0, all_kinds: bool = False) -> list[Sample]:
    """An intention question about each of `count` clips, balanced over face and voice."""
    rng = Random(f"truths/{seed}")
    cells = [*INTENTIONS] * (count // len(INTENTIONS) + 1)
    samples: list[Sample] = []
    for number, cell in enumerate(cells[:count]):
        clip, cues = f"{number:04d}", draw_cues(rng, *cell)
        samples += intention_questions(clip, cues, 1, rng)
        if all_kinds:
            samples += [emotion_question(clip, cues, rng), sincerity_question(clip, cues)]
    return [
        one.model_copy(
            update={
                "media": tuple(
                    item.model_copy(update={"path": FOLDER / item.path}) for item in one.media
                )
            }
        )
        for one in samples
    ]


class TruthEngine(ABC):
    """Answers by a rule.

    Args:
        samples: whose clips it can look up by their paths.
    """

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._cues: Mapping[Path, Cues] = {
            item.path: Cues(**one.extra["cues"]) for one in samples for item in one.media
        }
        self.asked = 0

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig
    ) -> list[list[Completion]]:
        self.asked += len(samples)
        return [[self._complete(sample)] for sample in samples]

    def _complete(self, sample: Sample) -> Completion:
        letter = OPTION_LETTERS[sample.options.index(self.option(sample))]
        text = DEFAULT_FORMAT.render(
            {"context": self.context(sample), "think": "so it is.", "answer": letter}
        )
        return Completion((1, 2, 3), text, StopReason.END, (False,) * 3)

    @abstractmethod
    def option(self, sample: Sample) -> str:
        """The text of the option that it chooses."""

    def context(self, sample: Sample) -> str:
        """What it says it saw and heard: by default the truth."""
        seen, heard = self.cues(sample, MediaKind.VIDEO), self.cues(sample, MediaKind.AUDIO)
        parts = [describe(seen).partition(". ")[0]] if seen else []
        parts += [describe(heard).partition(". ")[2]] if heard else []
        return ". ".join(parts) or "No video is shown and nothing can be heard."

    def cues(self, sample: Sample, kind: MediaKind) -> Cues | None:
        """What is in the first item of a kind; None where none is shown, or it cannot be read."""
        paths = [item.path for item in sample.media if item.kind is kind]
        return self._cues.get(paths[0]) if paths else None


class CueEngine(TruthEngine):
    """Chooses what fits the face, the voice or both; of several, one by the question's id."""

    looks = True
    listens = True

    def option(self, sample: Sample) -> str:
        seen = self.cues(sample, MediaKind.VIDEO) if self.looks else None
        heard = self.cues(sample, MediaKind.AUDIO) if self.listens else None

        def fits(option: str) -> int:
            mouth, pitch = CELL_OF[option]
            return (seen is not None and mouth is Mouth(seen.mouth_end)) + (
                heard is not None and pitch is Pitch(heard.pitch)
            )

        most = max(map(fits, sample.options))
        best = sorted(option for option in sample.options if fits(option) == most)
        return Random(f"choice/{sample.id}").choice(best)


class Oracle(CueEngine):
    """Looks and listens."""


class FaceOnly(CueEngine):
    """Looks, and does not listen."""

    listens = False


class VoiceOnly(CueEngine):
    """Listens, and does not look."""

    looks = False


class TextPrior(TruthEngine):
    """Has learned most answers by heart, by the question's id."""

    def option(self, sample: Sample) -> str:
        right = sample.options[OPTION_LETTERS.index(sample.answer)]
        knows = Random(f"knows/{sample.id}").random() < 0.8
        return right if knows else next(one for one in sorted(sample.options) if one != right)

    def context(self, sample: Sample) -> str:
        """Always the same picture, whatever is shown."""
        return "The mouth starts smiling. The voice is flat."


class AlwaysFirst(TruthEngine):
    """Chooses A."""

    def option(self, sample: Sample) -> str:
        return sample.options[0]


class Guesser(TruthEngine):
    """Throws dice."""

    def __init__(self, samples: Sequence[Sample], seed: int) -> None:
        super().__init__(samples)
        self._dice = Random(f"dice/{seed}")

    def option(self, sample: Sample) -> str:
        return self._dice.choice(sample.options)
