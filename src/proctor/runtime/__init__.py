"""``proctor export-runtime``: a folder that Proctor runs from in any container, read-only and under any path."""

from __future__ import annotations

from proctor.runtime.export import export

__all__ = ["export"]
