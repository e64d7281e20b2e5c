"""The catalogue as others see it: its AsyncAPI document by the schema of those who made it, its page in a browser."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import jsonschema_rs
import pytest
from playwright.async_api import Browser, Page

from tests.e2e import npm
from tests.e2e.conftest import SCREENSHOTS
from tests.harness.platform import DevPlatform

FOLDER = Path(__file__).parent / "asyncapi"
HOSTILE = "<img src=x onerror=\"document.title='run'\">"
ORDER = {
    "title": "Order created",
    "description": f"Somebody has ordered something. {HOSTILE}",
    "type": "object",
    "required": ["total"],
    "properties": {
        "total": {"type": "number", "minimum": 0, "description": "In euros"},
        "customer": {"$ref": "shop/customer.json"},
        "note": {"description": HOSTILE + "x" * 300},
    },
    "examples": [{"total": 12.5, "customer": {"name": "Ada"}, "note": HOSTILE}],
}
CUSTOMER = {"type": "object", "description": "Who ordered", "properties": {"name": {"type": "string"}}}


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    (tmp_path / "catalogue" / "shop").mkdir(parents=True)
    (tmp_path / "catalogue" / "order.created.json").write_text(json.dumps(ORDER))
    (tmp_path / "catalogue" / "shop" / "customer.json").write_text(json.dumps(CUSTOMER))
    return tmp_path / "catalogue"


@pytest.mark.servers  # with them come Node.js and npm
async def test_the_asyncapi_document_is_one(schemas: Path, tmp_path: Path) -> None:
    installed = npm.install(FOLDER, tell=print)
    official = json.loads((installed / "node_modules/@asyncapi/specs/schemas/3.0.0.json").read_text())
    validator = jsonschema_rs.validator_for(official, offline=True)
    async with (
        await DevPlatform(tmp_path, catalogue=str(schemas)).start() as dev,
        httpx.AsyncClient(base_url=dev.ingest_url, timeout=60) as client,
    ):
        served = (await client.get("/asyncapi.json")).raise_for_status().json()
    assert [error.message for error in validator.iter_errors(served)] == []
    assert "order.created" in served["components"]["messages"]
    assert not validator.is_valid(served | {"channels": {"x": {"address": 7}}}), "it can refuse"


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "width", "scheme"), [("desk", 1280, "light"), ("phone", 390, "dark"), ("desk-dark", 1280, "dark")]
)
async def test_the_page_is_readable_and_runs_nothing(
    browser: Browser, schemas: Path, tmp_path: Path, name: str, width: int, scheme: str
) -> None:
    async with await DevPlatform(tmp_path, catalogue=str(schemas)).start() as dev:
        context = await browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)  # type: ignore[arg-type]  # one of those
        page = await context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        await page.goto(f"{dev.ingest_url}/catalogue")
        assert await page.title() == "Catalogue of events"
        assert await page.locator("article").first.get_attribute("id") == "order.created"
        assert await page.locator("article img").count() == 0
        assert await hidden_to_the_side(page) == 0
        await page.get_by_role("link", name="job.failed", exact=True).click()
        assert await page.locator("#job\\.failed").evaluate("it => it.getBoundingClientRect().top < innerHeight")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        await page.goto(f"{dev.ingest_url}/catalogue")
        await page.screenshot(path=SCREENSHOTS / f"catalogue-{name}.png")
        assert errors == []
        await page.get_by_role("link", name="JSON Schema").first.click()
        assert json.loads(await page.locator("pre").inner_text()) == ORDER


async def hidden_to_the_side(page: Page) -> int:
    """How far the page is wider than the screen."""
    wide: int = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wide
