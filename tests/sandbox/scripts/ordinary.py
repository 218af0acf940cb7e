"""What data scientists do all day: one function for each piece of work, run one after the other in one sandbox."""

import asyncio
import concurrent.futures
import json
import multiprocessing
import multiprocessing.shared_memory
import os
import pathlib
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import zipfile

import numpy as np
import pandas as pd


def square(x):
    return x * x


def many_columns(dataframe1):
    frame = pd.DataFrame({"group": ["a", "b"] * 5000, "value": range(10_000)})
    table = frame.merge(frame.groupby("group").mean().reset_index(), on="group", suffixes=("", "_mean"))
    table.to_parquet("table.parquet")
    table.to_csv("table.csv")
    return pd.read_parquet("table.parquet").equals(table) and len(pd.read_csv("table.csv")) == 10_000


def blas(dataframe1):
    a = np.random.default_rng(1).random((800, 800))
    return bool(np.allclose(np.linalg.inv(a) @ a, np.eye(800), atol=1e-6))


def pool(method):
    with multiprocessing.get_context(method).Pool(2) as workers:
        return workers.map(square, range(5)) == [0, 1, 4, 9, 16]


def executor(dataframe1):
    with concurrent.futures.ProcessPoolExecutor(2) as workers, concurrent.futures.ThreadPoolExecutor(4) as threads:
        return list(workers.map(square, range(3))) == list(threads.map(square, range(3))) == [0, 1, 4]


def queues(dataframe1):
    context = multiprocessing.get_context("fork")
    queue, lock = context.Queue(), context.Lock()
    with lock:
        worker = context.Process(target=queue.put, args=(42,))
        worker.start()
    value = queue.get(timeout=20)
    worker.join()
    return value == 42


def manager(dataframe1):
    with multiprocessing.Manager() as shared:
        values = shared.dict(a=1)
        values["b"] = 2
        return dict(values) == {"a": 1, "b": 2}


def shared_memory(dataframe1):
    block = multiprocessing.shared_memory.SharedMemory(create=True, size=1 << 20)
    block.buf[:3] = b"abc"
    other = multiprocessing.shared_memory.SharedMemory(block.name)
    same = bytes(other.buf[:3]) == b"abc"
    other.close()
    block.close()
    block.unlink()
    return same


def programs(dataframe1):
    listed = subprocess.run("ls /in | sort | head -1; exit 3", shell=True, capture_output=True, text=True)
    own = subprocess.check_output([sys.executable, "-c", "print(6 * 7)"], text=True)
    return listed.returncode == 3 and listed.stdout == "dataframe1\n" and own == "42\n"


def event_loop(dataframe1):
    async def work():
        process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
        out, _ = await process.communicate(b"through")
        server = await asyncio.start_server(lambda r, w: (w.write(b"hello"), w.close()), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        greeting = await reader.read()
        writer.close()
        server.close()
        await asyncio.sleep(0.01)
        return out, greeting, await asyncio.to_thread(square, 3)

    return asyncio.run(work()) == (b"through", b"hello", 9)


def database(dataframe1):
    with sqlite3.connect("data.sqlite") as connection:
        connection.execute("pragma journal_mode=wal")
        connection.execute("create table t (x integer)")
        connection.executemany("insert into t values (?)", [(n,) for n in range(1000)])
        total = connection.execute("select sum(x) from t").fetchone()[0]
    connection.close()
    return total == 499_500


def pictures(dataframe1):
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([1, 2, 3])
    axes.set_title("Größe")
    figure.savefig("picture.png")
    plt.close(figure)
    return pathlib.Path("picture.png").read_bytes()[:4] == b"\x89PNG"


def learning(dataframe1):
    from sklearn.datasets import make_classification
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import cross_val_score

    x, y = make_classification(300, random_state=1)
    scores = cross_val_score(ExtraTreesClassifier(20, n_jobs=2, random_state=1), x, y, n_jobs=2)
    return bool(scores.mean() > 0.7)


def joblib_processes(dataframe1):
    from joblib import Memory, Parallel, delayed

    memory = Memory("cache", verbose=0)
    answers = [Parallel(n_jobs=2, backend=name)(delayed(square)(n) for n in range(4)) for name in ("loky", "threading")]
    return answers == [[0, 1, 4, 9]] * 2 and memory.cache(square)(5) == 25


def temporary_files(dataframe1):
    with (
        tempfile.TemporaryDirectory() as directory,
        tempfile.NamedTemporaryFile() as named,
        tempfile.TemporaryFile() as t,
    ):
        t.write(b"x")
        archive = pathlib.Path(directory) / "a.zip"
        with zipfile.ZipFile(archive, "w") as zipped:
            zipped.writestr("inside.txt", "text")
        return named.name.startswith("/work/tmp/") and zipfile.ZipFile(archive).read("inside.txt") == b"text"


def clocks_and_threads(dataframe1):
    done = threading.Event()
    threading.Timer(0.01, done.set).start()
    began = time.perf_counter()
    left, right = socket.socketpair()
    left.send(b"!")
    received = right.recv(1)
    left.close()
    right.close()
    return done.wait(10) and time.perf_counter() > began and received == b"!" and len(os.urandom(16)) == 16


def just_in_time(dataframe1):
    import numba

    return int(numba.njit(lambda n: n + 1)(41)) == 42


def memory_maps(dataframe1):
    mapped = np.memmap("mapped", dtype="int64", mode="w+", shape=(1000,))
    mapped[:] = 7
    mapped.flush()
    return int(np.load(_saved(mapped), mmap_mode="r").sum()) == 7000


def _saved(array):
    np.save("saved.npy", array)
    return "saved.npy"


WORK = {
    "tables": many_columns,
    "linear algebra with threads": blas,
    "a pool of forked processes": lambda _: pool("fork"),
    "a pool of spawned processes": lambda _: pool("spawn"),
    "a pool from a fork server": lambda _: pool("forkserver"),
    "executors": executor,
    "queues and locks": queues,
    "a manager": manager,
    "shared memory": shared_memory,
    "other programs": programs,
    "asyncio": event_loop,
    "sqlite": database,
    "matplotlib": pictures,
    "scikit-learn with n_jobs=2": learning,
    "joblib": joblib_processes,
    "temporary files": temporary_files,
    "threads, timers, socket pairs": clocks_and_threads,
    "numba": just_in_time,
    "memory maps": memory_maps,
}


def azureml_main(dataframe1, dataframe2):
    found = {}
    for name, work in WORK.items():
        began = time.monotonic()
        try:
            found[name] = bool(work(dataframe1))
        except Exception:
            found[name] = traceback.format_exc()
        print(f"{time.monotonic() - began:6.2f} s  {name}: {found[name]}", flush=True)
    return pd.DataFrame({"probe": list(found), "finding": [json.dumps(value) for value in found.values()]})
