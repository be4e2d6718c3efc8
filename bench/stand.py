"""What every measurement stands on: an input file, a provider that costs nothing, and the CPU and memory of a process.

Linux only (figures come from /proc). The provider is nginx with one fixed answer, so that what is measured is the
client; where it is missing, it is installed with apt-get. Where there are two cores, what is measured runs on the first
and everything else on the others.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

ANSWER = {
    "id": "chatcmpl-C1xVt5Kq0mZb3nW8",
    "object": "chat.completion",
    "created": 1_790_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "The customer asks for a refund of the second invoice, since the order was delivered nine days "
                "late and support had confirmed the delay in writing. They would accept credit towards the next "
                "order, provided that it is booked before the end of the month.",
                "refusal": None,
                "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 251,
        "completion_tokens": 48,
        "total_tokens": 299,
        "prompt_tokens_details": {"cached_tokens": 128, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
    "service_tier": "default",
    "system_fingerprint": "fp_3b7d1c20aa",
}
_WORDS = [
    "account",
    "answer",
    "batch",
    "budget",
    "contract",
    "customer",
    "delay",
    "invoice",
    "limit",
    "order",
    "queue",
    "refund",
    "region",
    "shipping",
    "ticket",
]
_CORES = sorted(os.sched_getaffinity(0))
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def write_input(path: Path, lines: int) -> Path:
    """Chat requests in OpenAI's batch form, about 1.2 KB each, the prompt alone 1 KB; written once."""
    if path.exists():
        return path
    dice = random.Random(10)
    with path.open("wb") as file:
        for number in range(lines):
            prompt = f"Ticket {number}. Summarise it in two sentences. "
            prompt += " ".join(dice.choices(_WORDS, k=140))
            messages = [{"role": "system", "content": "You are terse."}, {"role": "user", "content": prompt[:1000]}]
            body = {"model": "gpt-4o-mini", "messages": messages, "max_tokens": 64, "temperature": 0.0}
            line = {"custom_id": f"ticket-{number}", "method": "POST", "url": "/v1/chat/completions", "body": body}
            file.write(orjson.dumps(line) + b"\n")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pin(pid: int, *, measured: bool) -> None:
    """Keep what is measured, and what serves it, off each other's core."""
    if len(_CORES) > 1:
        os.sched_setaffinity(pid, {_CORES[0]} if measured else set(_CORES[1:]))


@contextlib.contextmanager
def static_provider(folder: Path) -> Iterator[str]:
    """nginx, one process, one answer for everything; yields the base URL."""
    binary = shutil.which("nginx") or _install_nginx()
    run = folder / "nginx"
    run.mkdir(parents=True, exist_ok=True)
    port = free_port()
    answer = json.dumps(ANSWER).replace("$", "").replace("'", "\\'")
    headers = {
        "x-request-id": "req_8f3a0c6d1e2b4a59",
        "openai-processing-ms": "212",
        "x-ratelimit-limit-requests": "30000",
        "x-ratelimit-limit-tokens": "150000000",
        "x-ratelimit-remaining-requests": "29999",
        "x-ratelimit-remaining-tokens": "149999000",
        "x-ratelimit-reset-requests": "2ms",
        "x-ratelimit-reset-tokens": "0s",
    }
    added = " ".join(f"add_header {name} {value};" for name, value in headers.items())
    (run / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {run}/pid; error_log {run}/error.log warn;\n"
        "worker_rlimit_nofile 30000; events { worker_connections 8000; }\n"
        "http { access_log off; keepalive_requests 1000000000; keepalive_timeout 300s; client_body_buffer_size 64k;\n"
        + "".join(
            f"  {kind}_temp_path {run}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        + f"  server {{ listen 127.0.0.1:{port} backlog=4096; location / {{ default_type application/json; {added}\n"
        f"    return 200 '{answer}'; }} }} }}\n"
    )
    server = subprocess.Popen([binary, "-c", str(run / "nginx.conf"), "-p", str(run)])
    try:
        pin(server.pid, measured=False)
        wait_for_port(port)
        for child in children(server.pid):
            pin(child, measured=False)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait()


@contextlib.contextmanager
def slow_provider(*, latency_s: float, tail: float = 0.0, tail_s: float = 0.0) -> Iterator[str]:
    """A provider that answers after a while, a share ``tail`` of it after ``tail_s``; yields the base URL."""
    port = free_port()
    command = [sys.executable, "-m", "bench.slow", str(port), str(latency_s), str(tail), str(tail_s)]
    server = subprocess.Popen(command)
    try:
        pin(server.pid, measured=False)
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait()


def wait_for_port(port: int) -> None:
    deadline_s = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)
        else:
            return


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def cpu_s(pid: int) -> float:
    """CPU seconds, user and system, of a process with all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def peak_mb(pid: int) -> float:
    """The most resident memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


@dataclass(frozen=True, slots=True)
class Ended:
    """A process that has run to its end."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    said: str


def run_measured(
    command: list[str], *, env: dict[str, str] | None = None, timeout_s: float = 900, one_core: bool = True
) -> Ended:
    """Run a command, as a rule on the measured core. Raises RuntimeError with what it said when it fails."""
    began_s = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
    if one_core:
        pin(process.pid, measured=True)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RuntimeError(f"{command[:4]} did not end within {timeout_s:.0f} s") from None
    wall_s = time.monotonic() - began_s
    if process.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} failed: {err.decode()[-800:]}")
    said = out.decode()
    last = json.loads(said.strip().rpartition("\n")[2]) if said.strip().endswith("}") else {}
    return Ended(wall_s, last.get("cpu_s", 0.0), last.get("peak_mb", 0.0), said)


def _install_nginx() -> str:
    subprocess.run(["apt-get", "install", "-y", "-q", "nginx-light"], check=True, stdout=subprocess.DEVNULL)
    found = shutil.which("nginx")
    if found is None:
        raise SystemExit("nginx is needed for the bench; install it and try again.")
    return found
