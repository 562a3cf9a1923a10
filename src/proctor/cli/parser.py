"""Arguments of the command line (argparse: 15 ms to import, where the alternatives measured cost 60 to 100)."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import NoReturn

from proctor import __version__
from proctor.errors import UsageError

__all__ = ["parse"]


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see `{self.prog} --help`)")


def _lazy(module: str) -> Callable[[argparse.Namespace], int]:
    """Import a command's module only when it is the one that runs."""

    def command(arguments: argparse.Namespace) -> int:
        import importlib  # as above

        run: Callable[[argparse.Namespace], int] = importlib.import_module(f"proctor.cli.{module}").run
        return run(arguments)

    return command


_Add = Callable[[str, str, str], argparse.ArgumentParser]


def _parser() -> _Parser:
    parser = _Parser(prog="proctor", description="Contain, record and judge an AI agent's episode.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"proctor {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Parser)

    def add(name: str, module: str, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.set_defaults(command=_lazy(module))
        return sub

    _running(add)
    _records(add)

    ps = add("ps", "control", "list the episodes that are running")
    ps.set_defaults(action="ps", episode=None)
    for name, text in (
        ("thaw", "let a frozen episode go on; the call it was frozen for is refused, an open of a decoy goes on"),
        ("kill", "end a running episode; it is judged"),
    ):
        sub = add(name, "control", text)
        sub.set_defaults(action=name)
        sub.add_argument("episode", metavar="EPISODE", help="the episode's id, as `proctor ps` shows it")

    doctor = add("doctor", "doctor", "say which tier this machine gives, and what is missing for the next")
    doctor.add_argument("--json", action="store_true", help="print it as one line of JSON")

    mark = add("mark", "mark", "inside a sandbox: say that a step begins or ends")
    mark.add_argument("words", nargs="*", metavar="begin ID | end ID | shell")
    return parser


def _running(add: _Add) -> None:
    """The commands that make a record."""
    run = add("run", "run", "run a command in a sandbox, record what it does, and judge it")
    run.add_argument(
        "--policy",
        metavar="FILE",
        help="what the task allows (TOML); by default: the working folder writable, no network",
    )
    run.add_argument(
        "--out", metavar="DIR", help="where the record goes; by default below $XDG_STATE_HOME/proctor/episodes"
    )
    run.add_argument(
        "--json", action="store_true", help="print the verdict on stdout as one line; the agent's stdout goes to stderr"
    )
    run.add_argument("--quiet", action="store_true", help="say nothing but errors")
    run.add_argument(
        "--exit-status",
        choices=("verdict", "agent"),
        default="verdict",
        help="whose status to exit with (default: verdict)",
    )
    run.add_argument(
        "--stream", metavar="ADDRESS", help="send the journal to `proctor collect` as it is written: fd:N, unix:PATH "
        "or tcp:HOST:PORT (loopback)",
    )  # fmt: skip
    run.add_argument("--all-opens", action="store_true", help="record opens for reading too (each open costs more)")
    run.add_argument(
        "--tier",
        choices=("A", "B", "C"),
        help="the kind of sandbox (default: B, or C where there are no namespaces); A is B, cross-checked (root)",
    )
    run.add_argument(
        "--tty", action="store_true", help="give the agent a terminal of its own, shown on this one (needs one)"
    )
    _rules(run)
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- CMD…", help="the agent's command line")

    collect = add("collect", "collect", "receive the journals of episodes that run elsewhere, check and judge them")
    collect.add_argument(
        "--listen", metavar="ADDRESS", required=True, help="fd:N, unix:PATH or tcp:HOST:PORT (loopback)"
    )
    collect.add_argument("--socket-mode", metavar="MODE", default="600", help="of a unix socket's file (default: 600)")
    collect.add_argument("--episodes", metavar="N", help="end after N streams; by default at SIGTERM")
    collect.add_argument("--max-mb", metavar="N", default="4096", help="the most that one journal may take (4096)")
    collect.add_argument("--keep-free-mb", metavar="N", default="1024", help="disk space that stays free (1024)")
    collect.add_argument("--silent-seconds", metavar="N", default="60", help="a stream without a line is cut then (60)")
    collect.add_argument("--json", action="store_true", help="print what came of each stream as a line of JSON")
    _rules(collect)
    collect.add_argument("dir", metavar="DIR", help="where the records go, each in a folder of its episode's name")

    runtime = add("export-runtime", "export_runtime", "write a folder that `proctor run` works from in any container")
    runtime.add_argument("--python", action="store_true", help="with an interpreter, for images that have none")
    runtime.add_argument("dir", metavar="DIR", help="the folder; new or empty")

    watch = add("watch", "watch", "record and judge what the processes of a cgroup do, without containing them (root)")
    watch.add_argument("--cgroup", metavar="PATH", required=True, help="the cgroup's folder (version 2)")
    watch.add_argument("--policy", metavar="FILE", help="what is allowed there (TOML); by default nothing")
    watch.add_argument("--out", metavar="DIR", help="where the record goes; by default as `proctor run`")
    watch.add_argument(
        "--for", metavar="SECONDS", dest="seconds", type=float, help="end after so long; by default when it empties"
    )
    watch.add_argument(
        "--no-freeze", action="store_true", help="never stop the cgroup to read in time; what is lost is then a gap"
    )
    watch.add_argument("--json", action="store_true", help="print the verdict on stdout as one line")
    watch.add_argument("--quiet", action="store_true", help="say nothing but errors")
    _rules(watch)


def _records(add: _Add) -> None:
    """The commands that read one."""
    verify = add("verify", "verify", "check that a record is whole and untouched")
    verify.add_argument("dir", metavar="DIR", help="the record's folder")
    verify.add_argument(
        "--trusted-key", metavar="KEY", help="the signer's public key that you trust: a file, or 64 hex digits"
    )
    verify.add_argument(
        "--collector-key", metavar="KEY", help="the same for the collector's: a receipt signed by it has to be there"
    )

    replay = add("replay", "replay", "judge a record again from its events, and compare with what was found then")
    replay.add_argument("dir", metavar="DIR", help="the record's folder")
    _rules(replay)
    replay.add_argument("--json", action="store_true", help="print the findings as one line of JSON")

    report = add("report", "report", "make a record's page for people, report.html, again")
    report.add_argument("dir", metavar="DIR", help="the record's folder")
    report.add_argument("--out", metavar="FILE", help="where to write it, `-` for stdout; by default DIR/report.html")
    _rules(report)

    export = add("export", "export", "write a record's findings in the form that other tools read")
    export.add_argument("dir", metavar="DIR", help="the record's folder")
    export.add_argument("--format", choices=("ocsf", "sarif", "junit"), required=True, help="the form")
    export.add_argument("--out", metavar="FILE", help="where to write it; by default stdout")

    lint = add("lint", "lint", "say where a text about a record is stronger than the record")
    lint.add_argument("text", metavar="TEXT", help="the text's file, or `-` for stdin")
    lint.add_argument("--against", metavar="DIR", required=True, help="the record's folder")

    findings = add("findings", "findings", "list a record's findings, and dismiss one that is no matter")
    findings.add_argument("dir", metavar="DIR", help="the record's folder")
    change = findings.add_mutually_exclusive_group()
    change.add_argument("--dismiss", metavar="ID", help="the finding is no matter: add that, signed, beside the record")
    change.add_argument("--restore", metavar="ID", help="take a dismissal back")
    findings.add_argument("--reason", metavar="TEXT", help="why; needed with --dismiss")
    findings.add_argument("--by", metavar="NAME", help="who says so; by default the user's name")
    findings.add_argument("--json", action="store_true", help="print it as one line of JSON")

    rejudge = add("rejudge", "rejudge", "judge a record by the rules of now, beside the verdict it has")
    rejudge.add_argument("dir", metavar="DIR", help="the record's folder")
    _rules(rejudge)
    rejudge.add_argument("--out", metavar="FILE", help="write the new verdict there; a new file outside the record")

    rules = add("rules", "rules", "list the rules that come with Proctor and those of folders, and what is evaluated")
    rules.add_argument("dirs", nargs="*", metavar="DIR", help="a folder of Sigma rules (*.yml, at any depth)")


def _rules(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--rules",
        action="append",
        default=[],
        metavar="DIR",
        help="a folder of Sigma rules beside those that come with Proctor; can be given several times",
    )


def parse(argv: list[str]) -> argparse.Namespace:
    """Parse ``argv``; the result's ``command`` runs it.

    Raises:
        UsageError: wrong use.
    """
    return _parser().parse_args(argv)
