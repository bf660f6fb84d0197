"""What pip installs: the wheel and the source distribution, built as `scripts/build` builds them."""

from __future__ import annotations

import configparser
import email.message
import email.parser
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import httpcore

ROOT = Path(__file__).resolve().parent.parent
MODULES = {path.relative_to(ROOT).as_posix() for path in (ROOT / "httpcore").rglob("*.py")}

RUNTIME = {
    "aiohappyeyeballs<3,>=2.4.8",
    'brotli>=1.2; platform_python_implementation == "CPython"',
    'brotlicffi>=1.2; platform_python_implementation != "CPython"',
    "certifi",
    "h11<1,>=0.16",
    "h2<5,>=4.3",
    "idna>=3.7",
}
EXTRAS = {
    "fast": {"httptools>=0.7"},
    "system-certs": {"truststore>=0.10.4"},
    "zstd": {"backports.zstd>=1.0"},
    "test": None,  # the tools we develop with are nobody's contract
}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with both distributions, built from a copy so that the tree stays as it is."""
    copy = tmp_path_factory.mktemp("source") / "tree"
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist")
    shutil.copytree(ROOT, copy, ignore=ignored)
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(copy)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.parser.Parser().parsestr(archive.read(name).decode())


def test_version_is_the_same_in_setup_cfg_and_in_the_package() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    assert config["metadata"]["version"] == httpcore.__version__


def test_wheel_holds_every_module_the_type_marker_and_the_licence_and_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"httpcore-{httpcore.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = f"httpcore-{httpcore.__version__}.dist-info"
    assert {name for name in names if not name.startswith(info)} == {*MODULES, "httpcore/py.typed"}
    assert f"{info}/licenses/LICENSE.md" in names


def test_sdist_holds_what_a_build_needs_and_no_tests(dist: Path) -> None:
    (path,) = dist.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"LICENSE.md", "README.md", "CHANGELOG.md", "setup.cfg", "pyproject.toml", "PKG-INFO", "httpcore/py.typed"}
    assert needed | MODULES <= names
    assert not any(name.split("/")[0] in {"tests", "benchmarks"} for name in names)


def test_metadata_says_name_version_licence_and_python(metadata: email.message.Message) -> None:
    assert metadata["Name"] == "httpcore"
    assert metadata["Version"] == httpcore.__version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["License-File"] == "LICENSE.md"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "httpcore" in str(metadata.get_payload())
    classifiers = metadata.get_all("Classifier", [])
    assert "Typing :: Typed" in classifiers
    assert "Framework :: AsyncIO" in classifiers


def test_installing_pulls_only_the_runtime_dependencies(metadata: email.message.Message) -> None:
    required = metadata.get_all("Requires-Dist", [])
    assert {line for line in required if "extra ==" not in line} == RUNTIME


def test_extras_are_the_documented_ones(metadata: email.message.Message) -> None:
    assert set(metadata.get_all("Provides-Extra", [])) == set(EXTRAS)
    required = metadata.get_all("Requires-Dist", [])
    for extra, expected in EXTRAS.items():
        lines = [line for line in required if f'extra == "{extra}"' in line]
        assert lines
        if expected is not None:
            assert {line.partition(";")[0].strip() for line in lines} == expected


def test_zstd_extra_asks_for_the_backport_only_where_the_standard_library_lacks_it(
    metadata: email.message.Message,
) -> None:
    (line,) = (line for line in metadata.get_all("Requires-Dist", []) if 'extra == "zstd"' in line)
    assert 'python_version < "3.14"' in line


def test_package_imports_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "import sys; sys.path.insert(0, sys.argv[1]); import httpcore; print(httpcore.__file__)"
    command = [sys.executable, "-I", "-W", "error", "-c", code, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.strip() == str(tmp_path / "httpcore" / "__init__.py"), result.stderr
