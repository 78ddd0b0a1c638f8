"""An LLM judge for contexts, reasoning and free-form answers, on any OpenAI-compatible server."""

from triptych.rewards.judge.config import JudgeConfig
from triptych.rewards.judge.judge import Judge
from triptych.rewards.judge.request import Query
from triptych.rewards.judge.reward import JudgedStage, JudgeReward, judge_reward
from triptych.rewards.judge.rubrics import ANSWER, CONTEXT, CONTEXT_WITH_MEDIA, REASONING, Rubric
from triptych.rewards.judge.usage import JudgeUsage

__all__ = [
    "ANSWER",
    "CONTEXT",
    "CONTEXT_WITH_MEDIA",
    "REASONING",
    "Judge",
    "JudgeConfig",
    "JudgeReward",
    "JudgeUsage",
    "JudgedStage",
    "Query",
    "Rubric",
    "judge_reward",
]
