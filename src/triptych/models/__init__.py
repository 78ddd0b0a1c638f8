"""One interface over omni-modal model families."""

from triptych.models.omni import LoadOptions, OmniModel, OmniOutput
from triptych.models.prompt import Prompt

__all__ = ["LoadOptions", "OmniModel", "OmniOutput", "Prompt"]
