"""What is printed must be what was measured, and claim no more."""

from io import StringIO

import pytest
from rich.console import Console

from triptych.cli.tables import cell_text, print_evaluation, verdict_lines, wide_console
from triptych.statistics import Interval


def printed(arms: dict[str, dict[str, dict[str, Interval]]]) -> str:
    console = Console(file=StringIO(), width=wide_console().width)
    print_evaluation(arms, console)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_every_figure_stands_in_full() -> None:
    names = ("cold_start", "uniform", "stage_credit", "continued_sft")
    figure = Interval(0.8125, 0.75, 0.875, 1200)
    metrics = {"answer": figure, "context.expression_start": figure, "tokens": figure}
    text = printed({name: {"balanced": metrics, "conflict": metrics} for name in names})
    assert text.count("0.812 (0.75-0.88)") == 4 * 3
    assert text.count("1200") == 3
    assert text.count("context.expression_start") == 1
    assert "tokens" not in text
    assert "…" not in text


def test_an_arm_without_a_metric_shows_a_dash() -> None:
    figure = Interval(0.5, 0.4, 0.6, 10)
    text = printed({"a": {"all": {"answer": figure}}, "b": {"all": {}}})
    assert text.rstrip().endswith("-")
    assert cell_text(None) == "-"
    assert cell_text(Interval(0.5, None, None, 3)) == "0.500"


@pytest.mark.parametrize("name", ["mouth [start]", "mouth [/start]"])
def test_no_markup_in_names_of_the_users_is_obeyed(name: str) -> None:
    text = printed({name: {name: {f"context.{name}": Interval(0.5, 0.4, 0.6, 10)}}})
    assert text.count(name) == 3


def test_a_figure_of_another_n_says_so() -> None:
    arms = {arm: {"all": {"answer": Interval(0.5, 0.4, 0.6, n)}} for arm, n in (("a", 9), ("b", 8))}
    assert "0.500 (0.40-0.60)   0.500 (0.40-0.60) n=8" in printed(arms)


def test_the_answer_by_itself_is_shown_where_it_differs() -> None:
    one, other = Interval(0.5, 0.4, 0.6, 10), Interval(0.7, 0.6, 0.8, 10)
    assert "answer.alone" not in printed({"a": {"all": {"answer": one, "answer.alone": one}}})
    assert "answer.alone" in printed({"a": {"all": {"answer": one, "answer.alone": other}}})


@pytest.mark.parametrize(
    ("interval", "words"),
    [
        (Interval(0.05, 0.01, 0.09, 9), "answer higher (+0.050 [+0.01, +0.09])"),
        (Interval(-0.05, -0.09, -0.01, 9), "answer lower (-0.050 [-0.09, -0.01])"),
        (Interval(0.05, -0.01, 0.09, 9), "answer not told apart (+0.050 [-0.01, +0.09])"),
        (Interval(0.05, None, None, 9), "answer not told apart (+0.050)"),
    ],
)
def test_only_intervals_that_leave_zero_out_make_a_claim(interval: Interval, words: str) -> None:
    (line,) = verdict_lines({"stage_credit - uniform": {"balanced": {"answer": interval}}})
    assert line == f"stage credit against uniform: {words}"
