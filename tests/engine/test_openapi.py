"""The OpenAPI document says what the server does: its routes, its bounds, and what schemathesis finds against it."""

import json
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

FUZZING_S = 900  # ten times what it takes on two idle cores


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


GOOD = {"Authorization": "Bearer secret"}
BAD = [
    {},
    {"Authorization": ""},
    {"Authorization": "Bearer"},
    {"Authorization": "Bearer "},
    {"Authorization": "Bearer secre"},
    {"Authorization": "Bearer secrets"},
    {"Authorization": "Bearer Secret"},
    {"Authorization": "Basic secret"},
    {"Authorization": "secret"},
    {"X-API-Key": "secret"},
    {"Cookie": "key=secret"},
]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD")


def test_no_route_answers_without_the_key(tmp_path: Path) -> None:
    """Every path of the document and some that are not in it, by every method, with every wrong way to show a key."""
    write_servable(tmp_path)
    paths = [path.replace("{name}", "tiny") for path in document(keyed=True)["paths"]]
    body = {"prompt": "a", "messages": [{"role": "user", "content": "a"}], "tokens": [1], "max_tokens": 1}
    with running(tmp_path, api_key="secret", max_body=1000) as server:
        for path in [*paths, "/", "/nothing", "/v1/models/other", "/health?key=secret", "//health"]:
            for method in METHODS:
                raw = body if method == "POST" else None
                for headers in BAD if method in ("GET", "POST") else BAD[:2]:
                    status, named, answer = server.ask(method, path, raw, headers)
                    assert status == 401, (method, path, headers)
                    assert named["www-authenticate"] == "Bearer"
                    if method != "HEAD":
                        assert json.loads(answer)["error"]["code"] == "invalid_api_key"
                assert server.ask(method, path, raw, GOOD)[0] != 401, (method, path)
        asked = server.server.service.engine.steps
        # a body that is too large is not even read, and says nothing about the server
        assert server.ask("POST", "/v1/completions", b"{" + b" " * 5000, BAD[4])[0] == 401
        assert server.server.service.engine.steps == asked


@pytest.mark.slow
@pytest.mark.parametrize("key", [None, "secret"])
def test_schemathesis_finds_nothing(key: str | None, tmp_path: Path) -> None:
    """All its checks but one, on data that the schema allows and on data that it does not: that a prompt and its answer
    fit the context window is beyond a schema, so bodies that the schema allows may be refused with a 400.

    Bounded: some 900 cases that follow from the schema, and at most 25 random ones for each route; about a minute.
    """
    if find_spec("schemathesis") is None:
        pytest.skip("needs the extra `fuzz`")
    write_servable(tmp_path)
    with running(tmp_path, api_key=key, max_waiting=256, engine={"max_model_len": 128}) as server:
        command = [sys.executable, "-m", "schemathesis.cli", "run", f"{server.url}/openapi.json"]
        command += ["--include-path-regex", "/"]  # the document itself too
        command += ["--max-examples", "25", "--mode", "all", "--generation-database", "none", "--seed", "1"]
        command += ["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--no-color"]
        command += ["--request-timeout", "60"]
        if key is not None:
            command += ["--header", f"Authorization: Bearer {key}"]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=FUZZING_S
        )
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
        assert "No issues found" in done.stdout
        routes = sum(map(len, document(keyed=True)["paths"].values()))
        assert f"Selected: {routes}/{routes}" in done.stdout
        assert server.idle()
