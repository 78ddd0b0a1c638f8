"""What is asked under each condition: the altered samples, order by order of the options."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from triptych.data.sample import Media, MediaKind, ProblemType, Sample
from triptych.errors import ConfigError
from triptych.evaluation.audit.conditions import (
    REORDERED,
    SWAPS,
    WITHHELD,
    Condition,
    Withhold,
    has_media,
    has_options,
    replaced,
    swapped,
    turned,
    without,
)
from triptych.evaluation.audit.donors import Donor, Donors
from triptych.evaluation.audit.files import Alteration, AlteredFiles

_TAKEN_APART = (Condition.SWAPPED_VIDEO, Condition.SWAPPED_AUDIO, Condition.SHUFFLED)


@dataclass(frozen=True)
class Trial:
    """One run of the benchmark.

    Attributes:
        condition: what is altered.
        turn: by how many places the options are moved.
        samples: those that the condition applies to, altered.
        donors: whose media they are given, by sample id, where media are swapped.
    """

    condition: Condition
    turn: int
    samples: Sequence[Sample]
    donors: Mapping[str, Donor]

    @property
    def name(self) -> str:
        """Of its predictions file."""
        return trial_name(self.condition, self.turn)


def trial_name(condition: Condition, turn: int = 0) -> str:
    """The name of a trial: "deaf", "permuted-2"."""
    return f"{condition}-{turn}" if turn else str(condition)


class Trials:
    """Makes the trials of an audit, one condition at a time.

    Args:
        samples: the benchmark as it is.
        files: writes altered media.
        withhold: what stands in the place of withheld media.
        seed: of the donors.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        files: AlteredFiles,
        withhold: Withhold = Withhold.REMOVE,
        seed: int = 0,
    ) -> None:
        self._samples, self._files, self._withhold = samples, files, withhold
        self._donors = Donors(samples, seed)

    def of(self, condition: Condition) -> Iterator[Trial]:
        """The trials of a condition; none where it applies to no sample.

        Raises:
            DataError: altered media cannot be written.
            MediaError: media that must be altered cannot be decoded.
        """
        altered, donors = self._altered(condition)
        turns = max((len(one.options) for one in altered if has_options(one)), default=1)
        first = 1 if condition is Condition.PERMUTED else 0
        for turn in range(first, turns if condition in REORDERED else 1):
            samples = [_in_order(one, turn) for one in altered if turn == 0 or _has_turn(one, turn)]
            if samples:
                yield Trial(condition, turn, samples, donors)

    def _altered(self, condition: Condition) -> tuple[list[Sample], dict[str, Donor]]:
        if condition in WITHHELD:
            return self._withheld(WITHHELD[condition]), {}
        if condition in SWAPS:
            donors = self._donors_of(SWAPS[condition])
            return [
                swapped(one, donors[one.id].sample, SWAPS[condition])
                for one in self._samples
                if one.id in donors
            ], donors
        if condition is Condition.SHUFFLED:
            return self._shuffled(), {}
        if condition is Condition.PERMUTED:
            choice = ProblemType.MULTIPLE_CHOICE
            return [one for one in self._samples if one.problem_type is choice], {}
        return list(self._samples), {}

    def _withheld(self, kinds: frozenset[MediaKind]) -> list[Sample]:
        samples = [one for one in self._samples if has_media(one, kinds)]
        if self._withhold is Withhold.REMOVE:
            return [without(one, kinds) for one in samples]
        blanks = self._files.make(Alteration.BLANK, _items(samples, kinds))
        return [replaced(one, blanks) for one in samples]

    def _shuffled(self) -> list[Sample]:
        films = self._files.make(
            Alteration.SHUFFLED, _items(self._samples, frozenset({MediaKind.VIDEO}))
        )
        return [
            replaced(one, films) for one in self._samples if not films.keys().isdisjoint(one.media)
        ]

    def _donors_of(self, kinds: frozenset[MediaKind]) -> dict[str, Donor]:
        found = {
            one.id: self._donors.find(one, kinds) for one in self._samples if has_media(one, kinds)
        }
        return {key: donor for key, donor in found.items() if donor is not None}


def check_read_in_turns(conditions: Sequence[Condition], withhold: Withhold) -> None:
    """Refuse what cannot be shown to a model that reads a video and its sound in turns: both then
    come from one file, and the audit alters one of them.

    Raises:
        ConfigError: it is asked for.
    """
    possible = [condition for condition in Condition if condition not in _TAKEN_APART]
    if refused := [condition for condition in conditions if condition in _TAKEN_APART]:
        raise ConfigError(
            f"audio_in_video: {', '.join(refused)} would take a video and its sound from two "
            f"files; leave audio_in_video out, or give --conditions {','.join(possible)}"
        )
    if withhold is Withhold.BLANK:
        raise ConfigError(
            "audio_in_video: withhold: blank would take a video and its sound from two files; "
            "leave audio_in_video out, or withhold: remove"
        )


def _items(samples: Sequence[Sample], kinds: frozenset[MediaKind]) -> list[Media]:
    return [item for one in samples for item in one.media if item.kind in kinds]


def _has_turn(sample: Sample, turn: int) -> bool:
    return has_options(sample) and len(sample.options) > turn


def _in_order(sample: Sample, turn: int) -> Sample:
    return turned(sample, turn) if turn else sample
