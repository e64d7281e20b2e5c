"""`carillon token`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from services.commands.options import DEFAULT_DATA_DIR, data_option
from shared.model.errors import InvalidInput
from shared.model.settings import Settings


@click.command()
@click.option("--user", metavar="USER", required=True, help="The user's id.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Grant this tag too: topic:builds.")
@click.option(
    "--ttl", "ttl_s", type=click.FloatRange(1, 366 * 86_400), default=3600, show_default=True, help="Seconds."
)
@data_option
def token(user: str, tags: tuple[str, ...], ttl_s: float, data: Path | None) -> None:
    """Print a bearer token (JWT) for a user, and nothing else.

    Signed with the secret in --data where that is given, else with CARILLON_JWT_SECRET, else with
    the secret in ./.carillon.

    \b
    curl -X POST -H "Authorization: Bearer $(carillon token --user alice)" http://127.0.0.1:8080/v1/session
    """
    click.echo(signed_token(user, tags, ttl_s, data))


def signed_token(user: str, tags: Iterable[str], ttl_s: float, data: Path | None) -> str:
    """A bearer token for the user, signed with the secret that --data or the settings name."""
    from services.edge.tokens import sign_token

    settings = Settings.load()
    return sign_token(
        _secret(settings, data), user, list(tags), ttl_s, issuer=settings.jwt_issuer, audience=settings.jwt_audience
    )


def _secret(settings: Settings, data: Path | None) -> str:
    """A folder that was named counts before the environment, as it does for carillon dev."""
    if data is None and settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value()
    path = (data or DEFAULT_DATA_DIR) / "secret"
    try:
        secret, why = path.read_text().strip(), "it is empty"
    except OSError as refused:
        secret, why = "", str(refused.strerror)
    if not secret:
        fix = "start carillon dev first, name its folder with --data, or set CARILLON_JWT_SECRET"
        raise InvalidInput("secret", f"{path}: {why}", fix)
    return secret
