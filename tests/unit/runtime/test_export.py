from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proctor import __version__
from proctor.errors import UsageError
from proctor.runtime import export
from proctor.runtime.packages import closure, files_of

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtime") / "one"
    export(folder, python=False)
    return folder


def contents(folder: Path) -> dict[str, tuple[str, int, int]]:
    return {
        str(path.relative_to(folder)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mode & 0o7777,
            path.stat().st_mtime_ns,
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_same_installation_gives_the_same_bytes(exported: Path, tmp_path: Path) -> None:
    line = [
        "import sys; from pathlib import Path; from proctor.runtime import export; export(Path(sys.argv[1]), python=False)"
    ]
    other = tmp_path / "elsewhere" / "other"
    environment = dict(os.environ, PYTHONHASHSEED="7", TZ="Asia/Tokyo", LC_ALL="C")
    subprocess.run([sys.executable, "-c", *line, str(other)], check=True, env=environment, umask=0o077, timeout=120)
    assert contents(other) == contents(exported)


def test_the_manifest_names_every_file_and_what_it_is(exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    assert (manifest["format"], manifest["proctor"]) == ("proctor-runtime-v1", __version__)
    there = {name: (digest, mode) for name, (digest, mode, _) in contents(exported).items()}
    del there["manifest.json"]
    assert {name: (one["sha256"], int(one["mode"], 8)) for name, one in manifest["files"].items()} == there
    subprocess.run(["sha256sum", "--check", "--quiet", "--strict", "SHA256SUMS"], cwd=exported, check=True)
    assert (exported / "SHA256SUMS").read_text().count("\n") == len(there) - 1
    locked = (ROOT / "requirements" / "dev.txt").read_text()
    for name, version in manifest["packages"].items():
        assert name == "proctor" or f"{name.replace('_', '-').lower()}=={version} " in locked, name


def test_nothing_in_it_tells_of_this_machine(exported: Path) -> None:
    here = [os.fsencode(path) for path in {str(ROOT), str(exported.parent), sys.prefix}]
    for path in exported.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not [word for word in here if word in content], path


def test_every_module_is_compiled_and_taken_as_it_is(exported: Path) -> None:
    """PEP 552: flags 1 in a .pyc are a hash that is not checked, so no time of a mounted file matters."""
    sources = list((exported / "app" / "proctor").rglob("*.py"))
    assert len(sources) > 100
    for source in [*sources, exported / "app" / "__main__.py"]:
        compiled = source.parent / "__pycache__" / f"{source.stem}.{sys.implementation.cache_tag}.pyc"
        assert compiled.read_bytes()[4:8] == b"\x01\0\0\0", source


def test_it_starts_from_anywhere_read_only_without_a_home(exported: Path, tmp_path: Path) -> None:
    before = contents(exported)
    for path in (str(exported / "proctor"), os.path.relpath(exported / "proctor", tmp_path)):
        environment = {"PATH": f"{os.path.dirname(sys.executable)}:/usr/bin:/bin"}
        done = subprocess.run(
            [path, "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, f"proctor {__version__}\n"), done.stderr
    bare = subprocess.run(
        ["/bin/sh", exported / "proctor", "--version"], env={"PATH": "/nowhere"}, capture_output=True, check=False
    )
    assert (bare.returncode, bare.stderr) == (
        2,
        b"proctor: there is no Python in PATH; export the runtime with --python\n",
    )
    assert contents(exported) == before


def test_rules_are_compiled_ahead(exported: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-X", "importtime", exported / "app", "rules"], capture_output=True, text=True,
        env={"XDG_CACHE_HOME": "/nowhere"}, check=True, timeout=60,
    )  # fmt: skip
    assert "shipped: " in done.stdout
    assert "sigma.collection" not in done.stderr


@pytest.mark.parametrize("what", ["full", "file", "below"])
def test_a_folder_that_cannot_be_used(tmp_path: Path, what: str) -> None:
    folder = tmp_path / "there"
    if what == "file":
        folder.write_text("kept")
    else:
        folder.mkdir()
        (folder / "kept").write_text("kept")
    with pytest.raises(UsageError) as caught:
        export(folder / "kept" if what == "below" else folder, python=False)
    assert "\n" not in str(caught.value)
    assert (folder if what == "file" else folder / "kept").read_text() == "kept"


def test_a_package_that_was_changed_is_not_carried_on(monkeypatch: pytest.MonkeyPatch) -> None:
    (h11,) = [one for one in closure("proctor") if one.metadata["Name"] == "h11"]
    assert len(list(files_of(h11, []))) > 5
    real = Path.read_bytes
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: real(path) + (b"# more\n" if path.name == "_events.py" else b"")
    )
    with pytest.raises(UsageError, match=r"h11/_events\.py is not as it was installed"):
        list(files_of(h11, []))


def test_data_that_was_changed_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many a machine adds its own certificate to certifi's."""
    (certifi,) = [one for one in closure("proctor") if one.metadata["Name"] == "certifi"]
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(path) + (b"\n" if path.suffix == ".pem" else b""))
    left_out: list[str] = []
    assert "certifi/cacert.pem" not in [source.to for source in files_of(certifi, left_out)]
    assert left_out == ["certifi/cacert.pem"]


def test_what_is_not_installed_is_said() -> None:
    with pytest.raises(UsageError, match="no-such-package-here is not installed"):
        closure("no-such-package-here")
