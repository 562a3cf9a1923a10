"""Proctor: contain, record and judge an AI agent's episode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from proctor.errors import ProctorError as ProctorError
    from proctor.session.client import Launcher as Launcher
    from proctor.session.episode import Completed as Completed
    from proctor.session.episode import Episode as Episode

__all__ = ["Completed", "Episode", "Launcher", "ProctorError", "__version__"]

__version__ = "0.1.0"

_HOMES = {
    "Completed": "proctor.session.episode",
    "Episode": "proctor.session.episode",
    "Launcher": "proctor.session.client",
    "ProctorError": "proctor.errors",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used: ``import proctor`` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'proctor' has no attribute {name!r}")
    import importlib  # as said

    return getattr(importlib.import_module(_HOMES[name]), name)
