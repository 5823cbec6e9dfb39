"""`trace 'tcp_sendmsg' 'vfs_*'` on a workload that writes down what it passes, checked by that and by strace."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import forked

pytestmark = pytest.mark.once("6.12")

WORK = """\
import json, os, socket, sys
directory, told = sys.argv[1], []
def say(what, **facts):
    told.append({"what": what, **facts})
for size in (1234, 777):
    name = f"{directory}/written-{size}"
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    say("write", name=name, size=size, returned=os.write(fd, b"w" * size))
    os.close(fd)
    fd = os.open(name, os.O_RDONLY)
    say("read", name=name, size=size + 1, returned=len(os.read(fd, size + 1)))
    try:
        os.write(fd, b"never")
    except OSError as error:
        say("write", name=name, size=5, returned=-error.errno)
    os.close(fd)
for number in range(2):
    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    peer = server.accept()[0]
    for size in (4321, 99):
        sent = client.send(b"s" * size)
        (saddr, sport), (daddr, dport) = client.getsockname(), client.getpeername()
        with open("/proc/net/tcp") as file:
            table = file.read()
        say("send", size=size, returned=sent, saddr=saddr, sport=sport, daddr=daddr, dport=dport,
            in_proc=f":{sport:04X} 0100007F:{dport:04X} 01 " in table)
        peer.recv(size)
with open(f"{directory}/told", "w") as file:
    json.dump(told, file)
"""
OURS = ("written-1234", "written-777")
NAME = re.compile(r'"(written-\d+)"')
STRACED = re.compile(r"(?:read|write)\(\d+<.*?/(written-\d+)>, .*, (\d+)\) += (-?\d+)(?: (E\w+))?")
CONNECTED = re.compile(r'connect\(.*sin_port=htons\((\d+)\), sin_addr=inet_addr\("([\d.]+)"\)}, 16\) += 0')
SENT = re.compile(r"sendto\(.*, (\d+), 0, NULL, 0\) += (\d+)")


def trace(*options: str, command: list[str]) -> list[dict[str, Any]]:
    words = ["trace", "tcp_sendmsg", "vfs_*", *options]
    words += ["--command-only", "--json", "--", *command]
    ended = forked.run(words)
    assert ended.returncode == 0, ended.stderr
    *calls, report = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('{"type"')]
    assert not report["missed"].get("dropped_events", 0), report["missed"]
    assert not report["missed"].get("unmatched_returns", 0), report["missed"]
    return [call for call in calls if call["type"] == "call"]


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", WORK, str(tmp_path)]


def told(command: list[str], what: str) -> list[dict[str, Any]]:
    """What the workload's last run wrote down."""
    return [fact for fact in json.loads(Path(command[-1], "told").read_text()) if fact["what"] == what]


def files(calls: list[dict[str, Any]], function: str) -> Counter[Any]:
    """(name, size, result) of the calls on the workload's files."""
    found: Counter[Any] = Counter()
    for call in calls:
        name = NAME.fullmatch(call["members"].get("file", {}).get("name", ""))
        if call["function"] == function and name:
            found[name[1], call["arguments"]["count"], call["returned"]] += 1
    return found


def expected(command: list[str], what: str) -> Counter[Any]:
    names = {-9: "-EBADF"}
    return Counter(
        (Path(fact["name"]).name, fact["size"], names.get(fact["returned"], fact["returned"]))
        for fact in told(command, what)
    )


def sends(calls: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (*(call["members"]["sk"][key] for key in ("saddr", "sport", "daddr", "dport")), call["arguments"]["size"],
         call["returned"])
        for call in calls
        if call["function"] == "tcp_sendmsg"
    ]  # fmt: skip


def test_arguments_are_those_that_the_workload_passed(command: list[str]) -> None:
    calls = trace(command=command)
    assert files(calls, "vfs_write") == expected(command, "write")
    assert files(calls, "vfs_read") == expected(command, "read")
    facts = told(command, "send")
    assert all(fact["in_proc"] for fact in facts), "/proc/net/tcp had each connection with these ports"
    keys = ("saddr", "sport", "daddr", "dport", "size", "returned")
    assert sends(calls) == [tuple(fact[key] for key in keys) for fact in facts]
    sockets = [call["members"]["sk"] for call in calls if call["function"] == "tcp_sendmsg"]
    assert {(one["family"], one["state"]) for one in sockets} == {("AF_INET", "TCP_ESTABLISHED")}
    opened = [call["members"]["path"]["name"] for call in calls if call["function"] == "vfs_open"]
    assert {f'"{name}"' for name in OURS} <= set(opened)
    made = [call for call in calls if call["function"] == "vfs_create" and call["arguments"].get("mode")]
    assert {call["arguments"]["mode"] for call in made if NAME.fullmatch(call["members"]["dentry"]["name"])} == {
        "S_IFREG|0640"
    }


def test_failures_are_those_that_the_workload_met(command: list[str]) -> None:
    calls = trace("--filter", "ret < 0", command=command)
    assert calls
    assert all(str(call["returned"]).startswith("-") for call in calls), [call["returned"] for call in calls]
    failed = Counter(key for key in expected(command, "write").elements() if key[2] == "-EBADF")
    assert len(failed) == 2
    assert files(calls, "vfs_write") == failed
    assert files(calls, "vfs_read") == Counter()
    assert sends(calls) == []


def test_strace_sees_the_same(command: list[str]) -> None:
    """Where the machine has strace; the tests above compare with what the workload itself and /proc told."""
    calls = trace(command=command)
    ours = files(calls, "vfs_write") + files(calls, "vfs_read")
    sent = [one[4:] for one in sends(calls)]
    strace = shutil.which("strace")
    theirs = expected(command, "write") + expected(command, "read")
    their_sent = [(fact["size"], fact["returned"]) for fact in told(command, "send")]
    if strace is not None:
        words = [strace, "-y", "-e", "trace=read,write,connect,sendto", "-o", f"{command[-1]}/strace", *command]
        subprocess.run(words, capture_output=True, timeout=800, check=True)
        lines = Path(command[-1], "strace").read_text()
        theirs = Counter(
            (name, int(size), f"-{error}" if error else int(returned))
            for name, size, returned, error in STRACED.findall(lines)
        )
        their_sent = [(int(size), int(returned)) for size, returned in SENT.findall(lines)]
        connected = [(address, int(port)) for port, address in CONNECTED.findall(lines)]
        peers = dict.fromkeys((fact["daddr"], fact["dport"]) for fact in told(command, "send"))
        assert connected == list(peers), "what the workload wrote down is what strace saw"
    assert ours == theirs
    assert sent == their_sent
