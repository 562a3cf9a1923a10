"""What people read: the report, the block at the end of a run, and the sentences both are made of."""

from __future__ import annotations

from proctor.reports.evidence import describe
from proctor.reports.markdown import markdown
from proctor.reports.sentences import sentence
from proctor.reports.terminal import terminal

__all__ = ["describe", "markdown", "sentence", "terminal"]
