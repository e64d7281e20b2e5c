"""The console's page."""

from __future__ import annotations

from typing import cast

from services.console.service import blueprint
from shared.embedded import open_embedded
from shared.model.entry import Head
from shared.model.errors import BrokerUnavailable
from shared.model.settings import Settings
from shared.ports.broker import Broker
from shared.ports.event_log import EventLog
from shared.web.app import make_app


class Away:
    """A broker that refuses with what a browser must not take for markup, and a log at position 1200."""

    async def ping(self) -> None:
        raise BrokerUnavailable("<b>refused</b>")

    async def head(self) -> Head:
        return Head("abc", 1200, 200)


async def page(broker: Broker, event_log: EventLog) -> str:
    app = make_app("console", Settings(), blueprint(broker, event_log), probes={})
    response = await app.test_client().get("/console")
    assert response.status_code == 200
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    return str(await response.get_data(as_text=True))


async def test_shows_where_the_log_stands() -> None:
    async with open_embedded(None) as (broker, event_log, *_):
        shown = await page(broker, event_log)
        assert (await event_log.head()).log_id in shown
    assert shown.count("answers") == 2
    assert "nothing" in shown


async def test_shows_what_is_away() -> None:
    shown = await page(cast(Broker, Away()), cast(EventLog, Away()))
    assert "broker unavailable: &lt;b&gt;refused&lt;/b&gt;" in shown
    assert "1,000 events, from position 201" in shown
