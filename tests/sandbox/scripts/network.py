"""Tries to reach anything at all. dataframe1: the host's addresses and ports on which a test listens."""

import errno
import json
import os
import socket
import time
import urllib.request
from pathlib import Path

import pandas as pd

PUBLIC = (
    "1.1.1.1",
    "8.8.8.8",
    "169.254.169.254",
    "172.17.0.1",
    "10.0.0.1",
    "192.168.0.1",
    "255.255.255.255",
    "224.0.0.1",
)
PUBLIC_V6 = ("2606:4700:4700::1111", "fd00:ec2::254", "ff02::1", "fe80::1")


def attempt(action):
    try:
        action()
    except OSError as e:
        return errno.errorcode.get(e.errno, type(e).__name__)
    return "reached"


def place(address, port, family):
    """Link-local addresses belong to an interface: the second one, the first that is not loopback."""
    return (address, port, 0, 2) if family == socket.AF_INET6 and address[:2] in ("ff", "fe") else (address, port)


def tcp(address, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.settimeout(2)
        s.connect(place(address, port, family))


def udp(address, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.settimeout(2)
        s.connect(place(address, port, family))
        s.send(b"probe")
        s.recv(100)


def unix(path):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)


def make(family, kind, protocol):
    socket.socket(family, kind, protocol).close()


def own_loopback():
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as s:
        s.sendall(b"x")


def lines_of(path):
    return Path(path).read_text().splitlines() if os.path.exists(path) else []


def name_lookup():
    began = time.monotonic()
    try:
        found = socket.getaddrinfo("example.com", 443)
    except socket.gaierror as e:
        found = str(e)
    return [str(found), time.monotonic() - began]


def azureml_main(dataframe1, dataframe2):
    host = dataframe1.iloc[0]
    found = {f"tcp {a}": attempt(lambda a=a: tcp(a, 80)) for a in PUBLIC}
    found |= {f"udp {a}": attempt(lambda a=a: udp(a, 53)) for a in PUBLIC}
    found |= {f"tcp6 {a}": attempt(lambda a=a: tcp(a, 80, socket.AF_INET6)) for a in PUBLIC_V6}
    found |= {f"udp6 {a}": attempt(lambda a=a: udp(a, 53, socket.AF_INET6)) for a in PUBLIC_V6}
    found["host tcp"] = attempt(lambda: tcp(host.address, int(host.tcp_port)))
    found["host udp"] = attempt(lambda: udp(host.address, int(host.udp_port)))
    found["host loopback tcp"] = attempt(lambda: tcp("127.0.0.1", int(host.tcp_port)))
    found["host loopback udp"] = attempt(lambda: udp("127.0.0.1", int(host.udp_port)))
    found["host abstract"] = attempt(lambda: unix("\0" + host.abstract))
    found["server"] = attempt(lambda: urllib.request.urlopen(host.url, timeout=2).read())
    found["own loopback"] = attempt(own_loopback)
    found["name lookup"] = name_lookup()
    found["interfaces"] = [line.split(":")[0].strip() for line in lines_of("/proc/net/dev")[2:]]
    found["routes"] = lines_of("/proc/net/route")[1:]
    found["routes6"] = sorted({line.split()[-1] for line in lines_of("/proc/net/ipv6_route")})
    found["sockets"] = [
        p
        for p in (
            "/var/run/docker.sock",
            "/run/docker.sock",
            "/run/containerd/containerd.sock",
            "/run/dbus/system_bus_socket",
            "/run/systemd/private",
        )
        if os.path.exists(p)
    ]
    kinds = {
        "raw": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        "raw tcp": (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP),
        "raw6": (socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
        "ping": (socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP),
        "sctp": (socket.AF_INET, socket.SOCK_STREAM, 132),
        "mptcp": (socket.AF_INET, socket.SOCK_STREAM, 262),
        "dccp": (socket.AF_INET, 6, 33),
        "udplite": (socket.AF_INET, socket.SOCK_DGRAM, 136),
        "packet": (socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)),
        "packet datagram": (socket.AF_PACKET, socket.SOCK_DGRAM, 0),
        "netlink route": (socket.AF_NETLINK, socket.SOCK_RAW, 0),
        "netlink audit": (socket.AF_NETLINK, socket.SOCK_RAW, 9),
        "netlink uevent": (socket.AF_NETLINK, socket.SOCK_DGRAM, 15),
        "vsock": (socket.AF_VSOCK, socket.SOCK_STREAM, 0),
        "alg": (socket.AF_ALG, socket.SOCK_SEQPACKET, 0),
        "key": (15, socket.SOCK_RAW, 2),
        "can": (29, socket.SOCK_RAW, 1),
        "tipc": (30, socket.SOCK_STREAM, 0),
        "bluetooth": (31, socket.SOCK_RAW, 1),
        "rds": (21, socket.SOCK_SEQPACKET, 0),
        "xdp": (44, socket.SOCK_RAW, 0),
        "qrtr": (42, socket.SOCK_DGRAM, 0),
        "smc": (43, socket.SOCK_STREAM, 0),
        "nfc": (39, socket.SOCK_RAW, 0),
        "llc": (26, socket.SOCK_DGRAM, 0),
    }  # fmt: skip
    found |= {f"socket {name}": attempt(lambda w=what: make(*w)) for name, what in kinds.items()}
    return pd.DataFrame({"probe": list(found), "finding": [json.dumps(value) for value in found.values()]})
