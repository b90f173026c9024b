"""What a look ahead finds: one finding per thing, with its cause and the next step."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Group = Literal["data", "access", "model", "parameters", "machines", "quota", "endpoint", "budget"]
Level = Literal["error", "warning"]

GROUPS: tuple[Group, ...] = get_args(Group)


@dataclass(frozen=True)
class Finding:
    """Something that is not as it has to be, or may turn out not to be."""

    group: Group
    code: str
    """Stable name of this kind of finding, for example `model_retired`; `preflight.accept` in the recipe takes it."""
    level: Level
    subject: str
    """The thing, with its name: `VM size Standard_D2`, `Parameter lora_rank`."""
    cause: str
    """What is the matter with it, as a clause that goes on from the subject."""
    next_step: str
    """What its reader does about it, one sentence or two."""

    @property
    def in_words(self) -> str:
        """One line."""
        return f"{self.subject} {self.cause.rstrip('.')}{'' if self.cause.endswith('?') else '.'} {self.next_step}"


@dataclass
class Findings:
    """Collects what is found; an error that the recipe accepts becomes a warning."""

    accepted: Collection[str] = ()
    all: list[Finding] = field(default_factory=list)
    looked_at: list[Group] = field(default_factory=list)
    """Groups that have been looked at, in this order; without access to the workspace nothing else is."""
    facts: dict[str, Any] = field(default_factory=dict)
    """What was seen, under stable keys, as text or numbers."""

    def error(self, group: Group, code: str, subject: str, cause: str, next_step: str) -> None:
        """Something that would make the recipe fail, or cost more than it may."""
        level: Level = "error"
        if code in self.accepted:
            level, cause = "warning", f"{cause} (accepted by the recipe)"
        self.all.append(Finding(group, code, level, subject, cause, next_step))

    def warning(self, group: Group, code: str, subject: str, cause: str, next_step: str) -> None:
        """Something that its reader should know of, and that need not make the recipe fail."""
        self.all.append(Finding(group, code, "warning", subject, cause, next_step))

    def has_errors(self, group: Group) -> bool:
        """Whether there is an error of this group so far."""
        return any(found.group == group and found.level == "error" for found in self.all)
