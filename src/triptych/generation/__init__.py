"""Completions from prompts."""

from triptych.generation.engine import Completion, Enforce, Engine, SamplingConfig, StopReason

__all__ = ["Completion", "Enforce", "Engine", "SamplingConfig", "StopReason"]
