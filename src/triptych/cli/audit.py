"""`triptych audit OUT`: does a model look and listen, or answer by shortcuts?"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from triptych.cli.bars import progress_bars
from triptych.cli.config import argument
from triptych.cli.questions import EngineConfig, QuestionsConfig
from triptych.data.policy import FailurePolicy
from triptych.errors import ConfigError
from triptych.evaluation.audit.conditions import Condition, Withhold

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from triptych.evaluation.runner import Groups, Progress

# What may be said otherwise when an audit is gone on with: it changes no prediction.
_FREE = (
    *("out", "data", "decode", "cache", "on_bad_sample", "max_bad_share", "device"),
    *("conditions", "by"),
)


@dataclass(frozen=True, kw_only=True)
class AuditConfig(QuestionsConfig, EngineConfig, FailurePolicy):
    """What is audited, and how."""

    out: Path = argument()
    """Run folder. New, empty, or of the same command: that is gone on with."""
    conditions: tuple[Condition, ...] = tuple(Condition)
    """Conditions to ask under, separated by commas; "full" is always among them. An audit that is
    gone on with may name others: the figures are about those that are named last."""
    withhold: Withhold = Withhold.REMOVE
    """What stands in the place of withheld media: nothing, or black frames and silence."""
    by: tuple[str, ...] = ()
    """Fields of the data to look at part by part, besides the groups of the benchmark."""
    seed: int = 0
    """Seed of the donors of swapped media, of the orders of frames, and of the bootstrap."""

    def __post_init__(self) -> None:
        from triptych.evaluation.audit.trials import check_read_in_turns

        QuestionsConfig.__post_init__(self)
        EngineConfig.__post_init__(self)
        FailurePolicy.__post_init__(self)
        if self.audio_in_video:
            check_read_in_turns(self.conditions, self.withhold)


def run(config: AuditConfig) -> None:
    """Ask a benchmark under altered conditions: what does the model need to see and to hear?

    Media are withheld, swapped for another sample's and shuffled, options are permuted, and each
    time it is measured how much accuracy above chance is left. The figures go to OUT/results.json,
    the outcome of every question to OUT/items.jsonl, completions to OUT/predictions, and altered
    media to OUT/media.

    A command that was interrupted, given again, goes on. With several GPUs:
    accelerate launch -m triptych audit OUT ...
    """
    from triptych.cli.audit_tables import print_audit
    from triptych.cli.processes import launched_ranks
    from triptych.cli.questions import (
        folder_to_go_on_with,
        load_engine,
        load_questions,
        settled,
    )
    from triptych.data.decoding import DecodePool
    from triptych.data.policy import RunSkips, usable_samples
    from triptych.evaluation.audit import (
        AuditPlan,
        item_records,
        make_report,
        report_to_json,
        run_audit,
        verdicts,
    )
    from triptych.files import write_lines
    from triptych.runs import RunFolder

    ranks = launched_ranks(config.device)
    questions = load_questions(config)
    config = settled(config, questions)
    groups = {**questions.groups, **_groups(config.by, questions.samples)}
    folder = (
        folder_to_go_on_with(config, _FREE, "audited") if ranks.rank == 0 else RunFolder(config.out)
    )
    with load_engine(config, questions) as loaded, DecodePool(config.decode) as pool:
        folder.write_config(config)
        folder.write_environment(seed=config.seed, data=questions.files)
        samples = usable_samples(
            questions.samples,
            config,
            loaded.outcomes,
            RunSkips(folder, "audit"),
            resume=True,
            ranks=ranks,
        )
        with progress_bars(shown=ranks.rank == 0) as bars:
            observations = run_audit(
                loaded.engine,
                samples,
                folder.path,
                AuditPlan(config.conditions, config.withhold, config.seed),
                loaded.sampling,
                rewards={},  # the answer's own score is all that is needed
                batch_size=config.batch_size,
                budget=config.media,
                pool=pool,
                groups=groups,
                published=questions.published,
                ranks=ranks,
                origin=loaded.origin,
                progress=partial(_bar_of_trial, bars),
            )
    if ranks.rank == 0:
        report = make_report(observations, groups, config.seed)
        said = verdicts(report)
        write_lines(folder.path / "items.jsonl", item_records(observations, report, groups))
        folder.write_results({"audit": {**report_to_json(report), "verdicts": said}})
        print_audit(report, said)
        print(f"results: {folder.results_path}")
        print(f"items:   {folder.path / 'items.jsonl'}")


def _groups(fields: tuple[str, ...], samples: Any) -> "Groups":
    """Divisions by fields of the data.

    Raises:
        ConfigError: no sample has such a field.
    """
    from triptych.evaluation.benchmarks.base import field_of

    known = sorted({name for sample in samples for name in sample.extra})
    for name in fields:
        if name not in known:
            raise ConfigError(
                f"by: no question has the field {name!r}; there are {', '.join(known) or 'none'}"
            )
    return {name: field_of(name) for name in fields}


def _bar_of_trial(bars: "Bars", name: str) -> "Progress":
    task = bars.add_task(name, total=None)
    return lambda done, total: bars.update(task, completed=done, total=total)
