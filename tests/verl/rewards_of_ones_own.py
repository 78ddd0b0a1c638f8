"""Reward functions as a user names them: module:function."""

import asyncio
from collections.abc import Sequence
from typing import Any


async def brevity(
    prompts: Sequence[Any], completions: Sequence[str], **_: Any
) -> list[float | None]:
    """Asks nobody, but waits as if it did; has no opinion on completions that are cut off."""
    await asyncio.sleep(0.01)
    return [min(1.0, 100 / len(text)) if text.endswith(">") else None for text in completions]
