"""The answers of the loopback Intercom, against the vendor's own OpenAPI specification."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import jsonschema
import pytest
import yaml

from intercom_kit.drill import objects
from intercom_kit.drill.loopback import Loopback
from tests.conftest import Play

PLACES = (
    os.environ.get("INTERCOM_KIT_OPENAPI"),
    Path(__file__).parents[3] / "shared" / "openapi" / "intercom-2.16-trimmed.yaml",
)
SPECIFICATION = next((Path(place) for place in PLACES if place and Path(place).is_file()), None)
QUERY = {"query": {"field": "created_at", "operator": ">", "value": 1}, "pagination": {"per_page": 150}}
CONTACT = objects.contact_id(3)
CASES = [
    ("healthy", "GET", "/me", "/me", 200),
    ("healthy", "GET", f"/contacts/{CONTACT}", "/contacts/{contact_id}", 200),
    ("healthy", "GET", f"/contacts/{next(iter(objects.MERGED))}", "/contacts/{contact_id}", 410),
    ("healthy", "POST", "/contacts/search", "/contacts/search", 200),
    ("healthy", "GET", "/conversations", "/conversations", 200),
    ("healthy", "POST", "/conversations/search", "/conversations/search", 200),
    ("healthy", "GET", "/conversations/NEWEST", "/conversations/{conversation_id}", 200),
    ("healthy", "GET", "/conversations/1", "/conversations/{conversation_id}", 404),
    ("token-revoked", "GET", f"/contacts/{CONTACT}", "/contacts/{contact_id}", 401),
    ("token-revoked", "POST", "/contacts/search", "/contacts/search", 401),
    ("plan-restricted", "GET", "/conversations", "/conversations", 403),
]

Json = dict[str, Any]


@pytest.fixture(scope="module")
def specification() -> Json:
    """Read the vendor's specification, or skip the test where it is absent."""
    if SPECIFICATION is None:
        pytest.skip("the vendor's specification is not beside this checkout: point INTERCOM_KIT_OPENAPI at it")
    loaded: Json = yaml.safe_load(SPECIFICATION.read_text())
    return loaded


def as_json_schema(part: object) -> Any:  # noqa: ANN401 - a schema is any JSON
    """Turn OpenAPI 3.0 into JSON Schema: `nullable` becomes an alternative of null."""
    if isinstance(part, list):
        return [as_json_schema(item) for item in part]
    if not isinstance(part, dict):
        return part
    turned = {key: as_json_schema(value) for key, value in part.items() if key not in ("nullable", "example")}
    return {"anyOf": [turned, {"type": "null"}]} if part.get("nullable") is True else turned


def ask(loopback: Loopback, method: str, path: str) -> httpx.Response:
    """Ask with the scenario's token; NEWEST stands for the id of the newest conversation."""
    headers = {"Authorization": f"Bearer {loopback.environment['INTERCOM_ACCESS_TOKEN']}"}
    with httpx.Client(base_url=loopback.api_url, headers=headers) as client:
        if path.endswith("NEWEST"):
            newest = client.get("/conversations").json()["conversations"][0]["id"]
            path = path.replace("NEWEST", newest)
        return client.request(method, path, json=QUERY if method == "POST" else None)


def documented(specification: Json, template: str, method: str, status: int) -> Json:
    """Return the schema and the examples of an answer."""
    found: Json = specification["paths"][template][method.lower()]["responses"][str(status)]
    return found["content"]["application/json"]  # type: ignore[no-any-return]


def missing(example: object, given: object, where: str = "") -> list[str]:
    """The fields that the vendor's example has and the given object lacks."""
    if isinstance(example, dict) and isinstance(given, dict):
        absent = [f"{where}.{key}" for key in example if key not in given]
        both = [key for key in example if key in given]
        return absent + [one for key in both for one in missing(example[key], given[key], f"{where}.{key}")]
    if isinstance(example, list) and isinstance(given, list) and example and given:
        return missing(example[0], given[0], f"{where}[0]")
    return []


@pytest.mark.parametrize(("scenario", "method", "path", "template", "status"), CASES)
def test_an_answer_is_as_the_vendor_documents_it(
    play: Play, specification: Json, scenario: str, method: str, path: str, template: str, status: int
) -> None:
    """An answer has the documented status and types, and all fields of the vendor's own example: few are required."""
    answer = ask(play(scenario), method, path)
    assert answer.status_code == status
    expected = documented(specification, template, method, status)
    components = as_json_schema(specification["components"])
    schema = {**as_json_schema(expected["schema"]), "components": components}
    jsonschema.Draft202012Validator(schema).validate(answer.json())
    for example in expected["examples"].values():
        assert missing(example["value"], answer.json()) == []


def test_schema_turning_keeps_null_out_where_it_is_not_allowed() -> None:
    """The validation can fail: null passes only where the specification says nullable."""
    schema = as_json_schema(
        {"type": "object", "properties": {"a": {"type": "string", "nullable": True}, "b": {"type": "string"}}}
    )
    jsonschema.validate({"a": None, "b": "x"}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"a": None, "b": None}, schema)


def test_every_operation_of_the_specification_is_served(play: Play, specification: Json) -> None:
    """The six operations, and only documented ones, are answered."""
    assert {(m.upper(), p) for p, methods in specification["paths"].items() for m in methods} == {
        (method, template) for _, method, _, template, _ in CASES
    }
    assert ask(play("healthy"), "GET", "/admins").status_code == 404


def without_formats(part: object) -> Any:  # noqa: ANN401 - a schema is any JSON
    """Drop the formats of texts: the vendor's own examples break them (a path where a URI is announced)."""
    if isinstance(part, list):
        return [without_formats(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {key: without_formats(value) for key, value in part.items() if key != "format" or not isinstance(value, str)}


def asked_at_random(operation: Any, base_url: str, statuses: Counter[int]) -> None:  # noqa: ANN401 - the library's own
    """Make generated calls of an operation, check each answer, and count the statuses."""
    documented = {int(status) for status in operation.definition.raw["responses"]}
    headers = {"Authorization": f"Bearer {objects.CANARY_TOKEN}", "Intercom-Version": "2.16"}

    @hypothesis.settings(max_examples=25, database=None, derandomize=True, phases=[hypothesis.Phase.generate])
    @hypothesis.given(case=operation.as_strategy())
    def ask_it(case: Any) -> None:  # noqa: ANN401 - the library's own
        answer = case.call(base_url=base_url, headers=headers)
        statuses[answer.status_code] += 1
        if answer.status_code in documented:
            operation.validate_response(answer)
        else:  # a refusal that the specification does not list for the route
            assert answer.status_code in (400, 404, 405)
            assert answer.json()["type"] == "error.list"

    ask_it()


@pytest.mark.slow
def test_whatever_the_specification_allows_is_answered_as_documented(play: Play, specification: Json) -> None:
    """Of generated calls none ends in a 5xx, and each answer has the documented shape of its status."""
    import schemathesis  # takes a second, which only this test needs

    loopback, statuses = play("healthy"), Counter[int]()
    for found in schemathesis.openapi.from_dict(without_formats(specification)).get_all_operations():
        asked_at_random(found.ok(), loopback.api_url, statuses)
    assert statuses[200] > 20
    assert max(statuses) < 500
