"""Reading logs of webhook deliveries: every usual form gives the same frame, and nobody's data is kept."""

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from intercom_kit.drill.objects import CANARIES
from intercom_kit.drill.webhooks import WebhookFault, generate_deliveries, write_deliveries
from intercom_kit.errors import RequestLogError
from intercom_kit.logs.deliveries import DELIVERY_COLUMNS, FILE, load, read_deliveries, save

NOTIFICATION = {
    "type": "notification_event",
    "app_id": "lkqcyt9t",
    "data": {"item": {"type": "conversation", "id": "137324500000000", "created_at": 1, "topic": "secret-canary"}},
    "id": "notif_86dc9206-7ba6-4587-844d-7227d5538d74",
    "topic": "conversation_part.redacted",
    "delivery_attempts": 2,
    "delivered_at": 0,
    "first_sent_at": 1596635313,
    "created_at": 1596635312,
}
PING = {"type": "notification_event", "id": None, "topic": "ping", "delivery_attempts": 1, "created_at": 1596635400}
RECEIVED = "2020-08-05T13:48:40.500Z"  # 1596635320.5
FLAT = {key: value for key, value in NOTIFICATION.items() if key != "data"}


def lines(*rows: object) -> str:
    """Write rows as JSON lines."""
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(tmp_path: Path, text: str | bytes, name: str = "log.jsonl", **options: Any) -> pd.DataFrame:  # noqa: ANN401
    """Read a log of this text."""
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_deliveries([path], **options).frame


def expected() -> pd.DataFrame:
    """The frame of one delivery, made by hand."""
    times = {"received_at": RECEIVED, "created_at": "2020-08-05T13:48:32Z", "first_sent_at": "2020-08-05T13:48:33Z"}
    row = {"id": NOTIFICATION["id"], "topic": NOTIFICATION["topic"], "attempts": 2, **times}
    frame = pd.DataFrame([row])[list(DELIVERY_COLUMNS)]
    for name in times:
        frame[name] = pd.to_datetime(frame[name]).astype("datetime64[us, UTC]")
    return frame.astype({"id": "str", "topic": "str", "attempts": "Int64"})


@pytest.mark.parametrize(
    "row",
    [
        {"received_at": RECEIVED, **NOTIFICATION},
        {"received_at": RECEIVED, "notification": NOTIFICATION},
        {"ts": 1596635320500, "body": json.dumps(NOTIFICATION)},
        {"time": "2020-08-05T15:48:40.500+02:00", "request": {"headers": {"id": "x"}, "json": NOTIFICATION}},
        {"log": {"timestamp": "1596635320.5", "payload": json.dumps(NOTIFICATION)}},
        {"@timestamp": RECEIVED, "event": NOTIFICATION, "id": "another-id", "created_at": RECEIVED},
        {"receivedAt": "1596635320500000", "webhook": FLAT},
    ],
)
def test_a_notification_is_found_wherever_it_stands(tmp_path: Path, row: dict[str, object]) -> None:
    """Flat, nested, or as JSON in text, with Unix times of any unit or with a zone: the same row comes of it."""
    assert_frame_equal(read(tmp_path, lines(row)), expected())


def test_csv_parquet_and_compressed_files_are_read_too(tmp_path: Path) -> None:
    """A CSV of fields, a CSV of payloads, Parquet, gzip and zstandard give the same row."""
    flat, payload = io.StringIO(), io.StringIO()
    names = {"received_at": RECEIVED, "id": FLAT["id"], "topic": FLAT["topic"], "attempts": 2}
    names |= {key: FLAT[key] for key in ("created_at", "first_sent_at")}
    csv.writer(flat).writerows([list(names), list(names.values())])
    csv.writer(payload).writerows([["received", "payload"], [RECEIVED, json.dumps(NOTIFICATION, indent=1)]])
    row = lines({"received_at": RECEIVED, **NOTIFICATION})
    assert_frame_equal(read(tmp_path, flat.getvalue(), "a.csv"), expected())
    assert_frame_equal(read(tmp_path, payload.getvalue(), "b.csv"), expected())
    assert_frame_equal(read(tmp_path, gzip.compress(row.encode(), mtime=0), "c.jsonl.gz"), expected())
    source = tmp_path / "source.jsonl"
    source.write_text(row)
    for name, form in (("d.parquet", "FORMAT parquet"), ("e.jsonl.zst", "FORMAT json, COMPRESSION zstd")):
        duckdb.execute(f"COPY (SELECT * FROM read_json('{source}')) TO '{tmp_path / name}' ({form})")
        assert_frame_equal(read_deliveries([tmp_path / name]).frame, expected())


def test_a_folder_of_several_kinds_is_one_log(tmp_path: Path) -> None:
    """Files of different forms are read together and sorted by the time received."""
    (tmp_path / "b.jsonl").write_text(lines({"received_at": "2020-08-05T14:00:00Z", **NOTIFICATION}))
    (tmp_path / "a.csv").write_text(f"received_at,topic,created_at\n{RECEIVED},contact.created,1596635312\n")
    frame = read_deliveries([tmp_path]).frame
    assert frame["topic"].tolist() == ["contact.created", "conversation_part.redacted"]
    assert frame["id"].isna().tolist() == [True, False]
    assert frame["attempts"].isna().tolist() == [True, False]


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    """A truncated line, a row without a topic and a time that is none are rejected and counted; the rest is read."""
    good = {"received_at": RECEIVED, **NOTIFICATION}
    text = lines(good, {"received_at": RECEIVED, "x": 1}, good | {"received_at": "yesterday Z"}, good, PING | good)
    path = tmp_path / "log.jsonl"
    path.write_text(text + '{"received_at": "2020-')
    log = read_deliveries([path])
    assert (log.read, log.rejected, len(log.frame)) == (6, 3, 3)
    save(log, tmp_path)
    assert_frame_equal(load(tmp_path), log.frame)  # nulls and types included
    path = tmp_path / "log.csv"
    path.write_text(f"received_at,topic,created_at\n{RECEIVED},a,1596635312\n{RECEIVED},b\n{RECEIVED}")
    log = read_deliveries([path])
    assert (log.read, log.rejected, len(log.frame)) == (3, 2, 1)


def test_nobodys_data_is_kept(tmp_path: Path) -> None:
    """What stands in a notification's data is in neither the frame nor what is saved of it."""
    write_deliveries(generate_deliveries(seed=4, hours=1), tmp_path / "log.jsonl")
    assert all(canary in (tmp_path / "log.jsonl").read_text() for canary in CANARIES[:2])
    log = read_deliveries([tmp_path / "log.jsonl"])
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    assert save(log, evidence).name == FILE
    kept = log.frame.to_csv().encode() + (evidence / FILE).read_bytes()
    assert not [canary for canary in CANARIES if canary.encode() in kept]
    assert list(log.frame.columns) == list(DELIVERY_COLUMNS)
    assert "secret-canary" not in read(tmp_path, lines({"received_at": RECEIVED, **NOTIFICATION})).to_csv()


def test_a_generated_log_is_read_as_it_was_made(tmp_path: Path) -> None:
    """Writing and reading a generated log changes nothing, up to the order of equal times."""
    frame = generate_deliveries(WebhookFault("queue", 1800, 3600), seed=5, hours=2)
    write_deliveries(frame, tmp_path / "log.jsonl")
    found = read_deliveries([tmp_path / "log.jsonl"]).frame
    order = ["received_at", "created_at", "id"]
    assert_frame_equal(found, frame.sort_values(order, ignore_index=True), check_dtype=False)


def test_a_time_without_a_zone_is_asked_for(tmp_path: Path) -> None:
    """A local time is refused with the question, and read once the zone is told."""
    row = lines({"received_at": "2020-08-05 14:48:40.500", **NOTIFICATION})
    with pytest.raises(RequestLogError, match=r"In which time zone is received_at.*--timezone"):
        read(tmp_path, row)
    assert_frame_equal(read(tmp_path, row, timezone="Europe/Dublin"), expected())


def test_columns_can_be_named(tmp_path: Path) -> None:
    """What no guess finds is asked for by name, with what there is; a mapping wins over a guess."""
    row = lines({"odd": {"when": RECEIVED}, "ts": "2020-01-01T00:00:00Z", "n": NOTIFICATION})
    assert_frame_equal(read(tmp_path, row, columns={"received_at": "odd.when"}), expected())
    with pytest.raises(RequestLogError, match=r"Which column holds received_at\? Found: .*odd\.when.*--column"):
        read(tmp_path, lines({"odd": {"when": RECEIVED}, "n": NOTIFICATION}))
    with pytest.raises(RequestLogError, match="no column 'nowhere'"):
        read(tmp_path, row, columns={"received_at": "nowhere"})
    with pytest.raises(RequestLogError, match=r"lag=odd\.when maps no column"):
        read(tmp_path, row, columns={"lag": "odd.when"})


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    """A request log, an empty file, and a file that is not there are each refused with the next step."""
    for text in (lines({"timestamp": RECEIVED, "status_code": 200}), "", "{}\n", "not json\n"):
        with pytest.raises(RequestLogError, match=r"--column|topic|no format of a log"):
            read(tmp_path, text)
    with pytest.raises(RequestLogError, match="is no file"):
        read_deliveries([tmp_path / "none.jsonl"])
