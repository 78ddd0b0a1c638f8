"""Where samples are from: the check of a data set and the weights of rewards must agree."""

from collections import Counter
from typing import Any

import pytest

from triptych.data.check import MediaFiles, check
from triptych.data.readers import Dataset
from triptych.data.sample import ProblemType, Sample
from triptych.data.source import NO_SOURCE, source_of


def sample(number: int, **extra: Any) -> Sample:
    return Sample(
        id=f"q{number}", question="?", problem_type=ProblemType.FREE_FORM, answer="yes", media=(),
        extra=extra,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("extra", "source"),
    [
        ({"data_source": "CLEVRER"}, "CLEVRER"),
        ({"dataset": "emer", "source": "web"}, "web"),
        ({"source": 7, "dataset": "emer"}, "emer"),
        ({"kind": "intention"}, NO_SOURCE),
    ],
)
def test_the_source_is_what_the_record_names(extra: dict[str, Any], source: str) -> None:
    assert source_of(sample(0, **extra)) == source


def test_the_check_of_a_data_set_counts_the_same_sources() -> None:
    samples = (sample(0, source="a"), sample(1), sample(2, dataset="b", data_source="a"))
    found = check(
        Dataset(samples, (), "native", "said so"),
        vagueness=lambda reference: None,
        files=MediaFiles(1, None),
    )
    assert found.by_source == Counter(map(source_of, samples)) == {"a": 2, NO_SOURCE: 1}
