"""What files of the workspace held before and hold at the end, in real episodes of both tiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.live.place import Place, Run

POLICY = '[files]\nwrite = ["."]\nprotect = ["tests/"]\nhide = ["answers"]\n'
WORK = """
sed -i s/two/2/ src.txt
printf 'key = ghp_0123456789abcdefghijABCDEFGHIJ0123456789\\n' > made
rm gone
mv src.txt moved; mv moved src.txt
echo same > same
echo x > tests/t 2>/dev/null
echo y > answers 2>/dev/null
(sleep 0.3; echo later > late) &
"""


def changes(run: Run) -> tuple[dict[str, Any], dict[str, int]]:
    found = {Path(event["data"]["path"]).name: event["data"] for event in run.of("change")}
    (totals,) = run.of("changes")
    return found, totals["data"]


@pytest.mark.parametrize("tier", ["B", "C"])
def test_what_changed_is_shown_with_its_lines(tmp_path: Path, tier: str) -> None:
    place = Place(tmp_path)
    for name, text in (
        ("src.txt", "one\ntwo\n"), ("gone", "g\n"), ("same", "same\n"), ("tests/t", "t\n"), ("answers", "42\n"),
    ):  # fmt: skip
        place.file(name, text)
    run = place.run("sh", "-c", WORK + "wait", policy=POLICY, options=["--tier", tier, "--quiet"])
    found, totals = changes(run)
    assert {name: one["change"] for name, one in found.items()} == {
        "src.txt": "modified", "made": "made", "gone": "removed", "late": "made",
    }  # fmt: skip
    assert found["src.txt"]["text"] == "@@ -1,2 +1,2 @@\n one\n-two\n+2"
    assert found["made"]["text"].startswith("@@ -0,0 +1 @@\n+key = [redacted:")
    assert "after" not in found["gone"]
    assert found["gone"]["before"]["bytes"] == 2
    assert (totals["unchanged"], totals.get("not_compared", 0)) == (1, 0)
    page = (run.out / "report.html").read_text()
    assert "Changes in the workspace" in page
    assert "-two" in page
    assert place.proctor("verify", str(run.out)).returncode == 0
    assert place.proctor("replay", str(run.out)).returncode == 0


def test_a_file_behind_an_exchanged_folder_is_not_read(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.file("d/hostname", "mine\n")
    agent = "echo changed > d/hostname; rm -r d; ln -s /etc d"
    found, _ = changes(place.run("sh", "-c", agent))
    assert found["hostname"]["change"] == "removed"
    assert "after" not in found["hostname"]
