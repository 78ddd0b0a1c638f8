"""What blind answers reach: of the questions that the answer is the mean of, and of no others."""

from dataclasses import replace

from triptych.data.sample import Sample
from triptych.evaluation.baselines import Baseline, baselines_of
from triptych.evaluation.metrics import ItemScore


def choice(name: str, answer: str, options: str) -> Sample:
    kind = "multiple_choice" if options else "yes_no"
    return Sample(
        id=name, question="?", problem_type=kind, options=tuple(options), answer=answer, media=()  # type: ignore[arg-type]
    )  # fmt: skip


SAMPLES = {
    "a": choice("a", "A", "xyzw"),
    "b": choice("b", "A", "yzwx"),
    "c": choice("c", "B", "vx"),
    "d": choice("d", "yes", ""),
}


def item(name: str, kind: str | None = None, answer: float | None = 1.0) -> ItemScore:
    return ItemScore(name, name, kind, "aligned" if name == "a" else None, {"answer": answer},
                     groups={"set": "one" if name in "ab" else "two"})  # fmt: skip


def test_chance_and_the_most_frequent_answer_by_split_and_group() -> None:
    found = baselines_of([item(name) for name in SAMPLES], SAMPLES, "all")
    # Letter A answers two of three, and so does the option x.
    assert found.splits == {
        "all": Baseline(1.5 / 4, 3 / 4, 4),
        "aligned": Baseline(0.25, 1.0, 1),
    }
    assert found.groups == {"set": {"one": Baseline(0.25, 1.0, 2), "two": Baseline(0.5, 1.0, 2)}}
    assert found.to_json()["splits"]["aligned"] == {"chance": 0.25, "most_frequent": 1.0, "n": 1}


def test_questions_that_are_in_no_mean_of_the_answer_do_not_count() -> None:
    records = [item("a", "intention"), item("b", "intention", None), item("d", "emotion")]
    assert baselines_of(records, SAMPLES, "all").splits["all"] == Baseline(0.25, 1.0, 1)
    without_main = [replace(one, kind=None) for one in records]
    assert baselines_of(without_main, SAMPLES, "all").splits["all"].n == 2


def test_every_completion_of_a_sample_counts() -> None:
    asked = {"a#1": SAMPLES["a"], "a#2": SAMPLES["a"], "d": SAMPLES["d"]}
    found = baselines_of([item(name) for name in asked], asked, "all")
    assert found.splits["all"] == Baseline(1.0 / 3, 1.0, 3)
