"""``deploy/redis``: the user of the line may do what the line does, and nothing else."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import NoPermissionError

from bucketline import keys
from tests.deploy.servers import PASSWORDS, free_port, redis_of_the_files, scraped
from tests.docs.world import wait_for
from tests.integration.e2e.conftest import Command, Simulation, configure
from worker.redis_binary import servers

BINARIES = list(servers())


@pytest.fixture(params=BINARIES, ids=[f"{binary.name}-{number}" for number, binary in enumerate(BINARIES)])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    folder = tmp_path / "redis"
    folder.mkdir()
    with redis_of_the_files(request.param, folder) as port:
        yield port


def as_user(port: int, name: str) -> Redis:
    return Redis(port=port, username=name, password=PASSWORDS[name], decode_responses=True)


@pytest.fixture
def line(command: Command, simulate: Callable[..., Simulation], port: int) -> Command:
    """The product with the line's user and nothing but it."""
    url = f"redis://bucketline:{PASSWORDS['bucketline']}@127.0.0.1:{port}/0"
    simulation = simulate("--providers", "1")
    (command.folder / "store").mkdir()
    configure(command.folder, simulation, redis_url=url, store="store")
    command.env["SIM_KEY"] = next(iter(simulation.addresses.values()))["keys"]["main"]
    return command


def refused(port: int) -> list[tuple[str, str]]:
    """What the server refused and is needed: ``doctor`` asks for CONFIG GET, and says so where it may not; the client
    library tells its name, which servers before 7.2 do not know and so cannot allow.
    """
    with Redis(port=port, username="test", password="x", decode_responses=True) as client:
        said = [(entry["reason"], entry["object"]) for entry in client.acl_log()]
    return [one for one in said if one[1].partition("|")[0] not in ("config", "client")]


def test_the_lines_user_may_do_all_that_the_line_does(line: Command, port: int) -> None:
    """A command that is missing here would show in production, at the first pause or takeover."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    rows = [
        json.dumps({"custom_id": str(n), "method": "POST", "url": "/v1/chat/completions", "body": body})
        for n in range(300)
    ]
    (line.folder / "many.jsonl").write_text("\n".join(rows) + "\n")
    (line.folder / "store" / "inbox").mkdir()
    (line.folder / "store" / "inbox" / "few.jsonl").write_text("\n".join(rows[:20]) + "\n")
    line.run("doctor", code=None)
    held = line.json("submit", "many.jsonl")["id"]
    line.run("pause", held)
    worker = line.start("work", "--inbox")
    try:
        quick = line.json("submit", "many.jsonl", "--idempotency-key", "k")["id"]
        assert line.json("submit", "many.jsonl", "--idempotency-key", "k")["id"] == quick
        line.run("wait", quick)
        line.run("limits", "set", "alpha", "--rpm", "60000")
        line.run("limits", "--json")
        line.run("circuits", "--json")
        line.run("resume", held)
        line.run("wait", held)
        gone = line.json("submit", "many.jsonl")["id"]
        line.run("cancel", gone, code=None)
        line.run("wait", gone, code=None)
        line.run("status", "--json")
        line.run("verify", quick)
        wait_for(line.folder / "store" / "outbox" / "few" / "manifest.json")
    finally:
        worker.send_signal(signal.SIGTERM)
        code = worker.wait(timeout=60)
        assert refused(port) == []
    assert code == 0


@pytest.mark.parametrize(
    "command",
    [
        ("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "SET", "dir", "/"), ("ACL", "LIST"), ("SHUTDOWN",), ("MONITOR",),
        ("SCRIPT", "FLUSH"), ("CLIENT", "LIST"), ("REPLICAOF", "NO", "ONE"), ("MODULE", "LIST"),
        ("GET", "foreign"), ("SET", "foreign", "1"), ("RENAME", "bl:x", "bl:y"), ("PUBLISH", "c", "m"),
        ("PSUBSCRIBE", "*"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_lines_user_can_do_nothing_else(port: int, command: tuple[str, ...]) -> None:
    with as_user(port, "bucketline") as client, pytest.raises(NoPermissionError):
        client.execute_command(*command)


@pytest.mark.parametrize("command", [("SET", "bl:x", "1"), ("DEL", "bl:x"), ("EVAL", "return 1", "0")], ids=" ".join)
def test_who_watches_cannot_write(port: int, command: tuple[str, ...]) -> None:
    with as_user(port, "watcher") as client, pytest.raises(NoPermissionError):
        client.execute_command(*command)


def test_who_watches_may_look_in_every_way(line: Command, port: int) -> None:
    """Figures for a dashboard, and a look at the line, must not need the right to write."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    (line.folder / "one.jsonl").write_text(
        json.dumps({"custom_id": 1, "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n"
    )
    batch = line.json("submit", "one.jsonl")["id"]
    configuration = (line.folder / "bucketline.toml").read_text()
    configuration = configuration.replace("bucketline:" + PASSWORDS["bucketline"], "watcher:" + PASSWORDS["watcher"])
    (line.folder / "bucketline.toml").write_text(configuration)
    metrics = free_port()
    monitor = line.start("monitor", "--metrics-port", str(metrics))
    try:
        scraped(metrics, "bucketline_redis_up 1.0")
        for verb in (("top", "--once"), ("status",), ("why", batch), ("limits",), ("circuits",), ("providers",)):
            line.run(*verb)
    finally:
        monitor.send_signal(signal.SIGTERM)
        code = monitor.wait(timeout=60)
    assert code == 0
    assert refused(port) == []


def test_the_line_may_hear_its_bell_and_no_other(port: int) -> None:
    """Tickets are announced on a channel; a user without the right would make every worker poll."""
    with as_user(port, "bucketline") as client, client.pubsub(ignore_subscribe_messages=True) as channel:
        channel.subscribe(keys.BELL)
        channel.get_message(timeout=5)
        assert client.publish(keys.BELL, b"1") == 1
        with pytest.raises(NoPermissionError):
            client.publish("foreign", b"1")
    with as_user(port, "bucketline") as client, pytest.raises(NoPermissionError):
        client.execute_command("SUBSCRIBE", "foreign")


def test_nobody_enters_without_a_name(port: int) -> None:
    with Redis(port=port) as client, pytest.raises(Exception, match=r"(?i)auth"):
        client.ping()


def test_the_server_keeps_what_it_is_told(port: int) -> None:
    with Redis(port=port, username="test", password="x", decode_responses=True) as client:
        said = {name: client.config_get(name)[name] for name in ("maxmemory-policy", "appendonly", "appendfsync")}
    assert said == {"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec"}
