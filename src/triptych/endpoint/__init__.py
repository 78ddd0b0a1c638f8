"""Talking to a model on an OpenAI-compatible server, whoever asks: the judge, or evaluation.

Requests are retried, paced and bounded; one that fails for good is told apart from a server that
cannot be used at all. The key never leaves the client.
"""

from triptych.endpoint.config import EndpointConfig
from triptych.endpoint.failures import EndpointError, FailureReason
from triptych.endpoint.usage import EndpointUsage

__all__ = ["EndpointConfig", "EndpointError", "EndpointUsage", "FailureReason"]
