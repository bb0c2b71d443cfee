"""The version comes from git tags, every file says which version wrote it, and nothing that is computed depends on it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

import excise
import made_up
from excise import versions
from excise.results.cell import Cell
from excise.results.result_file import ResultFile

TOP = Path(__file__).parents[1]
RELEASE = Version("0.2.0")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The project without git."""
    shutil.copy(TOP / "pyproject.toml", tmp_path)
    return tmp_path


def git(folder: Path, *words: str) -> None:
    who = {"-c": "user.name=a", "-C": str(folder)}
    done = ["git", *(part for pair in who.items() for part in pair), "-c", "user.email=a@example.org", *words]
    subprocess.run(done, check=True, capture_output=True)


def built(folder: Path) -> Version:
    """The version that the project would be built as."""
    done = subprocess.run([sys.executable, "-m", "setuptools_scm"], cwd=folder, capture_output=True, text=True, check=True)
    return Version(done.stdout.strip())


def test_without_git_it_is_the_release(checkout: Path) -> None:
    assert built(checkout) == RELEASE


def test_without_tags_it_is_based_on_the_release(checkout: Path) -> None:
    git(checkout, "init", "-q")
    git(checkout, "add", "-A")
    git(checkout, "commit", "-qm", "first")
    found = built(checkout)
    assert found.base_version == str(RELEASE) and found > RELEASE and found.local
    git(checkout, "tag", "v0.3.0")
    assert str(built(checkout)) == "0.3.0"


def test_it_is_looked_up_when_it_is_asked_for() -> None:
    assert excise.__version__ == versions.own_version() == versions.versions()["excise"]
    asked = "import sys, excise; assert 'importlib.metadata' not in sys.modules; print(excise.__version__)"
    assert subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True).stdout.strip()


def test_a_file_says_who_wrote_it_and_its_record_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So two versions read the same record, and write the same but for their names."""
    cell, files = made_up.cell("m", "object:cat"), []
    for number in ("0.2.0", "0.3.0"):
        monkeypatch.setattr("excise.results.result_file.own_version", lambda number=number: number)
        path = tmp_path / f"{number}.json"
        cell.write(path)
        assert Cell.read(path) == cell and json.loads(path.read_text(encoding="utf-8"))["excise"] == number
        files.append(path.read_text(encoding="utf-8").replace(number, ""))
    assert files[0] == files[1]


def test_a_file_of_an_earlier_version_is_read_as_before(tmp_path: Path) -> None:
    cell = made_up.cell("m", "object:cat")
    path = tmp_path / "cell.json"
    path.write_text(json.dumps(cell.to_dict()), encoding="utf-8")
    assert Cell.read(path) == cell


def test_a_writer_that_is_no_text_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_text(json.dumps({**made_up.cell("m", "object:cat").to_dict(), "excise": 2}), encoding="utf-8")
    with pytest.raises(ValueError, match=r"cell\.json: excise must be the version"):
        Cell.read(path)


def test_all_kinds_of_files_are_written_in_one_place() -> None:
    assert not [each for each in ResultFile.__subclasses__() if "write" in vars(each) or "to_dict" in vars(each)]
