"""The vendor's API from outside: rate-limit headers, error bodies, request ids, regions."""

import time

import pytest

from intercom_kit.protocol import (
    ApiError,
    api_error,
    is_error_body,
    is_error_code,
    is_failure,
    is_request_id,
    rate_limit,
    region_of,
    regions_in,
)

UUID, OLD = "6f1c2f0e-9a34-4c33-8c1e-4a4c2a7d7a11", "b2i3mhcboc6pcbe33q80"


@pytest.mark.parametrize(
    ("limit", "remaining", "reset", "said"),
    [
        ("1667", "12", "1800000000", (1667, 12, 1800000000)),
        ("167", "-3", "1800000000", (167, 0, 1800000000)),
        ("167, 167", "0, 0", "1800000000, 1800000000", (167, 0, 1800000000)),
        (" 83 ", "", "soon", (83, None, None)),
        ("1,667", "-1", "-1", None),
        ("1e9", "1.5", "9" * 5000, None),
        ("", "", "", None),
    ],
)
def test_rate_limit_headers_are_read(limit: str, remaining: str, reset: str, said: tuple[int, ...] | None) -> None:
    """Negative and doubled numbers, as seen behind proxies, are read; what is no number is not said."""
    headers = {"x-ratelimit-limit": limit, "x-ratelimit-remaining": remaining, "x-ratelimit-reset": reset}
    assert rate_limit(headers) == said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"type": "error.list", "request_id": UUID, "errors": [{"code": "rate_limit_exceeded", "message": "M"}]},
            ("rate_limit_exceeded", "M", UUID),
        ),
        ({"type": "error.list", "errors": [{"code": "not_found"}]}, ("not_found", None, None)),
        ({"type": "error", "request_id": OLD, "message": "M"}, (None, "M", OLD)),
        ({"error_key": "oops", "message": "M"}, ("oops", "M", None)),
        ({"errors": {"email": "is bad", "name": ["is empty"]}}, (None, "is bad; is empty", None)),
        ({"errors": ["is bad"]}, (None, "is bad", None)),
        ({"error": "Forbidden request"}, (None, "Forbidden request", None)),
        ({"error": {"code": "forbidden", "message": "M"}}, ("forbidden", "M", None)),
        ({"errors": [{"code": "jo@example.com"}], "request_id": "jo@example.com"}, (None, None, None)),
        ({"errors": [], "message": 7}, (None, None, None)),
        ("<html>", (None, None, None)),
        (None, (None, None, None)),
    ],
)
def test_error_bodies_of_every_form_are_read(body: object, said: tuple[str | None, ...]) -> None:
    """Code, message and request id are found in each of the API's forms; what has another shape is left out."""
    assert api_error(body) == ApiError(*said)


@pytest.mark.parametrize(
    ("body", "is_error"),
    [
        ({"type": "error.list", "errors": []}, True),
        ({"type": "error", "message": "M"}, True),
        ({"errors": {"email": "is bad"}}, True),
        ({"error_key": "oops"}, True),
        ({"type": "contact", "errors": []}, False),
        ({"type": "list", "data": []}, False),
        ([], False),
    ],
)
def test_an_error_is_one_whatever_its_status(body: object, is_error: bool) -> None:
    """A body tells that it is an error, as a 200 with an error list does."""
    assert is_error_body(body) == is_error


@pytest.mark.parametrize("text", ["unauthorized", "rate_limit_exceeded", "intercom_version_invalid", "ERR-01"])
def test_error_codes_have_a_shape(text: str) -> None:
    """Words joined by a sign, with hardly a digit."""
    assert is_error_code(text)


@pytest.mark.parametrize(
    "text", ["", "a b", "jo@example.com", "dG9rOjEyMzQ1Njc4", "tok-canary-0a1B2c3D4e5F", "0a1b2c3d4e" * 4, "x" * 400]
)
def test_what_looks_like_a_secret_is_no_code_and_no_request_id(text: str) -> None:
    """A token that a server reflects does not pass for a code, nor for a request id."""
    assert not is_error_code(text)
    assert not is_request_id(text)


def test_which_calls_failed() -> None:
    """No answer and 4xx or 5xx are failures, but for what is normal business of the caller."""
    assert all(map(is_failure, (None, 401, 403, 408, 429, 500, 503)))
    assert not any(map(is_failure, (200, 302, 400, 404, 409, 410, 422)))


@pytest.mark.parametrize(
    ("text", "regions"),
    [
        ("Elevated errors in Europe", "eu"),
        ("EU hosted workspaces see errors", "eu"),
        ("US only", "us"),
        ("us-hosting", "us"),
        ("Customers in the United States", "us"),
        ("REST API errors (AU)", "au"),
        ("Australian customers", "au"),
        ("US and EU: webhooks are late", "us eu"),
        ("All regions are affected", "us eu au"),
        ("A global outage", "us eu au"),
        ("Contact us. This affects us all, and an auto-reply.", ""),
        ("Errors in the US; EU and AU are not affected", "us"),
        ("Errors in the US, but the EU is unaffected.", "us"),
        ("API degraded", ""),
        ("neutral museum", ""),
    ],
)
def test_regions_are_read_by_meaning(text: str, regions: str) -> None:
    """Names, letters and adjectives name a region, "us" alone does not, and what is not affected is left out."""
    assert regions_in(text) == set(regions.split())


@pytest.mark.parametrize(
    ("word", "region"),
    [
        ("US", "us"),
        ("us", "us"),
        ("Europe", "eu"),
        ("EU", "eu"),
        ("AU", "au"),
        ("Australia", "au"),
        ("Mars", None),
        ("", None),
    ],
)
def test_the_region_of_a_workspace_is_a_word(word: str, region: str | None) -> None:
    """`/me` says US, Europe or AU where the setting says us, eu or au."""
    assert region_of(word) == region


@pytest.mark.parametrize("unit", ["EU ", "us-", "not affected ", "U.S.", "all all regions "])
def test_long_texts_take_no_long_time(unit: str) -> None:
    """A page of half a megabyte takes little processor time."""
    start = time.process_time()
    regions_in(unit * 100_000)
    assert time.process_time() - start < 2
