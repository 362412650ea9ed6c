"""The Dockerfile, read: what keeps it building everywhere, and images small, reproducible and without a shell."""

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from tests.deploy.compose_file import ROOT

TEXT = (ROOT / "deploy" / "docker" / "Dockerfile").read_text(encoding="utf-8")
LAYER = ROOT / "deploy" / "docker" / "layer.py"
STAGES: dict[str, str] = dict(
    re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL)
)
IMAGES = ("market-data", "signal", "executor", "reporter", "notifier", "paper-exchange", "cli")

sys.path.insert(0, str(LAYER.parent))
layer = import_module("layer")


def test_every_image_has_a_target_and_builds_on_the_shared_layers() -> None:
    assert set(IMAGES) <= set(STAGES)
    for name in IMAGES:
        assert f"FROM runtime AS {name}\n" in TEXT
        assert f"FROM common AS {name}-build\n" in TEXT


def test_nothing_is_used_that_one_of_the_two_builders_lacks() -> None:
    assert not re.search(r"^#\s*syntax\s*=", TEXT, flags=re.MULTILINE | re.IGNORECASE)
    assert not re.search(r"^(RUN|COPY|ADD)\b.*(--mount|--chmod|--link|--parents|--exclude)", TEXT, flags=re.MULTILINE)
    assert "<<" not in TEXT


def test_the_last_stages_run_no_command_so_that_no_shell_is_needed() -> None:
    for name in ("runtime", *IMAGES):
        assert not re.search(r"^\s*(RUN|SHELL|ADD)\b", STAGES[name], flags=re.MULTILINE), name
        for form in re.findall(r"(?:ENTRYPOINT|CMD) (.*)", STAGES[name]):
            assert form.startswith('["/app/.venv/bin/'), name


def test_versions_are_pinned_and_agree_with_the_project() -> None:
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert version is not None
    assert set(re.findall(r"^ARG VERSION=(.*)$", TEXT, flags=re.MULTILINE)) == {version[1]}
    assert re.search(r"^ARG UV_VERSION=\d+\.\d+\.\d+$", TEXT, flags=re.MULTILINE)
    assert re.search(r'pip install .*"uv==\$\{UV_VERSION\}"', TEXT)
    assert set(re.findall(r"^FROM (\S+) AS", TEXT, flags=re.MULTILINE)) == {
        "${PYTHON_IMAGE}",
        "builder",
        "common",
        "runtime",
    }


def test_packages_come_from_the_lock_file_and_in_a_layer_below_the_code() -> None:
    assert "UV_FROZEN=1" in STAGES["builder"]
    assert "UV_NO_DEV=1" in STAGES["builder"]
    for name in IMAGES:
        build = STAGES[f"{name}-build"]
        assert build.index("--no-install-workspace") < build.index("COPY libs") < build.index("--no-editable")
        copies = re.findall(rf"COPY --from={name}-build (\S+)", STAGES[name])
        assert copies == ["/layers/packages/", "/layers/project/"]


def environment(root: Path) -> Path:
    """Return a small virtual environment in its usual layout."""
    packages = root / "lib" / "python3.12" / "site-packages"
    for name, content in {
        "thing/__init__.py": "VALUE = 1\n",
        "thing/__init__.pyi": "VALUE: int\n",
        "thing/fast.c": "int x;",
        "thing/tests/test_thing.py": "",
        "thing-1.dist-info/RECORD": (
            "thing/__init__.py,sha256=a,10\nthing/__init__.pyi,sha256=b,11\n"
            "thing-1.dist-info/uv_cache.json,sha256=c,12\nthing-1.dist-info/RECORD,,\n"
        ),
        "thing-1.dist-info/uv_cache.json": '{"timestamp": 1}',
        "botocore/data/s3/2006-03-01/service-2.json.gz": "",
        "botocore/data/ec2/2016-11-15/service-2.json.gz": "",
        "botocore/data/endpoints.json": "{}",
        "pyarrow/libarrow_flight.so.2600": "",
        "pyarrow/libarrow.so.2600": "",
    }.items():
        (packages / name).parent.mkdir(parents=True, exist_ok=True)
        (packages / name).write_text(content)
    scripts = root / "bin"
    scripts.mkdir()
    (scripts / "f2py").write_text("#!")
    (scripts / "python").symlink_to("/usr/bin/python3.12")
    return root


@pytest.fixture
def taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    monkeypatch.setattr(layer, "TAKEN", tmp_path / "taken.txt")
    monkeypatch.setattr(layer, "FIXED_TIME_S", 1_700_000_000)
    made = environment(tmp_path / "venv")
    layer.take(made, tmp_path / "first")
    return made, tmp_path / "first"


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in layer.files_of(folder)}


def test_a_layer_leaves_out_what_no_service_reads(taken: tuple[Path, Path]) -> None:
    site = "lib/python3.12/site-packages"
    assert names(taken[1]) == {
        "bin/python",
        f"{site}/thing/__init__.py",
        f"{site}/thing/__pycache__/__init__.cpython-{sys.version_info[0]}{sys.version_info[1]}.pyc",
        f"{site}/thing-1.dist-info/RECORD",
        f"{site}/botocore/data/s3/2006-03-01/service-2.json.gz",
        f"{site}/botocore/data/endpoints.json",
        f"{site}/pyarrow/libarrow.so.2600",
    }
    record = (taken[1] / site / "thing-1.dist-info" / "RECORD").read_text()
    assert record == "thing/__init__.py,sha256=a,10\nthing-1.dist-info/RECORD,,\n"


def test_the_next_layer_holds_only_what_is_new(taken: tuple[Path, Path], tmp_path: Path) -> None:
    site = taken[0] / "lib" / "python3.12" / "site-packages"
    (site / "later.py").write_text("X = 2\n")
    layer.take(taken[0], tmp_path / "second")
    assert {name.rpartition("/")[2].partition(".")[0] for name in names(tmp_path / "second")} == {"later"}


def test_times_are_fixed_and_byte_code_does_not_depend_on_them(taken: tuple[Path, Path]) -> None:
    compiled = next(taken[1].rglob("*.pyc"))
    flags = int.from_bytes(compiled.read_bytes()[4:8], "little")
    assert flags == 0b01  # named by the hash of its source, which is not checked
    assert {path.lstat().st_mtime for path in taken[1].rglob("*")} == {1_700_000_000}


def test_the_standard_library_gets_its_byte_code(tmp_path: Path) -> None:
    """In a process with a library of its own: that of this interpreter stays as it is."""
    library = tmp_path / "lib"
    (library / "test").mkdir(parents=True)
    (library / "thing.py").write_text("X = 1\n")
    (library / "test" / "support.py").write_text("X = 1\n")
    code = (
        "import sys, sysconfig; sys.path.insert(0, sys.argv[1]); import layer; from pathlib import Path;"
        "sysconfig.get_path = lambda name: sys.argv[2];"
        "layer.link = lambda files, base, folder: print(*[f.name for f in files]);"
        "layer.take_standard_library(Path(sys.argv[3]))"
    )
    arguments = [str(LAYER.parent), str(library), str(tmp_path / "out")]
    finished = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert [name.partition(".")[0] for name in finished.stdout.split()] == ["thing"]
