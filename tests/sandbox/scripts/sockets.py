"""Fills the buffers of a thousand loopback sockets that nobody reads, and says how many bytes the kernel holds."""

import json
import socket
from pathlib import Path

import pandas as pd


def held():
    """Bytes in the buffers of UDP sockets, as the kernel counts them: for the whole host, in pages."""
    line = next(line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("UDP:"))
    return int(line.split()[-1]) * 4096


def azureml_main(dataframe1, dataframe2):
    before, sockets = held(), []
    for _ in range(2000):
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setblocking(False)
        one.bind(("127.0.0.1", 0))
        sockets.append(one)
        for _ in range(4):
            try:
                one.sendto(bytes(50_000), one.getsockname())
            except OSError:
                break
    return pd.DataFrame({"probe": ["held"], "finding": [json.dumps(held() - before)]})
