"""What a check has found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Finding:
    level: Level
    about: str
    """A peer's name, or `here` for this host."""
    check: str
    text: str
    advice: str = ""
    """What to do now; where all is well there is none."""

    def data(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "about": self.about,
            "check": self.check,
            "text": self.text,
            "advice": self.advice,
        }


def ok(about: str, check: str, text: str) -> Finding:
    return Finding("ok", about, check, text)


def warn(about: str, check: str, text: str, advice: str) -> Finding:
    return Finding("warn", about, check, text, advice)


def fail(about: str, check: str, text: str, advice: str) -> Finding:
    return Finding("fail", about, check, text, advice)


def healthy(findings: Iterable[Finding]) -> bool:
    """Warnings are no illness."""
    return all(finding.level != "fail" for finding in findings)
