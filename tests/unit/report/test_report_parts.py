"""What the report reads, which metrics it draws, and which completions it shows."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from triptych.errors import DataError
from triptych.report.build import build_report
from triptych.report.curves import curve_groups, unit_of
from triptych.report.load import load_run, read_record
from triptych.report.previews import Previewer, spread
from triptych.report.rollouts import rollout_cards


def write(path: Path, *lines: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    path.write_text(text, encoding="utf-8")


def test_lines_tell_their_arm_by_key_else_by_folder(tmp_path: Path) -> None:
    write(
        tmp_path / "metrics.jsonl", {"step": 1, "phase": "a"}, {"step": 1, "arm": "b"}, {"step": 2}
    )
    write(tmp_path / "uniform" / "metrics.jsonl", {"step": 1, "loss": 1.0})
    write(tmp_path / "predictions" / "start.jsonl", {"sample_id": "q"})
    write(tmp_path / "other" / "predictions.jsonl", {"sample_id": "q"})
    data = load_run(tmp_path)
    assert list(data.metrics) == ["a", "b", "run", "uniform"]
    assert set(data.predictions) == {"start", "other"}


def test_half_a_line_is_left_out_with_a_notice(tmp_path: Path) -> None:
    write(tmp_path / "rollouts.jsonl", {"sample_id": "é1"}, "\n", {"sample_id": "q2"}, '{"sample')
    data = load_run(tmp_path)
    assert [read_record(place)["sample_id"] for place in data.rollouts] == ["é1", "q2"]
    assert "rollouts.jsonl:4: not a JSON object; left out" in data.notices


def test_a_line_that_is_not_utf8_is_a_notice(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1, "phase": "\xff"}\n{"step": 2}\n')
    data = load_run(tmp_path)
    assert data.metrics == {"run": [{"step": 2}]}
    assert any("metrics.jsonl:1" in notice for notice in data.notices)


def test_figures_that_are_no_intervals_are_notices(tmp_path: Path) -> None:
    good = {"mean": 0.5, "low": None, "high": None, "n": 1}
    evaluation = {
        "arm": {
            "test": {
                "good": good,
                "short": {"mean": 0.5},
                "text": "0.5",
                "nan": {**good, "mean": math.nan},
            }
        }
    }
    write(
        tmp_path / "results.json", {"evaluation": evaluation, "seconds": {"a": "long", "b": True}}
    )
    data = load_run(tmp_path)
    assert list(data.evaluation["arm"]["test"]) == ["good"]
    for name in ("short", "text", "nan"):
        assert any(f"evaluation.arm.test.{name}" in notice for notice in data.notices)
    assert data.seconds == {}


def test_baselines_may_be_numbers_or_intervals(tmp_path: Path) -> None:
    baselines = {"face_only": 0.5, "prior": {"mean": 0.25, "low": 0.2, "high": 0.3, "n": 9}}
    write(tmp_path / "results.json", {"baselines": baselines})
    assert load_run(tmp_path).baselines == {"face_only": 0.5, "prior": 0.25}


def test_baselines_may_stand_by_split(tmp_path: Path) -> None:
    """As `triptych eval` writes them."""
    found = {"chance": 0.25, "most_frequent": 0.4, "n": 9}
    baselines = {"splits": {"all": found, "conflict": {**found, "chance": 0.5}}, "groups": {}}
    write(tmp_path / "results.json", {"baselines": baselines})
    data = load_run(tmp_path)
    assert data.baselines == {"chance": 0.25, "most_frequent": 0.4}
    assert not [notice for notice in data.notices if "baselines" in notice]


def test_no_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        load_run(tmp_path / "absent")


def rows(**metrics: float | None) -> list[dict[str, Any]]:
    """Two lines in which every metric changes a little."""
    second = {name: None if value is None else value * 1.1 for name, value in metrics.items()}
    return [{"step": 1, "phase": "a", **metrics}, {"step": 2, "phase": "a", **second}]


def test_metrics_are_grouped_by_stage_with_rewards_first() -> None:
    metrics = rows(**{
        "entropy/context": 0.4,
        "reward/context": 0.5,
        "reward/reasoning": 0.5,
        "eval_answer": 0.7,
        "reward/format": 0.9,
        "length/tags": 6.0,
        "forced": 0.3,
        "overruled": 2.0,
        "unchanged": 0.5,
        "kl": 0.01,
        "grad_norm": 1.0,
    })  # fmt: skip
    groups = curve_groups({"a": metrics}, {"a": 0})
    found = {group.name: [panel.title for panel in group.panels] for group in groups}
    assert found == {
        "Context": ["reward / context", "entropy / context"],
        "Think": ["reward / reasoning"],
        "Answer": ["eval answer"],
        "Format and whole output": [
            *("reward / format", "length / tags", "forced", "overruled", "unchanged")
        ],
        "Optimisation": ["kl"],
    }
    assert [panel.title for panel in groups[-1].secondary] == ["grad norm"]


def test_supervised_and_reinforced_losses_never_share_a_panel() -> None:
    metrics = {"start": rows(loss=3.0), "rl": rows(loss=0.1, **{"reward/answer": 0.5})}
    (panels,) = [g.panels for g in curve_groups(metrics, {"start": 0, "rl": 1}) if g.slug[0] == "o"]
    assert [(panel.title, panel.unit) for panel in panels] == [
        ("loss", ""),
        ("loss (supervised)", "nats"),
    ]
    assert [str(panel.chart).count("<polyline") for panel in panels] == [1, 1]


def test_constant_metrics_become_a_sentence() -> None:
    metrics = [{"step": s, "kl": s / 10, "unscored/answer": 0.0} for s in range(3)]
    groups = curve_groups({"a": metrics}, {"a": 0})
    (constant,) = [constant for group in groups for constant in group.constants]
    assert (constant.title, constant.value) == ("unscored / answer", "0")


def test_null_counts_as_not_finite_and_text_is_no_metric() -> None:
    metrics = [{"step": s, "kl": None if s == 1 else s / 10, "note": "x"} for s in range(4)]
    (group,) = curve_groups({"a": metrics}, {"a": 0})
    (panel,) = group.panels
    assert panel.not_finite == 1


def test_long_runs_are_thinned() -> None:
    metrics = [{"step": s, "kl": s / 10} for s in range(5000)]
    (group,) = curve_groups({"a": metrics}, {"a": 0})
    assert len(group.panels[0].chart) < 20_000


@pytest.mark.parametrize(
    ("metric", "unit"),
    [
        ("reward/answer", "0 to 1"),
        ("seconds/rollout", "seconds"),
        ("length/think", "tokens"),
        ("length_correlation/answer", "-1 to 1"),
        ("stage_length_correlation/context", "-1 to 1"),
        ("weight/context", ""),
        ("entropy/answer", "nats"),
        ("kl", "nats"),
        ("clip_fraction", "0 to 1"),
        ("forced", "0 to 1"),
        ("unchanged", "0 to 1"),
        ("overruled", "tokens"),
        ("learning_rate", ""),
    ],
)
def test_units(metric: str, unit: str) -> None:
    assert unit_of(metric) == unit


def test_spread_is_even_and_takes_all_of_few() -> None:
    assert list(spread(3, 5)) == [0, 1, 2]
    assert list(spread(100, 4)) == [12, 37, 62, 87]


def test_small_arms_leave_their_share_to_the_others(tmp_path: Path) -> None:
    lines = [{"phase": "long", "sample_id": str(i)} for i in range(50)]
    lines += [{"phase": "short", "sample_id": str(i)} for i in range(3)]
    write(tmp_path / "rollouts.jsonl", *lines)
    cards = rollout_cards(load_run(tmp_path).rollouts, Previewer(tmp_path), 20)
    arms = [card.completions[0].arm for card in cards]
    assert (arms.count("long"), arms.count("short")) == (17, 3)


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"forced": 21, "overruled": 3}, "21 tokens without a choice, 3 refused"),
        ({"forced": 0, "overruled": 0}, None),
        ({}, None),
    ],
)
def test_what_enforcing_did_is_told(
    tmp_path: Path, counts: dict[str, int], told: str | None
) -> None:
    write(tmp_path / "rollouts.jsonl", {"phase": "grpo", "sample_id": "q", **counts})
    (card,) = rollout_cards(load_run(tmp_path).rollouts, Previewer(tmp_path))
    assert card.completions[0].enforcement == told
    build_report(tmp_path)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert ("enforced: <b>" in page) == (told is not None)


def test_options_show_gold_and_what_the_answer_reward_reads(tmp_path: Path) -> None:
    record = {
        "problem_type": "multiple_choice",
        "options": ["angry", "happy"],
        "answer": "A",
        "bodies": {"context": "c", "think": None, "answer": "The answer is B."},
        "rewards": {"answer": 0.0, "own": None},
        "violations": [{"kind": "missing", "stage": "think", "position": 9}, "text_outside"],
    }
    write(tmp_path / "rollouts.jsonl", record)
    (card,) = rollout_cards(load_run(tmp_path).rollouts, Previewer(tmp_path))
    assert [(o.letter, o.gold, o.chosen) for o in card.options] == [
        ("A", True, False),
        ("B", False, True),
    ]
    (one,) = card.completions
    assert one.outcome == "wrong"
    assert one.violations == ("missing (think)", "text outside")
    assert one.rewards == (("own", "unscored"),)
    assert [(stage.name, stage.body, stage.reward) for stage in one.stages] == [
        ("context", "c", None),
        ("think", None, None),
        ("answer", "The answer is B.", "0.00"),
    ]


def test_media_listed_as_video_and_audio_are_one_preview(clips_folder: Path) -> None:
    clip = next(iter(sorted(clips_folder.glob("test-balanced/*.mp4"))))
    media = [{"kind": "video", "path": str(clip)}, {"kind": "audio", "path": str(clip)}]
    (both,) = Previewer(clips_folder).of(media)
    assert len(both.frames) == 8
    assert both.wave is not None
    assert both.wave.whole
    assert both.wave.end == pytest.approx(1.0, abs=0.1)
    (video,) = Previewer(clips_folder).of(media[:1])
    assert video.wave is None
    (relative,) = Previewer(clips_folder).of([str(clip.relative_to(clips_folder))])
    assert (len(relative.frames), relative.wave is not None) == (8, True)
    part = {"kind": "audio", "path": str(clip), "start": 0.25, "end": 0.75}
    (part_preview,) = Previewer(clips_folder).of([part])
    assert part_preview.wave is not None
    assert part_preview.wave.start == 0.25
    assert part_preview.wave.end == pytest.approx(0.75, abs=0.01)
    assert part_preview.frames == ()


def test_images_are_shown_small(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (1200, 800), "teal").save(tmp_path / "a.png")
    (preview,) = Previewer(tmp_path).of(["a.png"])
    (frame,) = preview.frames
    assert frame.time is None
    assert len(frame.uri) < 5000
