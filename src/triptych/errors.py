"""Errors that a user can act on.

Every message names the file, line or field at fault and the way out. The command line prints
them without a traceback; anything else that escapes is a bug.
"""


class TriptychError(Exception):
    """Root of all errors that Triptych raises on purpose."""


class Preempted(TriptychError):
    """A run was asked to stop, wrote a checkpoint, and stopped. Nothing is wrong."""


class ConfigError(TriptychError):
    """A setting is unknown, missing or contradicts another."""


class DataError(TriptychError):
    """A record or data file does not say what it must."""


class MediaError(TriptychError):
    """An image, video or audio file cannot be decoded."""


class ModelError(TriptychError):
    """A model folder or hub id cannot be used."""
