"""A sealed archive is copied elsewhere: whole, resumed, and never over what is not its own past."""

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from intercom_kit.archive.retention import publish
from intercom_kit.archive.seal import head_of, seal, verify
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.errors import EvidenceError, PublishError
from intercom_kit.records import Event
from intercom_kit.settings import Settings, load_settings

AT = datetime(2026, 11, 24, 14, 5, tzinfo=UTC)
CANARY = "tok-canary-" + "publish"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a secret."""
    return load_settings(dotenv=None, outputs=tmp_path / "outputs", token=CANARY)


@pytest.fixture
def folder(settings: Settings) -> IncidentFolder:
    """A sealed incident with two manifests."""
    made = IncidentFolder(settings.outputs, "INC-1")
    made.create()
    made.add_event(Event(at=AT, kind="note", text="first"))
    (made.path / "01-triage.html").write_text("<p>report</p>")
    seal(made, at=AT)
    made.add_event(Event(at=AT, kind="note", text="second"))
    seal(made, at=AT)
    return made


@pytest.fixture(scope="module")
def s3(aws_server: None) -> str:  # noqa: ARG001 - it runs meanwhile
    """A bucket on a real S3 server on loopback."""
    import boto3

    boto3.client("s3").create_bucket(Bucket="incidents")
    return "s3://incidents/archive"


def copied_folder(path: Path) -> IncidentFolder:
    """The copy of the incident under a path."""
    return IncidentFolder(path, "INC-1")


def test_a_copy_is_whole_and_verifies_by_itself(folder: IncidentFolder, settings: Settings, tmp_path: Path) -> None:
    """The copy holds everything that was sealed, and descends from the same head."""
    seen: list[tuple[int, int]] = []
    target = tmp_path / "elsewhere"
    result = publish(folder, target.as_uri(), settings, on_progress=lambda *step: seen.append(step))
    assert (result.copied, result.skipped, result.url) == (4, 0, f"{target.as_uri()}/INC-1")
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert verify(copied_folder(target), head=result.head) == []
    assert result.head == head_of(folder)


def test_a_copy_that_stopped_goes_on_where_it_was(folder: IncidentFolder, settings: Settings, tmp_path: Path) -> None:
    """What was copied before an interrupt is not copied again, the manifest comes last; what grew is added."""
    target = tmp_path / "elsewhere"

    def interrupt(done: int, _total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(folder, str(target), settings, on_progress=interrupt)
    assert [finding.kind for finding in verify(copied_folder(target))] == ["unsealed"]
    (target / "INC-1" / "01-triage.html").write_text("<p>half")
    result = publish(folder, str(target), settings)
    assert (result.copied, result.skipped) == (3, 1)
    assert verify(copied_folder(target)) == []
    assert publish(folder, str(target), settings).copied == 0
    folder.add_event(Event(at=AT, kind="note", text="third"))
    seal(folder, at=AT)
    assert publish(folder, str(target), settings).copied == 3
    assert verify(copied_folder(target), head=head_of(folder)) == []


def test_another_archive_is_never_written_over(folder: IncidentFolder, settings: Settings, tmp_path: Path) -> None:
    """What is there under the same id, but has another past, is kept."""
    other = IncidentFolder(tmp_path / "elsewhere", "INC-1")
    other.create()
    other.add_event(Event(at=AT, kind="note", text="somebody else's"))
    kept = seal(other, at=AT)
    with pytest.raises(PublishError, match="not an earlier state"):
        publish(folder, str(tmp_path / "elsewhere"), settings)
    assert head_of(other) == kept


def test_an_archive_that_differs_from_its_seal_is_refused(
    folder: IncidentFolder, settings: Settings, tmp_path: Path
) -> None:
    """Nothing leaves that was changed since it was sealed, or was never sealed."""
    (folder.path / "01-triage.html").write_text("<p>Report</p>")
    with pytest.raises(PublishError, match=r"01-triage\.html: Its content is not what was sealed"):
        publish(folder, str(tmp_path / "elsewhere"), settings)
    (folder.path / "manifest.json").unlink()
    with pytest.raises(PublishError, match="never sealed"):
        publish(folder, str(tmp_path / "elsewhere"), settings)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        "Authorization: Bearer " + "abcdefgh" * 4,
        "dG9r" + "OjAwMDAwMDAwXzAwMDBfMDAwMA==",
        "https://hooks.slack.com/services/" + "T00000000/B0",
        "AKIA" + "ABCDEFGHIJKLMNOP",
    ],
)
def test_a_secret_does_not_leave(folder: IncidentFolder, settings: Settings, tmp_path: Path, text: str) -> None:
    """A file with a configured secret, or with what looks like a token, is named and nothing is copied."""
    (folder.path / "postmortem.md").write_text(f"We used {text} there")
    seal(folder, at=AT)
    with pytest.raises(PublishError, match=r"postmortem\.md holds what looks like a secret") as refused:
        publish(folder, str(tmp_path / "elsewhere"), settings)
    assert text not in str(refused.value)
    assert not (tmp_path / "elsewhere").exists()


def test_what_only_resembles_a_secret_may_leave(folder: IncidentFolder, settings: Settings, tmp_path: Path) -> None:
    """The runbook's commands and the inside of a picture's base64 are none."""
    text = "printf 'Authorization: Bearer %s' \"$INTERCOM_ACCESS_TOKEN\" iVBORdG9rOjAwMDAwMDAwXzAwMDBfMDAwMA"
    (folder.path / "postmortem.md").write_text(text)
    seal(folder, at=AT)
    assert publish(folder, str(tmp_path / "elsewhere"), settings).copied == 6


def test_a_place_that_cannot_be_written_is_reported(folder: IncidentFolder, settings: Settings, tmp_path: Path) -> None:
    """The failure names the place, without user name and password, and the next step."""
    (tmp_path / "file").write_text("x")
    for url, place in ((str(tmp_path / "file"), "file"), (f"nowhere://ana:{CANARY}@host/x", "nowhere://host/x")):
        with pytest.raises(PublishError, match=rf"{place} cannot be written: .* publish again") as refused:
            publish(folder, url, settings)
        assert CANARY not in str(refused.value)


def test_an_incident_is_not_published_into_itself(folder: IncidentFolder, settings: Settings, tmp_path: Path) -> None:
    """Neither its folder nor one in it is a target, by a URL, a relative path or a link neither."""
    (tmp_path / "link").symlink_to(folder.path)
    paths = (folder.path, folder.path / "evidence", tmp_path / "link", folder.path.parent)
    for target in (*map(str, paths), folder.path.as_uri()):
        with pytest.raises(PublishError, match="lies in the incident itself"):
            publish(folder, target, settings)
    assert verify(folder) == []
    (folder.path / "messages").symlink_to(tmp_path)  # and what it holds by a link does not leave
    with pytest.raises(EvidenceError, match="messages is a symbolic link"):
        publish(folder, str(tmp_path / "elsewhere"), settings)


def test_what_changes_while_it_is_copied_is_found(folder: IncidentFolder, settings: Settings, tmp_path: Path) -> None:
    """The copy is compared with the manifest, not with what is read at the moment."""

    def change(_done: int, _total: int) -> None:
        (folder.path / "evidence" / "events.jsonl").write_text("other")

    with pytest.raises(PublishError, match="does not read back as it was sealed"):
        publish(folder, str(tmp_path / "elsewhere"), settings, on_progress=change)


def test_publishing_holds_the_incident(folder: IncidentFolder, settings: Settings, tmp_path: Path) -> None:
    """A seal waits for a copy, so that what is copied is one state."""
    waits, threads = threading.Event(), []

    def hold() -> None:
        with folder.locked_whole(waits.set):
            pass

    def meanwhile(done: int, _total: int) -> None:
        if done == 1:
            threads.append(threading.Thread(target=hold))
            threads[0].start()
            assert waits.wait(10)

    publish(folder, str(tmp_path / "elsewhere"), settings, on_progress=meanwhile)
    threads[0].join(10)
    assert not threads[0].is_alive()


def test_an_archive_goes_to_s3(folder: IncidentFolder, settings: Settings, s3: str) -> None:
    """On a real S3 server all arrives, once; another past is refused, and a bucket that is not there is named."""
    import boto3

    first = publish(folder, s3, settings)
    assert (first.copied, first.url) == (4, f"{s3}/INC-1")
    assert publish(folder, s3, settings).skipped == 4
    client = boto3.client("s3")
    listed = client.list_objects_v2(Bucket="incidents", Prefix="archive/INC-1/")["Contents"]
    keys = {item["Key"].removeprefix("archive/INC-1/") for item in listed}
    assert keys == {"01-triage.html", "evidence/events.jsonl", "manifest.json", "manifests/0001.json"}
    body = client.get_object(Bucket="incidents", Key="archive/INC-1/01-triage.html")["Body"].read()
    assert body == b"<p>report</p>"
    client.put_object(Bucket="incidents", Key="archive/INC-1/manifest.json", Body=b"{}")
    with pytest.raises(PublishError, match="not an earlier state"):
        publish(folder, s3, settings)
    with pytest.raises(PublishError, match="s3://no-such-bucket/x cannot be written"):
        publish(folder, "s3://no-such-bucket/x", settings)
