"""`triptych demo`: the whole line on the synthetic clips, with a tiny model, on a laptop.

    clips -> tiny base model -> cold start -> three ways on from there -> one table

From the same cold-started model the demo goes on by reinforcement with answer and format rewards
on all tokens (`uniform`), by reinforcement with a reward per stage (`stage_credit`), and by more
supervised fine-tuning (`continued_sft`). All three see the same biased split, in which the face
gives the voice away nine times out of ten, for the same number of prompts. Checkpoints are chosen
on the validation split; the test split is evaluated once, at the end.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.data.clips import SPLITS, ClipSizes
from triptych.data.media import MediaBudget
from triptych.runs import RunFolder
from triptych.training.credit import Scheme
from triptych.training.grpo import GRPOConfig
from triptych.training.sft import SFTConfig

if TYPE_CHECKING:
    from rich.console import Console

    from triptych.data.clips import ClipSummary
    from triptych.evaluation.summary import EvaluationResult
    from triptych.models import OmniModel
    from triptych.models.prompt import PromptEncoder
    from triptych.training.config import TrainingConfig
    from triptych.training.trainer import Evaluate

ARMS = ("cold_start", "uniform", "stage_credit", "continued_sft")
MAX_NEW_TOKENS = 64


def _supervised(**changes: Any) -> SFTConfig:
    settings: dict[str, Any] = {
        "learning_rate": 1e-3,
        "warmup_steps": 20,
        "adam_beta2": 0.98,
        "weight_decay": 0.01,
        "batch_size": 16,
        "micro_batch_size": 16,
        "log_every": 5,
    }
    return SFTConfig(**{**settings, **changes})


def _reinforced(**changes: Any) -> GRPOConfig:
    settings: dict[str, Any] = {
        "learning_rate": 1e-4,
        "warmup_steps": 5,
        "adam_beta2": 0.95,
        "max_steps": 40,
        "prompts_per_step": 12,
        "groups_per_micro_batch": 12,
        "max_new_tokens": MAX_NEW_TOKENS,
        "eval_steps": 10,
        "best_metric": "reward/combined",
        "rollouts_every": 5,
        "rollout_groups": 2,
    }
    return GRPOConfig(**{**settings, **changes})


@dataclass(frozen=True)
class DemoConfig:
    """Where the demo goes, and the settings of its phases."""

    out: Path = Path("runs/demo")
    """Run folder; must be new or empty, unless --resume."""
    seed: int = 0
    """Seed of clips, weights, order and sampling."""
    resume: bool = False
    """Go on with the demo in the run folder: phases that are done are kept."""
    sizes: ClipSizes = ClipSizes()
    """Clips of each split, and questions of each clip."""
    media: MediaBudget = MediaBudget(fps=4.0)
    """How much of each clip the model sees: four frames of a clip of one second."""
    text_drills: int = 4000
    """Text-only drills that stand in for the language skills of a pretrained model."""
    base: SFTConfig = field(
        default_factory=lambda: _supervised(
            learning_rate=2e-3,
            lr_scheduler="constant",
            max_steps=120,
            batch_size=32,
            micro_batch_size=32,
        )
    )
    """The tiny base model: text only, no clips."""
    cold_start: SFTConfig = field(default_factory=lambda: _supervised(max_steps=300))
    """Supervised fine-tuning on references."""
    uniform: GRPOConfig = field(
        default_factory=lambda: _reinforced(
            scheme=Scheme.UNIFORM,
            weights={"context": 0.0, "reasoning": 0.0, "answer": 0.35, "format": 0.15},
        )
    )
    """Reinforcement with answer and format rewards on all tokens."""
    stage_credit: GRPOConfig = field(default_factory=lambda: _reinforced(scheme=Scheme.STRICT))
    """Reinforcement with a reward per stage on the tokens of that stage."""
    continued_sft: SFTConfig = field(
        default_factory=lambda: _supervised(
            learning_rate=1.5e-4,
            warmup_steps=5,
            max_steps=40,
            batch_size=12,
            micro_batch_size=12,
            eval_steps=10,
            best_metric="reward/combined",
        )
    )
    """More supervised fine-tuning on the same prompts: the plain baseline."""


def run(config: DemoConfig) -> None:
    """Cold-start, reinforce, evaluate and report, on synthetic clips with a tiny model.

    Everything is real but the size: mp4 files, the Qwen2.5-Omni architecture, supervised
    fine-tuning, GRPO with a reward per stage. It takes a few minutes on two CPU cores.
    """
    from transformers.utils import logging

    from triptych.cli.tables import wide_console

    logging.disable_progress_bar()  # a tiny model loads in no time; its bars would hide ours
    Demo(config, wide_console()).run()


class Demo:
    """The phases in order; each leaves its model in OUT/models."""

    def __init__(self, config: DemoConfig, console: "Console") -> None:
        self.config, self.console = config, console
        self.folder = RunFolder.create(config.out, resume=config.resume)
        self.folder.write_config(config)
        earlier = self.folder.results() if self.folder.results_path.exists() else {}
        self.seconds: dict[str, float] = earlier.get("seconds", {})
        self.encoder: PromptEncoder | None = None

    def run(self) -> None:
        summary = self.make_clips()
        self.build_base()
        self.supervise("cold_start", "base", "cold-start")
        self.reinforce("uniform")
        self.reinforce("stage_credit")
        self.supervise("continued_sft", "cold_start", "rl-biased")
        results = self.evaluate()
        self.write_results(results, summary)
        self.show(results, summary)

    # --- phases --------------------------------------------------------------------------------

    def make_clips(self) -> "ClipSummary":
        from triptych.data.clips import make_clips

        with self.phase("clips", "real mp4 files of a face and a voice"):
            summary = make_clips(self.config.out / "clips", self.config.seed, self.config.sizes)
        data = [self.split_path(split) for split in SPLITS]
        self.folder.write_environment(seed=self.config.seed, data=data)
        return summary

    def build_base(self) -> None:
        """A tiny model of the real architecture, and the text it learns from before any clip."""
        from triptych.data.clips import text_only_samples
        from triptych.models.tiny import build_tiny

        if self.done("base"):
            return
        with self.phase("base", "a tiny Qwen2.5-Omni, text drills"):
            fresh = build_tiny(self.config.out / "models" / "untrained", self.config.seed)
            drills = text_only_samples(self.config.text_drills, self.config.seed)
            self.train("base", self.load(fresh), drills, self.config.base)
            shutil.rmtree(fresh)

    def supervise(self, arm: str, start: str, split: str) -> None:
        if self.done(arm):
            return
        with self.phase(arm, f"supervised fine-tuning on {split}"):
            config: SFTConfig = getattr(self.config, arm)
            self.train(arm, self.load(self.model_path(start)), self.samples(split), config)

    def reinforce(self, arm: str) -> None:
        if self.done(arm):
            return
        with self.phase(arm, "GRPO on rl-biased"):
            config: GRPOConfig = getattr(self.config, arm)
            model = self.load(self.model_path("cold_start"))
            self.train(arm, model, self.samples("rl-biased"), config)

    def train(self, arm: str, model: "OmniModel", samples: Any, config: "TrainingConfig") -> None:
        from dataclasses import replace

        from triptych.rewards import rule_rewards
        from triptych.training.grpo import train_grpo
        from triptych.training.sft import train_sft

        config = replace(config, seed=self.config.seed)
        hook = self.validation_hook() if config.eval_steps else None
        options: dict[str, Any] = {
            "phase": arm, "evaluate": hook, "resume": self.config.resume
        }  # fmt: skip
        if isinstance(config, GRPOConfig):
            train_grpo(model, samples, rule_rewards(), config, self.folder, **options)
        elif isinstance(config, SFTConfig):
            train_sft(model, samples, config, self.folder, **options)

    def evaluate(self) -> "dict[str, EvaluationResult]":
        """Every arm on the test split, once."""
        from triptych.evaluation.runner import evaluate
        from triptych.generation import Enforce, SamplingConfig
        from triptych.generation.completions import weights_digest
        from triptych.generation.local import LocalEngine

        samples = self.samples("test-balanced")
        sampling = SamplingConfig(
            max_new_tokens=MAX_NEW_TOKENS, temperature=0, enforce=Enforce.STAGES
        )
        results = {}
        with self.phase("evaluation", f"{len(samples)} questions of test-balanced, greedy"):
            for arm in ARMS:
                model = self.load(self.model_path(arm))
                results[arm] = evaluate(
                    LocalEngine(model),
                    samples,
                    sampling,
                    batch_size=len(samples),
                    out=self.folder.path / "predictions" / f"{arm}.jsonl",
                    origin={"weights_sha256": weights_digest(model)},
                )
        return results

    # --- results -------------------------------------------------------------------------------

    def write_results(
        self, results: "Mapping[str, EvaluationResult]", clips: "ClipSummary"
    ) -> None:
        from triptych.evaluation.summary import summary_to_json
        from triptych.report.build import build_report

        evaluation = {arm: summary_to_json(result.summary) for arm, result in results.items()}
        record = {
            "evaluation": evaluation,
            "differences": {
                name: summary_to_json(difference)
                for name, difference in self.differences(results).items()
            },
            "baselines": {
                "face_only": clips.baselines.face_only,
                "voice_only": clips.baselines.voice_only,
                "prior": clips.baselines.prior,
            },
            "seconds": self.seconds,
            "unscored": {arm: result.unscored for arm, result in results.items()},
        }
        self.folder.write_results(record)
        with self.phase("report", "one HTML page"):
            build_report(self.folder.path)

    def differences(self, results: "Mapping[str, EvaluationResult]") -> dict[str, Any]:
        """Paired: the same questions, answered by two arms."""
        from triptych.evaluation.summary import compare

        pairs = [(arm, "cold_start") for arm in ARMS[1:]] + [("stage_credit", "uniform")]
        return {f"{a} - {b}": compare(results[a], results[b]) for a, b in pairs}

    def show(self, results: "Mapping[str, EvaluationResult]", clips: "ClipSummary") -> None:
        from triptych.cli.tables import print_evaluation, verdict_lines

        console = self.console
        console.print()
        print_evaluation({arm: r.summary for arm, r in results.items()}, console=console)
        base = clips.baselines
        console.print(
            "Best rule on the intention questions of this split that knows only the face "
            f"{base.face_only:.3f}, only the voice {base.voice_only:.3f}, neither {base.prior:.3f}."
        )
        for line in verdict_lines(self.differences(results)):
            console.print(line)
        spent = ", ".join(f"{name} {value:.0f}" for name, value in self.seconds.items())
        console.print(f"seconds: {spent}; together {sum(self.seconds.values()):.0f}")
        console.print(f"figures: {self.folder.results_path}", soft_wrap=True)
        console.print(f"report:  {self.folder.report_path}", soft_wrap=True)

    # --- small things --------------------------------------------------------------------------

    @contextmanager
    def phase(self, name: str, what: str) -> Iterator[None]:
        """Announce a phase and take its time, which a resumed demo keeps."""
        self.console.print(f"[bold]{name}[/bold]: {what}")
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 1)
        self.folder.update_results({"seconds": self.seconds})

    def load(self, path: Path) -> "OmniModel":
        from triptych.models import OmniModel

        model = OmniModel.from_pretrained(path, budget=self.config.media)
        # All arms have one processor, so a clip that one has decoded is decoded for all.
        self.encoder = model.encoder = self.encoder or model.encoder
        return model

    def model_path(self, arm: str) -> Path:
        return self.folder.path / "models" / arm

    def done(self, arm: str) -> bool:
        # The trainer saves the weights last of all.
        return (self.model_path(arm) / "model.safetensors").exists()

    def split_path(self, split: str) -> Path:
        return self.config.out / "clips" / f"{split}.jsonl"

    def samples(self, split: str) -> Any:
        from triptych.data.sample import read_samples

        return read_samples(self.split_path(split))

    def validation_hook(self) -> "Evaluate":
        from triptych.cli.training import measure_on
        from triptych.data.policy import FailurePolicy
        from triptych.generation import SamplingConfig

        samples = self.samples("validation")
        sampling = SamplingConfig(max_new_tokens=MAX_NEW_TOKENS, temperature=0)
        return measure_on(samples, FailurePolicy(), self.folder, sampling)
