"""Completions from a model on an OpenAI-compatible server: vLLM, SGLang, hosted APIs.

The server samples, counts tokens and says why it stopped; it tells neither token ids nor what a
grammar forced, so these completions can be evaluated, but not trained on.
"""

import asyncio
import logging
import time
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar, Self

from triptych.data.decoding import DecodePool
from triptych.data.media import MediaBudget
from triptych.data.messages import MessageBuilder, stage_messages
from triptych.data.notices import CutNotices
from triptych.data.sample import Media, Sample
from triptych.endpoint.chat import ChatMessages, chat_messages
from triptych.endpoint.config import EndpointConfig
from triptych.endpoint.failures import (
    EndpointError,
    Failure,
    FailureReason,
    Remedy,
    RequestError,
)
from triptych.endpoint.forms import AudioForm, MediaForms, SentMedia, VideoForm, send_media
from triptych.endpoint.loop import LoopThread
from triptych.endpoint.reply import Reply
from triptych.endpoint.session import Session, Wording
from triptych.endpoint.shelf import MediaShelf
from triptych.endpoint.usage import EndpointUsage
from triptych.errors import ConfigError, DataError, MediaError
from triptych.generation.engine import (
    Answer,
    Completion,
    Enforce,
    NoCompletion,
    SamplingConfig,
    StopReason,
    sample_seed,
)

_log = logging.getLogger(__name__)

_AHEAD = 2  # samples whose media are prepared while all others are being answered
_SEEDS = 2**31  # APIs take no larger ones


class TokenLimit(StrEnum):
    """The field of a request that limits the completion."""

    MAX_TOKENS = "max_tokens"
    """What vLLM, SGLang, transformers serve and most APIs take."""
    MAX_COMPLETION_TOKENS = "max_completion_tokens"
    """What OpenAI's reasoning models want in its place."""


class SamplingField(StrEnum):
    """A field of a request that says how the server draws."""

    TEMPERATURE = "temperature"
    """Sent always; models that reason refuse it on some APIs."""
    TOP_P = "top_p"
    """Sent where something is drawn, for servers have defaults of their own."""
    SEED = "seed"
    """Sent where something is drawn."""


@dataclass(frozen=True, kw_only=True)
class ServerConfig(EndpointConfig):
    """Which model answers, how it is asked, and when it is given up."""

    section: ClassVar[str] = "server"
    own_fields: ClassVar[frozenset[str]] = frozenset(
        {"model", "messages", "temperature", "top_p", "seed", "max_tokens", "max_completion_tokens"}
    )

    timeout: float = 300.0
    """Most seconds until a whole reply has arrived; a server that is busy lets requests wait."""
    video: VideoForm = VideoForm.FRAMES
    """How videos are sent. frames: the sampled frames as images, for any server; timed_frames: each
    after its time; file: the file itself, for vLLM and SGLang, which look at it and hear nothing;
    film: the file with its sound, for servers that hear what they see (transformers serve,
    Qwen-Omni's API). What the server takes of a file is its own setting, not that of `media`."""
    audio: AudioForm = AudioForm.INPUT_AUDIO
    """How sounds are sent, as WAV. input_audio: as OpenAI has it, also for vLLM and transformers
    serve; input_audio_url: the same with a data URL, for Qwen-Omni's API; audio_url: a part of its
    own, for vLLM, SGLang and transformers serve."""
    max_video_mb: float = 20.0
    """Largest video file that is sent as it is, in millions of bytes; of a larger one, and of a
    part of one, a clip of the frames that `media` allows is sent."""
    token_limit: TokenLimit = TokenLimit.MAX_TOKENS
    """The field that limits a completion: max_tokens, or max_completion_tokens where the server
    wants that."""
    omit: tuple[SamplingField, ...] = ()
    """Fields of the sampling (temperature, top_p, seed) that the server refuses; it then draws by
    its own defaults."""
    ignore_reasoning: bool = False
    """Take replies whose reasoning the server has moved to a field of its own by their text alone.
    Without it they are an error, for a stage of the format may have gone with it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check("max_video_mb", lambda value: value > 0, "a number above 0")


class ServerEngine:
    """Answers by the model behind a server. See `Engine` and `AnswerEngine`.

    Limits and connections are shared by all calls. Close it, or use it as a context; it also ends
    with the process.

    Args:
        config: which model, and how it is asked.
        budget: how much of each media item is sent.
        pool: decodes media; by default the engine starts one of its own when it needs it.
        messages: makes the chat messages of a sample; by default they ask for the stages.

    Raises:
        ConfigError: no model is named, or the key cannot be sent.
    """

    def __init__(
        self,
        config: ServerConfig,
        budget: MediaBudget,
        *,
        pool: DecodePool | None = None,
        messages: MessageBuilder | None = None,
    ) -> None:
        self.config, self.budget = config, budget
        self._answerer = _Answerer(config, budget, pool, messages or stage_messages())
        self._loop = LoopThread("answering", "the engine", self._answerer.close)
        self._end = weakref.finalize(self, self._loop.close)

    def answers(self, samples: Sequence[Sample], sampling: SamplingConfig) -> Iterator[Answer]:
        """See `AnswerEngine.answers`. What is in flight when the iterator is left is cancelled.

        Raises:
            ConfigError: the sampling asks for what a server cannot do.
            EndpointError: key, address or model are wrong, or too many samples in a row got no
                answer; what was answered before has been given out.
            MediaError: the media of a sample cannot be decoded; it names sample, file and cause.
        """
        _check_sampling(sampling, self.config)
        return self._answers(_turns(samples, 1, sampling), sampling)

    def generate(
        self, samples: Sequence[Sample], n: int, sampling: SamplingConfig
    ) -> list[list[Completion]]:
        """See `Engine.generate`. Each completion is a request of its own, with a seed of its own:
        not all servers write several at once.

        Raises:
            EndpointError: a sample has no completion, after all retries.
            ConfigError, MediaError: as `answers`.
        """
        _check_sampling(sampling, self.config)
        turns = _turns(samples, n, sampling)
        completions: dict[int, Completion] = {}
        for answer in self._answers(turns, sampling):
            if isinstance(answer.outcome, NoCompletion):
                raise EndpointError(
                    f"sample {turns[answer.index].sample.id}: no completion from "
                    f"{self.config.model} ({answer.outcome.reason}: {answer.outcome.cause})"
                )
            completions[answer.index] = answer.outcome
        return [[completions[i * n + k] for k in range(n)] for i in range(len(samples))]

    @property
    def usage(self) -> EndpointUsage:
        """What was asked and spent so far."""
        return self._answerer.session.usage.priced(self.config)

    def close(self) -> None:
        """Give up what is being asked, and close the connections."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answers(self, turns: Sequence["_Turn"], sampling: SamplingConfig) -> Iterator[Answer]:
        desk = _Desk(self._answerer, turns, sampling)
        work = self._loop.submit(desk.serve())
        try:
            while (answer := self._loop.wait(desk.next())) is not None:
                yield answer
            work.result()  # or what ended it
        finally:
            work.cancel()


@dataclass(frozen=True)
class _Turn:
    """A completion that is wanted: of a sample, the so-manyth, drawn by a seed."""

    sample: Sample
    number: int
    seed: int


def _turns(samples: Sequence[Sample], n: int, sampling: SamplingConfig) -> list[_Turn]:
    seeds = sampling.seeds(samples)
    of_each = seeds if len(seeds) > 1 else seeds * len(samples)
    return [
        _Turn(sample, number, _seed(seed, number))
        for sample, seed in zip(samples, of_each, strict=True)
        for number in range(n)
    ]


def _seed(seed: int, number: int) -> int:
    return (sample_seed(seed, f"completion {number}") if number else seed) % _SEEDS


class _Desk:
    """Serves turns side by side; who asked takes the answers, one by one, as they are ready."""

    def __init__(
        self, answerer: "_Answerer", turns: Sequence[_Turn], sampling: SamplingConfig
    ) -> None:
        self._answerer, self._turns, self._sampling = answerer, turns, sampling
        most = answerer.session.config.max_concurrency
        self._workers = min(most + _AHEAD, len(turns))
        # Not many more are asked for than are taken: a run that is killed has paid for them.
        self._room = asyncio.Semaphore(2 * most + _AHEAD)
        self._ready: asyncio.Queue[Answer | None] = asyncio.Queue()

    async def serve(self) -> None:
        """Serve all turns; after an error, the others are given up."""
        indices = iter(range(len(self._turns)))
        tasks = [asyncio.create_task(self._work(indices)) for _ in range(self._workers)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._ready.put_nowait(None)

    async def next(self) -> Answer | None:
        """The next answer; None after the last one, or after an error."""
        answer = await self._ready.get()
        self._room.release()
        return answer

    async def _work(self, indices: Iterator[int]) -> None:
        for index in indices:  # which all workers share
            await self._room.acquire()
            begun = time.perf_counter()
            outcome = await self._answerer.answer(self._turns[index], self._sampling)
            self._ready.put_nowait(Answer(index, outcome, time.perf_counter() - begun))


class _Answerer:
    """What asks for a completion. All but the constructor runs in one event loop."""

    def __init__(
        self,
        config: ServerConfig,
        budget: MediaBudget,
        pool: DecodePool | None,
        messages: MessageBuilder,
    ) -> None:
        self.session = Session(config, _WORDING, EndpointUsage())
        self._config, self._messages = config, messages
        self._forms = MediaForms(budget, config.video, config.audio, config.max_video_mb * 1e6)
        self._shelf: MediaShelf[SentMedia] = MediaShelf(
            self._prepare, config.max_concurrency + _AHEAD, pool, self.session.in_thread
        )
        self._notices = CutNotices()

    async def answer(self, turn: _Turn, sampling: SamplingConfig) -> Completion | NoCompletion:
        """The completion that is wanted, or why there is none."""
        self.session.check()
        sample = turn.sample
        try:
            media = await self._shelf.get(sample.media)
        except MediaError as error:
            raise MediaError(f"sample {sample.id}: {error}") from error
        if not turn.number:
            self._notices.tell(sample, media.notices)
        try:
            chat = chat_messages(self._messages(sample), media.items)
        except ValueError as error:
            raise DataError(f"sample {sample.id}: {error}") from error
        fields = _sampling_fields(turn, sampling, self._config)
        outcome = await self.session.attempt(self._complete, chat, fields)
        if isinstance(outcome, Failure):
            return NoCompletion(str(outcome.reason), outcome.cause)
        return outcome

    async def close(self) -> None:
        """Close all that is open."""
        await self.session.close()
        self._shelf.close()
        usage = self.session.usage.priced(self._config)
        _log.info("model %s: %s", self._config.model, usage)

    async def _complete(self, chat: ChatMessages, fields: dict[str, Any]) -> Completion:
        reply = await self.session.complete(chat, **fields)
        return _completion(reply, ignore_reasoning=self._config.ignore_reasoning)

    def _prepare(self, media: Sequence[Media], pool: DecodePool) -> SentMedia:
        return send_media(media, self._forms, pool)


_WORDING = Wording(
    asked="model",
    wanted="answer",
    threads="answering",
    bad_reply="see that server.base_url is the address of a chat completions server",
)


def _check_sampling(sampling: SamplingConfig, config: ServerConfig) -> None:
    """Refuse what a server cannot do.

    Raises:
        ConfigError: there is some.
    """
    if sampling.enforce is not Enforce.OFF:
        raise ConfigError(
            f"enforce is {sampling.enforce}, which only a model in this process can be held to; "
            "leave it out, or put the grammar that `triptych grammar` prints into "
            "server.extra_body, in the field that the server has for it"
        )
    if sampling.top_k and "top_k" in config.extra_body:
        raise ConfigError("server.extra_body: 'top_k' is set by the sampling; remove it")


def _sampling_fields(turn: _Turn, sampling: SamplingConfig, config: ServerConfig) -> dict[str, Any]:
    """The fields of a request that say how the server draws."""
    fields: dict[str, Any] = {SamplingField.TEMPERATURE: sampling.temperature}
    if sampling.temperature > 0:
        # Also where it keeps all: servers take what is not said from the model's own settings.
        fields[SamplingField.TOP_P] = sampling.top_p
        fields[SamplingField.SEED] = turn.seed
        if sampling.top_k:
            fields["top_k"] = sampling.top_k
    said = {str(name): value for name, value in fields.items() if name not in config.omit}
    return {**said, str(config.token_limit): sampling.max_new_tokens}


_STOP_REASONS = {
    "stop": StopReason.END,
    "length": StopReason.LENGTH,
    "content_filter": StopReason.WITHHELD,
}


def _completion(reply: Reply, *, ignore_reasoning: bool) -> Completion:
    """What a reply says.

    Raises:
        RequestError: it cannot be told.
    """
    if reply.reasoning.strip() and not ignore_reasoning:
        raise RequestError(
            Failure(
                FailureReason.BAD_REPLY,
                "the server has moved reasoning out of the text, maybe a stage of the format",
                Remedy.STOP,
                advice="start it without a reasoning parser (--reasoning-parser of vLLM and "
                "SGLang), or set server.ignore_reasoning to judge by the text alone",
            )
        )
    stop_reason = (
        StopReason.WITHHELD if reply.refusal else _STOP_REASONS.get(reply.finish_reason or "")
    )
    if stop_reason is None:
        raise RequestError(
            Failure(
                FailureReason.BAD_REPLY,
                f"the reply ended for a reason that is not known ({reply.finish_reason})",
            )
        )
    text = reply.refusal or reply.text
    return Completion((), text, stop_reason, (), counted=reply.completion_tokens)
