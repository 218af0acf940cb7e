"""Matplotlib figures that the script left open without saving them."""

import functools
import importlib.machinery
import importlib.util
import io
import sys
import weakref
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

_WATCHED = "matplotlib.backend_bases"


class Figures(MetaPathFinder):
    """Notes which figures the script saves, from the moment it imports matplotlib.

    Every way to save a figure, in whatever format and to whatever place, ends in one method of matplotlib's;
    it is wrapped when (and only when) the script loads it.  Without matplotlib this costs nothing.
    """

    def __init__(self) -> None:
        self._saved: weakref.WeakSet[Any] = weakref.WeakSet()

    def watch(self) -> None:
        """Begin; call it before the script runs."""
        if _WATCHED in sys.modules:
            self._wrap(sys.modules[_WATCHED])
        else:
            sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Stand in for the finder of the one module that is watched."""
        if fullname != _WATCHED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def load_and_wrap(module: ModuleType) -> None:
                load(module)
                self._wrap(module)

            spec.loader.exec_module = load_and_wrap  # type: ignore[method-assign]
        return spec

    def _wrap(self, module: ModuleType) -> None:
        canvas_type = module.FigureCanvasBase
        original = canvas_type.print_figure
        saved = self._saved

        @functools.wraps(original)
        def print_figure(canvas: Any, *arguments: Any, **options: Any) -> Any:
            result = original(canvas, *arguments, **options)
            saved.add(canvas.figure)
            return result

        canvas_type.print_figure = print_figure

    def unsaved(self) -> Iterator[tuple[str, bytes]]:
        """Draw the open figures that were never saved; gives their names and PNGs."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None:
            return
        for number in pyplot.get_fignums():
            figure = pyplot.figure(number)
            if figure not in self._saved:
                drawn = io.BytesIO()
                figure.savefig(drawn, format="png")
                yield f"figure-{number}.png", drawn.getvalue()
