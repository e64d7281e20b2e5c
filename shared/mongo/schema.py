"""Collections and indexes of the log and of what edges share, made when they are missing."""

from __future__ import annotations

from datetime import UTC, datetime

from motor.motor_asyncio import AsyncIOMotorDatabase
from pymongo import ASCENDING, IndexModel

from shared.model.cursor import new_log_id
from shared.mongo.documents import Document, HeadDocument

ENTRIES, HEADS, CHECKPOINTS = "entries", "heads", "checkpoints"
REMOVED_VERSIONS = "removed_versions"
TICKETS, EDGES, CONNECTIONS = "tickets", "edges", "connections"
GENERATIONS = "generations"
STEPS = "steps"
PRODUCER_KEYS = "producer_keys"
HEAD_ID = "head"
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

IDENTITY_INDEX, STREAM_INDEX, AUDIENCE_INDEX = "identity", "stream", "audience"
TERM_INDEX, USER_INDEX = "term", "user"

INDEXES = (
    IndexModel([("source", ASCENDING), ("id", ASCENDING)], name=IDENTITY_INDEX, unique=True),
    IndexModel(
        [("subject", ASCENDING), ("version", ASCENDING)],
        name=STREAM_INDEX,
        unique=True,
        partialFilterExpression={"subject": {"$exists": True}},
    ),
    # The position after the tag: each tag's entries lie in order, and a read merges a few of these runs.
    IndexModel([("audience", ASCENDING), ("_id", ASCENDING)], name=AUDIENCE_INDEX),
)

# Nobody is given an expired ticket; this only sweeps those that were never asked for.
TICKET_INDEXES = (IndexModel([("expires_at", ASCENDING)], name="expiry", expireAfterSeconds=0),)
CONNECTION_INDEXES = (
    # Terms first: the living are counted, and the others found, without looking at a document.
    IndexModel([("term", ASCENDING), ("edge", ASCENDING)], name=TERM_INDEX),
    IndexModel([("sub", ASCENDING), ("_id", ASCENDING)], name=USER_INDEX),
)

# The storage itself holds off a second current generation of a name, and a second one being built.
GENERATION_INDEXES = (
    IndexModel([("name", ASCENDING)], name="current", unique=True, partialFilterExpression={"stage": "current"}),
    IndexModel(
        [("name", ASCENDING), ("model", ASCENDING), ("log_id", ASCENDING)],
        name="building",
        unique=True,
        partialFilterExpression={"stage": "building"},
    ),
)

PRODUCER_KEY_INDEXES = (
    IndexModel([("digest", ASCENDING)], name="digest", unique=True),
    IndexModel([("name", ASCENDING), ("_id", ASCENDING)], name="name"),
)

STEP_INDEXES = (
    IndexModel([("id", ASCENDING), ("source", ASCENDING), ("began_us", ASCENDING)], name="event"),
    IndexModel([("trace", ASCENDING), ("began_us", ASCENDING)], name="trace"),
    IndexModel([("kept_until", ASCENDING)], name="expiry", expireAfterSeconds=0),
)


def _empty_head() -> HeadDocument:
    return HeadDocument(_id=HEAD_ID, log_id=new_log_id(), epoch=0, owner=None, lease_until=LONG_AGO, last=0, floor=0)


async def ensure_schema(database: AsyncIOMotorDatabase[Document]) -> None:
    """Creates what is missing and leaves the rest; any number of processes may do so at once."""
    await database[ENTRIES].create_indexes(list(INDEXES))
    await database[HEADS].update_one({"_id": HEAD_ID}, {"$setOnInsert": _empty_head()}, upsert=True)


async def ensure_session_schema(database: AsyncIOMotorDatabase[Document]) -> None:
    """The same for the collections of the session store."""
    await database[TICKETS].create_indexes(list(TICKET_INDEXES))
    await database[CONNECTIONS].create_indexes(list(CONNECTION_INDEXES))


async def ensure_read_model_schema(database: AsyncIOMotorDatabase[Document]) -> None:
    """The same for read models; their tables are made with each generation."""
    await database[GENERATIONS].create_indexes(list(GENERATION_INDEXES))


async def ensure_journey_schema(database: AsyncIOMotorDatabase[Document]) -> None:
    """The same for the collection of the journeys."""
    await database[STEPS].create_indexes(list(STEP_INDEXES))


async def ensure_producer_schema(database: AsyncIOMotorDatabase[Document]) -> None:
    """The same for the collection of producers' keys."""
    await database[PRODUCER_KEYS].create_indexes(list(PRODUCER_KEY_INDEXES))
