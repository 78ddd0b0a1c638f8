"""What `triptych eval` and `triptych audit` have in common: the questions, and who answers them."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from triptych.cli.model import ModelConfig, check_at_least, load_model
from triptych.data.media import MediaBudget
from triptych.errors import ConfigError, MediaError
from triptych.generation.budgets import StageBudgets
from triptych.generation.engine import Enforce, SamplingConfig
from triptych.generation.server import ServerConfig

if TYPE_CHECKING:
    from triptych.data.decoding import DecodePool
    from triptych.data.sample import Sample
    from triptych.evaluation.benchmarks import Benchmark
    from triptych.evaluation.protocol import Protocol
    from triptych.generation.engine import AnswerEngine, Engine
    from triptych.models import OmniModel
    from triptych.runs import RunFolder

MAX_NEW_TOKENS = 1024
"""Longest completion where neither a setting nor a protocol says otherwise."""

_LOCAL_ONLY = ("dtype", "stage_tokens", "audio_in_video", "cache")
_DECISIVE = (
    *("model", "dtype", "stage_tokens", "media", "audio_in_video", "server", "protocol"),
    *("rewards", "judge"),
)
# How a server is reached, and how patiently, decides nothing about what it says.
_CONNECTION = frozenset(
    {
        *("base_url", "api_key_env", "stream", "timeout", "max_retries", "backoff", "max_wait"),
        *(
            "max_concurrency",
            "requests_per_minute",
            "max_failures",
            "stream",
            "input_price",
            "output_price",
        ),
        "cache",
    }
)

_Settings = TypeVar("_Settings", bound="EngineConfig")


class ProtocolName(StrEnum):
    """How questions are put, and answers scored."""

    HOUSE = "house"
    """The prompt that asks for the stages, and our rewards."""
    PUBLISHED = "published"
    """The prompt and media of the published evaluation; its metric stands beside ours."""


@dataclass(frozen=True, kw_only=True)
class QuestionsConfig:
    """What is asked."""

    data: Path | None = None
    """Data set, in any form that `triptych data convert` reads; of a benchmark, the file with its
    questions or the folder that holds it."""
    benchmark: str | None = None
    """Benchmark by name (intent_bench, daily_omni, worldsense, clips): with its groups and its
    published results."""
    protocol: ProtocolName = ProtocolName.HOUSE
    """How questions are put and answers scored: as here, or as in the published evaluation, whose
    metric is then `answer.published`."""
    limit: int | None = None
    """Ask only so many questions: a random choice of clips, the same in every run."""

    def __post_init__(self) -> None:
        if self.data is None and self.benchmark in (None, "samples"):
            raise ConfigError("nothing to ask: name a data set by --data, or a --benchmark")
        if self.limit is not None:
            check_at_least(1, self, "limit")


@dataclass(frozen=True, kw_only=True)
class EngineConfig(StageBudgets, ModelConfig):
    """Who answers: a model in this process, or one behind a server."""

    model: str = ""
    """Hub id (Qwen/Qwen2.5-Omni-7B) or folder of the model, if it runs in this process."""
    server: ServerConfig | None = None
    """The server that runs the model, if it does not run in this process."""
    enforce: Enforce | None = None
    """What completions are held to: nothing, the stages in their order, or the stages and an answer
    of the form that the question asks for. Left out, it is the stages; nothing where a server
    answers or the protocol is published."""
    max_new_tokens: int | None = None
    """Longest completion, in tokens; one that is not enforced counts as truncated there. Left out,
    it is 1024, or what the published protocol says."""
    batch_size: int = 16
    """Samples that are answered together."""

    def __post_init__(self) -> None:
        if bool(self.model) == (self.server is not None):
            raise ConfigError(
                "name one model: by --model FOLDER, or by --server.base-url and --server.model"
            )
        check_at_least(1, self, "batch_size")
        if self.max_new_tokens is not None:
            check_at_least(1, self, "max_new_tokens")
        if self.server is not None:
            self._check_server()
        self.check_budgets(enforced=self.server is None and self.enforce is not Enforce.OFF)

    def _check_server(self) -> None:
        if self.enforce not in (None, Enforce.OFF):
            raise ConfigError(
                f"enforce is {self.enforce}, which only a model in this process can be held to; "
                "leave it out, or give the server the grammar that `triptych grammar` prints"
            )
        defaults = ModelConfig(model="")
        for name in _LOCAL_ONLY:
            if getattr(self, name) != getattr(defaults, name):
                raise ConfigError(f"{name} is for a model in this process; leave it out")


@dataclass(frozen=True)
class Questions:
    """What is asked.

    Attributes:
        samples: the questions.
        groups: divisions of them by name.
        protocol: the published one, if it is asked for.
        benchmark: the one that is named, if one is.
        total: how many questions there are; more than `samples` where there is a limit.
        files: that the questions are read from.
    """

    samples: "list[Sample]"
    groups: "Mapping[str, Callable[[Sample], str | None]]"
    protocol: "Protocol | None"
    benchmark: "Benchmark | None"
    total: int
    files: "Sequence[Path]"

    @property
    def published(self) -> "Callable[[Sample, str], float | None] | None":
        """The published metric of one item, if it is asked for."""
        return self.protocol.score if self.protocol else None


def load_questions(config: QuestionsConfig, *, need_media: bool = True) -> Questions:
    """The questions of a data set or benchmark.

    Args:
        config: which.
        need_media: refuse a benchmark none of whose media is there.

    Raises:
        ConfigError: there is no such benchmark, or it has no published protocol.
        DataError: the data cannot be read, or a record is no sample.
    """
    from triptych.data.readers import data_files, load_samples
    from triptych.data.sound import with_own_sound
    from triptych.evaluation.benchmarks import BENCHMARKS
    from triptych.settings import did_you_mean

    if config.benchmark is not None and config.benchmark not in BENCHMARKS:
        hint = did_you_mean(config.benchmark, BENCHMARKS) or f"; there are {', '.join(BENCHMARKS)}"
        raise ConfigError(f"benchmark: there is no {config.benchmark!r}{hint}")
    named = BENCHMARKS[config.benchmark] if config.benchmark else None
    benchmark = named or BENCHMARKS["samples"]
    protocol = benchmark.protocol if config.protocol is ProtocolName.PUBLISHED else None
    if config.protocol is ProtocolName.PUBLISHED and protocol is None:
        raise ConfigError(f"protocol: {benchmark.title} has no published one; leave it out")
    place = config.data
    if named is not None and named.source is not None:
        place = named.source.file(named.title, config.data)
    assert place is not None  # one of the two is given
    samples = load_samples(place) if named is None else named.load(place, need_media=need_media)
    if getattr(config, "audio_in_video", False):
        samples = with_own_sound(samples)
    chosen = samples if config.limit is None else some_clips(samples, config.limit)
    files = data_files([place])
    return Questions(chosen, benchmark.groups, protocol, named, len(samples), files)


def some_clips(samples: "Sequence[Sample]", limit: int) -> "list[Sample]":
    """So many questions, clip by clip, in the order of the data set.

    Clips are drawn by the digest of their names and folders: whatever the order of the file, the
    choice is the same, and a smaller one is part of a larger one.
    """
    import hashlib

    from triptych.evaluation.metrics import cluster_of

    def drawn(number: int) -> tuple[bytes, str]:
        # Not the whole path, since a data set may move; nor the name alone, as in ID/video.mp4.
        name = "/".join(Path(cluster_of(samples[number])).parts[-2:])
        digest = hashlib.sha256(name.encode(errors="surrogatepass")).digest()
        return digest, samples[number].id

    chosen = sorted(sorted(range(len(samples)), key=drawn)[:limit])
    return [samples[number] for number in chosen]


def settled(config: _Settings, questions: Questions) -> _Settings:
    """The settings with what was left out filled in, by the protocol where there is one.

    A media setting that has its usual value counts as left out.
    """
    protocol = questions.protocol
    free = protocol is not None or config.server is not None
    longest = protocol.max_new_tokens if protocol else MAX_NEW_TOKENS
    return replace(
        config,
        enforce=config.enforce or (Enforce.OFF if free else Enforce.STAGES),
        max_new_tokens=config.max_new_tokens or longest,
        media=_media(config.media, protocol.media) if protocol else config.media,
    )


def _media(given: MediaBudget, published: MediaBudget) -> MediaBudget:
    usual = MediaBudget()
    changed = {name: value for name, value in vars(given).items() if value != vars(usual)[name]}
    return replace(published, **changed)


def deviations(config: EngineConfig, protocol: "Protocol") -> list[str]:
    """What settings, once `settled`, say otherwise than a protocol."""
    pairs = {
        f"media.{name}": (value, vars(protocol.media)[name])
        for name, value in vars(config.media).items()
    }
    pairs["max_new_tokens"] = (config.max_new_tokens, protocol.max_new_tokens)
    pairs["enforce"] = (config.enforce, Enforce.OFF)
    return [f"{name} is {one}, not {other}" for name, (one, other) in pairs.items() if one != other]


@dataclass(frozen=True)
class LoadedEngine:
    """An engine, and what goes with it. As a context it is closed at the end.

    Attributes:
        engine: is asked.
        model: in this process; None where a server answers.
        outcomes: for samples in order, an error for each that cannot be asked.
        sampling: greedy, as the settings say.
        origin: what completions are made from, for `evaluate`.
    """

    engine: "Engine | AnswerEngine"
    model: "OmniModel | None"
    outcomes: "Callable[[Sequence[Sample]], Iterable[object]]"
    sampling: SamplingConfig
    origin: Mapping[str, Any]
    resources: ExitStack

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.resources.close()


def load_engine(config: EngineConfig, questions: Questions) -> LoadedEngine:
    """The engine that `settled` settings name.

    Raises:
        ConfigError: a setting cannot be.
        ModelError: the model cannot be loaded.
    """
    messages = questions.protocol.messages if questions.protocol else None
    sampling = SamplingConfig(
        max_new_tokens=config.max_new_tokens or MAX_NEW_TOKENS,
        temperature=0,
        enforce=config.enforce or Enforce.OFF,
        min_stage_tokens=config.min_stage_tokens,
        max_stage_tokens=config.max_stage_tokens,
    )
    resources = ExitStack()
    if config.server is not None:
        from triptych.data.decoding import DecodePool
        from triptych.generation.server import ServerEngine

        pool = resources.enter_context(DecodePool(config.decode))
        server = resources.enter_context(
            ServerEngine(config.server, config.media, pool=pool, messages=messages)
        )
        decode = _decoded(pool, config.media)
        return LoadedEngine(server, None, decode, sampling, origin_of(config), resources)

    from triptych.generation.completions import weights_digest
    from triptych.generation.local import LocalEngine
    from triptych.models.screening import screen

    model = load_model(config, messages=messages)
    model.requires_grad_(False)  # its media encoders then run once for all questions about a clip
    origin = {**origin_of(config), "weights_sha256": weights_digest(model)}
    engine = LocalEngine(model, max_sequences=config.batch_size)

    def outcomes(samples: "Sequence[Sample]") -> "Iterator[object]":
        return screen(model, samples, lambda _: sampling.max_new_tokens)

    return LoadedEngine(engine, model, outcomes, sampling, origin, resources)


def origin_of(config: EngineConfig) -> dict[str, Any]:
    """What of the settings decides about completions and scores, as plain JSON."""
    from triptych.settings import plain

    settings = plain(config)
    decisive = {name: settings[name] for name in _DECISIVE if name in settings}
    for section in ("server", "judge"):
        if decisive.get(section) is not None:
            decisive[section] = {
                name: value for name, value in decisive[section].items() if name not in _CONNECTION
            }
    return decisive


def folder_to_go_on_with(config: Any, free: Collection[str], done: str) -> "RunFolder":
    """The folder of a new run, or of one by the same settings, which is gone on with.

    Args:
        config: of the command; its `out` is the folder.
        free: settings that may be others, for they change no prediction.
        done: what was done there, for the message: "evaluated".

    Raises:
        ConfigError: it holds something else.
    """
    from triptych.origin import differences
    from triptych.runs import RunFolder
    from triptych.settings import plain

    def decisive(settings: Any) -> dict[str, Any]:
        kept = {name: value for name, value in plain(settings).items() if name not in free}
        return {**kept, **origin_of(settings)}

    if not (config.out / "config.yaml").exists():
        return RunFolder.create(config.out)
    try:
        before = RunFolder(config.out).config(type(config))
    except ConfigError as error:
        raise ConfigError(f"{config.out}: holds another run; choose another folder") from error
    if shown := differences(decisive(before), decisive(config)):
        raise ConfigError(
            f"{config.out}: was {done} by other settings ({shown}); choose another folder, or "
            "remove this one"
        )
    return RunFolder.create(config.out, resume=True)


def _decoded(
    pool: "DecodePool", budget: MediaBudget
) -> "Callable[[Sequence[Sample]], Iterator[object]]":
    def outcomes(samples: "Sequence[Sample]") -> Iterator[object]:
        for sample in samples:
            try:
                yield pool.decode(sample.media, budget)
            except MediaError as error:
                yield error

    return outcomes
