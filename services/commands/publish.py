"""`carillon publish`."""

from __future__ import annotations

import json
import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import click

from services.commands.options import json_option, url_option
from shared.model.errors import InvalidInput
from shared.model.event import decoded_json
from shared.model.tags import checked_tag


@click.command()
@click.argument("type_", metavar="TYPE")
@click.option("--to", "tags", metavar="TAG", multiple=True, help="Who may see it: user:alice, topic:builds, everyone.")
@click.option("--subject", help="The stream it belongs to, such as job/123.")
@click.option("--data", "data_text", metavar="JSON", help="Its data; - reads it from standard input.")
@click.option("--source", default="/carillon/cli", show_default=True, help="Who says so.")
@click.option("--id", "id_", help="Its id; the same source and id again are a duplicate.  [default: a new one]")
@click.option("--final", is_flag=True, help="It ends the stream of its subject.")
@url_option
@click.option("--key", envvar="CARILLON_KEY", default="dev", show_default=True, help="The producer's key.")
@json_option
def publish(
    type_: str,
    tags: tuple[str, ...],
    subject: str | None,
    data_text: str | None,
    source: str,
    id_: str | None,
    final: bool,
    url: str,
    key: str,
    as_json: bool,
) -> None:
    """Publish one event, and return once it is stored.

    \b
    carillon publish order.created --to user:alice --data '{"total": 12.5}'
    carillon publish job.done --to topic:builds --subject job/123 --final
    """
    from services.commands import client

    attributes: dict[str, Any] = {
        "specversion": "1.0",
        "id": id_ or str(uuid.uuid4()),
        "source": source,
        "type": type_,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }
    if tags:
        attributes["audience"] = " ".join(map(checked_tag, tags))
    if subject is not None:
        attributes["subject"] = subject
    if final:
        attributes["final"] = "true"
    if data_text is not None:
        attributes |= {"datacontenttype": "application/json", "data": _parsed_data(data_text)}
    answer = client.publish(url.rstrip("/"), key, attributes)
    (receipt,) = answer["accepted"]
    duplicate = ", a duplicate of what is in the log" if receipt["duplicate"] else ""
    click.echo(json.dumps(answer) if as_json else f"accepted {receipt['id']}{duplicate} ({answer['traceparent']})")


def _parsed_data(text: str) -> Any:
    body = sys.stdin.buffer.read() if text == "-" else text.encode(errors="surrogateescape")
    try:
        return decoded_json(body)
    except InvalidInput as refused:
        raise InvalidInput("--data", refused.problem, "give JSON: a string needs quotes, as in '\"text\"'") from None
