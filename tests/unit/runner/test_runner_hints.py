"""Hints: what an error of another time, or another place, is told."""

import errno
import socket
import urllib.error
from pathlib import Path
from typing import Any

import pytest
from runner.explain import explain
from runner.hints import Source, hint_for
from runner.job import Failure


def explained(text: str, bundle: Path = Path("/nowhere"), only_folder: Path | None = None) -> Failure:
    """What becomes of the error that a script of this text raises while it is loaded."""
    try:
        exec(compile(text, "script.py", "exec"), {"__name__": "user_script"})
    except BaseException as error:
        return explain(error, Source(text, bundle, only_folder))
    raise AssertionError("the script raises nothing")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("print 'x'", "write print(x)"),
        ("import sys\nprint >>sys.stderr, 'x'", "write print(x, file=stream)"),
        ("exec 'x = 1'", "write exec(text)"),
        ("try:\n    pass\nexcept ValueError, e:\n    pass", "write except ValueError as error:"),
        ("raise ValueError, 'x'", 'write raise ValueError("text")'),
        ("x = `1`", "write repr(x) for `x`"),
        ("x = 10L", "write 10 for 10L"),
        ("x = 0xFFL", "write 10 for 10L"),
        ("x = 0777", "write 0o777 for 0777"),
        ("x = 1 <> 2", "write != for <>"),
        ("x = ur'a'", "write r'text' for ur'text'"),
        ("f = lambda (a, b): a", "one parameter for a pair"),
        ("def f(a, (b, c)): pass", "one parameter for a pair"),
        ("if 1:\n\tx = 1\n        y = 2", "does not mix tabs and blanks"),
        ("{}.has_key('a')", "write key in dictionary"),
        ("{}.iteritems()", "write dictionary.items()"),
        ("{}.itervalues()", "write dictionary.values()"),
        ("'x'.decode('utf-8')", "it is Unicode already"),
        ("{}.keys().sort()", "write sorted(dictionary)"),
        ("map(str, [1])[0]", "write list(...)"),
        ("len(zip([1], [2]))", "write list(...)"),
        ("xrange(3)", "instead of xrange, write range"),
        ("unicode('x')", "instead of unicode, write str"),
        ("isinstance('x', basestring)", "instead of basestring, write str"),
        ("raw_input()", "a parameter of the run"),
        ("reduce(max, [1])", "write functools.reduce"),
        ("import urllib2", "write import urllib.request"),
        ("import cPickle", "write import pickle"),
        ("from StringIO import StringIO", "write from io import StringIO"),
        ("from itertools import izip", "itertools.izip was removed; write zip"),
        ("import string\nstring.maketrans('a', 'b')", "write str.maketrans"),
        ("import sys\nsys.maxint", "write sys.maxsize"),
    ],
)
def test_7_13_python_2(text: str, words: str) -> None:
    """7.13: what Python 3 no longer takes is named, with what to write instead."""
    assert words in explained(text).message.partition("\nHint: ")[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pd.DataFrame({'x': [1]}).ix[0]", "write frame.loc[...] for labels"),
        ("pd.DataFrame({'x': [1]}).append([])", "write pandas.concat("),
        ("pd.Series([1]).order()", "write series.sort_values()"),
        ("pd.rolling_mean(pd.Series([1]), 2)", "write series.rolling(window).mean()"),
        ("pd.Panel", "write a frame with a MultiIndex"),
        ("np.float", "numpy.float was removed; write float"),
        ("np.asscalar", "write array.item()"),
        ("from numpy import product", "write numpy.prod"),
        ("import pandas.tools.plotting", "write pandas.plotting"),
        ("from pandas.stats.moments import rolling_mean", "write series.rolling(window)"),
        ("pd.Series([1]).fillna(method='ffill')", "write frame.ffill() or frame.bfill()"),
        ("import io\npd.read_csv(io.StringIO('a'), error_bad_lines=False)", "write on_bad_lines='skip'"),
        ("pd.DataFrame({'x': [1]}).drop('x', 1)", "take these arguments by name"),
    ],
)
def test_7_13_removed_api(text: str, words: str) -> None:
    """7.13: what pandas and numpy no longer have is named, with what to write instead."""
    failure = explained(f"import numpy as np, pandas as pd\n{text}\n")

    assert words in failure.message.partition("\nHint: ")[2]


def _import_error(name: str, member: str) -> ImportError:
    return ImportError(f"cannot import name '{member}' from '{name}' (somewhere)", name=name)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_import_error("sklearn.preprocessing", "Imputer"), "write sklearn.impute.SimpleImputer"),
        (_import_error("sklearn", "cross_validation"), "write sklearn.model_selection"),
        (ModuleNotFoundError("x", name="sklearn.grid_search"), "write sklearn.model_selection"),
        (TypeError("KFold.__init__() got an unexpected keyword argument 'n_folds'"), "write n_splits="),
    ],
)
def test_7_13_scikit_learn(error: Exception, words: str) -> None:
    """7.13: what scikit-learn moved is named with its place."""
    assert words in str(hint_for(error, Source("", Path("/nowhere"))))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing_mod", "Packages are fixed in the environment's image; a module of your own, or the wheel"),
        ("pandsa", "did you mean 'pandas'?"),
        ("Numpy", "did you mean 'numpy'?"),
        ("cv2", "its package is called opencv-python-headless"),
        ("pandas.nothing", "this version of it has no module 'pandas.nothing'"),
    ],
)
def test_e03_missing_modules(name: str, words: str) -> None:
    """E03: a missing module is told what it may have meant, and where modules come from."""
    failure = explained(f"import {name}\n")

    assert failure.type == "ModuleNotFoundError"
    assert words in failure.message


def _wrapped(outer: Exception, inner: Exception) -> Exception:
    outer.__context__ = inner
    return outer


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
        urllib.error.URLError(socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")),
        _wrapped(OSError("Max retries exceeded"), OSError(errno.ENETUNREACH, "Network is unreachable")),
    ],
    ids=["connect", "name", "urllib", "wrapped"],
)
def test_s01_the_network_is_off(error: Exception) -> None:
    """S01: whatever fails for want of a network says that there is none, and what to do instead."""
    hint = hint_for(error, Source("", Path("/nowhere")))

    assert hint is not None
    assert hint.startswith("there is no network in the sandbox")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EROFS, "Read-only file system", "/opt/x.csv"), "reads and writes in its working directory"),
        (PermissionError(errno.EACCES, "Permission denied", "/etc/shadow"), "reads and writes in its working"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/home/me/x.csv"), "use a relative path"),
        (FileNotFoundError(errno.ENOENT, "No such file", "C:\\data\\x.csv"), "by '/', not by '\\'"),
        (OSError(errno.ENOSPC, "No space left on device", "big"), "working directory is full"),
        (OSError(errno.EFBIG, "File too large"), "larger than a file may be"),
    ],
)
def test_errors_of_files(error: Exception, words: str) -> None:
    """A path that leads nowhere, or where nothing may be written, is told where files are."""
    assert words in str(hint_for(error, Source("", Path("/nowhere"))))


def test_a_file_of_the_bundle_is_found_by_its_name(tmp_path: Path) -> None:
    """5.2: a file that is sought in the working directory, and lies in the bundle, is named with its path."""
    (tmp_path / "Script Bundle" / "data").mkdir(parents=True)
    (tmp_path / "Script Bundle" / "data" / "f.txt").touch()

    failure = explained("open('f.txt')", tmp_path / "Script Bundle")

    assert "the script bundle holds it as './Script Bundle/data/f.txt'" in failure.message


@pytest.mark.parametrize(
    "text",
    [
        "import Hello\nHello.print_hello()\n",
        "from Hello import print_hello\n",
    ],
)
def test_b04_the_only_folder_is_a_package(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """B04: when the folder in the zip is called like the module, the import that works is named."""
    folder = tmp_path / "Hello"
    folder.mkdir()
    (folder / "Hello.py").write_text("def print_hello(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)

    failure = explained(text, tmp_path, folder)
    monkeypatch.delitem(__import__("sys").modules, "Hello")

    assert "write 'from Hello import Hello'" in failure.message


@pytest.mark.parametrize(
    "text",
    ["x = (1,", "def f()\n    pass\n", "1/0", "undefined_name", "'x'.nothing", "{}.nothing", "len(5)", "raise OSError"],
)
def test_other_errors_have_no_hint(text: str) -> None:
    """A hint that does not fit would be worse than none."""
    assert "Hint:" not in explained(text).message


class _Evil(OSError):
    @property
    def filename(self) -> Any:  # type: ignore[override]
        raise SystemExit


def test_an_exception_that_resists_has_no_hint() -> None:
    """What the attributes of an exception do cannot spoil its report."""
    assert hint_for(_Evil(), Source("", Path("/nowhere"))) is None
