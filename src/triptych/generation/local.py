"""Completions from a model in this process: prefill once per prompt, then decode.

The media encoders and the prompt run once, whatever the number of completions, and these share
what the prompt left in the cache. Prompts of different length share a batch by padding on the left.
Sequences that have ended leave the batch.

Shapes: B prompts, P longest prompt, R = B*n sequences, A of them still in the batch, V vocabulary,
3 rope axes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import torch
from torch import Tensor
from transformers import DynamicCache

from triptych.data.sample import Sample
from triptych.generation.enforcement import Draw, Grammars
from triptych.generation.engine import Completion, OnGroup, SamplingConfig, StopReason
from triptych.generation.sampling import check_finite
from triptych.generation.shared_cache import ExpandedCache, RolloutCache, SharedCache
from triptych.models.omni import OmniModel
from triptych.models.prefix_attention import Attention
from triptych.models.prompt import Prompt
from triptych.stages import completion_text

OnStep: TypeAlias = Callable[[Sequence[int]], None]
"""Told the token of each sequence of a batch; the padding token where one has ended."""


class LocalEngine:
    """Generates with the weights that ``model`` holds right now.

    ``max_sequences`` bounds how many sequences decode together; prompts are sorted by length so
    that a batch pads little.
    """

    def __init__(self, model: OmniModel, max_sequences: int = 64) -> None:
        self.model = model
        self.max_sequences = max_sequences
        self.grammars = Grammars(model)

    @torch.no_grad()
    def generate(
        self,
        samples: Sequence[Sample],
        n: int,
        sampling: SamplingConfig,
        on_step: OnStep | None = None,
        *,
        on_group: OnGroup | None = None,
    ) -> list[list[Completion]]:
        """See ``GroupEngine.generate``; ``on_step`` is told of each decoding step.

        Raises:
            ConfigError: no completion fits the budgets that are enforced, or the longest one would
                not fit behind its prompt, see `OmniModel.check_length`.
            MediaError: a sample's media cannot be decoded.
            NotFiniteError: the model's logits for a sample are no numbers.
        """
        grammars = [self.grammars.for_sample(sample, sampling) for sample in samples]
        prompts = list(self.model.encoder.encode_all(samples, embed=True))
        for sample, prompt in zip(samples, prompts, strict=True):
            self.model.check_length(len(prompt.input_ids), sampling.max_new_tokens, sample.id)
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i].input_ids))
        size = max(1, self.max_sequences // n)
        device = self.model.device
        seeds = sampling.seeds(samples)
        generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]
        completions: list[list[Completion]] = [[] for _ in prompts]
        with _evaluating(self.model):
            for start in range(0, len(order), size):
                chunk = order[start : start + size]
                sources = [generators[i] for i in chunk] if len(seeds) > 1 else generators
                draw = Draw([grammars[i] for i in chunk for _ in range(n)], sampling, sources)
                asked = [samples[i] for i in chunk]
                done = self._decode(asked, [prompts[i] for i in chunk], n, draw, on_step)
                for place, index in enumerate(chunk):
                    completions[index] = done[place * n : (place + 1) * n]
                    if on_group:
                        on_group(index, completions[index])
        return completions

    def _decode(
        self,
        samples: Sequence[Sample],
        prompts: Sequence[Prompt],
        n: int,
        draw: Draw,
        on_step: OnStep | None,
    ) -> list[Completion]:
        model, ends = self.model, self.model.end_token_ids
        state = _Prefilled.run(model, prompts, n)
        rows: list[list[int]] = [[] for _ in range(state.size)]
        running = set(range(state.size))
        logits_RV = state.logits_RV
        for step in range(draw.sampling.max_new_tokens):
            check_finite(logits_RV, samples)
            tokens = draw(logits_RV, running, model.pad_token_id)
            for row in tuple(running):
                rows[row].append(tokens[row])
                if tokens[row] in ends:
                    running.remove(row)
            if on_step:
                on_step(tokens)
            if not running or step == draw.sampling.max_new_tokens - 1:
                break
            if len(running) <= state.batch_size * state.cache.keep_at:
                state.keep(sorted(running))
            logits_RV = state.step(model, torch.tensor(tokens, device=model.device))
        return [self._completion(ids, *draw.record(row)) for row, ids in enumerate(rows)]

    def _completion(self, ids: list[int], forced: Sequence[bool], overruled: int) -> Completion:
        ended = ids[-1] in self.model.end_token_ids
        body = ids[:-1] if ended else ids
        return Completion(
            token_ids=tuple(ids),
            text=completion_text(body, self.model.tokenizer, self.model.format),
            stop_reason=StopReason.END if ended else StopReason.LENGTH,
            forced=tuple(forced) or (False,) * len(ids),
            overruled=overruled,
        )


class _Prefilled:
    """A batch of n sequences per prompt: their cache, and where they stand."""

    def __init__(self, cache: RolloutCache, logits_RV: Tensor, position_R: Tensor) -> None:
        self.cache, self.logits_RV, self.position_A = cache, logits_RV, position_R
        self.size = logits_RV.shape[0]
        self._row_A = torch.arange(self.size, device=logits_RV.device)

    @classmethod
    def run(cls, model: OmniModel, prompts: Sequence[Prompt], n: int) -> "_Prefilled":
        longest = max(len(prompt.input_ids) for prompt in prompts)
        padding = [longest - len(prompt.input_ids) for prompt in prompts]
        pad = torch.nn.functional.pad
        pairs = list(zip(prompts, padding, strict=True))
        ids_BP = torch.stack(
            [pad(prompt.input_ids, (k, 0), value=model.pad_token_id) for prompt, k in pairs]
        )
        positions_3BP = torch.stack([pad(prompt.position_ids, (k, 0)) for prompt, k in pairs], 1)
        mask_BP = torch.arange(longest) >= torch.tensor(padding)[:, None]
        features = model.family.collate([prompt.features for prompt in prompts])
        device = model.device
        cache = DynamicCache(config=model.config.get_text_config())
        # Without padding no mask is needed, and the attention kernel may take its causal path.
        padded = any(padding)
        features = {key: value.to(device) for key, value in features.items()}
        hidden_BPH = model.decode(
            positions_3BP.to(device),
            attention_mask=mask_BP.long().to(device) if padded else None,
            past_key_values=cache,
            use_cache=True,
            **model.embed(ids_BP.to(device), features).keywords(),
        ).last_hidden_state
        logits_BV = model.logits(hidden_BPH[:, -1])
        next_B = torch.stack([prompt.next_position for prompt in prompts]).to(device)
        # One completion shares its prompt with nobody.
        shared = n > 1 and model.attention is Attention.PREFIX
        kind = SharedCache if shared else ExpandedCache
        return cls(
            kind(cache, mask_BP.to(device) if padded else None, n),
            logits_BV.repeat_interleave(n, dim=0),
            next_B.repeat_interleave(n),
        )

    @property
    def batch_size(self) -> int:
        return len(self._row_A)

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these sequences, of those that are in the batch."""
        row_K = torch.tensor(rows, device=self._row_A.device)
        place_K = torch.searchsorted(self._row_A, row_K)
        self.cache.keep(place_K.tolist())
        self._row_A, self.position_A = row_K, self.position_A[place_K]

    @torch.inference_mode()
    def step(self, model: OmniModel, token_R: Tensor) -> Tensor:
        """Feed one token per sequence; returns the logits (R, V) of the next.

        Those of a sequence that has left are zeros: it is drawn for as before, so that what is
        drawn for its neighbours does not change.
        """
        hidden_A1H = model.decode(
            # Explicit positions: the model's own bookkeeping (rope deltas) belongs to the last
            # forward of any kind, which need not be this batch's prefill.
            self.position_A.view(1, -1, 1).expand(3, -1, 1),
            input_ids=token_R[self._row_A, None],
            past_key_values=self.cache,
            use_cache=True,
            **self.cache.attention(),
        ).last_hidden_state
        self.position_A = self.position_A + 1
        logits_AV = model.logits(hidden_A1H[:, -1])
        if self.batch_size == self.size:
            return logits_AV
        return logits_AV.new_zeros(self.size, logits_AV.shape[-1]).index_copy_(
            0, self._row_A, logits_AV
        )


@contextmanager
def _evaluating(model: OmniModel) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
