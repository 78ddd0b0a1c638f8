"""Draw the face and sound the voice of a clip.

Nuisance (background, skin, size, place, blink, pitch level, timbre, rhythm, noise) is drawn from
the clip's own generator and tells nothing about the cues. In particular the mouth moves with the
rhythm of speech only: the face never shows how the voice sounds.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from triptych.data.clips.cues import Brows, Cues, Loudness, Mouth, Pitch
from triptych.data.clips.mp4 import SAMPLE_RATE, write_mp4

SECONDS = 1.0
FPS = 8
FRAME_SIZE = 56
_OVERSAMPLING = 3

_SKINS = ((255, 220, 120), (240, 190, 150), (180, 130, 95), (150, 210, 150), (160, 180, 240))
_INK = (25, 15, 15)
_LIPS = (150, 20, 40)
_CURVATURE = {Mouth.SMILING: 0.30, Mouth.FROWNING: -0.30, Mouth.NEUTRAL: 0.0}

NOISE_LEVEL = 0.003
"""A constant floor of noise; it survives AAC, so that soft is heard as soft against it."""


@dataclass(frozen=True)
class Nuisance:
    """Everything about a clip that is not a cue; lengths are shares of the frame or the face."""

    background: tuple[int, int, int]
    skin: tuple[int, int, int]
    centre: tuple[float, float]
    radius: float
    jitter: tuple[tuple[float, float], ...]
    blink: int
    sudden_turn: bool
    change_time: float
    base_pitch: float
    pitch_motion: float
    tremor_rate: float
    tilt: float
    phases: tuple[float, ...]
    rhythm: tuple[float, float]
    gain: float
    noise_seed: int


def draw_nuisance(rng: Random) -> Nuisance:
    """Draw the nuisance of one clip, in a fixed order of draws."""
    num_frames = round(SECONDS * FPS)
    return Nuisance(
        background=(rng.randrange(120, 256), rng.randrange(120, 256), rng.randrange(120, 256)),
        skin=rng.choice(_SKINS),
        centre=(0.5 + rng.uniform(-0.03, 0.03), 0.5 + rng.uniform(-0.03, 0.03)),
        radius=rng.uniform(0.41, 0.46),
        jitter=tuple(
            (rng.uniform(-0.008, 0.008), rng.uniform(-0.008, 0.008)) for _ in range(num_frames)
        ),
        blink=rng.randrange(num_frames),
        sudden_turn=rng.random() < 0.5,
        change_time=rng.uniform(0.42, 0.58),
        base_pitch=rng.uniform(110, 230),
        pitch_motion=rng.random(),
        tremor_rate=rng.uniform(7, 9),
        tilt=rng.uniform(0.8, 1.4),
        phases=tuple(rng.uniform(0, 2 * math.pi) for _ in range(10)),
        rhythm=(rng.uniform(2.5, 3.5), rng.uniform(0, math.pi)),
        gain=rng.random(),
        noise_seed=rng.getrandbits(64),
    )


def render_clip(path: Path, cues: Cues, nuisance: Nuisance) -> None:
    """Render one clip to an mp4 file."""
    write_mp4(path, draw_frames(cues, nuisance), FPS, sound_voice(cues, nuisance))


def _rhythm(nuisance: Nuisance, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """The syllables: how wide the mouth is open and how strong the voice is, in 0..1."""
    rate, phase = nuisance.rhythm
    return np.abs(np.sin(np.pi * rate * times + phase))


def draw_frames(cues: Cues, nuisance: Nuisance) -> NDArray[np.uint8]:
    """The frames of a clip: uint8 (T, H, W, 3)."""
    num_frames = round(SECONDS * FPS)
    openness = _rhythm(nuisance, np.arange(num_frames) / FPS)
    return np.stack([_frame(cues, nuisance, i, float(openness[i])) for i in range(num_frames)])


def _frame(cues: Cues, nuisance: Nuisance, index: int, openness: float) -> NDArray[np.uint8]:
    size = FRAME_SIZE * _OVERSAMPLING
    image = Image.new("RGB", (size, size), nuisance.background)
    face = _Face(ImageDraw.Draw(image), nuisance, index)
    face.head(nuisance.skin)
    face.eyes(closed=index == nuisance.blink)
    face.brows(cues.brows)
    face.mouth(_curvature(cues, nuisance.sudden_turn, index), openness)
    small = image.resize((FRAME_SIZE, FRAME_SIZE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.uint8)


def _curvature(cues: Cues, sudden: bool, index: int) -> float:
    """The mouth at a frame. Turns happen around frame 3.

    Frames 0 to 2 show the start and frames 4 to 7 the end, so that two of four frames sampled
    over the clip show each.
    """
    start, end = _CURVATURE[cues.mouth_start], _CURVATURE[cues.mouth_end]
    if index == 3 and not sudden:
        return (start + end) / 2
    return start if index < 3 else end


class _Face:
    """A cartoon face; positions are relative to its centre, in units of its radius."""

    def __init__(self, canvas: ImageDraw.ImageDraw, nuisance: Nuisance, index: int) -> None:
        size = FRAME_SIZE * _OVERSAMPLING
        self._canvas = canvas
        self._radius = nuisance.radius * size
        self._x = (nuisance.centre[0] + nuisance.jitter[index][0]) * size
        self._y = (nuisance.centre[1] + nuisance.jitter[index][1]) * size

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self._x + x * self._radius, self._y + y * self._radius

    def _ellipse(self, x: float, y: float, rx: float, ry: float, fill: tuple[int, ...]) -> None:
        self._canvas.ellipse([*self._at(x - rx, y - ry), *self._at(x + rx, y + ry)], fill, _INK)

    def _line(self, points: list[tuple[float, float]], width: float) -> None:
        pixels = round(width * self._radius)
        self._canvas.line([self._at(*point) for point in points], _INK, pixels, joint="curve")

    def head(self, skin: tuple[int, int, int]) -> None:
        self._ellipse(0, 0, 1, 1, skin)

    def eyes(self, closed: bool) -> None:
        for side in (-1, 1):
            self._ellipse(side * 0.40, -0.12, 0.12, 0.02 if closed else 0.12, _INK)

    def brows(self, brows: Brows) -> None:
        for side in (-1, 1):
            inner, middle, outer = side * 0.14, side * 0.40, side * 0.66
            match brows:
                case Brows.RAISED:
                    self._line([(inner, -0.56), (middle, -0.74), (outer, -0.56)], 0.10)
                case Brows.FURROWED:
                    self._line([(inner, -0.24), (outer, -0.56)], 0.10)
                case Brows.LEVEL:
                    self._line([(inner, -0.40), (outer, -0.40)], 0.10)

    def mouth(self, curvature: float, openness: float) -> None:
        """Lips as two parabolas; positive curvature lifts the corners."""
        lower, upper = [], []
        for x in np.linspace(-1, 1, 9):
            bend = curvature * (0.5 - x * x)
            gap = (0.03 + 0.07 * openness) * (1 - x * x)
            lower.append((x * 0.50, 0.46 + bend + gap))
            upper.append((x * 0.50, 0.46 + bend - gap))
        self._canvas.polygon([self._at(*point) for point in lower + upper[::-1]], _LIPS)
        self._line(lower, 0.07)
        self._line(upper, 0.07)


def sound_voice(cues: Cues, nuisance: Nuisance) -> NDArray[np.float32]:
    """The voice of a clip: float32 (N,) at 16 kHz, a harmonic tone over a floor of noise."""
    times = np.arange(round(SECONDS * SAMPLE_RATE)) / SAMPLE_RATE
    phase = 2 * np.pi * np.cumsum(_pitch_contour(cues.pitch, nuisance, times)) / SAMPLE_RATE
    tone = np.zeros_like(times)
    for harmonic, shift in enumerate(nuisance.phases, start=1):
        tone += np.sin(harmonic * phase + shift) / harmonic**nuisance.tilt
    tone = tone * (0.55 + 0.45 * _rhythm(nuisance, times))
    if cues.pitch == Pitch.TREMBLING:
        tone = tone * (0.7 + 0.3 * np.sin(2 * np.pi * nuisance.tremor_rate * times))
    tone = tone / np.abs(tone).max() * _loudness_contour(cues, nuisance, times)
    noise = np.random.default_rng(nuisance.noise_seed).standard_normal(len(times)) * NOISE_LEVEL
    return np.asarray(tone + noise, dtype=np.float32)


def _pitch_contour(
    pitch: Pitch, nuisance: Nuisance, times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fundamental frequency in Hz at each time."""
    base, motion = nuisance.base_pitch, nuisance.pitch_motion
    match pitch:
        case Pitch.RISING:
            return base * (1 + (0.7 + 0.4 * motion) * times / SECONDS)
        case Pitch.FLAT:
            return np.full_like(times, base)
        case Pitch.TREMBLING:
            depth = 0.14 + 0.06 * motion
            return base * (1 + depth * np.sin(2 * np.pi * nuisance.tremor_rate * times))


def _loudness_contour(
    cues: Cues, nuisance: Nuisance, times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Peak level at each time, gliding within 60 ms where the loudness changes."""
    level = {
        Loudness.LOUD: 0.6 + 0.2 * nuisance.gain,
        Loudness.SOFT: 0.08 + 0.06 * nuisance.gain,
    }
    share = np.clip((times - nuisance.change_time) / 0.06 + 0.5, 0, 1)
    start, end = math.log(level[cues.loudness_start]), math.log(level[cues.loudness_end])
    return np.exp(start + share * (end - start))
