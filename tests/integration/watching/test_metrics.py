"""What a running line shows to Prometheus: true figures, few labels, and alerts that fire when a provider dies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from bucketline.failure import Billed, Kind
from bucketline.outcome import Attempt, Cost
from bucketline.sign import Reason
from bucketline.usage import Usage
from producer.fleet_metrics import FleetCollector
from tests.integration.watching.line import LIMIT_S, Line, running
from worker.metrics import LineCollector, metrics_of, serve_metrics
from worker.sight import Sight
from worker.simulator import Phase, PhaseKind

DEPLOY = Path(__file__).parents[3] / "deploy"
_NAME = re.compile(r"\b(bucketline_[a-z_]+)\b")


@contextlib.asynccontextmanager
async def served(line: Line) -> AsyncIterator[int]:
    assert line.engine is not None
    fleet = FleetCollector(line.engine.redis, ["alpha/small"])
    async with serve_metrics(0, LineCollector(line.engine), fleet, look=fleet.look, host="127.0.0.1") as port:
        yield port


async def scraped(port: int) -> str:
    def get() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    return await asyncio.to_thread(get)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (one.name, tuple(sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


async def test_the_figures_are_those_of_the_line(redis_url: str, tmp_path: Path) -> None:
    async with running(redis_url, tmp_path, provider={"rpm": 60_000}) as line, served(line) as port:
        batch = await line.submit(120)
        progress = await line.producer.wait(batch, timeout_s=LIMIT_S)
        found = samples(await scraped(port))
    route = (("route", "alpha/small"),)
    assert found["bucketline_attempts_total", (("result", "ok"), *route)] == 120
    assert found["bucketline_request_seconds_count", route] == 120
    assert found["bucketline_lines_total", ()] == 120
    assert found["bucketline_cost_usd_total", route] == pytest.approx(progress.nanousd / 1e9)
    tokens = [value for (name, _), value in found.items() if name == "bucketline_tokens_total"]
    assert sum(tokens) == progress.tokens
    assert found["bucketline_limit", (("limit", "rpm"), ("scope", "alpha"))] == 60_000
    assert found["bucketline_limit_used", (("limit", "rpm"), ("scope", "alpha"))] > 0
    assert found["bucketline_redis_up", ()] == 1
    assert found["bucketline_wait_seconds_count", (("reason", "permit"),)] == 120


async def test_no_label_names_a_batch_or_a_line(redis_url: str, tmp_path: Path) -> None:
    """A label for each of a million lines would be the end of Prometheus."""
    async with running(redis_url, tmp_path, provider={"rpm": 30}) as line, served(line) as port:
        batch = await line.submit(200, max_usd="1.00")
        await line.cause(batch.id, "limit")
        text = await scraped(port)
        few = len(samples(text))
        for _ in range(5):
            await line.submit(100)
        assert batch.id not in text
        assert len(samples(await scraped(port))) <= few + 5
    assert "waiting_lines" in text


async def test_circuits_and_waits_are_seen_while_they_last(redis_url: str, tmp_path: Path) -> None:
    exhausted = Phase(PhaseKind.EXHAUSTED, after_calls=2)
    async with running(redis_url, tmp_path, simulated={"phases": (exhausted,)}) as line, served(line) as port:
        batch = await line.submit(9)
        await line.cause(batch.id, "circuit")
        found = samples(await scraped(port))
    assert found["bucketline_circuit_open", (("circuit", "alpha"), ("kind", "account_exhausted"))] == 1
    assert found["bucketline_waiting_lines", (("reason", "route"),)] > 0
    assert found["bucketline_attempts_total", (("result", "account_exhausted"), ("route", "alpha/small"))] > 0


async def test_every_metric_of_the_dashboard_and_the_alerts_is_one_that_we_show(redis_url: str, tmp_path: Path) -> None:
    limits = {"rpm": 60_000, "concurrency": 50}
    async with running(redis_url, tmp_path, provider=limits) as line, served(line) as port:
        await line.producer.wait(await line.submit(5), timeout_s=LIMIT_S)
        families = set(re.findall(r"^# TYPE (\S+)", await scraped(port), re.MULTILINE))
    shown = families | {f"{name}_bucket" for name in families}
    dashboard = json.loads((DEPLOY / "grafana.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(expressions) > 20
    asked = {name for text in (*expressions, (DEPLOY / "alerts.yml").read_text()) for name in _NAME.findall(text)}
    assert asked - shown == set()


def test_every_alert_is_seen_to_fire() -> None:
    alerts = re.findall(r"- alert: (\w+)", (DEPLOY / "alerts.yml").read_text())
    tried = (DEPLOY / "alerts_test.yml").read_text()
    fires = re.findall(r"alertname: (\w+)\n\s+exp_alerts:\n\s+- exp_labels", tried)
    assert sorted(set(fires)) == sorted(alerts)


def tool(name: str) -> str:
    """A Debian program; where it is not, the test says so and is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on this machine (apt-get install prometheus)")
    return found


def test_promtool_takes_the_alerts_and_sees_them_fire() -> None:
    promtool = tool("promtool")
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        done = subprocess.run([promtool, *command], cwd=DEPLOY, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@contextlib.asynccontextmanager
async def prometheus(folder: Path, target: int) -> AsyncIterator[Callable[[str], Any]]:
    """A real Prometheus that scrapes one port every half second, with our alerts in a hurry."""
    program = tool("prometheus")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hurried = re.sub(r"for: \d+m", "for: 1s", (DEPLOY / "alerts.yml").read_text())
    (folder / "alerts.yml").write_text(re.sub(r"\[\d+m\]", "[20s]", hurried))
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 500ms, evaluation_interval: 500ms}\n"
        "rule_files: [alerts.yml]\n"
        f"scrape_configs: [{{job_name: line, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
    )
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: ASYNC220 - a server, started once
            [program, "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data"],
            cwd=folder, stdout=log, stderr=log, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip

    def query(expression: str) -> Any:
        address = f"http://127.0.0.1:{port}/api/v1/query?query={urllib.parse.quote(expression)}"
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            return []

    try:
        yield query
    finally:
        process.terminate()
        process.wait(timeout=20)


async def until(query: Callable[[str], Any], expression: str, fact: Callable[[Any], bool]) -> Any:
    """Wait until Prometheus answers as expected."""
    found: Any = None
    try:
        async with asyncio.timeout(3 * LIMIT_S):
            while not fact(found := await asyncio.to_thread(query, expression)):
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"never: {expression}; but {found}")
    return found


async def test_a_real_prometheus_scrapes_a_running_line_and_its_alerts_fire(redis_url: str, tmp_path: Path) -> None:
    """A provider is well for some calls, then takes no credit any more; later the worker is gone."""
    exhausted = Phase(PhaseKind.EXHAUSTED, after_calls=40)
    async with (
        running(redis_url, tmp_path, simulated={"phases": (exhausted,)}) as line,
        served(line) as port,
        prometheus(tmp_path, port) as query,
    ):
        await line.submit(60)
        answered = 'bucketline_attempts_total{result="ok"}'
        (sample,) = await until(query, answered, lambda found: found and found[0]["value"][1] == "40")
        assert sample["metric"]["route"] == "alpha/small"
        assert await until(query, "up", lambda found: found and found[0]["value"][1] == "1")
        firing = 'ALERTS{alertstate="firing",alertname="BucketlineAccountNeedsYou"}'
        (alert,) = await until(query, firing, bool)
        assert alert["metric"]["circuit"] == "alpha"
        assert alert["metric"]["severity"] == "page"
        assert query('ALERTS{alertname="BucketlineNoWorkers"}') == []


def an_attempt() -> Attempt:
    usage = Usage(input_tokens=900, cached_input_tokens=300, output_tokens=200, reasoning_tokens=120)
    return Attempt("alpha", "small", "ok", 200, 0.0, 1.7, usage, Cost(1_430_000), Billed.YES)


def noted_s(lines: int) -> float:
    """CPU seconds of everything that is noted on the way of so many lines: three waits, a call, an end."""
    sight, attempt = Sight(), an_attempt()
    began = time.process_time()
    for _ in range(lines):
        for reason, where in ((Reason.PERMIT, "alpha"), (Reason.PLACE, ""), (Reason.BACKOFF, "alpha/small")):
            with sight.wait("batch_1", reason, where):
                pass
        sight.call(attempt)
        sight.end("batch_1")
    return time.process_time() - began


async def test_what_is_noted_for_metrics_is_a_small_part_of_a_requests_cost(redis_url: str, tmp_path: Path) -> None:
    lines = 1000
    noted = min(noted_s(lines) for _ in range(5)) / lines
    async with running(redis_url, tmp_path) as line:
        began = time.process_time()
        await line.producer.wait(await line.submit(lines), timeout_s=LIMIT_S)
        whole = (time.process_time() - began) / lines
    print(f"{1e6 * noted:.1f} µs a request, {100 * noted / whole:.2f} %; {100_000 * noted:.2f} % of a core at 1,000/s")  # noqa: T201
    assert noted < 0.03 * whole


async def test_a_scrape_every_few_seconds_is_next_to_nothing(redis_url: str, tmp_path: Path) -> None:
    """With fifty routes and every kind of failure, against the fifteen seconds between two scrapes."""
    async with running(redis_url, tmp_path) as line:
        assert line.engine is not None
        sight = line.engine.sight
        for number in range(50):
            for kind in Kind:
                sight.call(replace(an_attempt(), model=f"m{number}", kind=kind.value))
        registry = metrics_of(LineCollector(line.engine))
        began = time.process_time()
        text = generate_latest(registry)
        spent = time.process_time() - began
    print(f"{1000 * spent:.1f} ms for {len(text)} bytes: {100 * spent / 15:.2f} % of a core")  # noqa: T201
    assert spent < 0.03 * 15
