"""``proctor watch``: record and judge what the processes of somebody else's cgroup do."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from proctor.cli.run import tell_verdict
from proctor.errors import UsageError
from proctor.events.text import printable
from proctor.policy.load import load
from proctor.policy.records import Policy
from proctor.session.observing import Observing
from proctor.session.spec import folders

if TYPE_CHECKING:
    from proctor.findings import Finding

__all__ = ["run"]


def run(arguments: argparse.Namespace) -> int:
    """Watch until the cgroup empties, the time is over, or SIGINT or SIGTERM; return the verdict's exit status."""
    if arguments.seconds is not None and not 0 < arguments.seconds < 1e8:
        raise UsageError(
            f"watch: --for {arguments.seconds:g}: allowed are more than 0 and less than 100,000,000 seconds"
        )
    policy = load(Path(arguments.policy), Path.cwd()) if arguments.policy is not None else Policy(workspace="/")

    def say(finding: Finding) -> None:
        if not arguments.quiet:
            allowed = " (authorised)" if finding.authorisation == "authorised" else ""
            sys.stderr.write(f"proctor: {finding.rule}{allowed}: {printable(finding.summary)}\n")
            sys.stderr.flush()

    watch = Observing(
        arguments.cgroup,
        policy,
        out=arguments.out,
        rules=folders(arguments.rules),
        freeze=not arguments.no_freeze,
        say=say,
    )
    with watch:
        wake, wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_write)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # as nohup(1) leaves it
                signal.signal(number, lambda *_: None)
        watch.attach()
        if not arguments.quiet:
            where = f"{printable(arguments.cgroup, 300)}, recorded and judged, not contained"
            out = printable(watch.spec.out, 300)
            sys.stderr.write(f"proctor: watch {watch.spec.episode} of {where}; record in {out}\n")
            sys.stderr.flush()
        watch.run(wake, arguments.seconds)
    arguments.exit_status = "verdict"
    return tell_verdict(arguments, Path(watch.spec.out))
