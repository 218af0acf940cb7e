"""Modules, and names in modules, that older versions of pandas, numpy and scikit-learn had."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from runner import removed

if TYPE_CHECKING:
    from runner.shims import Uses

_WINDOWED = ("mean", "sum", "std", "var", "min", "max", "median", "count")


def extend_pandas(names: frozenset[str], uses: "Uses") -> None:
    """Give the module pandas the removed names that are among `names`."""
    here: dict[str, Callable[[], Any]] = {
        "np": lambda: np,
        "datetime": lambda: datetime,
        "scatter_matrix": lambda: importlib.import_module("pandas.plotting").scatter_matrix,
        "tools": lambda: importlib.import_module("pandas.tools.plotting") and sys.modules["pandas.tools"],
        "ewma": lambda: _ewma,
    }
    for name in _WINDOWED:
        here[f"rolling_{name}"] = lambda name=name: _rolling(name)  # type: ignore[misc]
        here[f"expanding_{name}"] = lambda name=name: _expanding(name)  # type: ignore[misc]
    _extend(pd, here, names, removed.PANDAS, uses)


def extend_numpy(names: frozenset[str], uses: "Uses") -> None:
    """Give the module numpy the removed names that are among `names`."""
    values: dict[str, Any] = {
        "float": float, "int": int, "bool": bool, "object": object, "str": str, "complex": complex, "long": int,
        "unicode": str, "float_": np.float64, "complex_": np.complex128, "unicode_": np.str_, "string_": np.bytes_,
        "NaN": np.nan, "NAN": np.nan, "Inf": np.inf, "infty": np.inf, "product": np.prod, "cumproduct": np.cumprod,
        "sometrue": np.any, "alltrue": np.all, "in1d": np.isin, "round_": np.round, "row_stack": np.vstack,
        "asscalar": lambda array: array.item(),
    }  # fmt: skip
    here = {name: lambda value=value: value for name, value in values.items() if name not in vars(np)}
    _extend(np, here, names, removed.NUMPY, uses)


def _extend(
    module: ModuleType,
    here: Mapping[str, Callable[[], Any]],
    names: frozenset[str],
    instead: Mapping[str, str],
    uses: "Uses",
) -> None:
    wanted = {name: value for name, value in here.items() if name in names}
    if not wanted:
        return
    original = vars(module).get("__getattr__")

    def __getattr__(name: str) -> Any:  # noqa: N807 - it becomes the module's
        if name in wanted and uses.asked_by_script(_outside(sys._getframe(1))):
            uses.tell(f"{module.__name__}.{name}", instead[name])
            return wanted[name]()
        if original is not None:
            return original(name)
        raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}", name=name, obj=module)

    vars(module)["__getattr__"] = __getattr__


def _outside(frame: Any) -> Any:
    """Step out of Python's own machinery, which asks on behalf of ``from numpy import float``."""
    while frame.f_back is not None and frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame


def _rolling(name: str) -> Callable[..., Any]:
    def rolling(arg: Any, window: Any, min_periods: Any = None, freq: Any = None, center: bool = False) -> Any:
        if freq is not None:
            raise TypeError("freq is not supported any more; resample the series before")
        return _applied(arg, lambda data: getattr(data.rolling(window, min_periods=min_periods, center=center), name)())

    return rolling


def _expanding(name: str) -> Callable[..., Any]:
    def expanding(arg: Any, min_periods: int = 1) -> Any:
        return _applied(arg, lambda data: getattr(data.expanding(min_periods), name)())

    return expanding


def _ewma(
    arg: Any, com: Any = None, span: Any = None, halflife: Any = None, min_periods: int = 0, adjust: bool = True
) -> Any:
    def smooth(data: Any) -> Any:
        return data.ewm(com=com, span=span, halflife=halflife, min_periods=min_periods, adjust=adjust).mean()

    return _applied(arg, smooth)


def _applied(arg: Any, function: Callable[[Any], Any]) -> Any:
    """Apply what works on a series or a frame to an array, too, and give an array then."""
    if isinstance(arg, pd.Series | pd.DataFrame):
        return function(arg)
    values = np.asarray(arg)
    return function(pd.DataFrame(values) if values.ndim == 2 else pd.Series(values)).to_numpy()


class Splits:
    """The older iterators over folds: they know their data, and give pairs of train and test positions."""

    def __init__(self, new: Any, size: int, labels: Any = None) -> None:
        self._new = new
        self._places = np.zeros((size, 1))
        self._labels = labels

    def __iter__(self) -> Iterator[Any]:
        """Give the pairs."""
        return iter(self._new.split(self._places, self._labels))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle it as the list of its pairs: this class cannot be found by who reads it."""
        return list, (list(self),)

    def __len__(self) -> int:
        """Tell how many pairs there are."""
        return int(self._new.get_n_splits(self._places, self._labels))


def _folds(kind: str, by_labels: bool) -> Callable[..., Splits]:
    def folds(data: Any, n_folds: int = 3, shuffle: bool = False, random_state: Any = None) -> Splits:
        new = getattr(importlib.import_module("sklearn.model_selection"), kind)
        splitter = new(n_splits=n_folds, shuffle=shuffle, random_state=random_state if shuffle else None)
        return Splits(splitter, len(data), data) if by_labels else Splits(splitter, data)

    return folds


def _shuffles(kind: str, by_labels: bool) -> Callable[..., Splits]:
    def shuffles(
        data: Any, n_iter: int = 10, test_size: Any = 0.1, train_size: Any = None, random_state: Any = None
    ) -> Splits:
        new = getattr(importlib.import_module("sklearn.model_selection"), kind)
        splitter = new(n_splits=n_iter, test_size=test_size, train_size=train_size, random_state=random_state)
        return Splits(splitter, len(data), data) if by_labels else Splits(splitter, data)

    return shuffles


def _leave_one_out(n: int) -> Splits:
    return Splits(importlib.import_module("sklearn.model_selection").LeaveOneOut(), n)


_CROSS_VALIDATION: dict[str, Any] = {
    "KFold": _folds("KFold", by_labels=False),
    "StratifiedKFold": _folds("StratifiedKFold", by_labels=True),
    "ShuffleSplit": _shuffles("ShuffleSplit", by_labels=False),
    "StratifiedShuffleSplit": _shuffles("StratifiedShuffleSplit", by_labels=True),
    "LeaveOneOut": _leave_one_out,
}
_ALIASES: dict[str, tuple[str, dict[str, Any]]] = {
    "pandas.tools": ("pandas", {}),
    "pandas.tools.plotting": ("pandas.plotting", {}),
    "pandas.util.testing": ("pandas.testing", {}),
    "sklearn.cross_validation": ("sklearn.model_selection", _CROSS_VALIDATION),
    "sklearn.grid_search": ("sklearn.model_selection", {}),
    "sklearn.learning_curve": ("sklearn.model_selection", {}),
    "sklearn.externals.joblib": ("joblib", {}),
}


def alias_modules(names: frozenset[str], uses: "Uses") -> None:
    """Make removed modules whose names are among `names` importable, under their older names."""
    wanted = {old: new for old, new in _ALIASES.items() if set(old.split(".")) <= names}
    if wanted:
        sys.meta_path.append(_AliasFinder(wanted, uses))


class _AliasFinder(MetaPathFinder, Loader):
    """Finds removed modules; stands last, so that whatever is there goes first."""

    def __init__(self, aliases: Mapping[str, tuple[str, dict[str, Any]]], uses: "Uses") -> None:
        self._aliases = aliases
        self._uses = uses

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Claim the removed modules, and no others."""
        if fullname not in self._aliases:
            return None
        return ModuleSpec(fullname, self, is_package=f"{fullname}." in "".join(f"{name} " for name in self._aliases))

    def create_module(self, spec: ModuleSpec) -> None:
        """Leave it to Python."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module with what its successor has."""
        successor, older = self._aliases[module.__name__]
        known = vars(importlib.import_module(successor))
        vars(module).update({name: value for name, value in known.items() if not name.startswith("_")} | older)
        if not any(name.startswith(f"{module.__name__}.") for name in self._aliases):
            self._uses.tell(f"the module {module.__name__}", removed.MODULES[module.__name__])
