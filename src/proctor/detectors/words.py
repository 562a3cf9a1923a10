"""Operations of file events as words: what a summary's ``{Operation}`` place shows."""

from __future__ import annotations

__all__ = ["OPERATIONS"]

OPERATIONS: dict[str, str] = {
    "open_write": "open for writing",
    "create": "create",
    "mkdir": "make the folder",
    "mknod": "make the node",
    "link": "link a file as",
    "symlink": "make the symbolic link",
    "rename": "rename a file to",
    "unlink": "remove",
    "rmdir": "remove the folder",
    "truncate": "truncate",
    "chmod": "change the mode of",
    "chown": "change the owner of",
    "memfd": "make the memory file",
}
"""They follow "asked to" and stand before ``TargetFilename``, which of a rename or link is the new name."""
