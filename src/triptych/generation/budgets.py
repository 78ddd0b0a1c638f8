"""How long the stages of an enforced completion are, as settings of a command or a trainer."""

from dataclasses import dataclass, field

from triptych.errors import ConfigError
from triptych.stages.format import DEFAULT_FORMAT


def _no_budgets() -> dict[str, int]:
    return dict.fromkeys(DEFAULT_FORMAT.names, 0)


@dataclass(frozen=True, kw_only=True)
class StageBudgets:
    """How long each stage of an enforced completion is."""

    min_stage_tokens: dict[str, int] = field(default_factory=_no_budgets)
    """Fewest tokens of each stage when enforced; 0 sets none."""
    max_stage_tokens: dict[str, int] = field(default_factory=_no_budgets)
    """Most tokens of each stage when enforced; 0 sets none."""

    def check_budgets(self, *, enforced: bool) -> None:
        """Refuse budgets that make no sense, or that nothing would hold.

        Raises:
            ConfigError: a stage is unknown, a number negative, a minimum above its maximum, or
                there are budgets and nothing is enforced.
        """
        for setting in ("min_stage_tokens", "max_stage_tokens"):
            budgets: dict[str, int] = getattr(self, setting)
            for name, tokens in budgets.items():
                if name not in DEFAULT_FORMAT.names:
                    known = ", ".join(DEFAULT_FORMAT.names)
                    raise ConfigError(f"{setting} names a stage {name!r}; use {known}")
                if tokens < 0:
                    raise ConfigError(f"{setting}.{name} must not be negative")
            if not enforced and any(budgets.values()):
                raise ConfigError(
                    f"{setting} holds only enforced completions; set enforce, or leave it out"
                )
        for name, least in self.min_stage_tokens.items():
            most = self.max_stage_tokens.get(name, 0)
            if 0 < most < least:
                raise ConfigError(
                    f"min_stage_tokens.{name} is {least}, more than max_stage_tokens.{name}, "
                    f"{most}; lower the first or raise the second"
                )
