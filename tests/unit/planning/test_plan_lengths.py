"""Lengths of prompts: by the processor, and by headers alone."""

from pathlib import Path

import pytest
from PIL import Image

from triptych.data.media import MediaBudget
from triptych.data.messages import stage_messages
from triptych.data.sample import Media, MediaKind, ProblemType, Sample
from triptych.errors import MediaError
from triptych.models import OmniModel
from triptych.planning.headers import audio_tokens, length_by_headers
from triptych.planning.lengths import Lengths, PromptLength, prompt_length
from triptych.planning.sizes import model_sizes


def by_headers(model: OmniModel, sample: Sample, budget: MediaBudget) -> PromptLength:
    sizes = model_sizes("tiny", model.thinker, model.family)
    return length_by_headers(sample, stage_messages(), model.thinker.config, sizes, budget)


def test_headers_tell_what_the_processor_makes(tiny: OmniModel, samples: list[Sample]) -> None:
    """Clips with sound, cut by time and by frames as the budget says."""
    for sample in samples[:4]:
        encoded = prompt_length(tiny.encode(sample), tiny.thinker, tiny.family)
        told = by_headers(tiny, sample, tiny.encoder.budget)
        assert (told.vision, told.audio) == (encoded.vision, encoded.audio)
        assert (told.vision_bytes, told.audio_bytes) == pytest.approx(
            (encoded.vision_bytes, encoded.audio_bytes), rel=0.02
        )


def test_headers_tell_the_patches_of_a_picture(
    tiny_vl: OmniModel, silent_samples: list[Sample]
) -> None:
    told = by_headers(tiny_vl, silent_samples[0], tiny_vl.encoder.budget)
    encoded = prompt_length(tiny_vl.encode(silent_samples[0]), tiny_vl.thinker, tiny_vl.family)
    assert told.vision == encoded.vision


def test_the_budget_cuts_what_headers_tell(tiny: OmniModel, samples: list[Sample]) -> None:
    few = by_headers(tiny, samples[0], MediaBudget(fps=8.0, max_frames=2))
    many = by_headers(tiny, samples[0], MediaBudget(fps=8.0))
    assert 0 < few.vision < many.vision
    short = by_headers(tiny, samples[0], MediaBudget(fps=8.0, max_seconds=0.5))
    assert short.audio == pytest.approx(many.audio / 2, abs=1)


@pytest.mark.parametrize(("frames", "pool", "tokens"), [(100, 2, 25), (3000, 2, 750), (0, 2, 0)])
def test_sound_is_25_tokens_a_second(frames: int, pool: int, tokens: int) -> None:
    assert audio_tokens(frames, pool) == tokens


def test_sound_is_13_tokens_a_second_in_qwen3() -> None:
    from transformers.models.qwen3_omni_moe.modeling_qwen3_omni_moe import (
        _get_feat_extract_output_lengths as theirs,
    )

    for frames in (1, 7, 99, 100, 101, 250, 3000):
        assert audio_tokens(frames, 1) == theirs(frames)


def test_a_file_without_length_is_named(tiny: OmniModel, tmp_path: Path) -> None:
    still = tmp_path / "still.png"
    Image.new("RGB", (8, 8)).save(still)
    broken = tmp_path / "broken.png"
    broken.write_bytes(still.read_bytes()[:20])
    sample = Sample(
        id="q",
        question="?",
        problem_type=ProblemType.YES_NO,
        answer="yes",
        media=(Media(kind=MediaKind.IMAGE, path=broken),),
    )
    with pytest.raises(MediaError, match=r"broken\.png: cannot be read as an image"):
        by_headers(tiny, sample, MediaBudget())


def test_means_and_the_longest_of_several() -> None:
    lengths = Lengths.of([PromptLength(10, 2), PromptLength(13, 8, 5)], 40, exact=True)
    assert (lengths.mean.tokens, lengths.longest.tokens) == (12 + 5 + 2, 26)
    assert (lengths.samples, lengths.looked_at) == (40, 2)
