"""What a notebook shows of webhook deliveries, where an incident's evidence holds a log of them."""

from collections.abc import Callable

from intercom_kit.analyze.deliveries import FILE, load
from intercom_kit.analyze.webhooks import WebhookStudy, study_deliveries
from intercom_kit.collect.incident_folder import IncidentFolder
from intercom_kit.display.charts import Chart
from intercom_kit.display.charts_webhooks import lag_chart, received_chart
from intercom_kit.display.tables import View, message
from intercom_kit.settings import load_settings


def lag(incident_id: str) -> Chart | View:
    """Return how late webhooks came over time, or that there is no log of them."""
    return _drawn(incident_id, lag_chart)


def received(incident_id: str) -> Chart | View:
    """Return how many were received over time, or that there is no log of them."""
    return _drawn(incident_id, received_chart)


def _drawn(incident_id: str, draw: Callable[[WebhookStudy], Chart]) -> Chart | View:
    evidence = IncidentFolder(load_settings().outputs, incident_id).evidence_path if incident_id else None
    if evidence is None or not (evidence / FILE).is_file():
        return message("There is no log of deliveries in the evidence.")
    return draw(study_deliveries(load(evidence)))
