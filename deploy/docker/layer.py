"""Puts what a virtual environment has gained since the last call into a folder that becomes one layer of an image.

`layer.py take VENV FOLDER` strips what no service reads, compiles what is not compiled yet, and links the new files to
`FOLDER`. `layer.py standard-library FOLDER` compiles the interpreter's own modules to there, because the root file
system of a container is read-only and its image comes without them. Files are the same for the same lock file: byte
code does not depend on times, and all times are `SOURCE_DATE_EPOCH`. Only the standard library is used.
"""

import compileall
import os
import py_compile
import shutil
import sys
import sysconfig
from pathlib import Path

FIXED_TIME_S = int(os.environ.get("SOURCE_DATE_EPOCH", "0"))
TAKEN = Path("/layers/taken.txt")
"""Files that earlier layers hold, one a line."""

UNREAD_SUFFIXES = (".pyi", ".pyx", ".pxd", ".c", ".h", ".hpp", ".a", ".lib", ".cmake")
UNREAD_FOLDERS = frozenset({"tests", "SelfTest"})
UNREAD_FILES = frozenset({"uv_cache.json", "uv_build.json", "direct_url.json", ".lock", ".gitignore", "CACHEDIR.TAG"})
"""The first three say when and where the project was built, which differs from build to build."""
UNREAD_LIBRARIES = ("libarrow_flight.", "libarrow_python_flight.", "_flight.")
"""Of pyarrow: its services over the network."""
KEPT_SCRIPTS = frozenset({"python", "python3", "python3.12", "breakwater"})
KEPT_AWS_SERVICES = frozenset({"s3", "secretsmanager", "sts"})
"""botocore describes some 400 services in 25 MB; secrets come from these two, and credentials from the third."""
UNCOMPILED = frozenset({"test", "idlelib", "turtledemo", "lib2to3", "tkinter", "ensurepip", "site-packages"})


def strip(environment: Path) -> None:
    """Remove what no service reads, and its lines in the lists of installed files."""
    packages = packages_of(environment)
    for folder in sorted(path for path in packages.rglob("*") if path.is_dir() and path.name in UNREAD_FOLDERS):
        shutil.rmtree(folder, ignore_errors=True)
    for folder in (packages / "pyarrow" / "include", packages / "pyarrow" / "src", packages / "numpy/_core/include"):
        shutil.rmtree(folder, ignore_errors=True)
    for root in ("botocore/data", "boto3/data"):
        for folder in sorted((packages / root).glob("*/")):
            if folder.name not in KEPT_AWS_SERVICES:
                shutil.rmtree(folder)
    for path in sorted(environment.rglob("*")):
        if path.is_file() and is_unread(path, environment):
            path.unlink()
    for record in packages.glob("*.dist-info/RECORD"):
        lines = record.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if (packages / line.rpartition(",")[0].rpartition(",")[0].strip('"')).exists()]
        record.write_text("\n".join(kept) + "\n", encoding="utf-8")


def is_unread(path: Path, environment: Path) -> bool:
    """Return whether no service reads the file."""
    if path.parent == environment / "bin":
        return path.name not in KEPT_SCRIPTS
    if path.parent.name == "pyarrow" and path.name.startswith(UNREAD_LIBRARIES):
        return True
    return path.name in UNREAD_FILES or path.suffix in UNREAD_SUFFIXES


def packages_of(environment: Path) -> Path:
    """Return the folder that the packages are installed to."""
    return next((environment / "lib").glob("python3.*/site-packages"))


def compile_modules(modules: list[Path]) -> None:
    """Compile modules; the byte code is taken as it is when they are imported, without a look at the source's time.

    What cannot be compiled is passed over: some packages hold templates that are no Python.
    """
    for module in modules:
        compileall.compile_file(module, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)


def link(files: list[Path], base: Path, folder: Path) -> None:
    """Link files, with their path below `base`, to the folder, all with the fixed time."""
    for path in files:
        target = folder / path.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            target.symlink_to(path.readlink())
        else:
            os.link(path, target)
        os.utime(target, (FIXED_TIME_S, FIXED_TIME_S), follow_symlinks=False)
    for path in sorted((folder, *folder.rglob("*")), reverse=True):
        if path.is_dir() and not path.is_symlink():
            os.utime(path, (FIXED_TIME_S, FIXED_TIME_S))


def files_of(folder: Path) -> list[Path]:
    """Return the files and links below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def take(environment: Path, folder: Path) -> None:
    """Make the layer of what the environment has gained."""
    strip(environment)
    known = set(TAKEN.read_text(encoding="utf-8").splitlines()) if TAKEN.exists() else set()
    compile_modules([path for path in files_of(environment) if path.suffix == ".py" and str(path) not in known])
    present = files_of(environment)
    folder.mkdir(parents=True)
    link([path for path in present if str(path) not in known], environment, folder)
    TAKEN.write_text("\n".join(map(str, present)) + "\n", encoding="utf-8")


def take_standard_library(folder: Path) -> None:
    """Make the layer of the interpreter's compiled modules."""
    library = Path(sysconfig.get_path("stdlib"))
    read = [path for path in files_of(library) if path.relative_to(library).parts[0] not in UNCOMPILED]
    compile_modules([path for path in read if path.suffix == ".py"])
    folder.mkdir(parents=True)
    link(sorted(library.rglob("__pycache__/*.pyc")), Path("/"), folder)


if __name__ == "__main__":
    if sys.argv[1] == "take":
        take(Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        take_standard_library(Path(sys.argv[2]))
