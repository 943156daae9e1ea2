"""The OpenAPI document says what the server does: its routes, its bounds, and what schemathesis finds against it."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from tests.engine.checkpoints import write_servable
from tests.engine.serving import running

from hasten.engine.openapi import SAMPLING, document
from hasten.engine.protocol import BadRequest, Body, read_params


def test_every_route_is_in_it_and_no_other(tmp_path: Path) -> None:
    write_servable(tmp_path)
    with running(tmp_path) as server:
        routes = {
            (route.method.lower(), resource.canonical)
            for resource in server.server.app().router.resources()
            for route in resource
            if route.method != "HEAD"
        }
        found = json.loads(server.ask("GET", "/openapi.json")[2])
    assert {(method, path) for path, methods in found["paths"].items() for method in methods} == routes
    assert found == document(keyed=False)
    assert "security" not in found


def test_with_a_key_it_says_so_and_needs_it(tmp_path: Path) -> None:
    write_servable(tmp_path)
    with running(tmp_path, api_key="secret") as server:
        assert server.ask("GET", "/openapi.json")[0] == 401
        found = json.loads(server.ask("GET", "/openapi.json", headers={"Authorization": "Bearer secret"})[2])
    assert found["security"] == [{"key": []}]
    assert found["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_every_reference_leads_somewhere() -> None:
    found = document(keyed=True)

    def references(value: Any) -> list[str]:
        if isinstance(value, list):
            return [each for item in value for each in references(item)]
        if isinstance(value, dict):
            own = [value["$ref"]] if "$ref" in value else []
            return own + [each for item in value.values() for each in references(item)]
        return []

    names = set(references(found))
    assert len(names) > 8
    schemas = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}
    assert names == schemas


BOUNDED = [
    (name, schema)
    for name, schema in SAMPLING.items()
    if "maximum" in schema and name not in ("n", "priority", "max_tokens")
]


@pytest.mark.parametrize(("name", "schema"), BOUNDED)
def test_bounds_are_those_of_the_server(name: str, schema: dict[str, Any]) -> None:
    def accepts(value: Any) -> bool:
        try:
            read_params(Body(json.dumps({name: value}).encode()), chat=False)
        except BadRequest as error:
            return error.param != name  # named for another field: this one was taken
        return True

    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema["maximum"]
    assert accepts(None)
    assert accepts(high)
    assert accepts(low) == ("minimum" in schema)
    assert not accepts(low - 1)
    assert not accepts(high + 1)
    for other in ("1", True, [], {}):
        assert not accepts(other)


@pytest.mark.slow
@pytest.mark.parametrize("key", [None, "secret"])
def test_schemathesis_finds_nothing(key: str | None, tmp_path: Path) -> None:
    """All its checks but one: that a prompt and its answer fit the context window is beyond a schema, so bodies that
    the schema allows may be refused with a 400.
    """
    if find_spec("schemathesis") is None:
        pytest.skip("needs the extra `fuzz`")
    write_servable(tmp_path)
    with running(tmp_path, api_key=key, max_waiting=256) as server:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
        command += ["--max-examples", "50", "--generation-database", "none", "--seed", "1", "--no-color"]
        command += ["--exclude-checks", "positive_data_acceptance"]
        if key is not None:
            command += ["--header", f"Authorization: Bearer {key}"]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, env=dict(os.environ)
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        assert "No issues found" in done.stdout
        assert server.idle()
