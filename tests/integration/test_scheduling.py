"""Judges and decoders work while the model does, and nothing that is learned depends on it."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from judging import Answer, JudgeServer, Seen, completion, config, points, refusal, what
from transformers import TrainerCallback

from triptych.data.decode_worker import Decoded, decode_media
from triptych.data.media import MediaBudget
from triptych.data.sample import Media, MediaKind, Sample
from triptych.errors import MediaError
from triptych.generation import Completion, Engine, SamplingConfig
from triptych.generation.engine import OnGroup
from triptych.generation.local import LocalEngine
from triptych.models import OmniModel
from triptych.rewards import RewardError, RewardFunction, Unscored, rule_rewards
from triptych.rewards.judge import CONTEXT, Judge, Query
from triptych.runs import RunFolder
from triptych.training.grpo import GRPOConfig, GRPOTrainer
from triptych.training.sft import SFTConfig, SFTTrainer
from triptych.training.steps import StepSampler
from triptych.training.trainer import StageTrainer

PROMPTS, GROUP = 3, 2
PATIENCE = 20.0  # seconds that a test waits for what is bound to happen


@dataclass
class Serial:
    """An engine that knows nothing of `on_group`, as a user may have one."""

    engine: LocalEngine

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig
    ) -> list[list[Completion]]:
        return self.engine.generate(samples, n, sampling)


@dataclass
class Patient:
    """Goes on with the next group when the judge has been asked about the first."""

    engine: LocalEngine
    asked: threading.Event
    groups: list[bool] = field(default_factory=list)

    def generate(
        self,
        samples: Sequence[Sample],
        n: int,
        sampling: SamplingConfig,
        *,
        on_group: OnGroup | None = None,
    ) -> list[list[Completion]]:
        assert on_group is not None

        def told(index: int, group: Sequence[Completion]) -> None:
            on_group(index, group)
            self.groups.append(self.asked.wait(PATIENCE))

        return self.engine.generate(samples, n, sampling, on_group=told)


def score(seen: Seen) -> Answer:
    return Answer(200, completion(json.dumps({"score": points(what(seen))})))


def by_judge(judge: Judge) -> RewardFunction:
    """What a judge says of whole texts: an untrained model keeps no format."""

    async def asked(*, completions: Sequence[str], **_: Any) -> list[float | None]:
        queries = [Query(CONTEXT, {"reference": "A man."}, {"context": t}) for t in completions]
        return [None if isinstance(s, Unscored) else s for s in await judge.score(queries)]

    return asked


def judged_trainer(
    model: OmniModel,
    samples: list[Sample],
    run: RunFolder,
    judge: Judge,
    engine: Engine,
    **more: Any,
) -> GRPOTrainer:
    settings: dict[str, Any] = {
        "prompts_per_step": PROMPTS, "num_generations": GROUP, "max_steps": 1,
        "learning_rate": 1e-3, "weights": {"format": 1.0, "answer": 0.5}, "max_new_tokens": 8,
    }  # fmt: skip
    rewards: dict[str, RewardFunction] = {
        "format": by_judge(judge),
        "answer": rule_rewards()["answer"],
    }
    grpo = GRPOConfig(**{**settings, **more})
    return GRPOTrainer(model, samples, rewards, grpo, run, engine=engine)


def without_seconds(run: RunFolder) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if not name.startswith("seconds/")}
        for line in run.metrics()
    ]


def test_a_judge_replies_while_the_rollout_goes_on_and_the_reference_is_computed(
    tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    """The rollout waits for the judge to be asked, and the judge for the reference."""
    asked, referred = threading.Event(), threading.Event()
    in_time: list[bool] = []

    def reply(seen: Seen) -> Answer:
        asked.set()
        in_time.append(referred.wait(PATIENCE))
        return score(seen)

    with JudgeServer(answer=reply) as server, Judge(config(server.url)) as judge:
        engine = Patient(LocalEngine(tiny, max_sequences=GROUP), asked)
        trainer = judged_trainer(tiny, samples, run, judge, engine)
        assert isinstance(trainer.reference, OmniModel)
        trainer.reference.register_forward_hook(lambda *_: referred.set())
        trainer.fit()
        assert server.most_at_once > 1
    assert engine.groups == [True] * PROMPTS
    assert in_time
    assert all(in_time)
    (line,) = run.metrics()
    overlapped = line["seconds/reward_overlapped"]
    assert overlapped >= line["seconds/reference"]
    phases = ("data", "rollout", "reward", "reference", "update", "other")
    assert sum(line[f"seconds/{phase}"] for phase in phases) == pytest.approx(line["seconds/step"])
    assert "rewards" not in {thread.name for thread in threading.enumerate()}


def test_what_is_learned_is_what_a_step_after_the_other_learns(
    tiny_folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    runs, weights = [], []
    with JudgeServer(answer=score) as server:
        for name, prefetch in (("serial", 0), ("beside", 1)):
            model = OmniModel.from_pretrained(tiny_folder, budget=MediaBudget(fps=4.0))
            local = LocalEngine(model, max_sequences=GROUP)
            engine = local if prefetch else Serial(local)
            run = RunFolder.create(tmp_path / name)
            with Judge(config(server.url)) as judge:
                judged_trainer(
                    model, samples, run, judge, engine, max_steps=2,
                    prefetch_steps=prefetch,
                ).fit()  # fmt: skip
            runs.append(run)
            weights.append(model.state_dict())
    assert runs[0].rollouts_path.read_bytes() == runs[1].rollouts_path.read_bytes()
    assert len(list(runs[0].rollouts())) == 2 * PROMPTS * GROUP
    assert without_seconds(runs[0]) == without_seconds(runs[1])
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_a_judge_that_cannot_be_used_stops_both_ways_with_the_same_words(
    tiny: OmniModel, samples: list[Sample], run: RunFolder
) -> None:
    told = []
    local = LocalEngine(tiny, max_sequences=GROUP)
    with JudgeServer(answer=lambda _: refusal(401, "who are you?")) as server:
        for engine in (Serial(local), local):
            with Judge(config(server.url)) as judge:
                trainer = judged_trainer(tiny, samples, run, judge, engine, beta=0.0)
                with pytest.raises(RewardError, match=r"^reward 'format': judge .*NO_KEY") as no:
                    trainer.fit()
            told.append(str(no.value))
    assert told[0] == told[1]
    assert {"rewards", "prefetching"}.isdisjoint(t.name for t in threading.enumerate())


# ---------------------------------------------------------------- prefetching

Build = Callable[..., GRPOTrainer]
Make = Callable[[OmniModel, Sequence[Sample], RunFolder, int], StageTrainer]


def sft(model: OmniModel, samples: Sequence[Sample], run: RunFolder, ahead: int) -> SFTTrainer:
    settings = SFTConfig(
        batch_size=2, micro_batch_size=1, max_steps=3, learning_rate=1e-3, prefetch_steps=ahead,
        freeze=("vision",), eval_steps=2,
    )  # fmt: skip
    return SFTTrainer(model, samples, settings, run, evaluate=_look_at(samples))


def _look_at(samples: Sequence[Sample]) -> Callable[[OmniModel], dict[str, float]]:
    def evaluate(model: OmniModel) -> dict[str, float]:
        prompts = model.encoder.encode_all(samples[:1], embed=True)
        return {"size": float(sum(len(prompt.input_ids) for prompt in prompts))}

    return evaluate


@pytest.fixture
def grpo(replay_trainer: Build) -> Make:
    def make(
        model: OmniModel, samples: Sequence[Sample], run: RunFolder, ahead: int
    ) -> GRPOTrainer:
        return replay_trainer(
            model, samples, folder=run, prompts_per_step=2, groups_per_micro_batch=1, max_steps=3,
            num_iterations=2, prefetch_steps=ahead,
        )  # fmt: skip

    return make


@pytest.fixture(params=["sft", pytest.param("grpo", marks=pytest.mark.slow)])
def make(request: pytest.FixtureRequest, grpo: Make) -> Make:
    return {"sft": sft, "grpo": grpo}[request.param]


def test_steps_ahead_change_nothing(
    make: Make, tiny_folder: Path, samples: list[Sample], tmp_path: Path
) -> None:
    runs, weights = [], []
    for ahead in (0, 2):
        model = OmniModel.from_pretrained(tiny_folder, budget=MediaBudget(fps=4.0))
        runs.append(RunFolder.create(tmp_path / str(ahead)))
        make(model, samples[:5], runs[-1], ahead).fit()
        weights.append(model.state_dict())
    assert without_seconds(runs[0]) == without_seconds(runs[1])
    assert all(torch.equal(value, weights[1][key]) for key, value in weights[0].items())


@dataclass
class DecodedInStep(TrainerCallback):
    """What was decoded when a step ended, of what the next one needs; it waits for that a while."""

    needed: Sequence[set[Path]]
    seen: set[Path]
    patience: float = PATIENCE
    in_time: list[bool] = field(default_factory=list)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step < len(self.needed):
            needed, until = self.needed[state.global_step], time.monotonic() + self.patience
            while not needed <= self.seen and time.monotonic() < until:
                time.sleep(0.01)
            self.in_time.append(needed <= self.seen)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """The files that were decoded in the process so far."""
    seen: set[Path] = set()

    def noted(media: Media, budget: MediaBudget) -> Decoded:
        made = decode_media(media, budget)
        seen.add(media.path)
        return made

    monkeypatch.setattr("triptych.data.decoding.decode_media", noted)
    return seen


def files_of_steps(trainer: StageTrainer, samples: Sequence[Sample]) -> list[set[Path]]:
    order = list(StepSampler(len(samples), trainer.layout, trainer.args.seed))
    size = trainer.layout.per_step
    return [
        {item.path for number in order[first : first + size] for item in samples[number].media}
        for first in range(0, len(order), size)
    ]


@pytest.mark.parametrize(("ahead", "in_time"), [(1, [True, True]), (0, [False, False])])
def test_the_next_step_is_decoded_before_this_one_ends(
    tiny: OmniModel,
    samples: list[Sample],
    run: RunFolder,
    decoded: set[Path],
    ahead: int,
    in_time: list[bool],
) -> None:
    clips = list({sample.media[0].path: sample for sample in samples}.values())[:6]
    trainer = SFTTrainer(
        tiny, clips, SFTConfig(batch_size=2, max_steps=3, prefetch_steps=ahead), run
    )
    steps = files_of_steps(trainer, clips)
    watch = DecodedInStep(steps, decoded, PATIENCE if ahead else 0.05)
    trainer.add_callback(watch)
    trainer.fit()
    assert watch.in_time == in_time
    assert "prefetching" not in {thread.name for thread in threading.enumerate()}


def test_a_bad_sample_is_an_error_of_the_step_that_needs_it(
    tiny: OmniModel, samples: list[Sample], tmp_path: Path
) -> None:
    order = list(StepSampler(4, SFTConfig(batch_size=2, max_steps=2).layout(4), seed=0))
    gone = Media(kind=MediaKind.VIDEO, path=Path("/nowhere/gone.mp4"))
    data = samples[:4]
    data[order[2]] = data[order[2]].model_copy(update={"media": (gone,)})
    message = rf"^sample {data[order[2]].id}: /nowhere/gone\.mp4: no such file$"
    for ahead in (0, 1):
        run = RunFolder.create(tmp_path / str(ahead))
        settings = SFTConfig(batch_size=2, max_steps=2, prefetch_steps=ahead)
        with pytest.raises(MediaError, match=message):
            SFTTrainer(tiny, data, settings, run).fit()
        assert [line["step"] for line in run.metrics()] == [1]
        assert "prefetching" not in {thread.name for thread in threading.enumerate()}
