"""Data sets in the forms that they are published in, read as samples.

`read_dataset` tells by itself how records are stored and which form they have; a record that is no
sample becomes a `Problem` with its place. `load_samples` raises at the first one.
"""

from triptych.data.readers.base import Dataset, Problem
from triptych.data.readers.read import data_files, load_samples, read_dataset
from triptych.data.readers.registry import FORMS

__all__ = ["FORMS", "Dataset", "Problem", "data_files", "load_samples", "read_dataset"]
