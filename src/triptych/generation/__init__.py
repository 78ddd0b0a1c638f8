"""Completions from prompts."""

from triptych.generation.engine import Completion, Engine, SamplingConfig, StopReason

__all__ = ["Completion", "Engine", "SamplingConfig", "StopReason"]
