"""Memory of a rank, phase by phase: what is always there, and what each phase holds beside it.

The arithmetic follows what the code keeps, tensor by tensor; nothing in it was fitted. Of one
decoder layer and one token autograd keeps, in numbers: both norms' inputs (fp32), normalised states
and outputs (6H); queries, keys, values and the attention's output (2Q + 2K); gate, up, activation
and product of the feed-forward (4I). Under gradient checkpointing it keeps the layer's input, and
all of that for one layer at a time.

Phases follow each other, so the peak is that of the largest. Not counted: what CUDA and its
libraries take for themselves, and fragmentation.

Shapes: H hidden size, Q and K widths of all query and key heads, I feed-forward.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from triptych.models.log_probs import CHUNK_BYTES
from triptych.planning.lengths import PromptLength
from triptych.planning.sizes import ModelSizes, TowerSizes
from triptych.planning.workload import Workload

PROMPT_CACHE = 1 << 30
"""Bytes of prompts that an encoder keeps."""

_FP32 = 4
_LOGITS = 4  # logits, log-probs, probabilities, and what entropies are made of


@dataclass(frozen=True)
class Memory:
    """Bytes on one rank.

    Attributes:
        resident: what is there in all phases, by name.
        phases: what each phase holds beside it, by phase and name.
    """

    resident: Mapping[str, int]
    phases: Mapping[str, Mapping[str, int]]

    @property
    def base(self) -> int:
        """All that is resident."""
        return sum(self.resident.values())

    def of(self, phase: str) -> int:
        """Bytes while a phase is at its highest."""
        return self.base + sum(self.phases[phase].values())

    @property
    def largest(self) -> str:
        """The phase that needs most."""
        return max(self.phases, key=self.of)

    @property
    def peak(self) -> int:
        return self.of(self.largest)


def predict_memory(sizes: ModelSizes, work: Workload) -> Memory:
    """Memory of a rank at the longest prompt and the longest completion."""
    phases = {
        "update": _update(sizes, work),
        "optimizer": _optimizer(sizes, work),
    }
    if work.kind == "grpo":
        phases["rollout"] = _generation(sizes, work, work.prompts_at_once, work.completion)
    if work.validation:
        phases["validation"] = _generation(sizes, work, work.at_once, work.validation)
    if work.reference:
        phases["reference"] = _reference(sizes, work)
    return Memory(_resident(sizes, work), phases)


def _resident(sizes: ModelSizes, work: Workload) -> dict[str, int]:
    trained = work.trained
    adapter = trained * work.width if work.adapter else 0
    resident = {"weights": work.model_bytes(sizes) + adapter}
    if work.reference and not work.adapter:
        resident["reference"] = trained * work.width
    resident["optimizer"] = 2 * trained * work.width
    if work.sharding == "fsdp":
        # Towers that are frozen stay whole: a rank runs them by itself.
        whole = sizes.frozen(work.frozen) * work.width
        resident = {
            name: _shard(size - whole, work) + whole if name == "weights" else _shard(size, work)
            for name, size in resident.items()
        }
    elif work.gpus > 1:
        resident["gradient buckets"] = trained * work.width  # of DistributedDataParallel
    if work.on_cpu:
        mean = work.lengths.mean
        features = sum(mean.read_by(name) for name in sizes.towers)
        embeddings = _media(sizes, work, mean) if work.frozen else 0
        kept = work.lengths.samples * (features + embeddings)
        resident["prompts kept"] = min(PROMPT_CACHE, kept)
    return resident


def _media(sizes: ModelSizes, work: Workload, prompt: PromptLength) -> int:
    """What a prompt brings of media: embeddings where an encoder is frozen, else what it reads."""
    return sum(
        prompt.read_by(name)
        if work.trains(name)
        else prompt.of_tower(name) * sizes.hidden * work.compute_width
        for name in sizes.towers
    )


def _shard(size: int, work: Workload) -> int:
    return -(-size // work.gpus) if work.sharding == "fsdp" else size


def _gathered(sizes: ModelSizes, work: Workload, *, whole: bool) -> dict[str, int]:
    """Weights that are gathered from the other ranks: all of them, or two layers and the head."""
    if work.sharding != "fsdp":
        return {}
    if whole:
        rest = work.model_bytes(sizes) - sizes.frozen(work.frozen) * work.width
        return {"gathered weights": rest - rest // work.gpus}
    layers = int(2 * sizes.layer * work.layer_width)
    return {"gathered weights": layers + sizes.head_weights * work.width}


def _update(sizes: ModelSizes, work: Workload) -> dict[str, int]:
    prompt = work.lengths.longest
    tokens = work.row(prompt, work.completion)
    answers = work.micro_batch * work.group * work.completion
    activations, again = _activations(sizes, work, tokens)
    head = _head(sizes, work, answers, grad=True)
    held = {"activations": activations}
    # The head is through with its backward before the layers are computed again.
    held |= {"one layer again": again, "log-probs": max(0, head - again)}
    if towers := _tower_activations(sizes, work, prompt):
        held["encoder activations"] = towers
    held["media"] = work.micro_batch * _media(sizes, work, prompt)
    gradients = _shard(work.trained * work.width, work)
    if work.micro_batches > 1:
        held["gradients"] = gradients
    if work.autocast and work.width > 2:
        held["weights in bf16"] = 2 * sizes.weights
    held |= _gathered(sizes, work, whole=False)
    return {name: size for name, size in held.items() if size}


def _optimizer(sizes: ModelSizes, work: Workload) -> dict[str, int]:
    """Gradients are whole, activations gone. AdamW makes temporaries: on a GPU of all weights."""
    trained = work.trained * work.width
    largest = min(trained, max(sizes.embedding, sizes.layer // 3) * work.width)
    temporaries = 2 * largest if work.on_cpu else _shard(trained, work)
    return {"gradients": _shard(trained, work), "temporaries": temporaries}


def _generation(sizes: ModelSizes, work: Workload, prompts: int, completion: int) -> dict[str, int]:
    """Completions of some prompts, written together."""
    prompt, width = work.lengths.longest, work.compute_width
    sequences = prompts * work.group
    per_token = 2 * sizes.layers * sizes.keys * width
    cache = per_token * (prompts * prompt.tokens + sequences * completion)
    prefill = _forward(sizes, work, prompts * prompt.tokens)
    prefill += _tower_forward(sizes, work, prompt, prompts)
    decode = _LOGITS * sequences * sizes.vocabulary * _FP32
    decode += 2 * sizes.heads * sequences * (prompt.tokens + completion) * _FP32
    held = {
        "key-value cache": cache,
        "forward": max(prefill, decode),
        "media": prompts * _media(sizes, work, prompt),
    }
    return held | _gathered(sizes, work, whole=True)


def _reference(sizes: ModelSizes, work: Workload) -> dict[str, int]:
    prompt = work.lengths.longest
    tokens = work.row(prompt, work.completion)
    answers = work.micro_batch * work.group * work.completion
    held = {
        "forward": max(
            _forward(sizes, work, tokens), _tower_forward(sizes, work, prompt, work.micro_batch)
        ),
        "log-probs": _head(sizes, work, answers, grad=False),
        "media": work.micro_batch * _media(sizes, work, prompt),
    }
    return held | _gathered(sizes, work, whole=False)


def layer_bytes(sizes: ModelSizes, work: Workload, tokens: int) -> int:
    """What autograd keeps of one decoder layer; see the head of the module."""
    width, hidden = work.compute_width, sizes.hidden
    stream = work.width if work.autocast else width
    norms = 2 * hidden * (_FP32 + stream + width) + 6 * _FP32
    attention = (2 * sizes.queries + 2 * sizes.keys) * width
    attention += sizes.heads * _FP32
    if work.adapter:
        norms -= 2 * hidden * stream  # a norm that is not trained keeps no normalised states
    feed_forward = 4 * sizes.inner * width
    if sizes.experts:  # states are gathered for each expert, and scattered
        feed_forward += 3 * sizes.experts * hidden * width
    return tokens * (norms + attention + feed_forward)


def _activations(sizes: ModelSizes, work: Workload, tokens: int) -> tuple[int, int]:
    """What is kept for the backward, and what a layer takes that is computed again in it."""
    layer = layer_bytes(sizes, work, tokens)
    if not work.on_cpu:
        layer += _joined_keys(sizes, work)
    stream = tokens * sizes.hidden * (work.width if work.autocast else work.compute_width)
    ends = 4 * stream  # embeddings with media in them, and the last norm
    if work.checkpointing:
        return sizes.layers * stream + ends, layer + stream
    return sizes.layers * layer + ends, 0


def _joined_keys(sizes: ModelSizes, work: Workload) -> int:
    """Off the CPU, keys and values of the prompt stand once more before each completion."""
    each = work.lengths.longest.tokens + work.completion
    return work.micro_batch * (work.group - 1) * each * 2 * sizes.keys * work.compute_width


def _forward(sizes: ModelSizes, work: Workload, tokens: int) -> int:
    """The most that a layer holds at a time without gradients."""
    feed_forward = 3 * sizes.inner + 2 * sizes.hidden
    attention = 3 * sizes.queries + 3 * sizes.keys + 2 * sizes.hidden
    return tokens * max(feed_forward, attention) * work.compute_width


def _head(sizes: ModelSizes, work: Workload, answers: int, *, grad: bool) -> int:
    whole = answers * sizes.vocabulary * _FP32
    held = _LOGITS * min(whole, CHUNK_BYTES) + answers * sizes.hidden * work.compute_width
    if grad and whole > CHUNK_BYTES and not work.adapter:
        held += 2 * sizes.head_weights * work.width  # gradients of chunks, added up
    return held


def _tower_activations(sizes: ModelSizes, work: Workload, prompt: PromptLength) -> int:
    total = 0
    for name, tower in sizes.towers.items():
        if not work.trains(name):
            continue
        tokens = work.micro_batch * prompt.tower_tokens(name, tower)
        layer = tokens * tower_layer_bytes(tower, work)
        if work.checkpointing:
            total += tokens * tower.layers * tower.hidden * work.compute_width + layer
        else:
            total += tower.layers * layer
    return total


def tower_layer_bytes(tower: TowerSizes, work: Workload) -> int:
    """What autograd keeps of one token in one block of a media encoder."""
    width, hidden = work.compute_width, tower.hidden
    norms = 2 * hidden * (_FP32 + (2 if tower.gated else 1) * width)
    inner = (4 if tower.gated else 2) * tower.inner * width
    return norms + 5 * hidden * width + inner


def _tower_forward(sizes: ModelSizes, work: Workload, prompt: PromptLength, prompts: int) -> int:
    """Of encoders that run here; frozen ones ran before, prompt by prompt."""
    return max(
        (
            prompts
            * prompt.tower_tokens(name, tower)
            * (3 * tower.inner + 2 * tower.hidden)
            * work.compute_width
            for name, tower in sizes.towers.items()
            if work.trains(name)
        ),
        default=0,
    )
