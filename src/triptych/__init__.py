"""Post-train omni-modal language models to look and listen before they reason."""

__version__ = "0.1.0"
