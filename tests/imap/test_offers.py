"""The tables of what is offered, and CAPABILITY."""

from dataclasses import replace

import pytest

from imapd.imap import catalogue
from imapd.imap.command import Command, State
from imapd.imap.extension import Extension, FetchItem, ListReturn, ListSelection, Modifier, Offers
from tests.support.talk import DEFAULT, Talk


class Dance(Command):
    name = "DANCE"


class Waltz(FetchItem):
    name = "WALTZ"


def words(talk: Talk) -> list[str]:
    return talk.say("a CAPABILITY")[0].removeprefix("* CAPABILITY ").split()


def test_tables_are_made_from_the_declarations() -> None:
    offers = Offers([Extension(words=("DANCE",), commands=(Dance,), fetch_items=(Waltz,), enables=("Dance",))])
    assert offers.commands == {"DANCE": Dance}
    assert offers.fetch_items == {"WALTZ": Waltz}
    assert offers.enables == {"DANCE": "Dance"}
    assert offers.has("dance")


def test_a_name_offered_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="command DANCE is offered twice"):
        Offers([Extension(commands=(Dance,)), Extension(commands=(Dance,))])


def test_a_parameter_offered_twice_is_refused() -> None:
    class Slow(Modifier):
        command, name = "SELECT", "SLOW"

    with pytest.raises(ValueError, match="SLOW of SELECT"):
        Offers([Extension(modifiers=(Slow, Slow))])


def test_one_name_may_be_a_selection_and_a_return_option() -> None:
    class Select(ListSelection):
        name = "SUBSCRIBED"

    class Return(ListReturn):
        name = "SUBSCRIBED"

    offers = Offers([Extension(list_options=(Select, Return))])
    assert offers.list_selections == {"SUBSCRIBED": Select}
    assert offers.list_returns == {"SUBSCRIBED": Return}


def test_configuration_subtracts_a_word_and_its_commands() -> None:
    offers = Offers([Extension(words=("DANCE",), commands=(Dance,))], without=["dance"])
    assert not offers.commands and not offers.has("DANCE")


def test_of_several_words_one_may_be_subtracted() -> None:
    offers = Offers([Extension(words=("DANCE", "SING"), commands=(Dance,))], without=["SING"])
    assert offers.commands and offers.has("DANCE") and not offers.has("SING")


def test_the_protocol_itself_cannot_be_subtracted() -> None:
    with pytest.raises(ValueError, match="protocol itself"):
        catalogue.offers(without=["IMAP4rev1"])


def test_the_catalogue_holds_together() -> None:
    offers = catalogue.offers()
    for name, command in offers.commands.items():
        assert command.name == name
        assert command.states
        assert State.LOGOUT not in command.states


def test_every_extension_module_is_in_the_catalogue() -> None:
    import importlib
    import pkgutil

    from imapd.imap import commands, extensions

    for package in (commands, extensions):
        for module in pkgutil.iter_modules(package.__path__):
            found = importlib.import_module(f"{package.__name__}.{module.name}")
            if hasattr(found, "extension"):
                assert found.extension in catalogue.CATALOGUE, module.name


def test_greeting_and_capability_say_the_same() -> None:
    talk = Talk()
    assert talk.greeting == f"* OK [CAPABILITY {' '.join(words(talk))}] mail.example imapd is ready."


def test_before_login_only_what_helps_to_log_in_is_said() -> None:
    said = words(Talk())
    assert said[:2] == ["IMAP4rev1", "IMAP4rev2"]
    assert {"AUTH=PLAIN", "SASL-IR", "LITERAL+", "ID", "ENABLE", "IDLE"} <= set(said)
    assert not {"UIDPLUS", "MOVE", "NAMESPACE", "STARTTLS", "LOGINDISABLED", "LITERAL-"} & set(said)


def test_after_login_the_rest_is_said() -> None:
    said = words(Talk().login())
    assert {"IMAP4rev1", "IMAP4rev2", "UIDPLUS", "UNSELECT", "NAMESPACE", "CHILDREN", "MULTIAPPEND", "MOVE"} <= set(
        said
    )
    assert not [word for word in said if word.startswith("AUTH=")]
    assert not {"STARTTLS", "LOGINDISABLED", "SASL-IR"} & set(said)
    assert len(said) == len(set(said))


def test_in_the_clear_starttls_is_said_and_login_disabled() -> None:
    said = words(Talk(private=False, settings=replace(DEFAULT, plaintext_login=False)))
    assert {"STARTTLS", "LOGINDISABLED"} <= set(said)
    assert not [word for word in said if word.startswith("AUTH=")]


def test_in_the_clear_a_listener_may_take_passwords() -> None:
    said = words(Talk(private=False, settings=replace(DEFAULT, starttls=False)))
    assert "AUTH=PLAIN" in said and not {"STARTTLS", "LOGINDISABLED"} & set(said)


def test_a_listener_without_names_and_passwords_disables_login() -> None:
    assert "LOGINDISABLED" in words(Talk(settings=replace(DEFAULT, name_password=False)))


def test_without_literal_plus_the_smaller_one_is_said() -> None:
    said = words(Talk(offers=catalogue.offers(without=["LITERAL+"])))
    assert "LITERAL-" in said and "LITERAL+" not in said


def test_enable_does_not_change_capability() -> None:
    talk = Talk().login()
    before = words(talk)
    assert words(talk.enable()) == before


def test_a_mechanism_may_be_subtracted() -> None:
    talk = Talk(offers=catalogue.offers(without=["AUTH=LOGIN"]))
    assert "AUTH=LOGIN" not in words(talk) and "AUTH=PLAIN" in words(talk)
    assert talk.say("b AUTHENTICATE LOGIN")[0].startswith("b NO")


def test_a_subtracted_extension_is_an_unknown_command() -> None:
    talk = Talk(offers=catalogue.offers(without=["IDLE", "IMAP4REV2"])).login()
    assert talk.say("a IDLE") == ["a BAD There is no such command."]
    assert talk.say("a ENABLE IMAP4rev2") == ["* ENABLED", "a OK ENABLE completed."]
