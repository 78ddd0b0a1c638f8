"""Where a sample is from, as its record says it."""

from triptych.data.sample import Sample

NO_SOURCE = "(not stated)"
"""The source of a sample whose record names none."""

_FIELDS = ("source", "data_source", "dataset")


def source_of(sample: Sample) -> str:
    """The first of the fields source, data_source and dataset that holds text, or NO_SOURCE."""
    for name in _FIELDS:
        if isinstance(value := sample.extra.get(name), str):
            return value
    return NO_SOURCE
