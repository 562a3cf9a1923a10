"""The host program's side of an episode: ask a supervisor to run commands, and hear what came of it."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, Self

import msgspec

from proctor.errors import ProctorError, SandboxError, UsageError
from proctor.policy.load import digest
from proctor.policy.records import Policy
from proctor.sandbox import interpreter
from proctor.sandbox.channel import pair, receive, send
from proctor.sandbox.layout import HOME, inside, plan
from proctor.sandbox.terminal import Terminal
from proctor.session.spec import EpisodeSpec, cache_folder, folders, keys_folder, new_id, output_folder

__all__ = ["Client", "Launcher", "environment", "of_terminal", "prepare"]

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
"""Names of terminals that terminfo(5) looks up, and that are no path."""
_SECRET_NAMES = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL")


def environment(
    policy: Policy, commands: Sequence[interpreter.Command], caller: Mapping[str, str], episode: str
) -> dict[str, str]:
    """The agent's environment: minimal, plus what the policy passes on and sets."""
    folders = [os.path.dirname(command.path) for command in commands]
    extra = [folder for folder in dict.fromkeys(folders) if folder not in _PATH.split(":")]
    home = HOME if policy.files.home == "fresh" else policy.files.home
    values = {
        "PATH": ":".join([*extra, _PATH, "/run/proctor/bin"]),
        "HOME": home,
        "LANG": "C.UTF-8",
        "SHELL": "/bin/sh",
        "TMPDIR": "/tmp",  # noqa: S108 - the sandbox's own
        "USER": "agent",
        "LOGNAME": "agent",
        "PROCTOR_EPISODE": episode,
    }
    if any(endpoint.host not in {"localhost", "127.0.0.1", "::1"} for endpoint in policy.network.allow):
        values |= {"HTTPS_PROXY": "http://127.0.0.1:3128", "https_proxy": "http://127.0.0.1:3128"}
    values |= {name: caller[name] for name in policy.env.pass_ if name in caller}
    return values | policy.env.set


def of_terminal(env: Mapping[str, str], caller: Mapping[str, str]) -> dict[str, str]:
    """The agent's environment where it has a terminal: also which kind its caller's is, unless the policy says one."""
    kind = caller.get("TERM", "")
    known = {"TERM": kind if _KIND.fullmatch(kind) else "dumb"}
    if "COLORTERM" in caller:
        known["COLORTERM"] = caller["COLORTERM"]
    return known | dict(env)


def _secrets(policy: Policy, caller: Mapping[str, str]) -> tuple[str, ...]:
    """Values that the policy hands to the agent under a name that says secret: never stored."""
    given = {name: caller[name] for name in policy.env.pass_ if name in caller} | policy.env.set
    return tuple(value for name, value in given.items() if any(word in name.upper() for word in _SECRET_NAMES))


def prepare(
    policy: Policy,
    commands: Sequence[interpreter.Command],
    *,
    out: str | None,
    rules: Sequence[str],
    caller: Mapping[str, str],
    tier: Literal["A", "B", "C"] | None = None,
    all_opens: bool = False,
    streamed: bool = False,
) -> EpisodeSpec:
    """Everything a supervisor needs, checked before anything runs.

    Args:
        streamed: a collector gets the journal: where no key can be kept, the episode has one of its own.

    Raises:
        UsageError: the policy or the output folder cannot be used.
    """
    episode = policy.episode.id or new_id()
    folder = output_folder(out, episode, policy)
    readable = tuple(dict.fromkeys(path for command in commands for path in command.readable))
    if (runtime := interpreter.runtime_folder()) is not None:
        if root := next((root for root in policy.files.write if inside(runtime, root)), None):
            raise UsageError(
                f"{runtime}: this runtime lies in {root}, which the agent can write to; mount it elsewhere"
            )
        readable += (runtime,)  # `proctor mark` runs on its interpreter
    previous = os.umask(0o022)
    os.umask(previous)
    return EpisodeSpec(
        episode=episode,
        out=str(folder),
        policy=policy,
        policy_digest=digest(policy),
        layout=plan(policy, readable),
        rules=tuple(rules),
        keys=keys_folder(streamed=streamed),
        cache=str(cache_folder()),
        secrets=_secrets(policy, caller),
        umask=previous,
        tier=tier,
        all_opens=all_opens,
    )


class Client:
    """One episode's channel to its supervisor. ``on_news`` is called with every message as it comes.

    Attributes:
        before: called before each wait for a message; returns once there is one.
        terminal: the master of the command's terminal once it has one, else -1; the caller's to close.
    """

    def __init__(self, channel: socket.socket, on_news: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self.channel = channel
        self._on_news = on_news
        self._commands = 0
        self.before: Callable[[], None] = lambda: None
        self.terminal = -1

    def open(self, spec: EpisodeSpec, stream: int | None = None) -> None:
        """Tell the supervisor what to supervise. ``stream`` leads to the collector, and is the supervisor's then."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is dead: the next message says so
            send(
                self.channel, {"op": "episode", "spec": msgspec.to_builtins(spec)}, () if stream is None else (stream,)
            )
        if stream is not None:
            os.close(stream)

    def next(self) -> dict[str, Any]:
        """The next message.

        Raises:
            ProctorError: the supervisor failed, or ended without a word.
        """
        self.before()
        message, fds, _ = receive(self.channel)
        if message is None:
            raise ProctorError("the supervisor ended without a verdict; its record verifies up to the last checkpoint")
        if message["op"] == "failed":
            cls = {"usage": UsageError, "sandbox": SandboxError}.get(message["kind"], ProctorError)
            raise cls(message["error"])
        if message["op"] == "terminal":
            (self.terminal,) = fds
        self._on_news(message)
        return message

    def wait(self, op: str) -> dict[str, Any]:
        """Take messages until one is ``op``, and return that. Raises as :meth:`next`."""
        return self.wait_any(op)

    def wait_any(self, *ops: str) -> dict[str, Any]:
        """Take messages until one is among ``ops``, and return that. Raises as :meth:`next`."""
        while (message := self.next())["op"] not in ops:
            pass
        return message

    def run(
        self,
        command: interpreter.Command,
        argv: Sequence[str],
        *,
        cwd: str,
        env: Mapping[str, str],
        step: str | None,
        streams: tuple[int, ...],
        terminal: Terminal | None = None,
    ) -> int:
        """Ask for a command; its three streams are given to the supervisor. Returns its number, which its news carries.

        ``terminal``: it gets one of its own, like this, in place of streams.
        """
        message = {"op": "run", "path": command.path, "argv": list(argv), "cwd": cwd, "env": dict(env), "step": step}
        if terminal is not None:
            message["terminal"] = asdict(terminal)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is over: the next message says why
            send(self.channel, message, streams)
        self._commands += 1
        return self._commands

    def tell(self, **message: Any) -> None:
        """Send a request; one that comes too late is dropped."""
        with contextlib.suppress(OSError):
            send(self.channel, message)


class Launcher:
    """A warm launcher: a process that starts supervisors in a few milliseconds. Use it as a context manager.

    Args:
        rules: folders of Sigma rules to load ahead, as :class:`Episode`'s.

    Raises:
        UsageError: a rule cannot be used.
    """

    def __init__(self, *, rules: Sequence[str] = ()) -> None:
        import subprocess  # 10 ms, and only a library's launcher is a program of its own

        ours, theirs = pair()
        self._channel = ours
        self._process = subprocess.Popen(
            [sys.executable, "-m", "proctor.session.launcher", str(theirs.fileno())],
            pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, env=_launcher_environment(),
        )  # fmt: skip
        theirs.close()
        self.rules = folders(rules)
        send(ours, {"op": "warm", "rules": list(self.rules), "cache": str(cache_folder())})
        answer, _, _ = receive(ours)
        if answer is None or answer["op"] != "warm":
            self.close()
            raise UsageError(answer["error"]) if answer is not None else ProctorError("the launcher ended")

    def start(self, spec: EpisodeSpec, on_news: Callable[[dict[str, Any]], None] = lambda _: None) -> Client:
        """Start an episode's supervisor."""
        ours, theirs = pair()
        send(self._channel, {"op": "episode"}, (theirs.fileno(),))
        theirs.close()
        client = Client(ours, on_news)
        client.open(spec)
        return client

    def close(self) -> None:
        """End the launcher; episodes that are running go on."""
        self._channel.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _launcher_environment() -> dict[str, str]:
    """The launcher finds this very package, wherever it was imported from."""
    source = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH", "")
    return dict(os.environ, PYTHONPATH=source + (os.pathsep + inherited if inherited else ""))
