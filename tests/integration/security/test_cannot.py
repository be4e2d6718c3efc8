"""What those who can write to one part of the system must not be able to do with it; ``docs/security.md`` lists them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from redis import Redis

from bucketline import keys
from bucketline.batch import BatchDocument
from bucketline.errors import UsageError
from bucketline.failure import Failure
from bucketline.settings import Settings
from producer.inbox_options import upload_options
from tests.integration.e2e.conftest import Command, Simulation, configure
from tests.integration.e2e.test_fleet import values_of
from tests.samples import chat_line, provider, route
from worker.cli import run as run_here
from worker.providers import Call, Reply, adapter_for
from worker.transport import Transport

CANARY = "canary-7f3a-in-the-prompt"
KEY = "sk-canary-91c2-in-the-key"


class Trap:
    """A port that notes what comes."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection:
                    connection.settimeout(1)
                    self.heard.append(connection.recv(4096))

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def trap() -> Iterator[Trap]:
    made = Trap()
    yield made
    made.close()


@pytest.fixture
def line(command: Command, simulate: Callable[..., Simulation], redis_url: str) -> Command:
    simulation = simulate("--providers", "1")
    (command.folder / "store").mkdir()
    configure(command.folder, simulation, redis_url=redis_url, store="store")
    command.env["SIM_KEY"] = next(iter(simulation.addresses.values()))["keys"]["main"]
    return command


@contextlib.contextmanager
def working(line: Command) -> Iterator[None]:
    worker = line.start("work")
    try:
        yield
    finally:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0


def request(custom_id: str, prompt: str = "hi", url: str = "/v1/chat/completions", **more: Any) -> str:
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}]}
    return json.dumps({"custom_id": custom_id, "method": "POST", "url": url, "body": body, **more})


def run(line: Command, *rows: str, code: int | None = 0) -> list[dict[str, Any]]:
    (line.folder / "in.jsonl").write_text("\n".join(rows) + "\n")
    line.run("run", "in.jsonl", "-o", "answers", code=code)
    return [json.loads(row) for row in (line.folder / "answers" / "output.jsonl").read_text().splitlines()]


def test_a_line_cannot_choose_where_its_call_goes(line: Command, trap: Trap) -> None:
    """Else whoever may submit could have keys sent to a host of theirs, or ask hosts that only workers reach."""
    here = f"http://127.0.0.1:{trap.port}/v1/chat/completions"
    rows = run(line, request("a", url=here), request("b", base_url=here, headers={"Host": here}), code=None)
    assert {row["custom_id"] for row in rows} == {"a", "b"}
    assert trap.heard == []


def test_a_line_cannot_name_a_file(line: Command) -> None:
    before = {path for path in line.folder.parent.rglob("*") if "answers" not in path.parts}
    rows = run(line, request("../../../escaped"), request("/tmp/escaped\x00"), request("a/b\\c"))
    after = {path for path in line.folder.parent.rglob("*") if "answers" not in path.parts}
    assert len(rows) == 3
    assert {path.name for path in after - before} <= {"in.jsonl"}


def test_a_name_cannot_drive_the_terminal(
    line: Command, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An id, a model or a file's name may retitle, clear or type into the terminal of whoever looks at it."""
    evil = "\x1b]0;mine\x07\x1b[2J\x9b31m\u202e"
    monkeypatch.chdir(line.folder)
    monkeypatch.setenv("SIM_KEY", line.env["SIM_KEY"])
    (line.folder / f"{evil}.jsonl").write_text(
        request(evil) + "\n" + request("b").replace('"m"', json.dumps("m" + evil))
    )
    (line.folder / "bad.jsonl").write_text(request(evil).replace('"m"', json.dumps("x/" + evil)) + "\n")
    assert run_here(["submit", f"{evil}.jsonl"]) == 0
    batch = json.loads(capfd.readouterr().out)["id"]
    for verb in (
        ["submit", "bad.jsonl"], ["submit", evil], ["estimate", f"{evil}.jsonl"], ["estimate", "bad.jsonl"], ["status"],
        ["status", evil], ["why", batch], ["show", batch, "1"], ["show", batch, evil], ["top", "--once"], ["top", "--json"],
        ["prices", "m" + evil], ["providers"], ["limits"], ["verify", evil], ["results", batch, "-o", evil],
    ):  # fmt: skip
        run_here(verb)
        said = "".join(capfd.readouterr())
        assert said, verb
        assert {sign for sign in said if sign in evil and not sign.isprintable()} == set(), (verb, said)


@pytest.mark.parametrize("wire", ["openai", "anthropic", "gemini", "vertex", "bedrock"])
def test_a_line_cannot_set_a_header(wire: str) -> None:
    """A line break in a model's name, or a member called headers, stays in the body or is refused."""
    given = {"region": "eu-west-1", "project": "p"}
    plain = adapter_for(wire).call(chat_line(), route(wire, "m", **given), "key")
    assert isinstance(plain, Call)
    for odd in (
        chat_line(headers={"X-Injected": "1"}, extra_headers={"X-Injected": "1"}),
        chat_line(user="a\r\nX-Injected: 1"),
    ):
        call = adapter_for(wire).call(odd, route(wire, "m\r\nX-Injected: 1", drop=True, **given), "key")
        if isinstance(call, Call):
            assert call.headers.keys() == plain.headers.keys()
            assert not any("\n" in value for value in call.headers.values())
            assert "\n" not in call.url
            assert "\r" not in call.url


@pytest.mark.parametrize("size", [10, 3_000_000], ids=["small", "large"])
@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_provider_cannot_send_the_key_elsewhere(trap: Trap, status: int, size: int) -> None:
    async def redirects(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(field.split(b":")[1]) for field in head.split(b"\r\n") if field.lower().startswith(b"content-length")
        )
        await reader.readexactly(length)
        where = b"Location: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % trap.port
        writer.write(b"HTTP/1.1 %d Elsewhere\r\n" % status + where)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(redirects, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    transport = Transport()
    try:
        reply = await transport.send(Call(url, {"Authorization": f"Bearer {KEY}"}, b"x" * size), provider(), 10)
    finally:
        await transport.close()
        server.close()
        await server.wait_closed()
    assert isinstance(reply, Reply)
    assert reply.status == status
    read = adapter_for("openai").read(reply, chat_line(), route())
    assert isinstance(read, Failure)
    assert trap.heard == []


class Bomb:
    """A pickle that leaves a mark when it is opened."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.mark, "w"))


def test_who_can_write_to_redis_cannot_run_code(line: Command, redis_url: str) -> None:
    """arq's own default would open the pickle. The line goes on beside both tickets."""
    mark = str(line.folder / "mark")
    call = {"t": 1, "f": "os.system", "a": [f"touch {mark}"], "k": {}, "et": 0}
    with Redis.from_url(redis_url) as redis:
        for name, job in (("bl:evil:0", pickle.dumps(Bomb(mark))), ("bl:evil:1", json.dumps(call).encode())):
            redis.set(f"arq:job:{name}", job)
            redis.zadd(keys.QUEUE, {name: 1})
    (line.folder / "in.jsonl").write_text(request("a") + "\n")
    batch = line.json("submit", "in.jsonl")["id"]
    with working(line):
        line.run("wait", batch)
    assert not Path(mark).exists()


@pytest.mark.parametrize(
    "more", [{"providers": {"x": {"base_url": "http://evil"}}}, {"options": {"base_url": "http://evil"}}]
)
def test_who_can_write_to_the_store_cannot_widen_a_batch(more: dict[str, Any]) -> None:
    """``batch.json`` says what is asked, never where it goes or with which key; what it does not know it refuses."""
    document = {
        "id": "batch_1", "source": "x", "created_s": 1.0, "lines": 1, "rejected": 0, "last_line": 1, "input_bytes": 1,
        "input_sha256": "", "shards": [[1, 0, 1, 1]],
    }  # fmt: skip
    assert BatchDocument.model_validate(document).lines == 1
    with pytest.raises(ValidationError):
        BatchDocument.model_validate(document | more)


@pytest.mark.parametrize(
    "toml", [b'redis_url = "redis://evil"', b"[providers.x]\nbase_url = 'http://evil'", b'store = "/"']
)
def test_an_uploader_cannot_reach_the_configuration(toml: bytes) -> None:
    with pytest.raises(UsageError):
        upload_options("inbox/x.jsonl", Settings(), {}, toml)
    with pytest.raises(UsageError):
        upload_options("inbox/x.jsonl", Settings(), {"bucketline-base-url": "http://evil"}, None)


def test_neither_prompt_nor_answer_nor_key_is_told(line: Command, redis_url: str) -> None:
    """In logs, tickets, counters, bills and messages there are ids, counts and kinds. Only answers that no part holds
    yet lie in Redis (``open``), and that key is named in the table of keys.
    """
    line.env["SIM_KEY"] = KEY  # refused by the simulator: the failing path tells more than the good one
    rows = [request(str(number), CANARY) for number in range(50)]
    (line.folder / "in.jsonl").write_text("\n".join([*rows, '{"custom_id": "' + CANARY]) + "\n")
    said = [line.run("submit", "in.jsonl").stderr, line.run("doctor", code=None).stdout]
    batch = line.json("status", "--json")["batches"][0]["id"]
    with working(line), Redis.from_url(redis_url) as redis:
        for _ in range(40):
            with contextlib.suppress(StopIteration):
                said += [repr(value) for key in redis.scan_iter() if b":open:" not in key for value in told(redis, key)]
            said.append(line_status(line, batch))
            if len(said) > 2_000:
                break
        line.run("cancel", batch)
        line.run("wait", batch, code=None)
        good = line.env | {"SIM_KEY": "sk-sim-alpha"}
    line.env = good
    with working(line):
        batch = line.json("submit", "in.jsonl")["id"]
        line.run("wait", batch, code=None)
        with Redis.from_url(redis_url) as redis:
            said += [repr(value) for key in redis.scan_iter() if b":open:" not in key for value in told(redis, key)]
    said += [path.read_text() for path in line.folder.glob("stderr-*")]
    said += [path.read_text() for path in line.folder.glob("store/batches/*/manifest.*")]
    said += [path.read_text() for path in line.folder.glob("store/batches/*/batch.json")]
    assert len(said) > 50
    assert [text for text in said if CANARY in text] == []
    assert [text for text in said if KEY in text or "sk-sim-alpha" in text] == []
    for path in line.folder.glob("store/**/*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def told(redis: Redis, key: bytes) -> list[bytes]:
    return [key, *values_of(redis, key)]


def line_status(line: Command, batch: str) -> str:
    return str(line.run("status", batch, "--json", code=None).stdout)
