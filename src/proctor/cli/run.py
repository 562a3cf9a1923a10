"""``proctor run``: one command in front of an agent's command line."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proctor.errors import UsageError
from proctor.policy.load import default, load
from proctor.sandbox import interpreter
from proctor.session.client import Client, environment, prepare
from proctor.session.spec import folders

if TYPE_CHECKING:
    from proctor.session.spec import EpisodeSpec

__all__ = ["run", "tell_verdict"]


def run(arguments: argparse.Namespace) -> int:
    """Run the agent and return the exit status that scripts rely on."""
    argv = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not argv:
        raise UsageError("run: no command; write it after `--`, as in `proctor run -- python agent.py`")
    workspace = _working_folder()
    policy = load(Path(arguments.policy), workspace) if arguments.policy is not None else default(workspace)
    if arguments.policy is not None and not arguments.quiet:
        _warn_of_policy(arguments.policy, policy.files.write)
    command = interpreter.resolve(argv[0], search_path=os.environ.get("PATH", os.defpath), folder=workspace)
    spec = prepare(
        policy,
        [command],
        out=arguments.out,
        rules=folders(arguments.rules),
        caller=os.environ,
        tier=arguments.tier,
        all_opens=arguments.all_opens,
    )
    client = Client(arguments.supervisor, _narrator(arguments, spec))
    client.open(spec)
    started = _forward_signals(client)
    client.wait("ready")
    stdout = 2 if arguments.json else 1
    client.run(
        command,
        argv,
        cwd=workspace,
        env=environment(policy, [command], os.environ, spec.episode),
        step=None,
        streams=(0, stdout, 2),
    )
    news = client.wait_any("started", "ended", "verdict")["op"]
    if news == "started":
        started()
        news = client.wait_any("ended", "verdict")["op"]
    if news == "ended":
        client.tell(op="close")
        client.wait("verdict")
    with contextlib.suppress(ChildProcessError):  # where our parent ignores SIGCHLD the kernel has reaped it
        os.waitpid(arguments.supervisor_pid, 0)
    return tell_verdict(arguments, Path(spec.out))


def _working_folder() -> str:
    try:
        return str(Path.cwd().resolve(strict=True))
    except OSError as error:
        raise UsageError(f"run: the working folder cannot be used ({error.strerror})") from None


def _warn_of_policy(path: str, writes: tuple[str, ...]) -> None:
    """It was read and is not read again; but who finds it in the workspace may take it for the agent's own."""
    file = Path(path).resolve()
    root = next((root for root in writes if file.is_relative_to(root)), None)
    if root is not None:
        from proctor.events.text import printable  # as below

        sys.stderr.write(
            f"proctor: warning: {printable(path)} lies in {printable(root)}, where the agent can read and change it; "
            "this episode goes by what was read before\n"
        )


def _forward_signals(client: Client) -> Callable[[], None]:
    """Ctrl-C goes to the agent, a second one ends the episode; SIGTERM ends it, and it is judged.

    Returns what to call once the agent has started: before that the first Ctrl-C ends the episode too.
    """
    allowed = 0

    def interrupt(*_: object) -> None:
        nonlocal allowed
        allowed -= 1
        if allowed >= 0:
            client.tell(op="signal", signo=int(signal.SIGINT))
        else:
            client.tell(op="kill", reason="proctor run was interrupted (Ctrl-C)")

    def started() -> None:
        nonlocal allowed
        allowed += 1

    def end(number: int, _: object) -> None:
        client.tell(op="kill", reason=f"proctor run was asked to end ({signal.Signals(number).name})")

    for number, action in ((signal.SIGINT, interrupt), (signal.SIGTERM, end), (signal.SIGHUP, end)):
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup(1) and a shell's background jobs leave it
            signal.signal(number, action)
    return started


def _narrator(arguments: argparse.Namespace, spec: EpisodeSpec) -> Callable[[dict[str, Any]], None]:
    """What is said while the agent runs: a line at the start, and one for each finding. Never over the agent's own."""

    def say(message: dict[str, Any]) -> None:
        from proctor.events.text import printable  # with the first thing there is to say

        op = message["op"]
        if op == "ready":
            sys.stderr.write(
                f"proctor: episode {spec.episode}, tier {message['tier']}, record in {printable(spec.out, 300)}\n"
            )
        elif op == "finding":
            allowed = " (authorised)" if message["authorisation"] == "authorised" else ""
            sys.stderr.write(f"proctor: {message['rule']}{allowed}: {printable(message['summary'])}\n")
        elif op == "frozen":
            ways = f"`proctor thaw {spec.episode}` or `proctor kill {spec.episode}`"
            sys.stderr.write(f"proctor: frozen: {printable(message['reason'])}; {ways}\n")
        sys.stderr.flush()

    return (lambda _: None) if arguments.quiet else say


def tell_verdict(arguments: argparse.Namespace, out: Path) -> int:
    """Print the verdict of the record in ``out`` and choose the exit status."""
    import msgspec  # the agent has ended: nobody waits for these

    from proctor.events.text import inert_json
    from proctor.reports import terminal
    from proctor.session.closing import evidence
    from proctor.verdicts import Verdict, exit_status

    raw = (out / "verdict.json").read_bytes()
    verdict = msgspec.json.decode(raw, type=Verdict)
    if arguments.json:
        sys.stdout.write(inert_json(raw.decode().removesuffix("\n")) + "\n")
        sys.stdout.flush()
    if not arguments.quiet:
        colour = sys.stderr.isatty() and "NO_COLOR" not in os.environ
        width = os.get_terminal_size(2).columns if sys.stderr.isatty() else 100
        sys.stderr.write(terminal(verdict, evidence(out, verdict), colour=colour, width=width))
        sys.stderr.write(f"  report  {out}/report.html, report.md\n  check   proctor verify {out}\n")
    if arguments.exit_status == "agent" and verdict.agent_exit is not None:
        return verdict.agent_exit
    if arguments.exit_status == "agent" and verdict.agent_signal is not None:
        return 128 + verdict.agent_signal
    return exit_status(verdict)
