"""Every exception Proctor raises on purpose, in one tree.

::

    ProctorError
    ├── UsageError          the user's mistake: one line, exit status 2
    │   ├── PolicyError     a policy file that cannot be used; carries file and line
    │   └── RuleError       a rule file that cannot be used; carries file and line
    ├── RecordError         a journal directory that is no record or is damaged
    └── SandboxError        the sandbox could not be built or no tier is available

A subject's fault (a hostile agent, a broken file) is *recorded* as an event; these exceptions are for the caller.
Anything else that escapes is Proctor's own fault and is loud: exit status 1.
"""

from __future__ import annotations

__all__ = ["PolicyError", "ProctorError", "RecordError", "RuleError", "SandboxError", "UsageError"]


class ProctorError(Exception):
    """Base of all errors raised on purpose. ``str(error)`` is one line, fit to show to a person."""


class UsageError(ProctorError):
    """Wrong use: says what is wrong, where, and what is allowed."""


class _FileError(UsageError):
    """A file of the user's that cannot be used. ``str(error)`` is ``file:line: what is wrong, what is allowed``."""

    def __init__(self, problem: str, *, file: str, line: int | None = None) -> None:
        self.problem = problem
        self.file = file
        self.line = line
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: {problem}")


class PolicyError(_FileError):
    """A policy that cannot be used."""

    def __init__(self, problem: str, *, file: str = "policy", line: int | None = None) -> None:
        super().__init__(problem, file=file, line=line)


class RuleError(_FileError):
    """A rule file, or a folder of them, that cannot be used."""


class RecordError(ProctorError):
    """The directory is not a record of an episode, or its record cannot be read."""


class SandboxError(ProctorError):
    """The sandbox could not be built; the message names the step that failed and the kernel's answer."""
