"""libbpf's C interface, as much of it as loading one object needs, by ctypes on the system's ``libbpf.so.1``.

Version 1.0 or later (Debian 12: package libbpf1, 1.1): since then functions that return pointers return NULL and set
errno, and those that return int give minus errno (libbpf.h, LIBBPF_STRICT_ALL).
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from proctor.errors import SandboxError

__all__ = ["Object", "library"]

_P = ctypes.c_void_p
_INT, _TEXT = ctypes.c_int, ctypes.c_char_p
_U32, _U64 = ctypes.c_uint32, ctypes.c_uint64

_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    # name: result, arguments (bpf/libbpf.h, bpf/bpf.h)
    "bpf_object__open_file": (_P, _TEXT, _P),
    "bpf_object__load": (_INT, _P),
    "bpf_object__close": (None, _P),
    "bpf_object__next_program": (_P, _P, _P),
    "bpf_object__find_map_by_name": (_P, _P, _TEXT),
    "bpf_program__section_name": (_TEXT, _P),
    "bpf_program__attach": (_P, _P),
    "bpf_link__destroy": (_INT, _P),
    "bpf_map__fd": (_INT, _P),
    "bpf_map__set_max_entries": (_INT, _P, _U32),
    "bpf_map_update_elem": (_INT, _INT, _P, _P, _U64),
    "bpf_map_lookup_elem": (_INT, _INT, _P, _P),
    "libbpf_set_print": (_P, _P),
    "libbpf_num_possible_cpus": (_INT,),
}


def library() -> Any:
    """The loaded library.

    Raises:
        SandboxError: there is none, or one that lacks what is needed.
    """
    try:
        found = ctypes.CDLL("libbpf.so.1", use_errno=True)
        for name, (result, *arguments) in _FUNCTIONS.items():
            function = getattr(found, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise SandboxError(f"the system's libbpf.so.1 (Debian: package libbpf1) cannot be loaded: {error}") from None
    found.libbpf_set_print(None)  # it would write to standard error
    return found


class Object:
    """An object file of BPF programs and maps: opened, loaded into the kernel, attached.

    Raises:
        SandboxError: the kernel or the library refuses, with what it answered.
    """

    def __init__(self, path: str, sizes: dict[str, int]) -> None:
        self._lib = library()
        self._links: list[Any] = []
        self._object = self._lib.bpf_object__open_file(os.fsencode(path), None)
        if not self._object:
            raise SandboxError(f"{path}: cannot be read as a BPF object: {os.strerror(ctypes.get_errno())}")
        for name, size in sizes.items():
            self._lib.bpf_map__set_max_entries(self._map(name), size)
        answer = self._lib.bpf_object__load(self._object)
        if answer < 0:
            self.close()
            raise SandboxError(f"the kernel does not take the BPF programs: {os.strerror(-answer)}")

    def _map(self, name: str) -> Any:
        return self._lib.bpf_object__find_map_by_name(self._object, name.encode())

    def map_fd(self, name: str) -> int:
        """The descriptor of a map; it belongs to the object."""
        return int(self._lib.bpf_map__fd(self._map(name)))

    @property
    def cpus(self) -> int:
        """How many CPUs the kernel could have: a per-CPU map holds as many values."""
        return int(self._lib.libbpf_num_possible_cpus())

    def put(self, name: str, key: int, value: bytes) -> None:
        """Write one element of an array map."""
        number = ctypes.c_uint32(key)
        answer = self._lib.bpf_map_update_elem(self.map_fd(name), ctypes.byref(number), value, 0)
        if answer < 0:
            raise SandboxError(f"BPF map {name}: cannot be written: {os.strerror(-answer)}")

    def get(self, name: str, key: int, size: int) -> bytes:
        """Read one element of an array map: of a per-CPU one, the values of all CPUs, ``size`` bytes in all."""
        number, value = ctypes.c_uint32(key), ctypes.create_string_buffer(size)
        answer = self._lib.bpf_map_lookup_elem(self.map_fd(name), ctypes.byref(number), value)
        if answer < 0:
            raise SandboxError(f"BPF map {name}: cannot be read: {os.strerror(-answer)}")
        return value.raw

    def attach(self) -> None:
        """Attach every program where its section says."""
        program = None
        while program := self._lib.bpf_object__next_program(self._object, program):
            link = self._lib.bpf_program__attach(program)
            if not link:
                where = self._lib.bpf_program__section_name(program).decode()
                raise SandboxError(f"BPF program {where}: cannot be attached: {os.strerror(ctypes.get_errno())}")
            self._links.append(link)

    def detach(self) -> None:
        """Detach every program; maps stay as they are."""
        for link in self._links:
            self._lib.bpf_link__destroy(link)
        self._links.clear()

    def close(self) -> None:
        """Detach and unload. Closing again does nothing."""
        self.detach()
        if self._object:
            self._lib.bpf_object__close(self._object)
            self._object = None
