"""What an administrator wants to know of a directory before anybody logs in: whether people are seen, and what their
entries lack."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from imapd.directory.ldapvalues import Entry
from imapd.directory.person import AttributeMap, Person

# Without one of these nobody can be found, known again, or given a mail file by the usual templates.
_NEEDED = ("login", "unique_id", "user_name", "short_name", "internet_address")


@dataclass(frozen=True, slots=True)
class Survey:
    """Some people of a directory. more: there are others. lacking: fields of a person and their attributes, of which
    none of these people has any."""

    people: tuple[Person, ...]
    more: bool
    lacking: tuple[tuple[str, tuple[str, ...]], ...]


def survey(
    name: str, entries: Sequence[Entry], more: bool, attribute_map: AttributeMap, mapped: Iterable[str], secrets: bool
) -> Survey:
    """Look at the entries. mapped: the fields whose attributes the administrator chose; secrets: passwords are read."""
    seen = {attribute.partition(";")[0] for entry in entries for attribute in entry.attributes}
    wanted = list(dict.fromkeys((*_NEEDED, *mapped)))
    lacking = [
        (field, sources)
        for field in wanted
        if (sources := attribute_map.sources(field))
        and not field.endswith("_class")
        and field != "object_category"
        and "dn" not in sources
        and not any(source.lower().partition(";")[0] in seen for source in sources)
    ]
    stored = (*attribute_map.sources("passwords"), *attribute_map.sources("auth_passwords"))
    if secrets and not any(source.lower() in seen for source in stored):
        lacking.append(("passwords", stored))
    people = tuple(attribute_map.person(name, entry.dn, entry.attributes) for entry in entries)
    return Survey(people, more, tuple(lacking) if entries else ())
