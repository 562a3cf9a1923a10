"""The library's episode, against the real kernel."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proctor import Episode
from proctor.errors import PolicyError, ProctorError, UsageError
from proctor.journal.verification import verify
from proctor.session.client import Launcher
from tests.live.place import SECONDS, Place, alive, events


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path)
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, place.env[name])
    return place


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        started = Launcher()
    with started:
        yield started


def _record(episode: Episode) -> list[dict[str, Any]]:
    assert episode.out is not None
    return events(episode.out)


def _of_image(record: list[dict[str, Any]], program: str) -> list[dict[str, Any]]:
    """The execs of a program, by its file's name."""
    return [e for e in record if e["kind"] == "exec" and Path(str(e["data"].get("image"))).name.startswith(program)]


def test_commands_are_steps_and_return_what_they_said(place: Place) -> None:
    with Episode(workspace=place.workspace) as episode:
        first = episode.run(["sh", "-c", "echo out; echo err >&2; echo x > made; exit 3"], step="call_1")
        second = episode.run(["cat", "made"])
        third = episode.run(["sh", "-c", "kill -9 $$"])
    assert (first.returncode, first.stdout, first.stderr, first.step) == (3, b"out\n", b"err\n", "call_1")
    assert (second.returncode, second.stdout, second.step) == (0, b"x\n", "step-2")
    assert third.returncode == -9
    assert episode.verdict is not None and episode.out is not None
    assert episode.verdict.verdict == "clean"
    assert verify(episode.out).exit_status == 0

    record = _record(episode)
    steps = [(e["data"]["op"], e["data"]["id"], e["data"].get("exit_code")) for e in record if e["kind"] == "step"]
    assert steps == [
        ("begin", "call_1", None), ("end", "call_1", 3), ("begin", "step-2", None), ("end", "step-2", 0),
        ("begin", "step-3", None), ("end", "step-3", None),
    ]  # fmt: skip
    made = next(e for e in record if e["kind"] == "file" and e["data"]["path"] == "made")
    assert (made["origin_step"], made["active_step"]) == ("call_1", "call_1")
    assert made["attribution"] in {"cgroup", "lineage"}
    (cat,) = _of_image(record, "cat")
    assert (cat["origin_step"], cat["active_step"]) == ("step-2", "step-2")


def test_every_event_of_a_command_has_its_step(place: Place) -> None:
    with Episode(workspace=place.workspace) as episode:
        episode.run(["sh", "-c", "for i in 1 2 3; do (ls; ls | cat) >/dev/null; done"], step="only")
    kernel = [e for e in _record(episode) if e["sensor"] == "kernel"]
    assert len(kernel) > 30
    assert {e.get("origin_step") for e in kernel} == {"only"}


def test_what_a_step_leaves_running_stays_that_steps(place: Place, launcher: Launcher) -> None:
    waits = "while [ ! -e go ]; do sleep 0.02; done; echo late > late.txt; while :; do sleep 0.05; done"
    with Episode(workspace=place.workspace, launcher=launcher) as episode:
        first = episode.run(["sh", "-c", f"(sh -c '{waits}') >/dev/null 2>&1 & echo $!"], step="one")
        second = episode.run(
            ["sh", "-c", "touch go; while [ ! -s late.txt ]; do sleep 0.02; done; cat late.txt"], step="two"
        )
        # The second step can end what the first one left; and it is gone.
        third = episode.run(
            ["sh", "-c", "kill -9 $0; while kill -0 $0; do sleep 0.02; done", first.stdout.decode().strip()]
        )
    assert second.stdout == b"late\n"
    assert third.returncode == 0
    late = next(e for e in _record(episode) if e["kind"] == "file" and e["data"]["path"] == "late.txt")
    assert (late["origin_step"], late["active_step"]) == ("one", "two")
    assert late["attribution"] in {"cgroup", "lineage"}
    signal = next(e for e in _record(episode) if e["kind"] == "signal" and e["data"]["signo"] == 9)
    assert signal["origin_step"] == "step-3"


def test_what_is_left_at_the_end_is_recorded_and_ended(place: Place, launcher: Launcher) -> None:
    with Episode(workspace=place.workspace, launcher=launcher) as episode:
        episode.run(["sh", "-c", f"sleep 987{os.getpid()} >/dev/null 2>&1 & sleep 0.1"], step="one")
    assert episode.verdict is not None
    (left,) = episode.verdict.leftover
    assert left.cmdline[0] == "sleep"
    assert left.origin_step == "one"
    assert not alive(f"987{os.getpid()}")


def test_a_time_out_ends_the_episode_and_it_is_judged(place: Place, launcher: Launcher) -> None:
    with Episode(workspace=place.workspace, launcher=launcher) as episode:
        episode.run(["true"])
        with pytest.raises(TimeoutError, match=r"within 0\.3 s"):
            episode.run(["sleep", f"986{os.getpid()}"], timeout=0.3)
        assert not alive(f"986{os.getpid()}")
        with pytest.raises(UsageError, match="not open"):
            episode.run(["true"])
    assert episode.verdict is not None and episode.out is not None
    assert [response.action for response in episode.verdict.responses] == ["kill"]
    assert verify(episode.out).exit_status == 0


def test_after_close_there_is_a_verdict_and_no_more_commands(place: Place, launcher: Launcher) -> None:
    episode = Episode(workspace=place.workspace, launcher=launcher)
    with pytest.raises(UsageError, match="not open"):
        episode.run(["true"])
    with episode:
        episode.run(["true"])
        verdict = episode.close()
        assert verdict is not None and verdict.verdict == "clean"
        with pytest.raises(UsageError, match="not open"):
            episode.run(["true"])
    assert episode.close() is verdict


def test_an_exception_in_the_body_passes_and_the_episode_is_judged(place: Place, launcher: Launcher) -> None:
    with pytest.raises(KeyError, match="mine"), Episode(workspace=place.workspace, launcher=launcher) as episode:
        episode.run(["sh", "-c", f"sleep 985{os.getpid()} >/dev/null 2>&1 &"])
        raise KeyError("mine")
    assert episode.verdict is not None and episode.out is not None
    assert verify(episode.out).exit_status == 0
    assert not alive(f"985{os.getpid()}")


def test_an_episode_without_a_command(place: Place, launcher: Launcher) -> None:
    with Episode(workspace=place.workspace, launcher=launcher) as episode:
        pass
    assert episode.verdict is not None
    assert (episode.verdict.verdict, episode.verdict.agent_exit) == ("clean", None)


def test_a_command_that_is_not_there_spoils_nothing(place: Place, launcher: Launcher) -> None:
    place.file("noise", "\x01\x02 no program", executable=True)
    with Episode(workspace=place.workspace, launcher=launcher) as episode:
        with pytest.raises(UsageError, match="no-such-program"):
            episode.run(["no-such-program"])
        with pytest.raises(UsageError, match="noise"):
            episode.run(["./noise"])
        with pytest.raises(UsageError, match="empty"):
            episode.run([])
        for argv in ("true", b"true", [b"true"]):
            with pytest.raises(UsageError, match="a list of strings"):
                episode.run(argv)  # type: ignore[arg-type]
        for stdin in (4095, "abc", object()):
            with pytest.raises(UsageError, match="allowed are bytes, a descriptor or an open file"):
                episode.run(["cat"], stdin=stdin)  # type: ignore[arg-type]
        for step in ("", "a\nb", "x" * 201, 1):
            with pytest.raises(UsageError, match="printable characters"):
                episode.run(["true"], step=step)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match=r"could not be started: /no/such/folder: No such file or directory$"):
            episode.run(["true"], cwd="/no/such/folder")
        for number in range(5):
            done = episode.run(["sh", "-c", f"sleep 0.02; echo {number}; exit {number}"])
            assert (done.returncode, done.stdout) == (number, b"%d\n" % number)
    assert episode.verdict is not None
    assert episode.verdict.verdict == "clean"


def test_policies_and_folders_that_cannot_be_used(place: Place, launcher: Launcher) -> None:
    with pytest.raises(PolicyError, match=r"policy\.toml:2: files\.protect"):
        Episode(place.policy('[files]\nprotect = ["absent/"]\n'), workspace=place.workspace, launcher=launcher)
    with pytest.raises(UsageError, match="which the agent can write to"):
        Episode(workspace=place.workspace, launcher=launcher, out=place.workspace / "out").__enter__()
    full = place.folder / "full"
    full.mkdir()
    (full / "file").touch()
    with pytest.raises(UsageError, match=r"output folder .* cannot be used"):
        Episode(workspace=place.workspace, launcher=launcher, out="a\0b").__enter__()
    with pytest.raises(UsageError, match="not an empty folder"):
        Episode(workspace=place.workspace, launcher=launcher, out=full).__enter__()


def test_streams(place: Place, launcher: Launcher) -> None:
    data = bytes(range(256)) * 4096
    (place.workspace / "data").write_bytes(data)
    with Episode(workspace=place.workspace, launcher=launcher) as episode:
        with (place.workspace / "data").open("rb") as file:
            assert episode.run(["cat"], stdin=file).stdout == data
        assert episode.run(["cat"]).stdout == b""
        assert episode.run(["cat"], stdin=data).stdout == data
        assert episode.run(["cat"], stdin=b"").stdout == b""
        cut = episode.run(["sh", "-c", "cat data; cat data >&2"], max_output=1000)
        assert (cut.stdout, cut.stderr) == (data[:1000], data[:1000])
        (place.workspace / "sub").mkdir()
        assert episode.run(["pwd"], cwd=place.workspace / "sub").stdout.decode() == f"{place.workspace / 'sub'}\n"
    sizes = [e["data"]["bytes"] for e in _record(episode) if e["kind"] == "output" and e["data"]["stream"] == "stdout"]
    assert sizes == [len(data), 0, len(data), 0, len(data), len(f"{place.workspace / 'sub'}\n")]


def test_nothing_of_the_output_is_lost_while_something_holds_the_streams(place: Place, launcher: Launcher) -> None:
    agent = "sleep 30 & echo begin; head -c 300000 /dev/zero | tr '\\0' x; echo end"
    with Episode(workspace=place.workspace, launcher=launcher) as episode:
        for _ in range(5):
            assert episode.run(["sh", "-c", agent]).stdout == b"begin\n" + b"x" * 300000 + b"end\n"


def test_the_host_programs_descriptors_and_environment_stay_outside(
    place: Place, launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", "sesame-open-sesame")
    with (place.folder / "secret").open("w") as held, Episode(workspace=place.workspace, launcher=launcher) as episode:
        os.set_inheritable(held.fileno(), True)
        done = episode.run(["sh", "-c", "env; ls -l /proc/self/fd"])
    assert b"sesame" not in done.stdout
    assert str(held.name).encode() not in done.stdout
    # Its three streams, and the folder that ls itself reads.
    assert len([line for line in done.stdout.splitlines() if b"->" in line]) == 4


def test_one_launcher_serves_episodes_one_after_the_other(place: Place, launcher: Launcher) -> None:
    seen = set()
    for number in range(5):
        with Episode(workspace=place.workspace, launcher=launcher) as episode:
            assert episode.run(["sh", "-c", f"echo {number}"]).stdout == b"%d\n" % number
        assert episode.verdict is not None and episode.out is not None
        assert verify(episode.out).exit_status == 0
        seen.add(episode.verdict.episode)
    assert len(seen) == 5


def test_one_launcher_serves_episodes_at_once(place: Place, launcher: Launcher) -> None:
    names = ["a", "b", "c", "d"]
    episodes = [Episode(workspace=place.workspace, launcher=launcher) for _ in names]
    results: dict[str, bytes] = {}

    def work(name: str, episode: Episode) -> None:
        others = " ".join(f"[ -e here-{other} ] &&" for other in names)
        with episode:
            # Each waits until all of them run.
            done = episode.run(
                ["sh", "-c", f"touch here-{name}; until {others} true; do sleep 0.02; done; echo {name}"],
                step=name,
                timeout=SECONDS,
            )
            results[name] = done.stdout

    threads = [threading.Thread(target=work, args=pair) for pair in zip(names, episodes, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {name: name.encode() + b"\n" for name in names}
    for name, episode in zip(names, episodes, strict=True):
        record = _record(episode)
        assert {e["data"]["id"] for e in record if e["kind"] == "step"} == {name}
        assert {e["data"]["path"] for e in record if e["kind"] == "file" and "here-" in e["data"]["path"]} == {
            f"here-{name}"
        }


def test_a_killed_supervisor_is_an_error_and_nothing_of_it_is_left(place: Place, launcher: Launcher) -> None:
    marker = f"984{os.getpid()}"
    with (
        pytest.raises(ProctorError, match="ended without a verdict"),
        Episode(workspace=place.workspace, launcher=launcher) as episode,
    ):
        started = threading.Thread(target=_kill_supervisor_of, args=(marker,))
        started.start()
        try:
            episode.run(["sleep", marker])
        finally:
            started.join()
    assert episode.verdict is None
    assert episode.out is not None
    assert verify(episode.out).status == "truncated"
    while alive(marker):
        time.sleep(0.01)


def _kill_supervisor_of(marker: str) -> None:
    while not (found := alive(marker)):
        time.sleep(0.01)
    pid = found[0]
    while Path(f"/proc/{pid}/comm").read_text().strip() != "proctor-super":
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(pid, 9)


def test_a_command_may_be_a_python_program_of_this_interpreter(place: Place, launcher: Launcher) -> None:
    with Episode(workspace=place.workspace, launcher=launcher) as episode:
        done = episode.run([sys.executable, "-c", "import msgspec, sys; print(sys.prefix)"])
    assert done.stdout.decode().strip() == sys.prefix, done.stderr
