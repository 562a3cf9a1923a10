from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

SKIPPING = {
    "test": "def test_it():\n    pytest.skip('no such kernel')\n",
    "mark": "@pytest.mark.skip(reason='no such kernel')\ndef test_it():\n    pass\n",
    "fixture": "@pytest.fixture\ndef it():\n    pytest.skip('no such kernel')\ndef test_it(it):\n    pass\n",
    "module": "pytest.skip('no such kernel', allow_module_level=True)\n",
}
EXPECTED_TO_FAIL = "@pytest.mark.xfail(reason='known')\ndef test_it():\n    assert False\n"


def _pytest(folder: Path, bodies: dict[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    for name, body in bodies.items():
        (folder / f"test_{name}.py").write_text(f"import pytest\n{body}", encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("PYTEST_")}
    alone = ["-c", os.devnull, "--rootdir", str(folder), "-p", "tests.conftest", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *alone, "-ra", "--continue-on-collection-errors", str(folder)],
        cwd=CHECKOUT,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_in_ci_every_skip_is_a_failure_with_its_reason(tmp_path: Path) -> None:
    done = _pytest(tmp_path, SKIPPING, CI="true")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert "skipped" not in done.stdout.splitlines()[-1]
    for name in SKIPPING:
        assert any(
            line.startswith(("FAILED", "ERROR")) and f"test_{name}.py" in line for line in done.stdout.splitlines()
        )
    assert done.stdout.count("nothing may be skipped, but: Skipped: no such kernel") >= len(SKIPPING)


def test_elsewhere_a_skip_stays_one_and_its_reason_is_printed(tmp_path: Path) -> None:
    done = _pytest(tmp_path, SKIPPING)
    assert done.returncode == pytest.ExitCode.OK
    for name in SKIPPING:
        assert any(line.startswith("SKIPPED") and f"test_{name}.py" in line for line in done.stdout.splitlines())


def test_an_expected_failure_stays_one_in_ci(tmp_path: Path) -> None:
    assert _pytest(tmp_path, {"known": EXPECTED_TO_FAIL}, CI="true").returncode == pytest.ExitCode.OK
