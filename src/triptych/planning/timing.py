"""Time of a step by phase, from operations and bytes over what a device does in a second.

Matrix products, attention, what elementwise operations read and write, and what it takes to start
an operation are added up: eager PyTorch does one after the other. The number of bytes and of
operations per layer follow the code of the layers. `benchmarks/plan.py` compares with the clock.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from triptych.models.log_probs import CHUNK_BYTES
from triptych.planning.devices import Device
from triptych.planning.lengths import PromptLength
from triptych.planning.sizes import ModelSizes
from triptych.planning.workload import Workload

BACKWARD = 2.0
"""Products of a backward, in forwards."""
ATTENTION_BACKWARD = 2.5
"""The same of attention, whose scores are computed again."""
LAYER_CALLS = 70
"""Operations of a decoder layer, forward."""
DECODE_CALLS = 110
"""The same for one token per completion, with attention to shared prompts and own tokens."""
ADAMW_PASSES = 21
"""How often a trained weight's size is read or written by clipping and AdamW."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of an optimizer step on each rank, by phase.

    `data` is not among them: media are decoded and processed beside the step.
    """

    phases: Mapping[str, float]
    data: float = 0.0

    @property
    def total(self) -> float:
        return sum(self.phases.values())


def predict_time(sizes: ModelSizes, work: Workload, device: Device) -> StepTime:
    """Seconds of a step with prompts and completions of mean length."""
    return _Clock(sizes, work, device).step()


@dataclass(frozen=True)
class _Clock:
    sizes: ModelSizes
    work: Workload
    device: Device

    def step(self) -> StepTime:
        work = self.work
        phases: dict[str, float] = {}
        prompts = work.micro_batches * work.micro_batch
        if frozen := prompts * sum(
            self._tower(name, work.lengths.mean)
            for name in self.sizes.towers
            if not work.trains(name)
        ):
            phases["encoders"] = frozen
        if work.kind == "grpo":
            phases["rollout"] = self._rollout(prompts)
        if work.iterations > 1:
            phases["old policy"] = work.micro_batches * self._log_probs()
        if work.reference:
            phases["reference"] = work.micro_batches * self._log_probs()
        phases = {name: seconds / work.iterations for name, seconds in phases.items()}
        phases["update"] = work.micro_batches * self._update() + self._optimizer()
        if work.gpus > 1:
            phases["communication"] = self._communication()
        data = prompts * work.lengths.seconds / work.iterations
        return StepTime(phases, data)

    def _log_probs(self) -> float:
        """Forward of a micro-batch without gradients."""
        mean, work = self.work.lengths.mean, self.work
        towers = work.micro_batch * self._trained_towers(mean)
        answers = work.micro_batch * work.group * work.expected
        return self._decoder(work.row(mean, work.expected)) + self._head(answers) + towers

    def _update(self) -> float:
        """Forward and backward of a micro-batch."""
        mean, work = self.work.lengths.mean, self.work
        tokens = work.row(mean, work.expected)
        answers = work.micro_batch * work.group * work.expected
        forwards = 2 if work.checkpointing else 1
        linear, attention, rest = self._decoder_parts(tokens)
        backward = 1.0 if work.adapter else BACKWARD  # frozen weights have no gradients
        decoder = linear * (forwards + backward) + rest * (forwards + BACKWARD)
        decoder += attention * (forwards + ATTENTION_BACKWARD)
        chunked = answers * self.sizes.vocabulary * 4 > CHUNK_BYTES
        head = self._head(answers) * ((2 if chunked else 1) + backward)
        towers = work.micro_batch * self._trained_towers(mean) * (forwards + BACKWARD)
        return decoder + head + towers

    def _decoder(self, tokens: int) -> float:
        return sum(self._decoder_parts(tokens))

    def _decoder_parts(self, tokens: int) -> tuple[float, float, float]:
        """Products, attention, and all else of a forward over rows of the update."""
        work, mean = self.work, self.work.lengths.mean
        pairs = mean.tokens**2 / 2 + work.group * work.expected * (mean.tokens + work.expected / 2)
        return self._layers(tokens, work.micro_batch * pairs)

    def _layers(self, tokens: int, pairs: float) -> tuple[float, float, float]:
        sizes, device = self.sizes, self.device
        linear = self._product(tokens, sizes.layer_active)
        attention = 4 * sizes.queries * pairs / device.attention
        moved = 20 * sizes.hidden + 10 * (sizes.queries + sizes.keys) + 11 * sizes.inner
        rest = tokens * moved * self.work.compute_width / device.bandwidth
        rest += LAYER_CALLS * device.call
        return sizes.layers * linear, sizes.layers * attention, sizes.layers * rest

    def _product(self, rows: float, weights: float) -> float:
        return 2 * rows * weights / self.device.rate(rows)

    def _head(self, answers: int) -> float:
        vocabulary = self.sizes.vocabulary
        moved = 12 * answers * vocabulary * 4 / self.device.bandwidth
        return self._product(answers, self.sizes.head_weights) + moved

    def _rollout(self, prompts: int) -> float:
        work, sizes, mean = self.work, self.sizes, self.work.lengths.mean
        together = min(work.prompts_at_once, prompts)
        batches = -(-prompts // together)
        tokens = together * mean.tokens
        prefill = sum(self._layers(tokens, together * mean.tokens**2 / 2))
        prefill += self._product(together, sizes.head_weights)
        prefill += together * self._trained_towers(mean)
        decode = self._decode(together) * work.expected
        return batches * (prefill + decode)

    def _decode(self, together: int) -> float:
        """One token of each completion, half way through."""
        work, sizes, device = self.work, self.sizes, self.device
        rows, half = together * work.group, work.expected / 2
        prompt = work.lengths.mean.tokens
        linear = sizes.layers * self._product(rows, sizes.layer_active)
        head = self._product(rows, sizes.head_weights)
        states = 2 * sizes.keys * (together * prompt + rows * half) * work.compute_width
        scores = rows * sizes.heads * (prompt + half) * 4
        products = 4 * sizes.queries * rows * (prompt + half) / device.rate(rows)
        attention = sizes.layers * ((states + 8 * scores) / device.bandwidth + products)
        draw = 10 * rows * sizes.vocabulary * 4 / device.bandwidth
        return linear + head + attention + draw + sizes.layers * DECODE_CALLS * device.call

    def _trained_towers(self, prompt: PromptLength) -> float:
        towers = [name for name in self.sizes.towers if self.work.trains(name)]
        return sum(self._tower(name, prompt) for name in towers)

    def _tower(self, name: str, prompt: PromptLength) -> float:
        """Seconds of a media encoder's forward over one prompt."""
        tower, device = self.sizes.towers[name], self.device
        tokens = prompt.tower_tokens(name, tower)
        if not tokens:
            return 0.0
        window = min(tokens, tower.window or tokens)
        attention = 4 * tower.hidden * tokens * window * tower.layers / device.attention
        moved = tower.layers * tokens * (25 * tower.hidden + 11 * tower.inner)
        return (
            self._product(tokens, tower.token_weights)
            + attention
            + moved * self.work.compute_width / device.bandwidth
            + tower.layers * LAYER_CALLS * device.call
        )

    def _optimizer(self) -> float:
        trained = self.work.trained * self.work.width
        if self.work.sharding == "fsdp":
            trained = -(-trained // self.work.gpus)
        return ADAMW_PASSES * trained / self.device.bandwidth

    def _communication(self) -> float:
        """Gradients of a step and, where weights are sharded, weights for every forward."""
        work = self.work
        gradients = 2 * work.trained * work.width
        weights = 0
        if work.sharding == "fsdp":
            gathers = 2 * work.micro_batches + (work.kind == "grpo") / work.iterations
            gathers += work.micro_batches * work.reference / work.iterations
            weights = int(gathers * self.sizes.weights * work.width)
        return (gradients + weights) / self.device.link
