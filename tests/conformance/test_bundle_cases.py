"""The script bundle (rules 5.1 to 5.10, cases B)."""

from __future__ import annotations

import stat
import struct
import zipfile

import pyarrow as pa
import pytest
from module_runs import D1, EMPTY, fails, gives, run_each, run_module, zipped

from tests.running import RunningServer

HELLO = "def print_hello(name):\n    print('Hello ' + name)\n"
READ = "import pandas as pd\ndef azureml_main(df=None):\n    return pd.DataFrame({{'text': [open({!r}).read()]}}),\n"


def test_b01_hello(server: RunningServer) -> None:
    """A module at the root of the zip is imported and called."""
    script = "import Hello\ndef azureml_main(df):\n    Hello.print_hello('World')\n    return df,\n"

    module = run_module(server, script, D1, bundle=zipped({"Hello.py": HELLO}))

    gives(module, D1)
    assert module.log() == "Hello World\n"


def test_b02_a_file_of_the_bundle(server: RunningServer) -> None:
    """Files are found under ./Script Bundle."""

    module = run_module(server, READ.format("./Script Bundle/notes/n.txt"), bundle=zipped({"notes/n.txt": "für\nalle"}))

    gives(module, pa.table({"text": ["für\nalle"]}))


def test_b03_packages(server: RunningServer) -> None:
    """Folders with modules are packages, with and without an __init__."""
    script = """
        import pkg
        from pkg.sub.m import value
        import pandas as pd
        def azureml_main():
            return pd.DataFrame({"top": [pkg.top], "value": [value]}),
    """
    bundle = zipped({"pkg/__init__.py": "top = 1\n", "pkg/sub/m.py": "from pkg import top\nvalue = top + 1\n"})

    module = run_module(server, script, bundle=bundle)

    gives(module, pa.table({"top": [1], "value": [2]}))


def test_b04_a_zip_of_a_folder(server: RunningServer) -> None:
    """A module below the only folder is not found by its bare name; the hint names the folder, and it works."""
    bare = "import Hello\ndef azureml_main(df):\n    Hello.print_hello('World')\n    return df,\n"
    scripts = {"bare": bare, "with its folder": bare.replace("import Hello", "from Hello import Hello", 1)}

    modules = run_each(server, scripts, D1, bundle=zipped({"Hello/Hello.py": HELLO}))

    assert modules["bare"].run["status"] == "failed"
    assert (modules["bare"].error["code"], modules["bare"].error["line"]) == ("0085", 3)
    assert "from Hello import Hello" in modules["bare"].error["message"]
    gives(modules["with its folder"], D1)
    assert modules["with its folder"].log() == "Hello World\n"


def test_b04_another_folder(server: RunningServer) -> None:
    """The same with a folder of another name: the import itself fails."""
    script = "import Hello\ndef azureml_main(df):\n    return df,\n"

    module = run_module(server, script, D1, bundle=zipped({"my modules/Hello.py": HELLO}))

    fails(module, "0085", "ModuleNotFoundError", "No module named 'Hello'", "'my modules'", line=1)


def encrypted(archive: bytes) -> bytes:
    """The archive with the flag of encryption on its only entry, in both of its headers."""
    changed = bytearray(archive)
    for at in (archive.index(b"PK\x03\x04") + 6, archive.index(b"PK\x01\x02") + 8):
        struct.pack_into("<H", changed, at, struct.unpack_from("<H", archive, at)[0] | 1)
    return bytes(changed)


@pytest.mark.parametrize(
    ("bundle", "words"),
    [
        (b"this is no archive", ("ZIP file", "not")),
        (encrypted(zipped({"secret.py": "x = 1"})), ("encrypted", "secret.py")),
    ],
    ids=["not a zip", "encrypted"],
)
def test_b06_a_zip_that_cannot_be_opened(server: RunningServer, bundle: bytes, words: tuple[str, ...]) -> None:
    """Error 0102 with the reason, before the script begins."""

    module = run_module(server, "print('began')\ndef azureml_main(): pass\n", bundle=bundle)

    fails(module, "0102", "BadBundle", *words, reason="bad_input")
    assert "began" not in module.log()


def test_b09_a_zip_in_the_zip(server: RunningServer) -> None:
    """An inner zip stays a file."""
    script = """
        import os, zipfile
        import pandas as pd
        def azureml_main():
            found = sorted(os.listdir("Script Bundle"))
            inner = zipfile.ZipFile("Script Bundle/inner.zip").namelist()
            return pd.DataFrame({"outside": found, "inside": inner}),
    """

    module = run_module(server, script, bundle=zipped({"inner.zip": zipped({"in.py": "x = 1"})}))

    gives(module, pa.table({"outside": ["inner.zip"], "inside": ["in.py"]}))


def test_b10_no_bundle(server: RunningServer) -> None:
    """The folder is there, and empty."""
    script = "import os\ndef azureml_main():\n    print(os.listdir('./Script Bundle'))\n"

    module = run_module(server, script)

    gives(module, EMPTY, returned_nothing="nothing")
    assert module.log(stream="stdout") == "[]\n"


def test_b11_a_mistake_in_the_bundle(server: RunningServer) -> None:
    """An error of syntax in a module of the bundle names its file and line."""
    script = "\n\nimport broken\ndef azureml_main(): pass\n"

    module = run_module(server, script, bundle=zipped({"broken.py": "x = 1\ny = = 2\n"}))

    fails(module, "0085", "SyntaxError", "broken.py", "line 2", line=1)
    assert "broken.py" in module.error["traceback"]


def test_rule_5_2_a_windows_path(server: RunningServer) -> None:
    """A path with backslashes, as scripts wrote it, finds the file; a warning says how to write it."""
    script = READ.format(".\\Script Bundle\\n.txt")

    module = run_module(server, script, bundle=zipped({"n.txt": "text"}))

    gives(module, pa.table({"text": ["text"]}), backslash_path="'./Script Bundle/n.txt'")


def test_rule_5_4_the_alias_src(server: RunningServer) -> None:
    """./src, the name in other instructions, is the same folder."""
    script = """
        import os
        import pandas as pd
        def azureml_main():
            assert os.path.samefile("src/n.txt", "Script Bundle/n.txt")
            return pd.DataFrame({"text": [open("./src/n.txt").read()]}),
    """

    module = run_module(server, script, bundle=zipped({"n.txt": "text"}))

    gives(module, pa.table({"text": ["text"]}))


def test_rule_5_7_modules_that_hide_and_are_hidden(server: RunningServer) -> None:
    """The standard library goes before the bundle, the bundle before the packages; both are told."""
    script = """
        import json, tabulate
        import pandas as pd
        def azureml_main():
            return pd.DataFrame({"json": [hasattr(json, "mine")], "tabulate": [hasattr(tabulate, "mine")]}),
    """

    module = run_module(server, script, bundle=zipped({"json.py": "mine = 1\n", "tabulate.py": "mine = 1\n"}))

    gives(module, pa.table({"json": [False], "tabulate": [True]}), name_shadowed="json", name_shadowing="tabulate")
    assert "name_shadowed" in module.log()


def link() -> bytes:
    entry = zipfile.ZipInfo("link.py")
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return zipped([(entry, "/etc/passwd")])


def dense() -> bytes:
    """Two megabytes of zeros, packed a thousand times."""
    entry = zipfile.ZipInfo("zeros.bin")
    entry.compress_type = zipfile.ZIP_DEFLATED
    return zipped([(entry, bytes(2 << 20))])


HOSTILE = {
    "upwards": (zipped({"../evil.py": "x"}), "../evil.py"),
    "absolute": (zipped({"/etc/evil.py": "x"}), "/etc/evil.py"),
    "a drive": (zipped({"C:/evil.py": "x"}), "C:/evil.py"),
    "a link": (link(), "symbolic link"),
    "too many": (zipped({f"m{n}.py": "" for n in range(10_001)}), "10000"),
    "too dense": (dense(), "times smaller"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_rule_5_9_entries_that_are_refused(server: RunningServer, name: str) -> None:
    """Names that lead outside, links, and archives that swell: 0102, and nothing is unpacked."""
    bundle, word = HOSTILE[name]

    module = run_module(server, "print('began')\ndef azureml_main(): pass\n", bundle=bundle)

    fails(module, "0102", "BadBundle", word, reason="bad_input")
    assert "began" not in module.log()


def test_rule_5_9_backslashes_in_names(server: RunningServer) -> None:
    """A zip made on Windows may name its files with backslashes: they are folders."""
    script = "from pkg.m import x\nimport pandas as pd\ndef azureml_main():\n    return pd.DataFrame({'x': [x]}),\n"

    module = run_module(server, script, bundle=zipped({"pkg\\m.py": "x = 41\n"}))

    gives(module, pa.table({"x": [41]}))


def wheel() -> bytes:
    """A pure wheel of one module."""
    info = "greeting-1.0.dist-info"
    return zipped(
        {
            "greeting.py": "WORD = 'from a wheel'\n",
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: greeting\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": f"greeting.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
        }
    )


def test_rule_5_10_a_wheel_in_the_bundle(server: RunningServer) -> None:
    """A wheel is importable without being installed."""
    script = """
        import greeting
        import pandas as pd
        def azureml_main():
            return pd.DataFrame({"word": [greeting.WORD]}),
    """

    module = run_module(server, script, bundle=zipped({"greeting-1.0-py3-none-any.whl": wheel()}))

    gives(module, pa.table({"word": ["from a wheel"]}))


def test_rule_5_10_compiled_files_of_another_python(server: RunningServer) -> None:
    """A .pyc of another Python beside its source is ignored: the source counts."""
    script = "import m\nimport pandas as pd\ndef azureml_main():\n    return pd.DataFrame({'x': [m.x]}),\n"
    foreign = b"\x03\xf3\r\n" + bytes(20)

    module = run_module(
        server, script, bundle=zipped({"m.py": "x = 41\n", "m.pyc": foreign, "__pycache__/m.cpython-27.pyc": foreign})
    )

    gives(module, pa.table({"x": [41]}), bytecode_ignored="m.pyc")
