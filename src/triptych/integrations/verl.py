"""Rewards per stage and their credit inside verl (0.9.1).

Each of verl's processes imports the modules that the environment variable
VERL_USE_EXTERNAL_MODULES names. This one registers three things under the name "triptych":

* a reward manager, which computes the rewards of a completion one by one, and finds the stage of
  each of its tokens;
* an advantage estimator, which gives each token the advantages that it earned;
* a trainer: verl's synchronous one, which brings the first to the second. verl itself hands an
  estimator nothing but the sum of a completion's rewards.
"""

import copy
import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
import transfer_queue
from verl.experimental.reward_loop.reward_manager import register as register_reward_manager
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase
from verl.trainer.ppo.core_algos import register_adv_est
from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer

from triptych.data.sample import Sample
from triptych.errors import ConfigError
from triptych.integrations.verl_credit import (
    STAGE_IDS,
    UNSCORED,
    VALID,
    carrying,
    reward_column,
    stage_credit,
)
from triptych.integrations.verl_data import sample_of
from triptych.integrations.verl_settings import SECTION, read_settings
from triptych.rewards.base import RewardTable, Unscored, is_async, score, staged
from triptych.rewards.combine import apply_gate, combine, weight_vector
from triptych.rewards.registry import NeedsModel, resolve
from triptych.stages import completion_text, stage_ids

NAME = "triptych"

_WAITING = 32  # completions that wait for async rewards at a time, where no judge sets the limit


class StageRewardManager(RewardManagerBase):
    """Computes the rewards of a completion; made from the section `algorithm.triptych`.

    What verl carries of each completion (`reward_extra_info`): the columns of `verl_credit`, and
    `score`, the weighted mean of the rewards that were scored. It is verl's reward of the
    completion and stands in its metrics; nothing is learned from it.

    Raises:
        ConfigError: a setting cannot be used, or a reward that verl has no means for.
    """

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ) -> None:
        super().__init__(config, tokenizer, compute_score)
        if config.reward.custom_reward_function.path is not None:
            raise ConfigError(
                "reward.custom_reward_function would not be called; name a function with the "
                f"signature of TRL's rewards: +{SECTION}.rewards.NAME=module:function"
            )
        self.settings = read_settings(config.algorithm)
        self._weights_K = weight_vector(self.settings.names, self.settings.weights)
        functions = resolve(self.settings.rewards, self.settings.judge, self.settings.device)
        if asking := [name for name, one in functions.items() if isinstance(one, NeedsModel)]:
            raise ConfigError(
                f"{SECTION}.rewards.{asking[0]}: asks the model itself, which verl's reward "
                "workers do not have; choose another reward"
            )
        self._async = {name: one for name, one in functions.items() if is_async(one)}
        self._sync = {name: one for name, one in functions.items() if name not in self._async}
        # Tokenizers and reward models take one caller at a time; who asks a judge only waits.
        judge = self.settings.judge
        self._one = ThreadPoolExecutor(1, "rewards")
        self._many = ThreadPoolExecutor(judge.max_concurrency if judge else _WAITING, "judging")

    async def run_single(self, data: Any) -> dict[str, Any]:
        """What verl asks of a reward manager: the rewards of the last completion of `data`.

        Raises:
            DataError: its row does not hold a sample.
            RewardError: a reward function fails.
        """
        item = data[len(data) - 1]
        sample = sample_of(item.non_tensor_batch.get("extra_info"))
        responses_T = item.batch["responses"]
        length = int(item.batch["attention_mask"][-len(responses_T) :].sum())
        text, regions, table = await self.loop.run_in_executor(
            self._one, self._read, sample, responses_T[:length].tolist()
        )
        tables = [table]
        if self._async:
            work = (score, self._async, [sample], [text])
            tables.append(await self.loop.run_in_executor(self._many, *work))
        info = self._columns(text, regions, tables)
        return {"reward_score": info["score"], "reward_extra_info": info}

    def _read(self, sample: Sample, token_ids: list[int]) -> tuple[str, list[int], RewardTable]:
        text = completion_text(token_ids, self.tokenizer)
        return text, stage_ids(token_ids, self.tokenizer), score(self._sync, [sample], [text])

    def _columns(
        self, text: str, regions: Sequence[int], tables: Sequence[RewardTable]
    ) -> dict[str, Any]:
        names, values, reasons = self.settings.names, {}, {}
        for table in tables:
            for k, (name, value) in enumerate(table.row(0).items()):
                values[name] = math.nan if value is None else value
                if value is None:
                    reasons[name] = str(table.reasons.get((0, k), Unscored.UNEXPLAINED))
        rewards_K = torch.tensor([values[name] for name in names])
        if self.settings.gate:
            rewards_K = apply_gate(rewards_K, names)
        return {
            "score": float(combine(rewards_K, self._weights_K)),
            **{reward_column(name): values[name] for name in names},
            VALID: staged(text).valid,
            STAGE_IDS: "".join(map(str, regions)),
            UNSCORED: json.dumps(reasons),
        }


class StageTrainer(PPOTrainerSync):
    """verl's synchronous trainer, with the rewards of each stage at hand for their credit.

    Raises:
        ConfigError: another setting of verl's contradicts that.
    """

    def __init__(self, config: Any) -> None:
        read_settings(config.algorithm)
        for setting, found, wanted in (
            ("algorithm.adv_estimator", config.algorithm.adv_estimator, NAME),
            ("reward.reward_manager.name", config.reward.reward_manager.name, NAME),
            ("reward.reward_model.enable", config.reward.reward_model.enable, False),
            # It is part of the reward sums, which our estimator does not read.
            ("algorithm.use_kl_in_reward", config.algorithm.use_kl_in_reward, False),
        ):
            if found != wanted:
                raise ConfigError(f"{setting} is {found}; with trainer_mode={NAME} set {wanted}")
        # verl asks by this name whether its trainer is the synchronous one.
        config = copy.deepcopy(config)
        config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        sessions = [key.rpartition("_")[0] for key in batch.keys]
        if len(set(sessions)) < len(sessions):
            raise ConfigError(
                "an agent loop gave several outputs of one completion, but its rewards belong to "
                "one text; use the agent loop single_turn_agent"
            )
        fields = transfer_queue.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_fields"]
        )
        rows = [one.get("reward_extra_info", {}) for one in fields["extra_fields"]]
        columns = {key: [row[key] for row in rows] for key in rows[0]}
        real = [not tag.get("is_padding", False) for tag in batch.tags]
        for name in map(reward_column, read_settings(self.config.algorithm).names):
            if name in columns:
                values = [value for value, one in zip(columns[name], real, strict=True) if one]
                scored = [value for value in values if not math.isnan(value)]
                metrics[f"triptych/{name}/unscored"] = 1 - len(scored) / len(values)
                if scored:
                    metrics[f"triptych/{name}/mean"] = sum(scored) / len(scored)
        with carrying(columns):
            return super()._compute_advantage(batch, metrics)


register_adv_est(NAME)(stage_credit)
register_reward_manager(NAME)(StageRewardManager)
register_trainer(NAME)(StageTrainer)
