"""The benchmark itself: the corpus is always the same, both servers come through, and what is wrong is not measured."""

import email
import hashlib
import json
import re
import socket
from datetime import datetime
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from tests.bench import __main__ as program
from tests.bench import arriving, checks, corpus, cyrus, letters, plot, reading, report, servers, waiting
from tests.bench.client import Answer, Connection, WrongAnswer
from tests.bench.compare import Figure, Measure, Place, Run, Target, Workload, measure
from tests.support.dovecot import open_folder

# Of the first 200 messages. Figures of different days can only be compared while it stays.
DIGEST = "923eb78bebd15b1b29838c41162e37e04bb8a2f854b4b9ed58573b299a1828d8"


def test_the_text_of_the_corpus_is_always_the_same():
    digest = hashlib.sha256(b"".join(letters.message(number) for number in range(200))).hexdigest()
    assert digest == DIGEST


def test_a_corpus_is_gone_on_with_and_its_small_ones_are_the_beginning_of_large_ones(tmp_path):
    small = corpus.corpus(tmp_path, 10)
    names = [entry.name for entry in small.entries]
    large = corpus.corpus(tmp_path, 1001)
    assert [entry.name for entry in large.entries][:1000] == names
    assert len(large.entries) == 2000
    other = corpus.corpus(tmp_path / "other", 10)
    assert [(entry, other.path(entry).read_bytes()) for entry in other.entries] == [
        (entry, small.path(entry).read_bytes()) for entry in small.entries
    ]


def test_the_table_of_the_corpus_says_what_the_email_package_sees():
    for number in range(200):
        text = letters.message(number)
        assert b"\nFrom " not in text and max(map(len, text.split(b"\n"))) < 998
        message = email.message_from_bytes(text)
        assert not any(part.defects for part in message.walk())
        wanted = [(name, value) for name, value in message.items() if name.upper() in corpus.WEBMAIL]
        octets = sum(len(f"{name}: {value}".replace("\n", "\r\n")) + 2 for name, value in wanted) + 2
        assert corpus.webmail_octets(text) == octets


@pytest.fixture
def folder():
    """Where Dovecot's user may go; pytest closes its own folders to him."""
    with open_folder() as folder:
        yield folder


def test_a_tiny_run_of_both_servers_makes_a_table(folder, monkeypatch):
    monkeypatch.setattr(arriving, "SECONDS", 0.2)
    monkeypatch.setattr(arriving, "PEOPLE", 5)
    words = ["--only", "select", "uidflags", "login", "--messages", "1000", "--rounds", "1", "--sessions", "1"]
    chosen = program.arguments([*words, "--folder", str(folder)])
    figures, left_out = program.everything(chosen)
    assert not left_out
    for figure in figures:
        assert set(figure.samples) == {"imapd", *(arriving.LOGINS if figure.workload == "login" else reading.BOTH)}
        assert all(value > 0 for values in figure.samples.values() for value in values)
        assert figure.ratio() and figure.cpu["imapd"][0] > 0
    where = report.machine(folder, servers.dovecot_version(), "a test")
    text = report.document({"where": where, "figures": [figure.as_data() for figure in figures], "left_out": []})
    for line in (
        "| SELECT, warm | 1,000 |",
        "| FETCH 1:* (UID FLAGS) | 1,000 |",
        "| LOGIN and LOGOUT, one client |",
    ):
        assert line in text


def test_what_other_servers_are_given_by_append_is_what_the_corpus_says(folder):
    mail = corpus.corpus(folder, 1000, servers.owner())
    pair = servers.Pair(folder / "run", mail, ["big"])
    try:
        with Connection(pair.server("imapd").port) as connection:
            connection.ask(b"LOGIN big secret")
            for command in cyrus.appends(mail, 250):
                connection.ask(command)
            place = Place(pair, mail, "big", 250)
            for work in (reading.uidflags, reading.headers_warm, reading.envelope_warm, reading.bodies):
                work(Run(place, pair.server("imapd"), 0))
            connection.ask(b"SELECT INBOX")
            dates = bytes(connection.ask(b"FETCH 7,250 (INTERNALDATE)").data)
    finally:
        pair.stop()
    found = [datetime.strptime(one, "%d-%b-%Y %H:%M:%S %z") for one in re.findall('"(.*?)"', dates.decode())]
    assert [one.timestamp() for one in found] == [letters.came(6), letters.came(249)]


def test_news_of_sessions_need_no_delivery(folder, monkeypatch):
    monkeypatch.setattr(waiting, "_deliver", None)
    mail = corpus.corpus(folder, 1000, servers.owner())
    pair = servers.Pair(folder / "run", mail, [])
    run = Run(Place(pair, mail, "big", 1000), pair.server("imapd"), 0)
    try:
        waiting.news_of_sessions(run)
    finally:
        run.close()
        pair.stop()
    assert set(run.values) == {"news_append", "news_flag"} and all(run.values.values())


def test_who_has_a_store_of_his_own_is_measured_only_where_he_is_named():
    words = ["--messages", "100000", "1000"]
    chosen = program.arguments(words)
    assert not [one for count in chosen.messages for one in program.workloads(chosen, count) if "cyrus" in one.dovecots]
    chosen = program.arguments(["--only", "cyrus-*", *words])
    large, small = ([one.name for one in program.workloads(chosen, count)] for count in chosen.messages)
    assert "cyrus-envelope" in large and "cyrus-news" in large and "cyrus-copy" not in large
    assert "cyrus-copy" in small and "cyrus-news" not in small
    chosen = program.arguments(["--only", "cyrus-copy", *words])
    assert [one.name for one in program.workloads(chosen, 100_000)] == ["cyrus-copy"]
    with pytest.raises(SystemExit):
        program.arguments(["--only", "cyr-*"])


def test_cyrus_listens_on_this_machine_alone():
    ports = re.findall('listen="(.*?)"', cyrus.SERVICES.format(folder="f", programs="p", port=1, tls_port=2))
    assert ports == ["127.0.0.1:1", "127.0.0.1:2"]
    assert not re.findall("^[a-z_-]+: /", cyrus.SETTINGS, re.MULTILINE)  # it has nothing of the system's


def test_a_server_that_loses_a_message_is_not_measured(folder):
    mail = corpus.corpus(folder, 1000, servers.owner())
    pair = servers.Pair(folder / "run", mail, ["big"])
    pair.give_mail("big", 1000)
    next(pair.server("imapd").home("big").glob("cur/*")).unlink()
    workload = next(one for one in reading.WORKLOADS if one.name == "uidflags")
    try:
        with pytest.raises(WrongAnswer, match="SELECT of 1000 messages"):
            measure(workload, Place(pair, mail, "big", 1000), 1)
    finally:
        pair.stop()


def test_a_server_that_gives_no_answer_is_noted_and_the_run_goes_on(monkeypatch):
    monkeypatch.setattr(Connection, "patience", 0.1)
    pair = SimpleNamespace(server=lambda name: name, running=list)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        workload = Workload("w", (Measure("k", "what", "ms"),), lambda run: Connection(silent.getsockname()[1]).close())
        (figure,) = measure(workload, Place(pair, None, "big", 1000), 1)
    assert figure.note == "dovecot-login gave no answer within 0 s" and not figure.samples
    assert "no answer" in report.line(figure.as_data())


GOOD = b'* 1 FETCH (UID 4 BODY[] {18}\r\n* 2 FETCH (UID 9\r\n)\r\n* 2 FETCH (UID 7 BODY[] "")\r\nzq1 OK done\r\n'


def test_literals_are_not_taken_for_responses():
    outside, literals, octets = checks.fetched(Answer(memoryview(GOOD), 0.1), range(1, 3))
    assert (literals, octets) == (1, 18)
    checks.uids(outside, 2)


@pytest.mark.parametrize(
    "change", [(b"* 2 FETCH (UID 7", b"* 3 FETCH (UID 7"), (b"* 2 FETCH (UID 7", b"* 2 FETCH (UID 3")]
)
def test_wrong_answers_are_found(change):
    with pytest.raises(WrongAnswer):
        outside, _, _ = checks.fetched(Answer(memoryview(GOOD.replace(*change)), 0.1), range(1, 3))
        checks.uids(outside, 2)


def figure(unit, ours, theirs, **target):
    samples = {"imapd": ours, "dovecot-login": theirs, "dovecot-default": [100.0 * value for value in theirs]}
    return Figure("w", Measure("k", "what", unit, Target(**target)), 1000, samples)


def test_ratios_are_made_turn_by_turn_against_the_best_configuration():
    slower = figure("ms", [10, 30, 10], [20, 30, 40], ratio=2)
    assert (slower.best(), slower.ratio(), slower.reached()) == ("dovecot-login", 2, True)
    rate = figure("/s", [10, 30, 10], [20, 30, 40], ratio=0.01)
    assert (rate.best(), rate.ratio(), rate.reached()) == ("dovecot-default", 0.005, False)
    assert figure("ms", [9, 11, 9], [1, 1, 1], most=10).reached()


def test_what_is_behind_is_shown_as_behind():
    line = report.line(figure("ms", [10.0], [5.0], ratio=2).as_data())
    assert "| 0.50 | 2 × | **not reached** |" in line and "login reused" in line
    assert report.line(Figure("w", Measure("k", "what", "ms"), None).as_data()).startswith("| what |  | no answer |")


def test_the_picture_shows_what_is_behind_to_the_left_of_one():
    figures = [figure("ms", [10.0], [5.0], ratio=2).as_data(), figure("ms", [10.0], [50.0], ratio=2).as_data()]
    figures[1]["key"] = "other"
    where = {"date": "today", "machine": "this one"}
    root = ElementTree.fromstring(plot.picture({"where": where, "figures": figures}))
    bars = [one for one in root.iter("{http://www.w3.org/2000/svg}rect") if one.get("x")]
    (behind, ahead), one = bars, plot.where(1)
    assert float(behind.get("x")) < one - 1 and abs(float(behind.get("x")) + float(behind.get("width")) - one) < 0.2
    assert abs(float(ahead.get("x")) - one) < 0.2 and behind.get("fill") != ahead.get("fill")


def test_what_grows_faster_than_the_mailbox_is_marked():
    figures = [figure("ms", [ours], [ours]).as_data() for ours in (1.0, 12.0, 300.0)]
    for one, count in zip(figures, (1000, 10_000, 100_000), strict=True):
        one["messages"] = count
    assert report.growth(figures).splitlines()[-1] == "| what | 1.00 / 1.00 | 1.20 / 1.20 | 3.00 / 3.00 ▲ |"


def test_what_is_measured_apart_is_shown_apart_and_once(tmp_path):
    where = {"date": "today", "machine": "this one", "command": "a command", "imapd": "commit 1"}
    full = {"where": where, "figures": [figure("ms", [10.0], [5.0], ratio=1).as_data()], "left_out": []}
    report.save(full, tmp_path / "results.json")
    for ours in (3.0, 4.0):
        apart = {"where": where, "figures": [figure("ms", [ours], [5.0], ratio=1).as_data()], "left_out": []}
        report.save(report.added(apart, tmp_path / "results.json"), tmp_path / "results.json")
    text = report.document(json.loads((tmp_path / "results.json").read_text()))
    main, _, apart = text.partition("## Measured apart")
    assert "| 10.0 ms |" in main and "| 4.00 ms |" in apart and "3.00 ms" not in text


def test_what_was_run_beside_cyrus_is_not_said_to_be_beside_dovecot(tmp_path):
    where = {"date": "today", "machine": "this one", "command": "a command", "imapd": "commit 1"}
    full = {"where": where, "figures": [figure("ms", [10.0], [5.0], ratio=1).as_data()], "left_out": []}
    report.save(full, tmp_path / "results.json")
    measured = Figure("w", Measure("c", "beside Cyrus: what", "ms", Target(1)), 1000, {"imapd": [2.0], "cyrus": [7.0]})
    apart = {"where": {**where, "cyrus": "Cyrus 3.6"}, "figures": [measured.as_data()], "left_out": []}
    text = report.document(report.added(apart, tmp_path / "results.json"))
    main, _, apart = text.partition("## Measured apart")
    assert "| imapd | Dovecot |" in main and "| imapd | Cyrus |" not in main
    assert "commit 1, Cyrus 3.6`" in apart and "| imapd | Dovecot |" not in apart.partition("## All")[0]
    assert "| beside Cyrus: what | 1,000 | 2.00 ms | 7.00 ms | own store, prefork 2 | 3.50 | 1 × | reached |" in apart
