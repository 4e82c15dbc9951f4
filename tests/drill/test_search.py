"""Search and paging, for any request body."""

from hypothesis import given
from hypothesis import strategies as st

from intercom_kit.drill import objects, search
from intercom_kit.drill.search import ApiError

SOME = [objects.contact(number) for number in range(12)] + [objects.conversation(number) for number in range(12)]
words = st.sampled_from(["id", "role", "email", "created_at", "tags", "=", ">", "^", "NIN", "AND", "OR", "user", "é"])
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words
keys = st.sampled_from(
    ["query", "field", "operator", "value", "pagination", "per_page", "starting_after", "sort", "order"]
)
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=5))


filters = st.fixed_dictionaries(
    {
        "field": st.sampled_from(["role", "created_at", "location.city", "contact_ids", "open", "source.author.email"]),
        "operator": st.sampled_from(["=", "!=", "IN", "NIN", ">", "<", "~", "!~", "^", "$"]),
        "value": anything,
    }
)
groups = st.fixed_dictionaries({"operator": st.sampled_from(["AND", "OR"]), "value": st.lists(filters, min_size=1)})
bodies = st.fixed_dictionaries(
    {"query": anything | filters | groups}, optional={"pagination": anything, "sort": anything}
)


def status(body: object) -> int:
    """Return the HTTP status of a search."""
    try:
        answer = search.search(SOME, body, per_page=5, whole_days=True)
    except ApiError as error:
        return error.status
    assert len(answer["found"]) <= answer["pages"]["per_page"] <= 150
    return 200


@given(anything | bodies)
def test_any_body_is_answered_or_refused(body: object) -> None:
    """Whatever JSON is sent, the answer is a page of objects or a documented error, never a crash."""
    assert status(body) in (200, 400)


@given(st.integers(1, 30), st.integers(0, 24))
def test_pages_together_are_the_whole(per_page: int, total: int) -> None:
    """Following the cursors gives every object once and in order, whatever the size of a page."""
    objects_, found, cursor = SOME[:total], list[objects.Json](), None
    while True:
        page = search.page(objects_, per_page, cursor)
        found += page["found"]
        if "next" not in page["pages"]:
            break
        cursor = page["pages"]["next"]["starting_after"]
    assert found == objects_
    assert page["pages"]["page"] == max(1, page["pages"]["total_pages"])
