"""What surrounds a script: no network, no files of others, its time zone, packages, parameters (7.7 to 7.12, S)."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
from module_runs import D1, ended, fails, gives, run_each, run_module, same, start, warned

from tests.running import RunningServer

REACH = {
    "urlopen": "from urllib.request import urlopen\ndef azureml_main():\n    urlopen('http://example.org')\n",
    "socket": "import socket\ndef azureml_main():\n    socket.create_connection(('192.0.2.1', 80), timeout=3)\n",
    "DNS": "import socket\ndef azureml_main():\n    socket.getaddrinfo('example.org', 80)\n",
}


def test_s01_no_network(server: RunningServer) -> None:
    """A URL, an address and a name: each is refused at once, and the message says that there is no network."""

    modules = run_each(server, REACH)

    for name, module in modules.items():
        assert module.run["status"] == "failed", name
        assert module.error["code"] == "0085"
        assert (module.error["line"], "no network" in module.error["message"]) == (3, True), (name, module.error)
        assert module.run["usage"]["wall_seconds"] < 20


def test_s03_no_files_of_others(server: RunningServer) -> None:
    """Neither the host's accounts nor the folders of the server, of another run, or of root can be opened."""
    other = run_module(server, "def azureml_main():\n    open('left.txt', 'w').close()\n")
    folder = server.data_dir / "runs" / other.run["id"]
    assert folder.is_dir()
    places = ["/etc/shadow", str(server.data_dir), str(folder), "/root"]
    script = f"""
        import os
        import pandas as pd
        def attempt(action, *arguments):
            try:
                action(*arguments)
            except OSError as error:
                return type(error).__name__
            return "done"
        def azureml_main():
            assert not os.path.exists("left.txt")
            places = {places!r}
            told = [[attempt(os.listdir, place), attempt(open, place)] for place in places]
            changed = attempt(open, "/etc/passwd", "a")
            return pd.DataFrame({{"listed": [a for a, _ in told], "opened": [b for _, b in told], "changed": changed}}),
    """

    module = run_module(server, script)

    told = module.table().to_pydict()
    assert "done" not in told["listed"] + told["opened"] + told["changed"], told


def test_s04_bombs(server: RunningServer) -> None:
    """A fork bomb and a file of ten gigabytes meet their limits; the server serves on."""
    forks = """
        import os, time
        import pandas as pd
        def azureml_main():
            count = 0
            try:
                while count < 5000:
                    if os.fork() == 0:
                        time.sleep(60)
                        os._exit(0)
                    count += 1
            except OSError as error:
                return pd.DataFrame({"count": [count], "error": [type(error).__name__]}),
    """
    file = """
        import pandas as pd
        def azureml_main():
            size, block = 0, bytes(1 << 20)
            try:
                with open("large.bin", "wb", buffering=0) as file:
                    while size < 10 << 30:
                        size += file.write(block)
            except OSError as error:
                return pd.DataFrame({"size": [size], "error": [error.strerror]}),
    """

    bombs = run_each(server, {"forks": forks, "file": file})
    after = run_module(server, "def azureml_main(df):\n    return df,\n", D1)

    counted = bombs["forks"].table().to_pydict()
    assert 8 <= counted["count"][0] < 5000
    assert counted["error"] == ["BlockingIOError"]
    written = bombs["file"].table().to_pydict()
    assert written["size"][0] <= 1 << 30
    assert written["error"] in (["No space left on device"], ["File too large"])
    gives(after, D1)


def test_s05_no_secrets_in_the_environment(make_server: Callable[..., RunningServer]) -> None:
    """Nothing of the server's environment is in the script's, or in that of any process it can see."""
    guarded = make_server(SECRET_OF_THE_TEST="unlikely-to-be-there-by-chance")
    script = """
        import glob, os
        def azureml_main():
            print(sorted(os.environ.items()))
            for path in glob.glob("/proc/[0-9]*/environ"):
                try:
                    print(open(path).read())
                except OSError:
                    pass
    """

    module = run_module(guarded, script)

    warned(module, returned_nothing="nothing")
    log = module.log()
    assert "PATH" in log
    for secret in ("unlikely-to-be-there-by-chance", "SECRET_OF_THE_TEST", "AIRLOCK_DATA_DIR", guarded.key):
        assert secret not in log


RANDOM = """
    import numpy as np
    import pandas as pd
    def azureml_main(df, *, params):
        return pd.DataFrame({"x": np.random.standard_normal(4)}),
"""


def test_s06_a_result_is_taken_again_on_request(server: RunningServer) -> None:
    """With `reuse` an unchanged run has the earlier result; without it, or with another parameter, it runs."""
    first = run_module(server, RANDOM, D1, reuse=True, parameters={"seed": 1})

    again = run_module(server, RANDOM, D1, reuse=True, parameters={"seed": 1})
    forced = run_module(server, RANDOM, D1, parameters={"seed": 1})
    changed = run_module(server, RANDOM, D1, reuse=True, parameters={"seed": 2})

    same(again.table(), first.table())
    assert (first.run["reused_from"], again.run["reused_from"]) == (None, first.run["id"])
    assert (forced.run["reused_from"], changed.run["reused_from"]) == (None, None)
    assert not forced.table().equals(first.table())
    assert not changed.table().equals(first.table())


def test_rule_7_7_writes_end_with_the_run(server: RunningServer) -> None:
    """The working directory and folders in it can be written to; the next run finds nothing of it."""
    write = """
        import os
        def azureml_main():
            os.mkdir("sub")
            with open("sub/f", "w") as file:
                file.write("x")
            print(os.listdir("sub"))
    """
    look = "import os\ndef azureml_main():\n    print(os.path.exists('sub'))\n"

    wrote = run_module(server, write)
    looked = run_module(server, look)

    assert wrote.log(stream="stdout") == "['f']\n"
    assert looked.log(stream="stdout") == "False\n"


def test_rule_7_9_time_is_utc(server: RunningServer) -> None:
    """The zone is UTC, also where the language asks the system for it."""
    script = """
        import datetime, time
        def azureml_main():
            print(time.tzname[0], time.timezone, datetime.datetime.now().astimezone().utcoffset())
    """

    module = run_module(server, script)

    assert module.log(stream="stdout") == "UTC 0 0:00:00\n"


def test_rule_7_11_parameters(server: RunningServer) -> None:
    """They come as `params` where the function asks for them, and nowhere else; without any it is an empty dict."""
    asks = """
        import pandas as pd
        def azureml_main(df=None, *, params):
            return pd.DataFrame({"p": [repr(params)]}),
    """
    ignores = "def azureml_main(df):\n    assert 'params' not in globals()\n    return df,\n"
    scripts = {
        "keyword": asks,
        "third": asks.replace("df=None, *, params", "df, other, params=None"),
    }
    parameters = {"n": 3, "names": ["ä", None]}
    plain = start(server, ignores, D1, parameters=parameters)
    empty = start(server, asks)

    modules = run_each(server, scripts, D1, parameters=parameters)

    for module in modules.values():
        gives(module, pa.table({"p": [repr(parameters)]}))
    gives(ended(server, plain), D1)
    gives(ended(server, empty), pa.table({"p": ["{}"]}))


def test_rule_7_12_packages(server: RunningServer) -> None:
    """The packages that scripts of this kind use are there; none can be installed."""
    script = """
        import importlib
        import pandas as pd
        def azureml_main():
            names = ["numpy", "scipy", "sklearn", "pandas", "matplotlib", "statsmodels", "seaborn", "polars"]
            return pd.DataFrame({"version": [importlib.import_module(name).__version__ for name in names]}),
    """
    install = """
        import subprocess, sys
        def azureml_main():
            subprocess.run([sys.executable, "-m", "pip", "install", "six"], check=True)
    """

    modules = run_each(server, {"there": script, "install": install})

    assert modules["there"].run["status"] == "succeeded", modules["there"].error
    assert modules["there"].table().num_rows == 8
    fails(modules["install"], "0085", "CalledProcessError", line=3)
