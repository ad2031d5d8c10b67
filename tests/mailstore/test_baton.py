"""The baton that disk threads hand each other."""

import threading

from imapd.mailstore import baton


def in_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_who_waits_for_the_disk_lets_others_work_and_nobody_works_beside_them():
    waits, goes_on = threading.Event(), threading.Event()
    seen = []

    def first():
        with baton.carried(), baton.carried():
            seen.append("first writes")
            with baton.laid_down():
                waits.set()
                goes_on.wait(10)
            seen.append("first goes on")

    thread = in_thread(first)
    assert waits.wait(10)
    with baton.carried():
        goes_on.set()
        seen.append("second writes")
        thread.join(baton.PATIENCE / 10)
        seen.append("second is done")
    thread.join(10)
    assert seen[:2] == ["first writes", "second writes"]
    assert sorted(seen[2:]) == ["first goes on", "second is done"]
    assert not baton._baton.locked()


def test_who_does_not_get_it_soon_goes_without_and_does_not_take_it_away():
    with baton.carried():
        seen = []

        def late():
            with baton.carried(), baton.laid_down():  # which it does not have
                seen.append(baton._baton.locked())
            seen.append(baton._baton.locked())

        in_thread(late).join(10)
        assert seen == [True, True]
    assert not baton._baton.locked()


def test_it_is_laid_down_where_work_fails():
    def failing():
        with baton.carried(), baton.laid_down():
            raise OSError

    for _ in range(2):
        try:
            failing()
        except OSError:
            pass
        assert not baton._baton.locked()
