"""The Kubernetes manifests in share/: every field is known to the API and of its type, and the command lines parse."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from multiprobe.cli.group import parse

client = pytest.importorskip("kubernetes.client")

MANIFESTS = Path(__file__).parents[2] / "share/multiprobe/kubernetes"
FILES = sorted(MANIFESTS.glob("*.yaml"))
PLAIN = {"str": str, "int": int, "bool": bool, "float": float}


def wrong(item: object, kind: str, path: str) -> list[str]:
    """What does not fit the type of the API: unknown fields, missing ones, values of another type."""
    if inner := re.fullmatch(r"[Ll]ist\[(.+)\]", kind):
        assert isinstance(item, list), path
        return [found for n, one in enumerate(item) for found in wrong(one, inner[1], f"{path}[{n}]")]
    if inner := re.fullmatch(r"[Dd]ict[\[(]str, (.+)[\])]", kind):
        assert isinstance(item, dict), path
        return [found for name, one in item.items() for found in wrong(one, inner[1], f"{path}.{name}")]
    if kind == "object":  # a number or a text: ports, amounts
        return [] if isinstance(item, str | int) else [f"{path} is {item!r}"]
    if kind in PLAIN:
        return [] if type(item) is PLAIN[kind] else [f"{path} is {item!r}, not {kind}"]
    return wrong_fields(item, getattr(client, kind), path)


def wrong_fields(item: object, model: Any, path: str) -> list[str]:
    assert isinstance(item, dict), path
    names = {json_name: name for name, json_name in model.attribute_map.items()}
    unknown = [f"{path}.{name} is unknown" for name in item.keys() - names.keys()]
    try:  # the constructor refuses missing fields
        model(**{names[name]: one for name, one in item.items() if name in names})
    except ValueError as error:
        unknown.append(f"{path}: {error}")
    known = {name: one for name, one in item.items() if name in names}
    return unknown + [
        found for name, one in known.items() for found in wrong(one, model.openapi_types[names[name]], f"{path}.{name}")
    ]


def load(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(file.read_text())
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_field_is_one_of_the_api(file: Path) -> None:
    manifest = load(file)
    assert wrong(manifest, f"V1{manifest['kind']}", manifest["kind"]) == []


def test_what_is_wrong_is_found() -> None:
    manifest = load(MANIFESTS / "job.yaml")
    spec = manifest["spec"]["template"]["spec"]
    spec["hostPid"] = True
    spec["containers"][0]["securityContext"]["privileged"] = "yes"
    del spec["containers"][0]["name"]
    found = wrong(manifest, "V1Job", "Job")
    path = "Job.spec.template.spec"
    assert f"{path}.hostPid is unknown" in found
    assert f"{path}.containers[0].securityContext.privileged is 'yes', not bool" in found
    assert [one for one in found if one.startswith(f"{path}.containers[0]: ")]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_labels_volumes_and_command_lines_fit(file: Path) -> None:
    spec = load(file)["spec"]
    template = spec["template"]
    labels = template["metadata"]["labels"]
    affinity = template["spec"].get("affinity", {}).get("podAntiAffinity", {})
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", [])
    selectors = [spec.get("selector"), *(term["labelSelector"] for term in terms)]
    chosen = [selector["matchLabels"] for selector in selectors if selector]
    assert chosen
    assert all(selector.items() <= labels.items() for selector in chosen)
    (container,) = template["spec"]["containers"]
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in template["spec"]["volumes"]}
    words = [*container["command"], *container["args"]]
    if words[:2] == ["sh", "-c"]:
        words = shlex.split(re.split(r"&&|2>", words[2])[0])
    assert words[0] == "multiprobe"
    with parse(words[1:]):
        pass


def test_there_are_both() -> None:
    assert [load(file)["kind"] for file in FILES] == ["DaemonSet", "Job"]
