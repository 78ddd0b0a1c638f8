"""What decoding had to cut, said on the log without filling the screen."""

import logging
from collections.abc import Sequence

from triptych.data.sample import Sample

_log = logging.getLogger(__name__)
_AT_MOST = 10  # lines


class CutNotices:
    """Says what of a sample's media was cut to the budget, for the first few."""

    def __init__(self) -> None:
        self._told = 0

    def tell(self, sample: Sample, notices: Sequence[str]) -> None:
        """One line for each notice, up to a number of lines in all."""
        for notice in notices:
            self._told += 1
            if self._told <= _AT_MOST:
                _log.warning("sample %s: %s", sample.id, notice)
            if self._told == _AT_MOST:
                _log.warning("further media are cut to the budget without a line of their own")
