"""`triptych data rollout-filter OUT`: the prompts from which a model can still learn."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli import generate
from triptych.cli.config import argument
from triptych.cli.model import load_data
from triptych.errors import ConfigError
from triptych.rewards.judge import JudgeConfig

if TYPE_CHECKING:
    from triptych.data.sample import Sample
    from triptych.rewards import RewardFunction

_BINS = 10  # of the histogram, over rewards from 0 to 1
_WIDTH = 40  # characters of its longest bar


@dataclass(frozen=True, kw_only=True)
class FilterConfig(generate.GenerateConfig):
    """Whose completions decide, and what of them."""

    out: Path = argument()
    """JSONL file for the samples that are kept. Beside it stand OUT.scores.jsonl with all rewards
    of all samples, and OUT.completions.jsonl, which an interrupted command goes on with."""
    num_generations: int = 8
    """Completions of each sample; as many as a group has in training."""
    reward: str = "answer"
    """The reward that must vary: context, reasoning, answer or format (by rule), judge:STAGE,
    scorer:FOLDER, or module:function."""
    judge: JudgeConfig | None = None
    """The language model that judges, for a reward that says so."""
    min_spread: float = 0.01
    """Least difference between the best and the worst completion of a sample that is kept."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_generations < 2:
            raise ConfigError(
                f"num_generations is {self.num_generations}; use 2 or more: one completion cannot "
                "vary"
            )
        if not 0 < self.min_spread <= 1:
            raise ConfigError(f"min_spread is {self.min_spread}; use a number above 0, up to 1")


@dataclass(frozen=True)
class Score:
    """The rewards of one sample's completions by name, None where one could not be scored.

    Attributes:
        rewards: all of them.
        scored: of the reward that decides, those that could be scored.
    """

    rewards: Mapping[str, Sequence[float | None]]
    scored: Sequence[float]

    @property
    def mean(self) -> float | None:
        return sum(self.scored) / len(self.scored) if self.scored else None

    @property
    def spread(self) -> float | None:
        """The best minus the worst; None where they are not two."""
        return max(self.scored) - min(self.scored) if len(self.scored) > 1 else None


def run(config: FilterConfig) -> None:
    """Keep the prompts on which a model is now better, now worse.

    A group whose completions all earn the same teaches GRPO nothing: prompts that are too easy or
    too hard only cost time. Each sample is completed several times, and kept if the
    reward varies.

    An interrupted command, started again, goes on. Another --reward or --min-spread is tried on the
    completions that are there. With several GPUs: accelerate launch -m triptych data rollout-filter
    OUT ...
    """
    from triptych.cli.processes import launched_ranks
    from triptych.data.sample import write_samples
    from triptych.files import read_lines, write_lines
    from triptych.rewards import resolve, rule_rewards

    ranks = launched_ranks(config.device)
    wanted = {config.reward: config.reward}
    functions = {**rule_rewards(), **resolve(wanted, config.judge, config.device)}
    samples = load_data(config, config.data)
    completions = config.out.with_name(f"{config.out.name}.completions.jsonl")
    if config.out.exists() and not completions.exists():
        raise ConfigError(
            f"{config.out}: exists, and no {completions.name} beside it says that it is an earlier "
            "result; name another file"
        )
    generate.run(_generation(config, completions))
    texts = {record["sample_id"]: _texts(record) for record in read_lines(completions)}
    completed = [sample for sample in samples if sample.id in texts]  # others have bad media
    mine = completed[ranks.rank :: ranks.count]
    parts = ranks.share(
        lambda: [_score(functions, config.reward, one, texts[one.id]) for one in mine]
    )
    if not ranks.first:
        return
    scores = [parts[place % ranks.count][place // ranks.count] for place in range(len(completed))]
    kept = [score.spread is not None and score.spread >= config.min_spread for score in scores]
    write_lines(
        config.out.with_name(f"{config.out.name}.scores.jsonl"),
        map(_record, completed, scores, kept),
    )
    write_samples(config.out, [one for one, keeps in zip(completed, kept, strict=True) if keeps])
    for line in _histogram(config.reward, scores, kept):
        print(line)
    print(f"kept {sum(kept)} of {len(samples)} samples: {config.out}")


def _generation(config: FilterConfig, out: Path) -> generate.GenerateConfig:
    names = [field.name for field in dataclasses.fields(generate.GenerateConfig)]
    return generate.GenerateConfig(**{name: getattr(config, name) for name in names} | {"out": out})


def _texts(record: Mapping[str, Any]) -> list[str]:
    return [one["text"] for one in record["completions"]]


def _score(
    functions: "Mapping[str, RewardFunction]", decisive: str, sample: "Sample", texts: list[str]
) -> Score:
    from triptych.rewards import score_group

    table = score_group(functions, sample, texts)
    columns = zip(*table.values_GK, strict=True)
    rewards = dict(zip(table.names, columns, strict=True))
    return Score(rewards, [value for value in rewards[decisive] if value is not None])


def _record(sample: "Sample", score: Score, kept: bool) -> dict[str, Any]:
    return {
        "sample_id": sample.id,
        "kept": kept,
        "mean": score.mean,
        "spread": score.spread,
        "rewards": score.rewards,
    }


def _histogram(reward: str, scores: Sequence[Score], kept: Sequence[bool]) -> Iterator[str]:
    """How many samples there are by the mean of a reward, and how many of them are kept."""
    names = [f"{place / _BINS:.1f}-{(place + 1) / _BINS:.1f}" for place in range(_BINS)]
    counts = {name: [0, 0] for name in [*names, "unscored"]}
    for score, keeps in zip(scores, kept, strict=True):
        mean = score.mean
        name = "unscored" if mean is None else names[min(int(mean * _BINS), _BINS - 1)]
        counts[name][0] += 1
        counts[name][1] += keeps
    most = max(count for count, _ in counts.values())
    yield f"mean {reward:<8}  samples   kept"
    for name, (count, num_kept) in counts.items():
        if count or name != "unscored":
            bar = "#" * math.ceil(_WIDTH * count / most)
            yield f"{name:<13}  {count:>7}  {num_kept:>5}  {bar}".rstrip()
