"""Hints: one sentence for the errors that scripts of another time, or another place, run into.

Each rule looks at one kind of exception and gives the sentence, or None; the first that knows one is taken.
"""

import errno
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runner import removed

_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN)
_PYTHON_2_SYNTAX = (
    (r"Missing parentheses in call to 'print'", "", "print(x)"),
    (r"Missing parentheses in call to 'exec'", "", "exec(text)"),
    (r"multiple exception types must be parenthesized", "", "except ValueError as error:"),
    (r"invalid \w+ literal", r"\b(\d+|0[xX][0-9a-fA-F]+)[lL]\b", "10 for 10L: integers have any size"),
    (r"leading zeros in decimal", "", "0o777 for 0777"),
    (r"parameters cannot be parenthesized", "", "one parameter for a pair, and take it apart in the function"),
    (r"invalid syntax", r"^\s*raise\s+[\w.]+\s*,", 'raise ValueError("text")'),
    (r"invalid syntax", r"`[^`]+`", "repr(x) for `x`"),
    (r"invalid syntax", r"<>", "!= for <>"),
    (r"invalid syntax", r"\b[uU][rR]['\"]", "r'text' for ur'text'"),
)  # fmt: skip
_LAZY = r"'(map|filter|zip|dict_keys|dict_values|dict_items)' object is not subscriptable|of type '(map|filter|zip)'"
_NO_NETWORK = (
    "there is no network in the sandbox: hand the data in as a table, as a file of the script bundle, or as a"
    " parameter."
)
_ONLY_WORK = (
    "a script reads and writes in its working directory, and nowhere else: use a relative path such as 'out.csv';"
    " files of the bundle are under './Script Bundle'."
)


@dataclass(frozen=True)
class Source:
    """What is needed to read a traceback: the script's text, its bundle, and that bundle's only folder."""

    text: str
    bundle: Path
    only_folder: Path | None = None


def hint_for(error: BaseException, source: Source) -> str | None:
    """Find the hint for an exception; None when there is nothing to say, or the exception resists."""
    try:
        found: Iterator[str | None] = (rule(error, source) for rule in _RULES)
        return next((hint for hint in found if hint), None)
    except BaseException:  # the attributes of an exception may be the script's own code
        return None


def _old_syntax(error: BaseException, source: Source) -> str | None:
    if not isinstance(error, SyntaxError):
        return None
    if isinstance(error, TabError):
        return "Python 3 does not mix tabs and blanks: indent by blanks alone."
    line = error.text or _line_of(source, error.lineno)
    for message, text, replacement in _PYTHON_2_SYNTAX:
        if re.search(message, str(error.msg)) and re.search(text, line):
            return f"this is Python 3; write {replacement}."
    return None


def _line_of(source: Source, number: int | None) -> str:
    lines = source.text.splitlines()
    return lines[number - 1] if number and number <= len(lines) else ""


def _old_name(error: BaseException, source: Source) -> str | None:
    if isinstance(error, NameError) and error.name in removed.PYTHON_2_NAMES:
        return f"this is Python 3; instead of {error.name}, write {removed.PYTHON_2_NAMES[error.name]}."
    return None


def _old_call(error: BaseException, source: Source) -> str | None:
    if not isinstance(error, TypeError):
        return None
    text = str(error)
    if "for >>: 'builtin_function_or_method'" in text:
        return "this is Python 3; write print(x, file=stream)."
    if re.search(_LAZY, text):
        return "this is Python 3, where it is no list: write list(...) around it."
    keyword = re.search(r"unexpected keyword argument '(\w+)'", text)
    if keyword and keyword[1] in removed.KEYWORDS:
        return f"newer versions of the library do not know {keyword[1]!r}; write {removed.KEYWORDS[keyword[1]]}."
    if re.search(r"(NDFrame|DataFrame|Series|GroupBy)\.\w+\(\) takes .* positional arguments? but", text):
        return "newer versions of pandas take these arguments by name: frame.drop(columns='x'), frame.any(axis=1)."
    return None


def _removed_attribute(error: BaseException, source: Source) -> str | None:
    if not isinstance(error, AttributeError):
        return None
    module = re.match(r"(?:partially initialized )?module '([\w.]+)' has no attribute '(\w+)'", str(error))
    if module:
        return _removed_member(module[1], module[2]) or _inside_only_folder(module[1], source)
    name, kind = str(error.name), type(error.obj)
    label = kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
    if (label, name) in removed.PYTHON_2_METHODS:
        return f"this is Python 3; instead of .{name}, write {removed.PYTHON_2_METHODS[label, name]}."
    if kind.__module__.partition(".")[0] == "pandas" and name in removed.FRAMES:
        return f".{name} was removed from pandas; write {removed.FRAMES[name]}."
    return None


def _removed_member(module: str, name: str) -> str | None:
    tables = {"numpy": removed.NUMPY, "pandas": removed.PANDAS}
    replacement = tables.get(module, {}).get(name) or removed.MEMBERS.get(f"{module}.{name}")
    return f"{module}.{name} was removed; write {replacement}." if replacement else None


def _failed_import(error: BaseException, source: Source) -> str | None:
    if isinstance(error, ModuleNotFoundError) or not isinstance(error, ImportError) or not error.name:
        return None
    name = re.match(r"cannot import name '(\w+)'", str(error.msg))
    if not name:
        return None
    return _removed_member(error.name, name[1]) or _inside_only_folder(error.name, source)


def _inside_only_folder(module: str, source: Source) -> str | None:
    """Explain B04: ``import Hello`` finds the folder, and the module is one step further down."""
    folder = source.only_folder
    if folder and folder.name == module and (folder / f"{module}.py").is_file():
        return (
            f"the bundle holds everything in one folder, and {module!r} is that folder: write 'from {module} import"
            f" {module}', or zip the files without the folder."
        )
    return None


def _missing_module(error: BaseException, source: Source) -> str | None:
    if not isinstance(error, ModuleNotFoundError):
        return None
    full = str(error.name)
    name = full.partition(".")[0]
    if full in removed.MODULES:
        return f"the module {full} is gone; write {removed.MODULES[full]}."
    folder = source.only_folder
    if folder and ((folder / f"{name}.py").is_file() or (folder / name).is_dir()):
        return (
            f"the bundle holds everything in one folder, {folder.name!r}: write 'from {folder.name} import"
            f" {name}', or zip the files without the folder."
        )
    if name in sys.modules:
        return f"{name!r} is there, but this version of it has no module {full!r}."
    like = _similar_module(name)
    package = f" (its package is called {removed.DISTRIBUTIONS[name]})" if name in removed.DISTRIBUTIONS else ""
    return (
        f"{f'did you mean {like!r}? ' if like else ''}Packages are fixed in the environment's image;"
        f" a module of your own, or the wheel of a package{package}, goes into the script bundle."
    )


def _similar_module(name: str) -> str | None:
    import difflib
    import pkgutil

    names = {module.name for module in pkgutil.iter_modules()} | sys.stdlib_module_names
    names = {candidate for candidate in names if not candidate.startswith("_")} - {name}
    for candidate in names:
        if candidate.lower() == name.lower():
            return candidate
    return next(iter(difflib.get_close_matches(name, sorted(names), n=1, cutoff=0.8)), None)


def _network(error: BaseException, source: Source) -> str | None:
    if not isinstance(error, OSError):
        return None
    for part in _chain(error):
        if type(part).__name__ in ("gaierror", "NameResolutionError"):
            return _NO_NETWORK
        if isinstance(part, OSError) and part.errno in _UNREACHABLE:
            return _NO_NETWORK
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give an exception and those that it wraps: as a cause, as a context, or as a `reason` (urllib)."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting and len(seen) < 20:
        part = waiting.pop(0)
        if isinstance(part, BaseException) and id(part) not in seen:
            seen.add(id(part))
            yield part
            waiting += [getattr(part, "reason", None), part.__cause__, part.__context__]


def _files(error: BaseException, source: Source) -> str | None:
    if not isinstance(error, OSError):
        return None
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if isinstance(error, FileNotFoundError) and "\\" in name:
        return "separate the parts of a path by '/', not by '\\': open('./Script Bundle/file.txt')."
    if isinstance(error, FileNotFoundError):
        return _in_bundle(name, source) or (_ONLY_WORK if name.startswith("/") else None)
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM) and name:
        return _ONLY_WORK
    if error.errno == errno.ENOSPC:
        return "the working directory is full; it counts as memory, and its size is limited."
    if error.errno == errno.EFBIG:
        return "the file is larger than a file may be here."
    return None


def _in_bundle(name: str, source: Source) -> str | None:
    """Name the place of a file that was sought elsewhere, and is in the bundle."""
    wanted = os.path.basename(name)
    for folder, _, files in os.walk(source.bundle):
        if wanted in files:
            place = os.path.relpath(os.path.join(folder, wanted), source.bundle.parent)
            return f"the script bundle holds it as './{place}'."
    return None


_RULES = (
    _old_syntax, _old_name, _old_call, _removed_attribute, _failed_import, _missing_module, _network, _files,
)  # fmt: skip
