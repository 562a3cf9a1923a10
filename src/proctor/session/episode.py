"""The library's episode: several commands in one sandbox, each a step, one record, one verdict."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Literal, Self

from proctor.errors import UsageError
from proctor.policy.load import default, load
from proctor.sandbox import interpreter
from proctor.sensors.steps import ID_ALLOWED, is_id
from proctor.session.client import Client, Launcher, environment, prepare
from proctor.session.spec import folders

if TYPE_CHECKING:
    from proctor.policy.records import Policy
    from proctor.verdicts import Verdict

__all__ = ["Completed", "Episode"]

_QUIET_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that ended.

    Attributes:
        returncode: as in :mod:`subprocess`: negative for a signal; None where the episode was ended under it.
        stdout, stderr: what it wrote, as bytes, cut at ``max_output`` each (the record digests all of it).
    """

    argv: tuple[str, ...]
    step: str
    returncode: int | None
    stdout: bytes
    stderr: bytes


class Episode:
    """Run an agent's tool calls in one contained, recorded episode.

    ::

        with proctor.Episode(policy="policy.toml") as episode:
            done = episode.run(["pytest", "-q"], step="call_1")
        print(episode.verdict.verdict)

    The supervisor is a process of its own, forked by a launcher; pass a warm :class:`Launcher` to share it between
    episodes. Leaving the ``with`` block ends what still runs in the sandbox, and judges.

    Args:
        policy: a policy file, a :class:`~proctor.policy.records.Policy`, or None for the default: the workspace
            writable, nothing else.
        workspace: the folder the commands run in; by default the working folder.
        out: the record's folder; by default a new one below ``$XDG_STATE_HOME/proctor/episodes``.
        rules: further folders of Sigma rules (``docs/rules.md``, *Outside rules*).
        launcher: a warm launcher; by default one is started, and ended with the episode.
        commands: programs outside the system's folders that later commands need (their prefixes become readable).
        tier: the kind of sandbox; by default B, or C where there are no namespaces. A is B, cross-checked.
        all_opens: record opens for reading too.

    Raises:
        UsageError: the policy, workspace, output folder or a rule cannot be used.
        SandboxError: this machine cannot build the sandbox; ``proctor doctor`` says what is missing.
    """

    def __init__(
        self,
        policy: str | Path | Policy | None = None,
        *,
        workspace: str | Path | None = None,
        out: str | Path | None = None,
        rules: Sequence[str | Path] = (),
        launcher: Launcher | None = None,
        commands: Sequence[str] = (),
        tier: Literal["A", "B", "C"] | None = None,
        all_opens: bool = False,
    ) -> None:
        self._workspace = str(Path(workspace if workspace is not None else Path.cwd()).resolve())
        if policy is None:
            self._policy = default(self._workspace)
        elif isinstance(policy, str | Path):
            self._policy = load(Path(policy), self._workspace)
        else:
            self._policy = policy
        self._programs = [self._resolve(name) for name in dict.fromkeys([sys.executable, *commands])]
        self._out = str(out) if out is not None else None
        self._rules = folders([str(folder) for folder in rules])
        self._tier = tier
        self._all_opens = all_opens
        self._own_launcher = launcher is None
        self._launcher = launcher
        self._client: Client | None = None
        self._steps = 0
        self.verdict: Verdict | None = None
        """The verdict, once the episode is closed."""
        self.out: Path | None = None
        """The record's folder."""

    def _resolve(self, name: str) -> interpreter.Command:
        return interpreter.resolve(name, search_path=os.environ.get("PATH", os.defpath), folder=self._workspace)

    def __enter__(self) -> Self:
        spec = prepare(
            self._policy,
            self._programs,
            out=self._out,
            rules=self._rules,
            caller=os.environ,
            tier=self._tier,
            all_opens=self._all_opens,
        )
        if self._launcher is None:
            self._launcher = Launcher(rules=self._rules)
        self._spec = spec
        try:
            self._client = self._launcher.start(spec)
            self._client.wait("ready")
        except BaseException:
            if self._client is not None:
                self._client.channel.close()
            self._end_launcher()
            raise
        self.out = Path(spec.out)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(
        self,
        argv: Sequence[str],
        *,
        step: str | None = None,
        cwd: str | Path | None = None,
        stdin: int | bytes | IO[bytes] | None = None,
        timeout: float | None = None,
        max_output: int = 1 << 24,
    ) -> Completed:
        """Run one command as one step and wait for it. What it leaves running goes on until the episode closes.

        Args:
            argv: the command and its arguments.
            step: the tool call's id; by default ``step-1``, ``step-2``, …
            cwd: by default the workspace.
            stdin: bytes, or a descriptor or an open file that is read from where it stands; by default empty.
            timeout: seconds after which the episode is killed and closed.
            max_output: bytes of each stream to return.

        Raises:
            UsageError: the command cannot be started.
            TimeoutError: ``timeout`` passed.
        """
        if self._client is None:
            raise UsageError("Episode.run: the episode is not open; use `with proctor.Episode(...) as episode`")
        if isinstance(argv, str | bytes) or not all(isinstance(word, str) for word in argv):
            raise UsageError("Episode.run: argv is a list of strings, as in ['sh', '-c', 'true']")
        if not argv:
            raise UsageError("Episode.run: argv is empty")
        if step is not None and not is_id(step):
            raise UsageError(f"Episode.run: step {step!r:.80}: allowed is {ID_ALLOWED}")
        command = self._resolve(argv[0])
        self._steps += 1
        name = step if step is not None else f"step-{self._steps}"
        env = environment(self._policy, [command, *self._programs], os.environ, self._spec.episode)
        source, own_source = _source(stdin)
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        try:
            number = self._client.run(
                command,
                argv,
                cwd=str(cwd or self._workspace),
                env=env,
                step=name,
                streams=(source, out_write, err_write),
            )
        finally:
            for fd in (out_write, err_write, *([source] if own_source else [])):
                os.close(fd)
        outputs = {out_read: bytearray(), err_read: bytearray()}
        try:
            status = self._collect(number, outputs, max_output, timeout)
        finally:
            for fd in (out_read, err_read):
                os.close(fd)
        return Completed(tuple(argv), name, status, bytes(outputs[out_read]), bytes(outputs[err_read]))

    def _collect(self, number: int, outputs: dict[int, bytearray], limit: int, timeout: float | None) -> int | None:
        """Read both streams until the command has ended and has nothing more to say."""
        client = self._client
        if client is None:
            raise UsageError("Episode.run: the episode is not open")
        deadline = None if timeout is None else time.monotonic() + timeout
        poll = select.poll()
        for fd in (*outputs, client.channel.fileno()):
            poll.register(fd, select.POLLIN)
        status: int | None = None
        ended, open_streams = False, set(outputs)
        while not ended or open_streams:
            wait = _QUIET_SECONDS if ended else None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = poll.poll(None if wait is None else wait * 1000)
            if not ready:
                if ended:
                    return status  # something that was left running holds the stream open
                client.tell(op="kill", reason=f"the caller's time-out of {timeout} s passed")
                self._finish()
                raise TimeoutError(f"the command did not end within {timeout} s; the episode was ended")
            for fd, _ in ready:
                if fd == client.channel.fileno():
                    message = client.next()
                    if message["op"] == "ended" and message["id"] == number:
                        ended, status = True, message["status"]
                    elif message["op"] == "verdict":
                        self._keep()
                        return None
                elif chunk := os.read(fd, 1 << 16):
                    outputs[fd] += chunk[: max(0, limit - len(outputs[fd]))]
                else:
                    poll.unregister(fd)
                    open_streams.discard(fd)
        return status

    def close(self) -> Verdict | None:
        """End what still runs, judge, and return the verdict. Closing again returns it again."""
        if self._client is not None:
            self._client.tell(op="close")
            self._finish()
        return self.verdict

    def _finish(self) -> None:
        client = self._client
        if client is None:
            return
        try:
            client.wait("verdict")
            self._keep()
        finally:
            with contextlib.suppress(OSError):
                client.channel.close()
            self._client = None
            self._end_launcher()

    def _keep(self) -> None:
        import msgspec  # with the record types below, only once an episode ends

        from proctor.verdicts import Verdict as Record

        # From the record, not from a message: a verdict has no bound that a packet keeps.
        self.verdict = msgspec.json.decode((Path(self._spec.out) / "verdict.json").read_bytes(), type=Record)
        if self._client is not None:
            self._client.channel.close()
            self._client = None
        self._end_launcher()

    def _end_launcher(self) -> None:
        if self._own_launcher and self._launcher is not None:
            self._launcher.close()
            self._launcher = None


def _source(stdin: int | bytes | IO[bytes] | None) -> tuple[int, bool]:
    """The descriptor that standard input is read from, and whether it is ours to close.

    Raises:
        UsageError: ``stdin`` is nothing that can be read from.
    """
    if stdin is None or stdin == subprocess.DEVNULL:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), True
    if isinstance(stdin, bytes):
        fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
        with open(fd, "wb", closefd=False) as file:
            file.write(stdin)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd, True
    try:
        fd = stdin if isinstance(stdin, int) else stdin.fileno()
        os.fstat(fd)
    except (AttributeError, OSError, ValueError):
        shown = type(stdin).__name__ if not isinstance(stdin, int) else str(stdin)
        raise UsageError(f"Episode.run: stdin is {shown}; allowed are bytes, a descriptor or an open file") from None
    return fd, False
