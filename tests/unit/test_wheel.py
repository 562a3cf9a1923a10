from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import proctor

CHECKOUT = Path(__file__).parents[2]


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    done = subprocess.run(build, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"proctor-{proctor.__version__}-py3-none-any.whl"

    packed = set(zipfile.ZipFile(wheel).namelist())
    source = CHECKOUT / "src"
    kinds = {".py", ".yml", ".typed", ".c", ".h", ".o"}
    assert {name for name in packed if ".dist-info/" not in name} == {
        str(path.relative_to(source))
        for path in source.rglob("*")
        if path.suffix in kinds or path.name in {"py.typed", "SHA256SUMS"}
    }
    assert any(name.endswith("/licenses/LICENSE") for name in packed)
