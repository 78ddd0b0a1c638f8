"""How long the prompts of a data set are, in tokens and in what media encoders read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from triptych.models.families import Family
from triptych.models.prompt import Prompt
from triptych.models.towers import placeholders
from triptych.planning.sizes import TowerSizes


@dataclass(frozen=True)
class PromptLength:
    """A prompt in numbers; means of several may be no whole numbers, and are rounded.

    Attributes:
        text: tokens of text, brackets and chat layout.
        vision: tokens of images and video frames.
        audio: tokens of sound.
        vision_bytes: of patches, as the vision encoder reads them.
        audio_bytes: of mel frames, likewise.
    """

    text: int
    vision: int = 0
    audio: int = 0
    vision_bytes: int = 0
    audio_bytes: int = 0

    @property
    def tokens(self) -> int:
        """Of all kinds."""
        return self.text + self.vision + self.audio

    def of_tower(self, name: str) -> int:
        """Tokens that a media encoder gives."""
        return self.vision if name == "vision" else self.audio

    def read_by(self, name: str) -> int:
        """Bytes that it reads."""
        return self.vision_bytes if name == "vision" else self.audio_bytes

    def tower_tokens(self, name: str, tower: TowerSizes) -> int:
        """Tokens inside it."""
        return self.of_tower(name) * tower.pool


@dataclass(frozen=True)
class Lengths:
    """The prompts of a data set.

    Attributes:
        mean: of the prompts that were looked at.
        longest: of these, the one with most tokens.
        samples: prompts of the data set.
        looked_at: prompts of which the length is known; the others are taken to be like them.
        exact: they were encoded by the model's own processor; otherwise text is estimated.
        target: tokens of a reference completion: mean and longest; 0 where there are none.
        seconds: of one core, to decode and process a prompt's media; 0 where nothing was decoded.
    """

    mean: PromptLength
    longest: PromptLength
    samples: int
    looked_at: int
    exact: bool
    target: tuple[int, int] = (0, 0)
    seconds: float = 0.0

    @classmethod
    def of(
        cls,
        lengths: Sequence[PromptLength],
        samples: int,
        *,
        exact: bool,
        target: tuple[int, int] = (0, 0),
        seconds: float = 0.0,
    ) -> "Lengths":
        """Of prompts that were looked at."""
        count = len(lengths)
        mean = PromptLength(
            *(
                round(sum(getattr(one, name) for one in lengths) / count)
                for name in ("text", "vision", "audio", "vision_bytes", "audio_bytes")
            )
        )
        longest = max(lengths, key=lambda one: one.tokens)
        return cls(mean, longest, samples, count, exact, target, seconds)


def prompt_length(prompt: Prompt, thinker: Any, family: Family) -> PromptLength:
    """The length of an encoded prompt, media as the processor makes them."""
    counts = {
        kind: int(placeholders(thinker, family, kind, prompt.input_ids).sum())
        for kind in family.media_inputs
    }
    vision = counts.get("image", 0) + counts.get("video", 0)
    audio = counts.get("audio", 0)
    return PromptLength(
        text=len(prompt.input_ids) - vision - audio,
        vision=vision,
        audio=audio,
        vision_bytes=sum(
            tensor.nbytes for name, tensor in prompt.features.items() if "pixel" in name
        ),
        audio_bytes=sum(
            tensor.nbytes for name, tensor in prompt.features.items() if "input_features" in name
        ),
    )
