"""What is printed of an evaluation: groups, shares, what is open, published figures beside ours."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

from rich.console import Console

from triptych.cli.evaluation_tables import print_figures, print_groups, print_result
from triptych.cli.questions import EngineConfig, Questions
from triptych.data.media import MediaBudget
from triptych.evaluation.baselines import Baseline, Baselines
from triptych.evaluation.benchmarks import BENCHMARKS
from triptych.evaluation.metrics import ItemScore
from triptych.evaluation.summary import EvaluationResult, Groups, summarise
from triptych.evaluation.timing import Timing
from triptych.generation.engine import Enforce, NoCompletion
from triptych.rewards import Unscored
from triptych.statistics import Interval

TIMING = Timing(4, 1.25, 1.0, 2.5, 5.0, 80.0)


def console() -> Console:
    return Console(file=StringIO(), width=155)


def text_of(screen: Console) -> str:
    assert isinstance(screen.file, StringIO)
    return screen.file.getvalue()


def item(index: int, **scores: float | None) -> ItemScore:
    fixed = {"answer": 0.5, "answer.alone": 0.5, "refused": 0.25, "truncated": 0.0, "tokens": 40.0}
    groups = {"category": "emotion" if index % 2 else "social"}
    return ItemScore(f"q{index}", f"c{index}", None, None, {**fixed, **scores}, groups=groups)


def printed(
    result: EvaluationResult,
    benchmark: str | None = None,
    *,
    total: int = 4,
    published: bool = False,
) -> str:
    named = BENCHMARKS[benchmark] if benchmark else None
    protocol = BENCHMARKS["intent_bench"].protocol if published else None
    questions = Questions([], {}, protocol, named, total, [Path("qa.json")])
    media = replace(protocol.media, fps=1.0) if protocol else MediaBudget()
    config = EngineConfig(model="m", media=media, max_new_tokens=2048, enforce=Enforce.OFF)
    screen = console()
    print_result(config, questions, result, screen)
    return text_of(screen)


def test_shares_and_times_stand_in_one_line() -> None:
    result = replace(summarise([item(i) for i in range(4)], "all"), timing=TIMING, found=3)
    text = printed(result)
    assert "truncated 0.0%, refused 25.0%, unanswered 0.0%, 40 tokens per answer, " in text
    assert "1.25 s per answer (median 1.00, 95% within 2.50), 80 tokens per second" in text
    assert "3 answers were there already; 1 were asked for" in text
    assert "questions were asked" not in text
    assert "of 9 questions were asked" in printed(result, total=9)


def test_what_is_open_is_said_with_the_way_out() -> None:
    open_item = replace(item(0, context=None), unscored={"context": Unscored.TIMEOUT})
    final_item = replace(item(1, context=None), unscored={"context": Unscored.NO_REFERENCE})
    lost = {"q8": NoCompletion("timeout", "no reply [b]within[/b] 60 s"),
            "q9": NoCompletion("bad_reply", "-")}  # fmt: skip
    result = replace(summarise([open_item, final_item], "all"), unanswered=lost)
    text = printed(result)
    assert "2 questions have no answer (1 timeout, 1 bad_reply) and are in no mean" in text
    assert "q8: no reply [b]within[/b] 60 s." in text
    assert "1 answers have a reward that could not be had" in text
    assert "unanswered 50.0%" in text


def test_published_figures_stand_beside_those_of_the_same_metric() -> None:
    items = [item(i, **{"answer.published": float(i % 2)}) for i in range(4)]
    text = printed(summarise(items, "all"), "intent_bench", published=True)
    assert "published results, percent, and answer.published of this model" in text
    assert "asked and scored as published: HumanOmniV2" in text
    assert "but media.fps is 1.0, not 2.0" in text
    assert "69.33" in text
    assert "50.00" in text
    assert "--protocol published follows it" not in text
    ours = printed(summarise([item(i) for i in range(4)], "all"), "intent_bench")
    assert "and answer.alone of this model" in ours
    assert "--protocol published follows it" in ours
    assert "published results" not in printed(summarise(items, "all"), "clips")


def test_a_group_is_as_large_as_its_answers_and_other_figures_say_their_own_n() -> None:
    answer, format_ = Interval(0.0, 0.0, 0.5, 3), Interval(0.5, 0.4, 0.6, 6)
    part = {"answer": answer, "context": format_}
    screen = console()
    print_groups({"kind": {"aligned": part, "conflict": part}}, screen)
    (line,) = (line for line in text_of(screen).splitlines() if "aligned" in line)
    assert line.split() == ["aligned", "3", "0.000", "(0.00-0.50)", "0.500", "(0.40-0.60)", "n=6"]


def test_what_blind_answers_reach_stands_beside_the_answer() -> None:
    result = summarise([item(i) for i in range(4)], "all")
    parts = {"emotion": Baseline(0.5, 0.5, 2), "social": Baseline(0.2, 0.5, 2)}
    screen = console()
    print_figures(result, Baselines({"all": Baseline(0.35, 0.75, 4)}, {"category": parts}), screen)
    lines = [line.split() for line in text_of(screen).splitlines()]
    at = next(place for place, line in enumerate(lines) if line[:1] == ["answer"])
    assert lines[at + 1 : at + 3] == [
        ["by", "chance", "4", "0.350"],
        ["most", "frequent", "answer", "4", "0.750"],
    ]
    assert ["social", "2", "0.200"] in [line[:3] for line in lines]


def test_groups_are_folded_and_a_division_into_one_part_is_left_out() -> None:
    figure = Interval(0.5, 0.4, 0.6, 10)
    many: Groups = {
        "task": {f"task-{i:02}": {"answer": replace(figure, n=i + 1)} for i in range(40)},
        "only": {"one": {"answer": figure}},
    }
    screen = console()
    print_groups(many, screen)
    text = text_of(screen)
    assert "by task" in text
    assert "by only" not in text
    assert text.count("task-") == 30
    assert "task-09" not in text, "the smallest are left out"
    assert "task-10" in text
    assert "10 smaller parts are in results.json only" in text
    assert "context" not in text, "no column that no part has"
