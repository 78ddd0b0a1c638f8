"""The benchmark of a whole step, run small: its ways do the same, and it would notice if not."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from benchmarks.harness import write_json
from benchmarks.step import Setting, check, clip_task, compare, image_task, report
from benchmarks.step_trl import Trl
from benchmarks.step_ways import Naive, Ours, Seconds, Task
from triptych.generation import Completion
from triptych.generation.local import LocalEngine
from triptych.models.families.qwen2_5_omni import Qwen25Omni

SMALL = Setting(prompts=2, group=2, tokens=3, hidden=64, pixels=56, clips=1, steps=1)


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Task:
    return clip_task(tmp_path_factory.mktemp("clips"), SMALL)


def test_ways_that_differ_are_not_compared(task: Task) -> None:
    first = Naive(task, 2).first_step()
    ours = Ours(task).replay(first)
    assert check(first, ours)["gradient"] < 1e-4
    name = "lm_head.weight"
    bent = {**first.gradients, name: first.gradients[name] * 1.01}
    some = {**first.completions, "0": [[5], [5, 6]]}
    for broken, message in (
        (first._replace(gradients=bent), r"gradients .*e-03"),
        (first._replace(loss=first.loss * 1.02), r"losses are (2\.0e-02|1\.9e-02) apart"),
        (first._replace(rewards={"0": [0.5, 0.5], "1": [0.5, 0.5]}), "sample 0: rewards"),
        (first._replace(gradients={name: first.gradients[name]}), "other weights"),
        (first._replace(completions=some), "not of one length"),
    ):
        with pytest.raises(AssertionError, match=message):
            check(broken, ours)


def test_only_the_naive_way_looks_once_for_every_completion(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In rollout, reference and update; ours looks once for every prompt. By a clock that only
    rollouts move, each step that is timed holds one.
    """
    clips: list[int] = []
    moments = [0.0]
    embed_media, generate = Qwen25Omni.embed_media, LocalEngine.generate

    def seen(self: Qwen25Omni, thinker: Any, kind: str, features: Mapping[str, Tensor]) -> Tensor:
        clips.append(len(features["video_grid_thw"]) if kind == "video" else 0)
        return embed_media(self, thinker, kind, features)

    def timed(self: LocalEngine, *args: Any, **kwargs: Any) -> list[list[Completion]]:
        moments.append(moments[-1] + 1)
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(Qwen25Omni, "embed_media", seen)
    monkeypatch.setattr(LocalEngine, "generate", timed)
    monkeypatch.setattr(Seconds, "now", lambda: Seconds(moments[-1], moments[-1]))
    for way, in_each_step, untimed in ((Naive(task, 1), 12, 1), (Ours(task), 6, 2)):
        clips.clear()
        (seconds,) = way.steps(1)
        assert sum(clips) == (1 + untimed) * in_each_step
        assert seconds == Seconds(1, 1)


@pytest.mark.slow
def test_the_naive_way_is_compared_in_full(task: Task, tmp_path: Path) -> None:
    compared = compare("clips", task, [Naive(task, rows) for rows in (1, 2)], SMALL, 1)
    record = {"setting": {"prompts": 2, "group": 2, "tokens": 3, "hidden": 64}}
    write_json(tmp_path / "step.json", record | {"comparisons": [compared]})
    written = json.loads((tmp_path / "step.json").read_text(encoding="utf-8"))
    (one,) = written["comparisons"]
    assert one["best"] in one["tried_cpu_s"].keys() == {"naive 1", "naive 2"}
    assert one["cpu_s"]["triptych"]["n"] == one["wall_s"][one["best"]]["n"] == 1
    assert one["times_ours_cpu"]["median"] == pytest.approx(
        one["cpu_s"][one["best"]]["median"] / one["cpu_s"]["triptych"]["median"], rel=1e-3
    )
    assert f"| {one['best']} " in report(written)


@pytest.mark.slow
def test_trl_gives_the_same_rewards_loss_and_gradients(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    task = image_task(tmp_path, SMALL)
    compared = compare("images", task, [Trl(task, rows) for rows in (4, 2)], SMALL, 1)
    assert compared["best"] in compared["tried_cpu_s"].keys() == {"trl 4", "trl 2"}
    assert max(compared["agreement"].values()) < 1e-4
