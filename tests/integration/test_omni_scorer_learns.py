"""A scorer that looks and listens learns to, on clips that neither it nor its base has seen.

The whole line as the demo and a user have it; many minutes.
"""

from collections.abc import Mapping
from pathlib import Path
from statistics import mean

import pytest
from rich.console import Console

from triptych.cli.demo import Demo, DemoConfig
from triptych.data.clips import ClipSizes
from triptych.data.media import MediaBudget
from triptych.data.sample import Sample, read_samples
from triptych.models import OmniModel
from triptych.rewards import score
from triptych.rewards.scorer import scorer_reward
from triptych.rewards.scorer.omni_build import OmniFigures, build_omni_scorer
from triptych.rewards.scorer.omni_config import OmniScorerConfig
from triptych.statistics import Interval

pytestmark = pytest.mark.slow

# Rates for a model of a million parameters; the defaults are for billions. The encoders keep what
# the cold start taught them: trained along, they hear the pitch worse than before.
TINY = OmniScorerConfig(
    learning_rate=1e-3,
    head_learning_rate=3e-3,
    num_epochs=2,
    batch_size=4,
    micro_batch_size=4,
    freeze=("vision", "audio"),
    held_out_share=0.2,
)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo, up to its cold start."""
    sizes = ClipSizes(rl_balanced=400)
    out = tmp_path_factory.mktemp("demo") / "run"
    demo = Demo(DemoConfig(out=out, sizes=sizes), Console(quiet=True))
    demo.make_clips()
    demo.build_base()
    demo.supervise("cold_start", "base", "cold-start")
    return demo


@pytest.fixture(scope="module")
def built(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, OmniFigures]:
    out = tmp_path_factory.mktemp("scorer") / "omni"
    figures = build_omni_scorer(
        out,
        demo.samples("rl-balanced"),  # of which the cold start saw none
        TINY,
        lambda: OmniModel.from_pretrained(
            demo.model_path("cold_start"), budget=MediaBudget(fps=4.0)
        ),
    )
    return out, figures


def by_attribute(swapped: Mapping[str, Interval]) -> dict[str, float]:
    parts = {
        "mouth": ("expression_start", "expression_end"),
        "brows": ("brows",),
        "pitch": ("pitch",),
        "loudness": ("loudness_start", "loudness_end"),
    }
    return {name: mean(swapped[element].mean for element in of) for name, of in parts.items()}


def test_it_tells_a_swapped_attribute_by_looking_and_listening(
    built: tuple[Path, OmniFigures],
) -> None:
    _, figures = built
    assert figures.text_only is not None
    swapped = figures.scorer.all.kinds["swapped"].auc
    assert swapped is not None
    assert swapped.mean >= 0.80
    own = by_attribute(figures.scorer.swapped)
    other = by_attribute(figures.other_media.swapped)
    text = by_attribute(figures.text_only.swapped)
    # Of pitch the cold-started model itself hears four of five right; the rest is guessed.
    assert own.pop("pitch") >= 0.65, own
    assert min(own.values()) >= 0.80, own
    for name in own:
        assert own[name] - max(other[name], text[name]) > 0.1, (name, own, other, text)
    assert max(other.values()) < 0.65, other


def test_it_tells_the_other_kinds_too(built: tuple[Path, OmniFigures]) -> None:
    kinds = built[1].scorer.all.kinds
    for kind in ("vague", "other_sample", "empty"):
        auc = kinds[kind].auc
        assert auc is not None
        assert auc.mean >= 0.90, kind


def test_as_a_reward_it_prefers_the_clips_own_context(
    demo: Demo, built: tuple[Path, OmniFigures]
) -> None:
    samples: list[Sample] = read_samples(demo.split_path("validation"))[:40]
    texts = [
        f"<context>{sample.reference.context}</context><think>so</think><answer>A</answer>"
        for sample in samples
    ]
    reward = {"context": scorer_reward(built[0], "context", "cpu")}
    own = score(reward, samples, texts).tensor()
    other = score(reward, samples, texts[20:] + texts[:20]).tensor()
    assert (own > other).double().mean() >= 0.9  # NaN, unscored, would count against it
