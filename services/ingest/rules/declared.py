"""A rule file's text -> what it declares, each thing checked. Pure; every error tells file and line."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from services.ingest.parts import Part, whole
from services.ingest.rules import expression, templates
from services.ingest.rules.expression import Expression
from services.ingest.rules.rule import Draft, Notice, Patterns, Recipients, Rule, Use
from services.ingest.rules.templates import Template
from services.ingest.rules.wrong import Wrong
from shared.model.errors import InvalidInput
from shared.model.notification import LEVELS
from shared.model.tags import EVERYONE, KINDS, checked_tag

MAX_RULES_PER_FILE = 5000
MAX_ENTRIES = 50
MAX_PATTERNS = 50
# As long as a source may be.
MAX_PATTERN_CHARS = 2048

_FILE = ("use", "people", "rules")
_USE = ("set", "without")
_RULE = ("name", "description", "match", "audience", "except", "notify")
_MATCH = ("type", "source", "subject", "when")
_NOTIFY = ("title", "body", "link", "level", "topic")
_ENTRY = ("each", "tag")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,79}")
_KIND = re.compile(rf"(?:{'|'.join(KINDS)}):\S")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Compiled = TypeVar("Compiled", Expression, Template)


def declared(text: str, file: str) -> Draft:
    """What the text declares. Raises `InvalidFile`, naming the line of `file`."""
    parts = whole(text, file).fields("the file", _FILE)
    if not parts:
        raise whole(text, file).place.wrong("the file declares nothing", f"write one of {', '.join(_FILE)}")
    rules = parts["rules"].items("rules") if "rules" in parts else []
    if len(rules) > MAX_RULES_PER_FILE:
        raise parts["rules"].place.wrong(f"{len(rules)} rules", f"keep at most {MAX_RULES_PER_FILE} in a file")
    return Draft(
        tuple(map(_rule, rules)),
        tuple(map(_use, parts["use"].items("use"))) if "use" in parts else (),
        _people(parts["people"]) if "people" in parts else {},
    )


def _use(part: Part) -> Use:
    if not part.is_mapping:
        return Use(part.text("use"), part.place)
    fields = part.fields("use", _USE)
    name = _required(part, fields, "set", "use").text("set")
    without = fields["without"].items("without") if "without" in fields else []
    return Use(name, part.place, tuple(item.text("without") for item in without))


def _people(part: Part) -> dict[str, dict[str, str | None]]:
    return {name: _logins(f"people of {name}", logins) for name, logins in part.members("people").items()}


def _logins(what: str, part: Part) -> dict[str, str | None]:
    users: dict[str, str | None] = {}
    for login, user in part.members(what).items():
        if login.casefold() in users:
            raise user.place.wrong(f"{what} has {login[:60]!r} in another case of letters", "keep one of them")
        users[login.casefold()] = _user(user, login)
    return users


def _user(part: Part, login: str) -> str | None:
    return None if part.is_null else part.text(f"the user of {login}")


def _rule(part: Part) -> Rule:
    fields = part.fields("a rule", _RULE)
    name_part = _required(part, fields, "name", "a rule")
    name = name_part.text("name")
    if not _NAME.fullmatch(name):
        raise name_part.place.wrong(f"{name[:80]!r} is no name", "use a-z, 0-9, dots and hyphens, such as order.late")
    what = f"rule {name}"
    if "audience" not in fields and "notify" not in fields:
        raise part.place.wrong(f"{what} does nothing", "give it an audience, or notify")
    match = _required(part, fields, "match", what).fields(f"{what}: match", _MATCH)
    if "type" not in match:
        raise fields["match"].place.wrong(f"{what} matches no type", 'name the types; type: "*" is any')
    return Rule(
        name,
        part.place,
        _patterns(match["type"], f"{what}: type"),
        _patterns(match.get("source"), f"{what}: source"),
        _patterns(match.get("subject"), f"{what}: subject"),
        _compiled(expression.compiled, match["when"], f"{what}: when") if "when" in match else None,
        _audience(fields.get("audience"), f"{what}: audience"),
        _audience(fields.get("except"), f"{what}: except"),
        _notice(fields["notify"], f"{what}: notify") if "notify" in fields else None,
        fields["description"].text("description") if "description" in fields else "",
    )


def _required(part: Part, fields: dict[str, Part], name: str, what: str) -> Part:
    if name not in fields:
        raise part.place.wrong(f"{what} has no {name}", f"write {name}: …")
    return fields[name]


def _patterns(part: Part | None, what: str) -> Patterns:
    items = part.items(what) if part else []
    if part and len(items) > MAX_PATTERNS:
        raise part.place.wrong(f"{what} has {len(items)} patterns", f"write at most {MAX_PATTERNS}, or a wider one")
    return Patterns([_pattern(item, what) for item in items])


def _pattern(part: Part, what: str) -> str:
    text = part.text(what)
    if len(text) > MAX_PATTERN_CHARS or _CONTROL.search(text):
        raise part.place.wrong(f"{what} is too long or holds a control character", "write a pattern such as order.*")
    return text


def _audience(part: Part | None, what: str) -> tuple[Recipients, ...]:
    items = part.items(what) if part else []
    if part and len(items) > MAX_ENTRIES:
        raise part.place.wrong(f"{what} has {len(items)} entries", f"write at most {MAX_ENTRIES}, or use a topic")
    return tuple(_recipients(item, what) for item in items)


def _recipients(part: Part, what: str) -> Recipients:
    if not part.is_mapping:
        return Recipients(_tag(part, what))
    fields = part.fields(what, _ENTRY)
    each = _required(part, fields, "each", what)
    tag = _required(part, fields, "tag", what)
    return Recipients(_tag(tag, what, in_list=True), _compiled(expression.compiled, each, f"{what}: each"))


def _tag(part: Part, what: str, *, in_list: bool = False) -> Template:
    """Its kind is written out: whatever an event holds, it never makes `everyone` or a control tag of it."""
    text = part.text(what)
    if text != EVERYONE and not _KIND.match(text):
        kinds = ", ".join(f"{kind}:…" for kind in KINDS)
        raise part.place.wrong(f"{what}: {text[:80]!r} does not begin as a tag", f"write {EVERYONE}, or one of {kinds}")
    tag = _compiled(lambda text: templates.compiled(text, in_list=in_list), part, what)
    if tag.is_plain:
        try:
            checked_tag(tag.text)
        except InvalidInput as refused:
            raise part.place.wrong(f"{what}: {refused.problem}", refused.fix) from None
    return tag


def _notice(part: Part, what: str) -> Notice:
    fields = part.fields(what, _NOTIFY)
    _required(part, fields, "title", what)
    texts = {name: _compiled(templates.compiled, field, f"{what}: {name}") for name, field in fields.items()}
    level = texts.get("level")
    if level and level.is_plain and level.text not in LEVELS:
        raise fields["level"].place.wrong(f"{what}: {level.text[:40]!r} is no level", f"use one of {', '.join(LEVELS)}")
    return Notice(**texts)


def _compiled(compile_text: Callable[[str], Compiled], part: Part, what: str) -> Compiled:
    """Adds the place to what is wrong inside the text."""
    try:
        return compile_text(part.text(what))
    except Wrong as refused:
        raise part.text_place.below(refused.line - 1).wrong(f"{what}: {refused.problem}", refused.fix) from None
