"""``proctor run``: one command in front of an agent's command line."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from proctor.cli.attending import Attending, fresh_line
from proctor.errors import UsageError
from proctor.events.text import printable
from proctor.policy.load import default, load
from proctor.sandbox import interpreter
from proctor.session.address import connect, keep_from_agent, parse
from proctor.session.client import Client, environment, of_terminal, prepare
from proctor.session.spec import folders

if TYPE_CHECKING:
    from proctor.cli.terminal import UserTerminal
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
    address = parse(arguments.stream, "--stream") if arguments.stream is not None else None
    if address is not None:
        keep_from_agent(address, policy)
    command = interpreter.resolve(argv[0], search_path=os.environ.get("PATH", os.defpath), folder=workspace)
    terminal = _terminal(arguments)
    spec = prepare(
        policy,
        [command],
        out=arguments.out,
        rules=folders(arguments.rules),
        caller=os.environ,
        tier=arguments.tier,
        all_opens=arguments.all_opens,
        streamed=address is not None,
    )
    spec = structs.replace(spec, terminal=terminal is not None)
    stream = connect(address) if address is not None else None
    attending = Attending(_narrator(arguments, spec), 2 if arguments.json else 1, terminal)
    client = Client(arguments.supervisor, attending.news)
    client.open(spec, stream)
    attending.attend(client)
    try:
        client.wait("ready")
        env = environment(policy, [command], os.environ, spec.episode)
        streams, wanted = attending.begin()
        client.run(
            command, argv, cwd=workspace, env=env if wanted is None else of_terminal(env, os.environ), step=None,
            streams=streams, terminal=wanted,
        )  # fmt: skip
        attending.given()
        news = client.wait_any("ended", "verdict")
        if news["op"] == "ended":
            client.tell(op="close")
            news = client.wait("verdict")
    finally:
        attending.finish()
    with contextlib.suppress(ChildProcessError):  # where our parent ignores SIGCHLD the kernel has reaped it
        os.waitpid(arguments.supervisor_pid, 0)
    status = tell_verdict(arguments, Path(spec.out))
    if address is None:
        return status
    if "lost" in news:
        # Whatever the verdict: who reads only the status must not take it for recorded outside.
        sys.stderr.write(f"proctor: the collector does not have the whole record: {printable(news['lost'], 400)}\n")
        return status if arguments.exit_status == "verdict" and status in {10, 12} else 1
    if not arguments.quiet:
        sys.stderr.write(f"  sent    {_of_collector(news)}\n")
    return status


def _of_collector(news: dict[str, Any]) -> str:
    if "received" not in news:
        return "whole, over a pipe; whether a collector took it is not known here"
    from proctor.journal.keys import fingerprint  # as in tell_verdict

    return f"whole; received by the collector with key {fingerprint(bytes.fromhex(news['received']))}"


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
        sys.stderr.write(
            f"proctor: warning: {printable(path)} lies in {printable(root)}, where the agent can read and change it; "
            "this episode goes by what was read before\n"
        )


def _terminal(arguments: argparse.Namespace) -> UserTerminal | None:
    """The person's terminal, where the agent is to have one of its own; it is shown where its output would go."""
    if not arguments.tty:
        return None
    from proctor.cli.terminal import UserTerminal  # only with --tty

    return UserTerminal(0, 2 if arguments.json else 1)


def _narrator(arguments: argparse.Namespace, spec: EpisodeSpec) -> Callable[[dict[str, Any]], None]:
    """What is said while the agent runs: a line at the start, and one for each finding.

    At a terminal each begins a line of its own, wherever the agent's output stands. Elsewhere (a pipe, a file) it may
    come inside a line that the agent writes in pieces: the two write to one place without waiting for each other.
    """

    def say(message: dict[str, Any]) -> None:
        op = message["op"]
        text = ""
        if op == "ready":
            text = f"episode {spec.episode}, tier {message['tier']}, record in {printable(spec.out, 300)}"
        elif op == "finding":
            allowed = " (authorised)" if message["authorisation"] == "authorised" else ""
            text = f"{message['rule']}{allowed}: {printable(message['summary'])}"
        elif op == "frozen":
            ways = f"`proctor thaw {spec.episode}` or `proctor kill {spec.episode}`"
            text = f"frozen: {printable(message['reason'])}; {ways}"
        if text:
            start = fresh_line(2) if op != "ready" else ""
            sys.stderr.write(f"{start}proctor: {text}\n")
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
        sys.stderr.write(fresh_line(2) + terminal(verdict, evidence(out, verdict), colour=colour, width=width))
        sys.stderr.write(f"  report  {out}/report.html, report.md\n  check   proctor verify {out}\n")
    if arguments.exit_status == "agent" and verdict.agent_exit is not None:
        return verdict.agent_exit
    if arguments.exit_status == "agent" and verdict.agent_signal is not None:
        return 128 + verdict.agent_signal
    return exit_status(verdict)
