"""What may be written down, and what never."""

import html
import json
import string
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from intercom_kit.redaction import API_KEYS, BODY_LIMIT, PIECE, STATUS_KEYS, TEXT_LIMIT, Redactor, safe

TOKEN = "tok-" + "canary/" + "0a1B2c3D+4e5F="  # plainly fake
WEBHOOK = "https://hooks.slack.com/services/T000/B000/canaryCANARY0123"
AWS = "canary+secret/access&key0123456789"
WRITTEN: dict[str, Callable[[str], str]] = {
    "bare": str,
    "capitals": str.upper,
    "url": lambda text: quote(text, safe=""),
    "url, twice": lambda text: quote(quote(text, safe=""), safe=""),
    "json": lambda text: json.dumps(text)[1:-1],
    "html": html.escape,
}
redactor = Redactor(SecretStr(TOKEN), WEBHOOK, AWS, None, "")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Access Token Invalid", "Access Token Invalid"),
        ("Exceeded rate limit of 1667 in 10_seconds", "Exceeded rate limit of 1667 in 10_seconds"),
        ("no user with jo.doe+x@mail.example.com.", "no user with [e-mail]"),
        ("to=jo%40example.com&x", "to=[e-mail]&x"),
        ("jo\uff20example.com", "[e-mail]"),
        ("to jo.doe%2540example.com now", "to [e-mail] now"),
        ("jo&#64;example.com, jo&#x40;example.com or jo&amp;commat;example.com", "[e-mail], [e-mail] or [e-mail]"),
        (r'{"email":"jo\u0040example.com"}', '{"email":"[e-mail]"}'),
        ('of "jo doe"@example.com!', "of [e-mail]"),
        ("call +49 (30) 1234-5678 now", "call [phone] now"),
        ("call (555) 123-4567 now", "call [phone] now"),
        ("since 2026-04-27 11:37 UTC", "since 2026-04-27 11:37 UTC"),
        (f"Bearer {TOKEN} was refused", "Bearer [token] was refused"),
        (f"is {TOKEN.upper()}?", "is [token]?"),
        ("?t=tok-canary%2F0a1B2c3D%2B4e5F%3D&", "?t=[token]&"),
        ("Bearer abc123def456", "Bearer [secret]"),
        ("key sk_live" + "_4eC39HqLyjWDarjtT1 leaked", "key [secret] leaked"),
        ("request 6f1c2f0e-9a34-4c33-8c1e-4a4c2a7d7a11", "request 6f1c2f0e-9a34-4c33-8c1e-4a4c2a7d7a11"),
        ("page 01HYPOTHETICALULIDPAGE00001", "page 01HYPOTHETICALULIDPAGE00001"),
        ("raised ConversationPartsLimitExceededError", "raised ConversationPartsLimitExceededError"),
        ("digest " + "0a1b2c3d4e" * 4, "digest [secret]"),
        ("id " + "0a1b2c3d4e" * 3, "id " + "0a1b2c3d4e" * 3),
        ("red \x1b[31m alarm\x00\u202egnp\u2028x", "red \ufffd[31m alarm\ufffd\ufffdgnp x"),
        ("zero\u200bwidth", "zero\ufffdwidth"),
        ("half \ud800 pair", "half \ufffd pair"),
        ("two\nlines\tand more", "two lines and more"),
        ("Störung bei 株式会社 👍", "Störung bei 株式会社 👍"),
    ],
)
def test_free_text_is_scrubbed_and_stays_readable(text: str, kept: str) -> None:
    """Addresses, numbers, secrets and control characters go; plain words, times and ids stay."""
    assert redactor.text(text) == kept


def test_free_text_is_cut() -> None:
    """Long text ends in an ellipsis."""
    assert redactor.text("word " * 1000) == ("word " * 1000)[: TEXT_LIMIT - 1] + "…"
    assert len(redactor.text("x" * 100_000)) <= TEXT_LIMIT


noise = st.text(st.characters(), max_size=60)
locals_ = st.text(string.ascii_letters + string.digits + "._+-", min_size=1, max_size=20)


@given(noise, noise, st.integers(0, 30))
def test_the_token_is_left_nowhere(before: str, after: str, repeat: int) -> None:
    """Whatever stands around it, however often, and wherever the text is cut, the token does not come through."""
    text = before + f" {TOKEN} ".join(["x" * 150] * (repeat + 2)) + after
    for kept in (redactor.text(text), redactor.text(text, 40), redactor.url(f"https://h/{text}")):
        assert TOKEN not in kept
        assert TOKEN[:12] not in kept.replace("…", "")


@given(locals_, locals_, noise)
def test_an_address_is_left_nowhere(local: str, domain: str, around: str) -> None:
    """An e-mail address in any string of a body, under any key, does not come through."""
    address = f"{local}@{domain}.example"
    spread = f"{around} {address} {around}"
    body = dict.fromkeys(sorted(API_KEYS | STATUS_KEYS), spread) | {"email": address, address: address}
    for allowed in (API_KEYS, STATUS_KEYS):
        assert address not in redactor.body([body, {"errors": [body]}], allowed)[0]
    assert address not in json.dumps(redactor.headers({"server": spread, "x-request-id": address, "x-mail": address}))


@pytest.mark.parametrize("write", WRITTEN)
@pytest.mark.parametrize("secret", [TOKEN, WEBHOOK, AWS])
def test_a_piece_of_any_secret_is_as_good_as_the_whole(secret: str, write: str) -> None:
    """Pieces of 12 characters of every secret are taken out, however they are written; shorter ones may stay."""
    written = WRITTEN[write](secret.removeprefix("https://hooks.slack.com"))
    for start in range(0, len(written) - PIECE, 5):
        piece = written[start : start + PIECE]
        assert piece not in redactor.without_secrets(f"it said {piece}, and")
        assert redactor.holds_secret(f"<{piece}>")
    assert redactor.text("see https://hooks.slack.com/ or ask amazon") == "see https://hooks.slack.com/ or ask amazon"


def test_a_reflected_token_is_no_request_id() -> None:
    """A request id has the shape of one, and is no piece of a secret that has it too."""
    lower = "0a1b2c3d4e5f6a7b8c9d"
    assert Redactor().identifier(lower) == lower
    assert Redactor(f"tok{lower}tok").identifier(lower) is None
    assert lower not in repr(Redactor(lower))
    assert Redactor().identifier(TOKEN) is None
    assert Redactor("hunter2", "in").text("in it: Hunter2") == "in it: [token]"


def test_no_text_from_outside_takes_long() -> None:
    """Two megabytes cost little processor time, whatever they hold (10 s would be a hundred times what they take)."""
    start = time.process_time()
    for unit in ("a@", '"', '"a', "&#64;", "%25", "\\u0040", "+1 ", "token ", "<title"):
        redactor.text(unit * 50_000, 50_000)
    for text in ("services are down " * 110_000, TOKEN[:11] * 180_000):
        redactor.without_secrets(text)
    assert time.process_time() - start < 10


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]8;;http://x\x07y\x1b]8;;\x07", "\ufffd]8;;http://x\ufffdy\ufffd]8;;\ufffd"),
        ("\x9b31m\x85", "\ufffd31m "),
        ("a\u202eb\u2066c\u200b", "a\ufffdb\ufffdc\ufffd"),
        ("tab\tline\nend\r", "tab line\nend "),
        ("Zoë 株式会社 👍", "Zoë 株式会社 👍"),
    ],
)
def test_text_from_outside_is_safe_on_a_terminal(text: str, shown: str) -> None:
    """Escape sequences, C1 controls and bidirectional marks lose their power; readable text stays."""
    assert safe(text, keep="\n") == shown
    assert safe(text).isprintable()


def test_people_do_not_come_through_the_api_keys() -> None:
    """Of /me and of contacts, what names or reaches a person is left out."""
    person = {"name": "Jo", "email": "jo@example.com", "phone": "+4930123456", "avatar": {"image_url": "u"}, "id": "1"}
    me = person | {"type": "admin", "app": {"id_code": "ws1", "region": "EU", "name": "Acme"}, "phone": 493012345678}
    assert json.loads(redactor.body(me, API_KEYS)[0]) == {"type": "admin", "app": {"id_code": "ws1", "region": "EU"}}
    found = {"type": "list", "data": [person], "total_count": 7, "pages": {"page": 1, "next": {"starting_after": "x"}}}
    kept = json.loads(redactor.body(found, API_KEYS)[0])
    assert kept == {"type": "list", "total_count": 7, "pages": {"page": 1}}


def test_long_bodies_lose_their_ends_and_stay_json() -> None:
    """A list of hundreds of incidents is cut to what fits, said so, and can still be parsed."""
    incidents = [
        {"id": str(number), "name": "n" * 200, "incident_updates": [{"body": "b" * 280}]} for number in range(300)
    ]
    body, cut = redactor.body({"incidents": incidents}, STATUS_KEYS)
    assert cut
    assert len(body) <= BODY_LIMIT
    assert json.loads(body)["incidents"][0]["id"] == "0"


def test_headers_pass_by_name() -> None:
    """Known harmless headers stay, cookies and the unknown go; a location loses its query."""
    headers = {
        "content-type": "application/json",
        "x-request-id": "b2i3mhcboc6pcbe33q80",
        "x-intercom-version": "3736ab533ad11d88d93cdef3fcef9a98a5724229",
        "set-cookie": "session=1",
        "x-user": "jo",
        "location": "https://user:pw@h.example/a?email=jo@example.com",
        "x-ratelimit-limit": "83",
    }
    assert redactor.headers(headers) == {
        "content-type": "application/json",
        "location": "https://h.example/a",
        "x-intercom-version": "3736ab533ad11d88d93cdef3fcef9a98a5724229",
        "x-ratelimit-limit": "83",
        "x-request-id": "b2i3mhcboc6pcbe33q80",
    }
