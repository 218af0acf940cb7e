"""Which differences between two environments are worth a line, and in what order."""

from __future__ import annotations

import pytest

from controller.local.versions import Difference, differences, imported_modules


@pytest.mark.parametrize(
    ("conda", "here"),
    [
        ("matplotlib-base", "matplotlib"),
        ("python-duckdb", "duckdb"),
        ("pytables", "tables"),
        ("python-blosc2", "blosc2"),
        ("msgpack-python", "msgpack"),
        ("python-tzdata", "tzdata"),
        ("interface_meta", "interface-meta"),
        ("et-xmlfile", "et_xmlfile"),
        ("scikit-learn", "scikit_learn"),
        ("pyyaml", "PyYAML"),
        ("ruamel.yaml", "ruamel-yaml"),
    ],
)
def test_condas_names_and_those_of_distributions_meet(conda: str, here: str) -> None:
    """The same package is found whichever of its names is used, and compared."""
    equal = differences([(conda, "1.0")], "3.11.2", {here: "1.0"}, frozenset())
    other = differences([(conda, "1.0")], "3.11.2", {here: "2.0"}, frozenset())

    assert equal == []
    assert [(one.image, one.here) for one in other] == [("1.0", "2.0")]


@pytest.mark.parametrize(
    ("module", "conda"),
    [
        ("sklearn", "scikit-learn"),
        ("PIL", "pillow"),
        ("yaml", "pyyaml"),
        ("bs4", "beautifulsoup4"),
        ("dateutil", "python-dateutil"),
        ("tables", "pytables"),
        ("duckdb", "python-duckdb"),
        ("polars", "polars"),
    ],
)
def test_what_is_imported_and_not_here_is_named(module: str, conda: str) -> None:
    """A package that is not installed counts when the script imports its module, and only then."""
    image = [(conda, "1.0"), ("unused", "1.0")]

    found = differences(image, "3.11.2", {}, frozenset({module}))

    assert [(one.image, one.here) for one in found] == [("1.0", None)]


def test_what_matters_most_comes_first() -> None:
    """Python, what the script imports, what the runner uses, then the rest; each group by name."""
    image = [(name, "1") for name in ("zlib-ng", "certifi", "numpy", "pandas", "scipy", "polars", "python", "r-base")]
    here = dict.fromkeys(("certifi", "numpy", "pandas", "scipy", "polars", "zlib-ng"), "2")

    found = differences(image, "2", here, frozenset({"scipy", "polars"}))

    assert [one.name for one in found] == ["python", "polars", "scipy", "numpy", "pandas", "certifi", "zlib-ng"]
    assert found[0] == Difference("python", "1", "2")


def test_imports_are_found_wherever_they_stand() -> None:
    """Dotted, renamed, inside of functions; relative ones are the bundle's own."""
    script = b"import a.b as c, d\nfrom e.f import g\nfrom . import h\ndef m():\n    from i import j\n    import k\n"

    assert imported_modules(script) == {"a", "d", "e", "i", "k"}


@pytest.mark.parametrize("script", [b"def (", b"\0", b"\xff\xfe", b"(" * 10_000])
def test_what_is_no_python_imports_nothing(script: bytes) -> None:
    """The run itself says what is wrong with it."""
    assert imported_modules(script) == frozenset()
