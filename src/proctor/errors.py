"""Every exception Proctor raises on purpose, in one tree.

::

    ProctorError
    ├── UsageError          the user's mistake: one line, exit status 2
    │   └── PolicyError     a policy file that cannot be used; carries file and line
    ├── RecordError         a journal directory that is no record or is damaged
    ├── SandboxError        the sandbox could not be built or no tier is available
    └── RuleError           a rule file that cannot be compiled

A subject's fault (a hostile agent, a broken file) is *recorded* as an event; these exceptions are for the caller.
Anything else that escapes is Proctor's own fault and is loud: exit status 1.
"""

from __future__ import annotations

__all__ = ["PolicyError", "ProctorError", "RecordError", "RuleError", "SandboxError", "UsageError"]


class ProctorError(Exception):
    """Base of all errors raised on purpose. ``str(error)`` is one line, fit to show to a person."""


class UsageError(ProctorError):
    """Wrong use: says what is wrong, where, and what is allowed."""


class PolicyError(UsageError):
    """A policy that cannot be used. ``str(error)`` is ``file:line: what is wrong, what is allowed``."""

    def __init__(self, problem: str, *, file: str = "policy", line: int | None = None) -> None:
        self.problem = problem
        self.file = file
        self.line = line
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: {problem}")


class RecordError(ProctorError):
    """The directory is not a record of an episode, or its record cannot be read."""


class SandboxError(ProctorError):
    """The sandbox could not be built; the message names the step that failed and the kernel's answer."""


class RuleError(ProctorError):
    """A rule file that cannot be compiled; the message names the file and the reason."""
