"""An index that nobody writes to is read without log and locks, and never but as it is."""

import gc
import os
import time

import pytest

from imapd.mailstore.errors import Gone
from imapd.mailstore.index import Index
from imapd.mailstore.indexfile import INDEX_FILE, IndexFile
from imapd.mailstore.view import View
from tests.mailstore.maildirhouse import WIRE, Worker, deliver, open_files
from tests.support.loop import PlainLoop

LATER = 10.0


@pytest.fixture
def home(tmp_path):
    """A Maildir with two messages, which nobody has open."""
    home = tmp_path / "ann"
    worker = Worker(home)
    worker.put("INBOX", WIRE, WIRE)
    worker.loop.advance(LATER)  # the folders were changed just now, and are looked at once more
    worker.look()
    worker.store.close()
    return home


def later(home, **settings):
    """Somebody who comes when nothing was changed just now."""
    return Worker(home, PlainLoop(time.time() + LATER), **settings)


def has_log(home):
    return os.path.lexists(os.fsencode(home) + b"/" + INDEX_FILE + b"-wal")


def test_who_looks_at_an_index_at_rest_makes_no_log(home):
    worker = later(home)
    assert list(worker.look()) == [1, 2]
    assert worker.ann.status("INBOX").messages == 2
    assert worker.texts() == {1: WIRE, 2: WIRE}
    assert not has_log(home)


def test_an_index_that_was_changed_just_now_is_read_with_its_log(home):
    worker = Worker(home)
    assert list(worker.look()) == [1, 2]
    assert has_log(home)


def test_a_log_that_lies_there_is_read(home):
    other = Worker(home)
    other.put()
    worker = later(home)
    assert list(worker.look()) == [1, 2, 3]


def test_what_another_process_writes_is_seen(home):
    worker, other = later(home), later(home)
    mailbox = worker.open()
    assert list(mailbox.snapshot().uids) == [1, 2]
    other.put()
    assert list(mailbox.snapshot().uids) == [1, 2, 3]
    other.put()
    other.store.close()
    assert list(mailbox.snapshot().uids) == [1, 2, 3, 4]


def test_what_another_process_wrote_and_brought_home_is_seen(home):
    worker = later(home)
    mailbox = worker.open()
    assert list(mailbox.snapshot().uids) == [1, 2]
    other = later(home)
    other.put()
    other.store.close()
    assert not has_log(home)
    assert list(mailbox.snapshot().uids) == [1, 2, 3]


def test_who_looked_without_a_log_writes_and_looks_again(home):
    worker = later(home)
    mailbox = worker.open()
    assert list(mailbox.snapshot().uids) == [1, 2]
    worker.put()
    assert list(mailbox.snapshot().uids) == [1, 2, 3]
    deliver(home)
    assert list(mailbox.snapshot().uids) == [1, 2, 3, 4]


def test_a_handle_that_a_writer_has_taken_the_place_of_is_closed_without_the_collector(home):
    gc.disable()
    try:
        worker = later(home)
        worker.look()
        worker.put()
        worker.store.close()
        assert not open_files(home)
    finally:
        gc.enable()


def test_what_was_read_while_somebody_wrote_counts_for_nothing(home):
    worker = later(home)
    read = []

    def reading(index):
        read.append(index.box_named("INBOX").uidnext)
        if len(read) == 1:
            other = later(home)
            other.put()
            other.store.close()
            raise Gone  # as half of a write may look
        return read[-1]

    assert worker.ann._core.reading(reading) == 4
    assert read == [3, 4]


def test_a_failure_of_what_lies_still_is_told(home):
    worker = later(home)

    def fail(index):
        raise Gone

    with pytest.raises(Gone):
        worker.ann._core.reading(fail)


def test_an_account_that_dozed_looks_again_without_a_log(home):
    worker = later(home)
    mailbox = worker.open()
    assert list(mailbox.snapshot().uids) == [1, 2]
    worker.ann._core.doze()
    worker.loop.run_spawned()
    assert list(mailbox.snapshot().uids) == [1, 2]
    assert not has_log(home)
    assert worker.ann._core.reader.message(1, 1) is not None


def test_an_index_that_is_written_while_it_is_opened_is_opened_with_its_log(home, monkeypatch):
    as_left = IndexFile.as_left

    def slowly(file, unchanging=False):
        monkeypatch.undo()
        opened = as_left(file, unchanging)
        other = later(home)
        other.put()
        other.store.close()
        return opened

    monkeypatch.setattr(IndexFile, "as_left", slowly)
    worker = later(home)
    assert list(worker.look()) == [1, 2, 3]


def test_who_opens_a_mailbox_that_is_known_asks_the_index_once(home, monkeypatch):
    asked = []
    ask = Index._all

    def noted(index, statement, values=()):
        asked.append(statement)
        return ask(index, statement, values)

    worker = later(home)
    View(worker.open(), read_only=False).close()
    View(worker.open(), read_only=False).close()  # the first one claimed what was recent
    monkeypatch.setattr(Index, "_all", noted)
    view = View(worker.open(), read_only=False)
    assert view.exists == 2 and asked == ["PRAGMA data_version"]
    view.close()
    deliver(home)
    view = View(worker.open(), read_only=False)
    assert view.exists == 3 and len(asked) > 2
    view.close()
