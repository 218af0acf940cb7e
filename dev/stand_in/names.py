"""The few projects that PyPI and conda-forge know by different names."""

from __future__ import annotations

from packaging.utils import canonicalize_name

_CONDA_BY_PYPI = {
    "blosc2": "python-blosc2",
    "duckdb": "python-duckdb",
    "interface-meta": "interface_meta",
    "matplotlib": "matplotlib-base",
    "msgpack": "msgpack-python",
    "tables": "pytables",
    "tzdata": "python-tzdata",
}
_PYPI_BY_CONDA = {conda: pypi for pypi, conda in _CONDA_BY_PYPI.items()}


def conda_name(pypi: str) -> str:
    """conda-forge's name of a project on PyPI."""
    name = canonicalize_name(pypi)
    return _CONDA_BY_PYPI.get(name, name)


def pypi_name(conda: str) -> str:
    """PyPI's name of a package on conda-forge."""
    return _PYPI_BY_CONDA.get(conda, conda)
