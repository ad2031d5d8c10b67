"""What connections to an LDAP directory answer: asked of real servers."""

import gc
import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
import traceback
from base64 import b64encode

import gevent
import pytest

from imapd.directory.ldapconn import Depth, DirectoryDown, Entry, Identity, Places, Pool, TooMany
from imapd.directory.ldapfilter import any_of, equal, matching, present
from imapd.directory.verdict import Verdict
from tests.support.certificates import Authority
from tests.support.loop import PlainLoop
from tests.support.slapd import HIDDEN, people, person


def ada(server):
    return f"uid=ada,{server.base}"


# -- searching ---------------------------------------------------------------------------------------------------------


def test_an_entry_is_found_by_its_name_with_the_attributes_asked_for(acme, open_pool):
    found = open_pool(acme).search(acme.base, Depth.SUBTREE, equal("uid", "ada"), ["mail", "cn", "description"], 2)
    assert found == [Entry(ada(acme), {"mail": [b"ada@acme.example"], "cn": [b"Ada Example"]})]


def test_the_server_s_equality_finds_other_spellings_and_gives_its_own(acme, open_pool):
    pool = open_pool(acme)
    for typed in ("ADA", "ada ", " ada", "Ada"):
        assert [entry.dn for entry in pool.search(acme.base, Depth.SUBTREE, equal("uid", typed), [], 2)] == [ada(acme)]


def test_nobody_is_an_empty_list(acme, open_pool):
    assert open_pool(acme).search(acme.base, Depth.SUBTREE, equal("uid", "nobody"), [], 2) == []


def test_more_than_asked_for_is_told_and_not_cut(acme, open_pool):
    pool = open_pool(acme)
    with pytest.raises(TooMany) as many:
        pool.search(acme.base, Depth.SUBTREE, present("mail"), ["uid"], 2)
    assert len(many.value.entries) == 2
    assert len(pool.search(acme.base, Depth.SUBTREE, present("mail"), ["uid"], 3)) == 3
    assert len(pool.search(acme.base, Depth.SUBTREE, present("mail"), ["uid"])) == 3
    assert "1 connections" in pool.health()[0].remark, "the connection is kept"


def test_attributes_that_nobody_has_do_no_harm_among_others(acme, open_pool):
    wanted = any_of(equal("nosuchattribute", "ada"), equal("uid", "ada"))
    assert len(open_pool(acme).search(acme.base, Depth.SUBTREE, wanted, ["nosuchattribute", "uid"], 2)) == 1


@pytest.mark.parametrize(
    "typed",
    [
        "*",
        "a*",
        "ada)(|(uid=*)",
        "ada)(uid=*",
        "\\2a",
        "ada\\",
        "(",
        ")",
        "\0",
        "a\0b",
        "\x80",
        "&",
        "|",
        "!(uid=ada)",
        "(&)",
    ],
)
def test_a_hostile_name_finds_nobody(acme, open_pool, typed):
    wanted = any_of(equal("uid", typed.encode("utf-8")), equal("mail", typed), equal("cn", typed))
    assert open_pool(acme).search(acme.base, Depth.SUBTREE, wanted, [], 2) == []


def test_octets_come_back_as_they_are_and_names_in_lower_case(make_slapd, open_pool):
    server = make_slapd(person("ada", objectClass="anything"))
    octets = b"\x00\xff\x20 \x20"
    server.modify(
        f"dn: {ada(server)}\nchangetype: modify\nreplace: objectGUID\nobjectGUID:: AP8gICA=\n-\n"
        "add: cn;lang-de\ncn;lang-de: Ada Beispiel\n-\nadd: jpegPhoto\njpegPhoto:: /9j/AA==\n"
    )
    [entry] = open_pool(server).search(
        server.base, Depth.SUBTREE, equal("uid", "ada"), ["objectGUID", "CN", "jpegPhoto"], 2
    )
    assert entry.attributes == {
        "objectguid": [octets],
        "cn": [b"Ada Example", b"Ada Beispiel"],
        "jpegphoto": [b"\xff\xd8\xff\x00"],
    }
    assert entry.first("nothing", "objectGUID") == octets and entry.first("nothing") is None


def test_octets_are_searched_for_as_they_are(make_slapd, open_pool):
    """An objectGUID ends with a space one time in 256; the library would strip it."""
    server = make_slapd(person("ada", objectClass="authPasswordObject"))
    server.modify(f"dn: {ada(server)}\nchangetype: modify\nreplace: authPassword\nauthPassword:: IAD/KCAq\n")
    pool = open_pool(server)
    assert len(pool.search(server.base, Depth.SUBTREE, equal("authPassword", b" \x00\xff( *"), [], 2)) == 1
    assert pool.search(server.base, Depth.SUBTREE, equal("authPassword", b"\x00\xff( *"), [], 2) == []


def test_a_certificate_is_found_by_its_serial_and_issuer_and_comes_back_whole(make_slapd, open_pool):
    authority = Authority("People CA")
    mine, other = authority.issue("ada"), authority.issue("ben")
    server = make_slapd()
    server.modify(
        f"dn: {ada(server)}\nchangetype: modify\nadd: userCertificate;binary\nuserCertificate;binary:: {b64encode(mine.der).decode()}\n"
    )
    pool = open_pool(server)

    def found(one):
        value = f'{{ serialNumber {one.certificate.serial_number}, issuer rdnSequence:"CN=People CA" }}'
        wanted = any_of(equal("userCertificate", value), matching("userCertificate", "certificateExactMatch", value))
        return pool.search(server.base, Depth.SUBTREE, wanted, ["userCertificate;binary"], 2)

    assert [entry.attributes for entry in found(mine)] == [{"usercertificate;binary": [mine.der]}]
    assert found(other) == []


def test_one_entry_is_read_and_one_that_is_not_there_is_nothing(acme, open_pool):
    pool = open_pool(acme)
    assert len(pool.search(ada(acme), Depth.BASE, present("objectClass"), [], 1)) == 1
    assert pool.search(f"uid=nobody,{acme.base}", Depth.BASE, present("objectClass"), [], 1) == []


def test_a_base_that_is_not_there_is_no_answer(acme, open_pool):
    with pytest.raises(DirectoryDown, match="there is no 'ou=nowhere"):
        open_pool(acme).search(f"ou=nowhere,{acme.suffix}", Depth.SUBTREE, equal("uid", "ada"), [], 2)


def test_a_value_is_compared_by_the_server(acme, open_pool):
    pool = open_pool(acme)
    assert pool.compare(ada(acme), "mail", b"ADA@acme.example")
    assert not pool.compare(ada(acme), "mail", b"ben@acme.example")
    assert not pool.compare(ada(acme), "description", b"x")
    assert not pool.compare(f"uid=nobody,{acme.base}", "mail", b"x")
    with pytest.raises(ValueError):
        pool.compare(ada(acme), "userPassword", b"secret")


# -- whether the server can be trusted ---------------------------------------------------------------------------------


def test_a_server_that_shows_the_daemon_nothing_is_down(make_slapd, open_pool):
    """ "Nobody of that name" of such a server would hand the name to the next directory."""
    server = make_slapd(access=HIDDEN)
    with pytest.raises(DirectoryDown, match="nothing below"):
        open_pool(server, base=server.suffix).search(server.suffix, Depth.SUBTREE, equal("uid", "ada"), [], 2)


def test_a_base_that_is_hidden_or_missing_makes_the_server_down(acme, open_pool):
    with pytest.raises(DirectoryDown, match="there is no 'ou=wrong"):
        open_pool(acme, base=f"ou=wrong,{acme.suffix}").search(acme.base, Depth.SUBTREE, equal("uid", "ada"), [], 2)


def test_a_canary_that_cannot_be_seen_makes_the_server_down(acme, open_pool):
    with pytest.raises(DirectoryDown, match="does not show the daemon 'uid=canary"):
        open_pool(acme, canary=f"uid=canary,{acme.base}").search(acme.base, Depth.SUBTREE, equal("uid", "ada"), [], 2)
    pool = open_pool(acme, canary=ada(acme))
    assert len(pool.search(acme.base, Depth.SUBTREE, equal("uid", "ben"), [], 2)) == 1


def test_a_daemon_that_is_nobody_sees_what_nobody_sees(acme, open_pool):
    with pytest.raises(DirectoryDown):
        open_pool(acme, identity=Identity()).search(acme.base, Depth.SUBTREE, equal("uid", "ada"), [], 2)


def test_the_daemon_s_own_wrong_password_is_no_answer(acme, open_pool):
    pool = open_pool(acme, identity=Identity(acme.service_dn, b"wrong"))
    with pytest.raises(DirectoryDown, match="does not let the daemon in as cn=imapd.*invalidCredentials"):
        pool.search(acme.base, Depth.SUBTREE, equal("uid", "ada"), [], 2)


def test_an_identity_needs_its_password():
    for password in (None, b""):
        with pytest.raises(ValueError):
            Identity("cn=imapd", password)
    assert "geheim" not in repr(Identity("cn=imapd", b"geheim")) + repr(
        Places(("ldap://x",), "o=x", Identity("cn=x", b"geheim"))
    )


# -- passwords ---------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_wrong_and_the_right_one_right(acme, open_pool):
    """The library's bind() is true for either: it returns a tuple."""
    pool = open_pool(acme)
    for password, verdict in [
        (b"secret", Verdict.RIGHT),
        (b"Secret", Verdict.WRONG),
        (b"secret\0", Verdict.WRONG),
        (b"secret", Verdict.RIGHT),
    ]:
        assert pool.bind_as(ada(acme), password) is verdict
    assert "1 connections" in pool.health()[0].remark, "all on one connection"


def test_passwords_are_octets_and_are_not_prepared(make_slapd, open_pool):
    server = make_slapd(person("ada", password="\u00aa\u2168"))
    pool = open_pool(server)
    assert pool.bind_as(ada(server), "\u00aa\u2168".encode()) is Verdict.RIGHT
    assert pool.bind_as(ada(server), b"aIX") is Verdict.WRONG
    assert pool.bind_as(ada(server), b"\xff\x00\x01") is Verdict.WRONG


@pytest.mark.parametrize(
    ("dn", "password"), [("", b"secret"), ("uid=ada,ou=people,dc=acme,dc=example", b""), ("", b"")]
)
def test_a_bind_without_name_or_password_is_never_sent(dn, password, open_pool):
    """Servers take it for an anonymous bind, which succeeds; the library keeps the last name or password instead."""
    pool = open_pool(["ldap://127.0.0.1:1"])
    with pytest.raises(ValueError):
        pool.bind_as(dn, password)
    assert pool.health()[0].remark == "0 connections", "nobody was asked"


def test_a_bind_without_a_name_after_a_good_one_is_refused_as_well(acme, open_pool):
    pool = open_pool(acme)
    assert pool.bind_as(ada(acme), b"secret") is Verdict.RIGHT
    for dn, password in (("", b"secret"), (ada(acme), b"")):
        with pytest.raises(ValueError):
            pool.bind_as(dn, password)
    assert pool.bind_as(f"uid=ben,{acme.base}", b"wrong") is Verdict.WRONG


def test_somebody_who_is_not_there_or_has_no_password_is_wrong(make_slapd, open_pool):
    server = make_slapd(
        people("ada") + "\ndn: uid=bare,ou=people,dc=acme,dc=example\nobjectClass: account\nuid: bare\n"
    )
    pool = open_pool(server)
    assert pool.bind_as(f"uid=nobody,{server.base}", b"secret") is Verdict.WRONG
    assert pool.bind_as(f"uid=bare,{server.base}", b"secret") is Verdict.WRONG
    assert pool.bind_as("this is no name", b"secret") is Verdict.WRONG


def test_must_change_is_a_success_for_the_protocol_and_not_for_us(make_slapd, open_pool):
    server = make_slapd(policy=True)
    pool = open_pool(server)
    server.modify(f"dn: {ada(server)}\nchangetype: modify\nreplace: pwdReset\npwdReset: TRUE\n")
    assert pool.bind_as(ada(server), b"secret") is Verdict.MUST_CHANGE
    assert pool.bind_as(ada(server), b"wrong") is Verdict.WRONG
    assert pool.bind_as(f"uid=ben,{server.base}", b"secret") is Verdict.RIGHT


def test_an_old_password_is_expired_only_where_it_is_right(make_slapd, open_pool, gevent_loop):
    server = make_slapd("", policy=True, max_age=1)
    server.modify(person("ada"))
    gevent_loop.sleep(2.1)
    pool = open_pool(server)
    assert pool.bind_as(ada(server), b"wrong") is Verdict.WRONG
    assert pool.bind_as(ada(server), b"secret") is Verdict.EXPIRED


def test_who_is_locked_by_the_server_stays_out(make_slapd, open_pool):
    server = make_slapd(policy=True, overlays="ppolicy_use_lockout\n")
    pool = open_pool(server)
    for _ in range(5):
        assert pool.bind_as(ada(server), b"wrong") is Verdict.WRONG
    assert pool.bind_as(ada(server), b"secret") is Verdict.LOCKED
    assert len(server.values(ada(server), "pwdFailureTime")) == 5, "each was sent once"


# -- ways in -----------------------------------------------------------------------------------------------------------


def test_on_the_same_machine_the_kernel_says_who_the_daemon_is(acme, open_pool):
    pool = open_pool(acme, uris=(acme.ipc_uri + "/",), identity=Identity(external=True))
    assert len(pool.search(acme.base, Depth.SUBTREE, equal("uid", "ada"), [], 2)) == 1
    assert pool.bind_as(ada(acme), b"secret") is Verdict.RIGHT


def test_external_over_a_plain_connection_is_refused(acme, open_pool):
    with pytest.raises(DirectoryDown, match="does not let the daemon in as EXTERNAL"):
        open_pool(acme, identity=Identity(external=True)).search(acme.base, Depth.SUBTREE, equal("uid", "ada"), [], 2)


def test_referrals_are_not_followed_and_nothing_is_sent_to_their_hosts(make_slapd, open_pool):
    """The library would send the daemon's name and password there, in the clear."""
    server = make_slapd()
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.3)
        port = elsewhere.getsockname()[1]
        server.modify(
            f"dn: ou=away,{server.base}\nobjectClass: referral\nobjectClass: extensibleObject\nou: away\n"
            f"ref: ldap://127.0.0.1:{port}/ou=away,dc=acme,dc=example\n"
        )
        pool = open_pool(server)
        found = pool.search(server.base, Depth.SUBTREE, equal("uid", "ada"), [], 2)
        assert [entry.dn for entry in found] == [ada(server)], "a reference beside the entries is no entry"
        with pytest.raises(DirectoryDown, match="referrals are not followed"):
            pool.search(f"ou=away,{server.base}", Depth.SUBTREE, equal("uid", "ada"), [], 2)
        with pytest.raises(DirectoryDown):
            pool.compare(f"uid=x,ou=away,{server.base}", "mail", b"x")
        with pytest.raises(DirectoryDown):
            pool.bind_as(f"uid=x,ou=away,{server.base}", b"secret")
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_it_works_in_a_plain_process_too(acme):
    pool = Pool(Places((acme.uri,), acme.base, Identity(acme.service_dn, b"service")), PlainLoop())
    assert len(pool.search(acme.base, Depth.SUBTREE, equal("uid", "ada"), [], 2)) == 1
    assert pool.bind_as(ada(acme), b"secret") is Verdict.RIGHT
    pool.close()


def test_it_works_in_a_patched_worker_and_no_warning_is_given(acme):
    """As a worker does: imported by the master, patched after the fork, under -W error but for the library's own."""
    program = f"""
        from imapd.directory.ldapconn import *
        from imapd.directory.ldapfilter import equal
        from imapd.server import patched
        patched.patch()
        from imapd.server.loop import GeventLoop
        for uri in ({acme.uri!r}, {acme.tls_uri!r}):
            places = Places((uri,), {acme.base!r}, Identity({acme.service_dn!r}, b"service"), ca_file={acme.ca_file!r})
            pool = Pool(places, GeventLoop())
            print(len(pool.search({acme.base!r}, Depth.SUBTREE, equal("uid", "ada"), [], 2)), pool.bind_as({ada(acme)!r}, b"x").name)
            pool.close()
    """
    warnings = [
        "-W",
        "error",
        "-W",
        "ignore:tagMap is deprecated:DeprecationWarning",
        "-W",
        "ignore:typeMap is deprecated:DeprecationWarning",
    ]
    done = subprocess.run(
        [sys.executable, *warnings, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "1 WRONG\n1 WRONG\n", done.stderr


# -- secrets -----------------------------------------------------------------------------------------------------------


def test_no_password_gets_into_a_log_or_traceback(acme, make_slapd, open_pool, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    server = make_slapd()
    pool = open_pool(server, operation_seconds=1)
    told = []
    geheim = "gehe" + "im"  # a traceback shows these lines
    user, service = geheim.encode() + b"-user", geheim.encode() + b"-service"
    assert pool.bind_as(ada(server), user) is Verdict.WRONG
    server.pause()
    for ask in (
        lambda: pool.bind_as(ada(server), user),
        lambda: open_pool(server, identity=Identity(server.service_dn, service), operation_seconds=1).search(
            server.base, Depth.BASE, present("cn"), [], 1
        ),
        lambda: open_pool(acme, identity=Identity(acme.service_dn, service)).search(
            acme.base, Depth.BASE, present("cn"), [], 1
        ),
    ):
        try:
            ask()
        except DirectoryDown as failure:
            told.append("".join(traceback.TracebackException.from_exception(failure, capture_locals=False).format()))
    server.kill()
    gevent.spawn(lambda: pool.bind_as(ada(server), user)).join()  # dies of DirectoryDown, and gevent prints that
    out, err = capfd.readouterr()
    assert len(told) == 3
    everything = caplog.text + out + err + "".join(told) + repr(pool) + str(pool.health())
    assert geheim not in everything


# -- descriptors and greenlets -----------------------------------------------------------------------------------------


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def test_refused_connections_leave_no_descriptor_behind(open_pool):
    with socket.create_server(("127.0.0.1", 0)) as one:
        port = one.getsockname()[1]
    gc.collect()
    gc.disable()
    try:
        before = descriptors()
        for _ in range(200):
            with pytest.raises(DirectoryDown):
                open_pool([f"ldap://127.0.0.1:{port}"]).search("o=x", Depth.BASE, present("cn"), [], 1)
        assert descriptors() - before < 5
    finally:
        gc.enable()


def test_greenlets_killed_in_mid_operation_give_everything_back(make_slapd, open_pool, gevent_loop):
    server = make_slapd()
    pool = open_pool(server, connections=4)
    pool.bind_as(ada(server), b"secret")
    server.pause()
    before = descriptors()
    for _ in range(50):
        asking = [gevent.spawn(pool.bind_as, ada(server), b"secret") for _ in range(4)]
        gevent.sleep(0.002)
        gevent.killall(asking)
    server.resume()
    assert descriptors() - before <= 4
    assert pool.health()[0].remark == "0 connections" and pool.health()[0].up, (
        "a client that went away says nothing of the server"
    )
    jobs = [gevent.spawn(pool.bind_as, ada(server), b"secret") for _ in range(8)]
    gevent.joinall(jobs, timeout=10)
    assert [job.value for job in jobs] == [Verdict.RIGHT] * 8


def test_many_greenlets_share_few_connections_and_get_their_own_answers(acme, open_pool):
    pool = open_pool(acme, connections=3)
    before = acme.connections()
    asked = [("ada", b"secret"), ("ben", b"secret"), ("ada", b"wrong"), ("u8", b"secret"), ("nobody", b"secret")] * 20

    def ask(name, password):
        found = pool.search(acme.base, Depth.SUBTREE, equal("uid", name), ["uid"], 2)
        return [entry.attributes["uid"][0].decode() for entry in found], pool.bind_as(
            f"uid={name},{acme.base}", password
        )

    jobs = [gevent.spawn(ask, *one) for one in asked]
    gevent.joinall(jobs, timeout=30, raise_error=True)
    for (name, password), job in zip(asked, jobs, strict=True):
        verdict = Verdict.RIGHT if password == b"secret" and name != "nobody" else Verdict.WRONG
        assert job.value == ([name] if name != "nobody" else [], verdict)
    assert acme.connections() - before <= 6 + 1
    assert threading.active_count() < 20
