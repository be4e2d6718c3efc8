"""What is published installs by itself: the wheel and the source archive, each into a clean environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.deploy.servers import ROOT


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    pytest.importorskip("build", reason="build is not installed (pip install '.[deploy]')")
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", folder, ROOT], check=True, capture_output=True)
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": source}


def test_the_wheel_has_the_packages_and_nothing_else(archives: dict[str, Path]) -> None:
    with zipfile.ZipFile(archives["wheel"]) as wheel:
        names = wheel.namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"bucketline", "producer", "worker"}
    scripts = {str(path.relative_to(ROOT)) for path in ROOT.glob("[!.]*/**/*.lua")}
    assert scripts
    assert scripts <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_the_source_archive_has_all_that_is_kept(archives: dict[str, Path]) -> None:
    """Whoever packages it runs `make check` and `make test` in what they unpacked."""
    with tarfile.open(archives["sdist"]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    assert {"pyproject.toml", "README.md", "LICENSE", "Makefile", "scripts/setup", "tests/conftest.py"} <= names
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split("\n")
    assert {name for name in kept if name and not name.startswith(".") and (ROOT / name).exists()} <= names


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_installs_into_a_clean_environment_and_runs(archives: dict[str, Path], kind: str, tmp_path: Path) -> None:
    """Nothing of the source folder is on the path: what was forgotten in the archive is missing here."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    binaries = tmp_path / "venv" / "bin"
    constraint = ROOT / "constraints.txt"
    install = [binaries / "python", "-m", "pip", "install", "--quiet", "--constraint", constraint, archives[kind]]
    subprocess.run(install, check=True, capture_output=True)
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ} | {
        "HOME": str(tmp_path)
    }
    said = subprocess.run(
        [binaries / "bucketline", "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.strip() == archives["wheel"].name.split("-")[1]
    demo = [binaries / "bucketline", "demo", "--requests", "60", "-o", "out"]
    subprocess.run(demo, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=180)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert manifest["counts"]["total"] == 60
    assert manifest["counts"]["completed"] + manifest["counts"]["failed"] == 60
