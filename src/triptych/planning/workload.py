"""What a run does in a step, in numbers that memory and time are computed from."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from triptych.planning.lengths import Lengths, PromptLength
from triptych.planning.sizes import ModelSizes

Sharding: TypeAlias = Literal["ddp", "fsdp"]

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Workload:
    """A step of training.

    Attributes:
        kind: reinforcement or cold start.
        lengths: of the prompts.
        per_step: prompts per optimizer step, over all ranks.
        micro_batch: prompts per forward and rank.
        group: completions of a prompt; 1 in a cold start.
        completion: tokens of the longest completion, which memory has to hold.
        expected: tokens of a completion on average, which take time.
        trained: parameters that are trained: of the model, or of its adapter.
        reference: a reference model is asked.
        iterations: optimizer steps on a rollout.
        checkpointing: activations are computed again in the backward.
        frozen: media encoders that are not trained.
        width: bytes of a weight.
        layer_width: the same, of a decoder layer, which may be quantised.
        autocast: computes in bf16, whatever the weights are.
        adapter: `trained` counts the weights of an adapter; the model itself is frozen.
        gpus: ranks.
        sharding: ddp keeps everything on every rank; fsdp (and ZeRO-3) shards weights, gradients
            and optimizer.
        on_cpu: computes where the prompts are kept.
        at_once: completions that are written together, of one prompt at least.
        validation: tokens of the longest completion of a validation; 0 where there is none, or none
            that needs as much as a rollout.
    """

    kind: Literal["grpo", "sft"]
    lengths: Lengths
    per_step: int
    micro_batch: int
    group: int
    completion: int
    expected: int
    trained: int
    reference: bool
    iterations: int = 1
    checkpointing: bool = False
    frozen: tuple[str, ...] = ()
    width: int = 4
    layer_width: float = 4
    autocast: bool = False
    adapter: bool = False
    gpus: int = 1
    sharding: Sharding = "ddp"
    on_cpu: bool = False
    at_once: int = 64
    validation: int = 0

    @property
    def compute_width(self) -> int:
        """Bytes of an activation."""
        return 2 if self.autocast else self.width

    @property
    def micro_batches(self) -> int:
        """Forwards of a step and rank."""
        return max(1, -(-self.per_step // (self.micro_batch * self.gpus)))

    @property
    def prompts_at_once(self) -> int:
        """Prompts whose completions are decoded together."""
        return max(1, min(self.at_once // self.group, self.micro_batches * self.micro_batch))

    def row(self, prompt: PromptLength, completion: int) -> int:
        """Tokens of a forward of the update."""
        return self.micro_batch * (prompt.tokens + self.group * completion)

    def trains(self, tower: str) -> bool:
        """Whether a media encoder is trained."""
        return not self.adapter and tower not in self.frozen

    def model_bytes(self, sizes: ModelSizes) -> int:
        """Of the model's weights, without an adapter's."""
        layers = sizes.layers * sizes.layer
        return int((sizes.weights - layers) * self.width + layers * self.layer_width)


def bytes_of(dtype: str, quantize: str = "none") -> tuple[int, float]:
    """Bytes of a number, and of a weight of a decoder layer."""
    width = {"float32": 4, "bfloat16": 2, "float16": 2}[dtype]
    return width, {"none": float(width), "8bit": 1.0, "4bit": 0.55}[quantize]  # with its scales


def lora_weights(sizes: ModelSizes, rank: int) -> int:
    """Parameters of adapters of this rank at all linear layers of the decoder."""
    hidden, queries, keys = sizes.hidden, sizes.queries, sizes.keys
    attention = 2 * (hidden + queries) + 2 * (hidden + keys)
    feed_forward = 0 if sizes.experts else 3 * (hidden + sizes.inner)  # experts are no layers
    return sizes.layers * rank * (attention + feed_forward)
