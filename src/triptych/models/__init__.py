"""One interface over omni-modal model families."""

from triptych.models.log_probs import OmniOutput
from triptych.models.omni import LoadOptions, OmniModel
from triptych.models.prompt import Prompt

__all__ = ["LoadOptions", "OmniModel", "OmniOutput", "Prompt"]
