"""What is built from the sources is whole: the sdist makes the wheel, the wheel has every file of the package, and what it installs runs."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_sdist_and_wheel(tmp_path: Path) -> None:
    pytest.importorskip("build", reason="build, which makes sdist and wheel, is not installed")
    for command in (
        ["build", "--outdir", str(tmp_path), str(ROOT)],  # the wheel is made from the sdist
        ["pip", "install", "--quiet", "--no-deps", "--target", str(tmp_path / "site"), "--find-links", str(tmp_path), "--no-index", "diffea"],
    ):  # fmt: skip
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert list(tmp_path.glob("*.tar.gz"))
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("diffea/")}
    sources = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src" / "diffea").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert packed == sources
    assert "diffea/py.typed" in packed
    code = "import diffea; from diffea.cli import main; print(diffea.__file__); main(['--help'])"
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site"))
    assert "Optimise a whole particle-physics analysis" in done.stdout
