"""The tracepoint sensor: BPF programs that tell what the processes of one cgroup do, beside any other sensor.

The programs write records into a ring that all CPUs share, and count per CPU what they saw and what the ring had no
room for. Nothing waits for the reader, so a ring that is not read in time loses records, and says so. Where a
:class:`Freezer` is given, a ring that fills has the cgroup stopped until it is read: nothing is lost.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proctor.errors import SandboxError
from proctor.sensors.libbpf import Object
from proctor.sensors.tracerecords import TYPES, Record, Shape, decode

if TYPE_CHECKING:
    from proctor.sensors.freezer import Freezer

__all__ = ["OBJECT", "Totals", "Tracepoints"]

OBJECT = str(Path(__file__).parent / "bpf" / "sensor.bpf.o")
_PAGE = mmap.PAGESIZE
_CONFIG = struct.Struct("<QIIII")
_COUNT = struct.Struct(f"<{2 * TYPES + 1}Q")
_BUSY, _DISCARD, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1  # linux/bpf.h: BPF_RINGBUF_*_BIT, of a record's first word
_LOOK_EVERY = 64
_FIRST_CGROUP_NAMESPACE = 0xEFFFFFFB  # PROC_CGROUP_INIT_INO, linux/proc_ns.h


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all CPUs, by type of record: what was seen, and what the ring had no room for.

    ``blind``: calls whose entry could not be noted, for want of memory.
    """

    seen: tuple[int, ...]
    dropped: tuple[int, ...]
    blind: int

    @property
    def lost(self) -> int:
        """Everything that was seen and not told."""
        return sum(self.dropped) + self.blind


class Tracepoints:
    """The loaded programs and the ring they write to. They see nothing before :meth:`attach`.

    Args:
        shapes: the calls to tell of, by number.
        ring_bytes: the ring's size, a power of two and a multiple of the page size.

    Raises:
        SandboxError: libbpf is missing, or this kernel or user may not load the programs; it says which.
    """

    def __init__(self, shapes: dict[int, Shape], *, ring_bytes: int = 1 << 22) -> None:
        self._size = ring_bytes
        self._object = Object(OBJECT, {"ring": ring_bytes})
        self.told = 0
        self.freezer: Freezer | None = None
        try:
            for number, shape in shapes.items():
                self._object.put("calls", number, shape.encoded())
            fd = self._object.map_fd("ring")
            self._consumed = mmap.mmap(fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            # The data follows the producer's page, twice in a row: no record is ever in two parts.
            self._ring = mmap.mmap(fd, _PAGE + 2 * ring_bytes, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        except BaseException:
            self._object.close()
            raise
        self.fd = os.dup(fd)
        """Readable when there is something to :meth:`drain`."""
        self._consumer = memoryview(self._consumed).cast("Q")
        self._producer = memoryview(self._ring)[:8].cast("Q")
        self._data = memoryview(self._ring)[_PAGE:]

    def attach(self, group: Path, *, detail: bool, wake: int) -> None:
        """Begin to tell of the processes in the cgroup whose folder is ``group``, and in those below it.

        Args:
            detail: tell paths, arguments and addresses too.
            wake: how many bytes the ring holds when :attr:`fd` becomes readable; 0: at once.

        Raises:
            SandboxError: it cannot be told where in the machine's tree the cgroup is, or the kernel refuses.
        """
        if os.stat("/proc/self/ns/cgroup").st_ino != _FIRST_CGROUP_NAMESPACE:
            raise SandboxError("the tracepoint sensor needs the machine's own cgroup namespace, and this is another")
        status = os.stat(group)
        level, mount = 0, group
        while (parent := mount.parent) != mount and os.stat(parent).st_dev == status.st_dev:
            level, mount = level + 1, parent
        namespace = os.stat("/proc/self/ns/pid").st_ino
        self._object.put("config", 0, _CONFIG.pack(status.st_ino, level, namespace, int(detail), wake))
        self._object.attach()

    def detach(self) -> None:
        """See nothing more; what was seen can still be drained."""
        self._object.detach()

    def drain(self, take: Callable[[Record], None]) -> int:
        """Hand over every record that is in the ring, in the order of their places in it; return how many.

        Raises:
            RecordError: a record cannot be read.
        """
        consumer, producer, data, mask = self._consumer, self._producer, self._data, self._size - 1
        at, count = consumer[0], 0
        freezer = self.freezer
        while at < (end := producer[0]):
            if freezer is not None and count % _LOOK_EVERY == 0:
                freezer.level((end - at) / self._size)
            place = at & mask
            word = int.from_bytes(data[place : place + 4], "little")
            if word & _BUSY:
                break
            length = word & _LENGTH
            if not word & _DISCARD:
                record = decode(data[place + 8 : place + 8 + length])
                self.told += 1
                count += 1
                take(record)
            at += (length + 8 + 7) & ~7
            consumer[0] = at
        if freezer is not None:
            freezer.level((producer[0] - at) / self._size)
        return count

    def totals(self) -> Totals:
        """What the programs counted so far."""
        cpus = self._object.cpus
        raw = self._object.get("counts", 0, _COUNT.size * cpus)
        sums = [sum(column) for column in zip(*_COUNT.iter_unpack(raw), strict=True)]
        return Totals(tuple(sums[:TYPES]), tuple(sums[TYPES : 2 * TYPES]), sums[2 * TYPES])

    def close(self) -> None:
        """Detach, unload and release everything."""
        if self.fd < 0:
            return
        os.close(self.fd)
        self.fd = -1
        for view in (self._consumer, self._producer, self._data):
            view.release()
        self._consumed.close()
        self._ring.close()
        self._object.close()
