"""CPU, memory and processes, per step, sampled: from cgroups where each step has one, else from /proc."""

from __future__ import annotations

import os
from pathlib import Path

from proctor.events import kinds
from proctor.sensors.memory import Gone
from proctor.sensors.processes import Proc, Processes, read_stat

__all__ = ["Resources"]

_PAGE = os.sysconf("SC_PAGE_SIZE")


class Resources:
    """Adds up what the known processes use. CPU of ended processes is kept, as far as it was read before their end."""

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._ended: dict[str | None, int] = {}
        self.groups: dict[str, Path] = {}
        """Step to its cgroup, where it has one."""

    def process_ended(self, proc: Proc) -> None:
        """Keep an ended process's CPU time."""
        step = proc.origin.step
        self._ended[step] = self._ended.get(step, 0) + proc.cpu_ns

    def sample(self) -> kinds.UsageData:
        """One sample of everything alive."""
        cpu = dict(self._ended)
        memory: dict[str | None, int] = {}
        count: dict[str | None, int] = {}
        for proc in self._processes.all():
            try:
                stat = read_stat(proc.pid)
            except Gone:
                continue
            proc.cpu_ns = max(proc.cpu_ns, stat.cpu_ns)
            step = proc.origin.step
            cpu[step] = cpu.get(step, 0) + stat.cpu_ns
            memory[step] = memory.get(step, 0) + stat.rss_pages * _PAGE
            count[step] = count.get(step, 0) + 1
        for name, group in self.groups.items():
            cpu[name] = _cgroup_cpu(group, cpu.get(name, 0))
        steps = tuple(
            kinds.StepUsage(step=step, cpu_ns=cpu[step], rss_bytes=memory.get(step, 0), processes=count.get(step, 0))
            for step in sorted(cpu, key=lambda step: (step is not None, step or ""))
        )
        return kinds.UsageData(
            source="cgroup" if self.groups else "proc",
            cpu_ns=sum(cpu.values()), rss_bytes=sum(memory.values()), processes=sum(count.values()), steps=steps,
        )  # fmt: skip


def _cgroup_cpu(group: Path, otherwise: int) -> int:
    """usage_usec of cpu.stat, which every cgroup v2 has without any controller (cgroup-v2.rst)."""
    try:
        line = (group / "cpu.stat").read_text(encoding="ascii").split("\n", 1)[0]
    except OSError:
        return otherwise
    return int(line.split()[1]) * 1000
