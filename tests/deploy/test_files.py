"""The files of ``deploy/`` are what their programs take; what cannot run here is checked by each program's own rules.

A tool that is not on this machine is a skip that names it. ``pip install '.[deploy]'`` brings those that are packages.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bucketline.settings import Settings
from bucketline.store import s3_calls
from tests.deploy.servers import DEPLOY, ROOT

KUSTOMIZATIONS = ["base", "full"]


def tool(name: str) -> str:
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on this machine")
    return found


def module(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed")


def rendered(name: str) -> list[dict[str, Any]]:
    kubectl = tool("kubectl")
    done = subprocess.run(
        [kubectl, "kustomize", DEPLOY / "kubernetes" / name], capture_output=True, text=True, check=True
    )
    return [document for document in module("yaml").safe_load_all(done.stdout) if document]


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_kubernetes_takes_every_object(name: str) -> None:
    validate = module("kubernetes_validate")
    known, foreign = [], []
    for document in rendered(name):
        builtin = "." not in document["apiVersion"].split("/")[0] or document["apiVersion"].split("/")[0].endswith(
            ".k8s.io"
        )
        (known if builtin else foreign).append(document["kind"])
        if builtin:
            validate.validate(document, "1.31", strict=True)
    assert {"Deployment", "PodDisruptionBudget", "NetworkPolicy"} <= set(known)
    assert set(foreign) <= {"ScaledObject", "ServiceMonitor"}


def containers() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    for document in rendered("base"):
        if document["kind"] == "Deployment":
            spec = document["spec"]["template"]["spec"]
            yield document["metadata"]["name"], spec, spec["containers"][0]


def test_a_pod_runs_without_rights_and_ends_after_its_drain() -> None:
    """Killed before ``worker.grace_s`` is over, a worker would drop answers that are paid for."""
    configuration = tomllib.loads((DEPLOY / "kubernetes" / "base" / "bucketline.toml").read_text())
    grace_s = Settings.model_validate(configuration).worker.grace_s
    seen = set()
    for name, pod, container in containers():
        seen.add(name)
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        assert "preStop" in container["lifecycle"]
        if name == "worker":
            assert pod["terminationGracePeriodSeconds"] > grace_s + 5
    assert seen == {"worker", "inbox"}


def test_compose_takes_the_file_and_ends_workers_after_their_drain() -> None:
    compose_spec, yaml = module("compose_spec"), module("yaml")
    text = (DEPLOY / "compose.yaml").read_text()
    read = compose_spec.PyOptions(apply_merge=True).from_yaml(text)
    assert {"worker", "inbox", "redis", "s3", "prometheus", "grafana"} <= set(read.service_names())
    services = yaml.safe_load(text)["services"]
    grace_s = Settings.model_validate(tomllib.loads((DEPLOY / "bucketline.toml").read_text())).worker.grace_s
    assert int(services["worker"]["stop_grace_period"].removesuffix("s")) > grace_s
    assert all(services[name]["read_only"] for name in ("worker", "inbox"))
    for service in services.values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert not source.startswith(".") or (DEPLOY / source).exists(), source


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run([tool("hadolint"), DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_image_copies_all_that_the_wheel_is_built_of() -> None:
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    copied = {
        word.strip("./")
        for line in re.findall(r"^COPY (?!--)(.*) \S+$", dockerfile, re.MULTILINE)
        for word in line.split()
    }
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", *packages} <= copied
    assert all(f"!{name}" in ignored for name in copied)


@pytest.mark.parametrize("unit", sorted((DEPLOY / "systemd").iterdir()), ids=lambda unit: unit.name)
def test_systemd_takes_the_unit(unit: Path) -> None:
    verify = [tool("systemd-analyze"), "verify", "--man=no", unit]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    said = [line for line in done.stderr.splitlines() if "is not executable" not in line]  # nothing is in /opt here
    assert said == []


@pytest.mark.parametrize("unit", ["bucketline-worker@.service", "bucketline-inbox.service"])
def test_systemd_waits_for_the_drain(unit: str) -> None:
    said = re.search(r"TimeoutStopSec=(\d+)", (DEPLOY / "systemd" / unit).read_text())
    assert said is not None
    assert int(said[1]) > (Settings().worker.grace_s if "worker" in unit else 0)


def test_every_option_that_a_file_gives_is_one() -> None:
    """A container that does not start because of an option says so only in production."""
    import typer.main

    from worker.cli import build_app

    verbs = typer.main.get_command(build_app()).commands  # type: ignore[attr-defined]
    options = {verb: {name for p in command.params for name in p.opts} for verb, command in verbs.items()}
    found = []
    for path in [*DEPLOY.rglob("*"), ROOT / "Procfile"]:
        if path.is_file() and path.suffix != ".json":
            text = path.read_text().replace('"', "").replace(",", "")
            found += re.findall(r"(?:bucketline |\[)(work|inbox|monitor)((?: --?[a-z-]+(?: \d+)?)*)", text)
    assert len(found) > 6
    for verb, given in found:
        assert {word for word in given.split() if word.startswith("-")} <= options[verb]


def test_the_bucket_policy_allows_the_calls_that_the_store_makes() -> None:
    """Read off the client's calls in the store's files; a call without its right fails on a real bucket only."""
    rights = {
        "get_object": "s3:GetObject", "head_object": "s3:GetObject", "put_object": "s3:PutObject",
        "delete_object": "s3:DeleteObject", "delete_objects": "s3:DeleteObject", "list_objects_v2": "s3:ListBucket",
        "copy_object": "s3:PutObject", "create_multipart_upload": "s3:PutObject", "upload_part": "s3:PutObject",
        "upload_part_copy": "s3:PutObject", "complete_multipart_upload": "s3:PutObject",
        "abort_multipart_upload": "s3:AbortMultipartUpload", "head_bucket": "s3:ListBucket",
    }  # fmt: skip
    folder = Path(s3_calls.__file__).parent
    source = "\n".join(path.read_text() for path in folder.glob("s3*.py"))
    made = {name for name in rights if f"{name}(" in source or f"{name}," in source or f'"{name}"' in source}
    policy = json.loads((DEPLOY / "s3" / "line-policy.json").read_text())
    allowed = {action for statement in policy["Statement"] for action in statement["Action"]}
    assert len(made) > 6
    assert {rights[name] for name in made} <= allowed
    assert allowed <= set(rights.values()) | {"s3:ListBucket"}
