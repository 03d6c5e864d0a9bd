import errno
import os
import random
from pathlib import Path

import pytest

from profilekit.bulk import journal
from profilekit.bulk.journal import Journal
from profilekit.bulk.lines import is_at_end
from profilekit.errors import ConfigError

JOB = {"input": "abc", "request": "amplitude.GetProfile"}
ERROR = b'{"type":"ProfileNotFoundError","message":"no"}'


def written(path, rows=10):
    with Journal(path, rows) as journal:
        journal.begin(JOB)
        journal.add(3, b'{"n":3}', None)
        journal.add(1, None, ERROR)
        journal.add(7, b"null", None)
        journal.flush()
    return path


def resumed(path, rows=10, job=JOB):
    journal = Journal(path, rows)
    journal.look(job)
    return journal


def test_what_was_added_is_there_again(tmp_path):
    journal = resumed(written(tmp_path / "j"))
    assert list(journal.numbers()) == [1, 3, 7]
    assert journal.done == 3
    assert [journal.has(row) for row in (0, 1, 3)] == [False, True, True]
    assert [journal.failed(row) for row in (1, 3, 7)] == [True, False, False]
    assert journal.failures() == {"ProfileNotFoundError": 1}
    with journal.reader() as read:
        assert [read(3), read(1), read(7), read(3)] == [
            (b'{"n":3}', None),
            (None, ERROR),
            (b"null", None),
            (b'{"n":3}', None),
        ]


def test_a_later_answer_takes_the_place_of_an_earlier_one(tmp_path):
    path = written(tmp_path / "j")
    with Journal(path, 10) as journal:
        journal.resume(JOB)
        journal.add(1, b'{"n":1}', None)
        journal.sync()
    journal = resumed(path)
    assert (journal.done, journal.failures()) == (3, {})
    with journal.reader() as read:
        assert read(1) == (b'{"n":1}', None)


def test_nobody_else_may_read_it(tmp_path):
    assert written(tmp_path / "j").stat().st_mode & 0o777 == 0o600


def test_whatever_a_crash_leaves_of_the_last_lines_is_told_from_what_is_whole(tmp_path):
    path = written(tmp_path / "j")
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    whole = [len(b"".join(lines[:count])) for count in range(1, len(lines) + 1)]
    for size in range(whole[0], len(content) + 1):
        path.write_bytes(content[:size])
        with Journal(path, 10) as journal:
            journal.resume(JOB)
            assert journal.done == sum(end <= size for end in whole[1:])
            journal.add(9, b"9", None)
            journal.flush()
        with resumed(path).reader() as read:
            assert read(9) == (b"9", None)


def test_a_block_that_a_loss_of_power_left_as_garbage_is_not_believed(tmp_path):
    path, draw = tmp_path / "j", random.Random(1)
    content = written(path).read_bytes()
    first = content.index(b"\n") + 1
    for _ in range(300):
        at = draw.randrange(first, len(content))
        length = min(draw.randrange(1, 30), len(content) - at)
        garbage = draw.choice([bytes(length), draw.randbytes(length)])
        path.write_bytes(content[:at] + garbage + content[at + length :])
        with resumed(path).reader() as read:
            for row in resumed(path).numbers():
                assert read(row) in {(b'{"n":3}', None), (None, ERROR), (b"null", None)}


def test_another_job_is_refused_and_the_difference_named(tmp_path):
    path = written(tmp_path / "j")
    with pytest.raises(ConfigError, match="by its request:"):
        resumed(path, job={**JOB, "request": "userflux.GetProfile"})
    with pytest.raises(ConfigError, match="by its input:"):
        resumed(path, job={**JOB, "input": "abd"})


@pytest.mark.parametrize("content", [b"", b"my notes\n", b'{"journal": 1}\n', b"\x00" * 100])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path, content):
    path = tmp_path / "j"
    path.write_bytes(content)
    for begin in (Journal(path, 1).begin, Journal(path, 1).resume):
        with pytest.raises(ConfigError, match="is no journal of profilekit: move it out of the way"):
            begin(JOB)
    assert path.read_bytes() == content


def test_knows_its_end(tmp_path):
    path = written(tmp_path / "j")
    assert not is_at_end(path)
    with Journal(path, 10) as journal:
        journal.resume(JOB)
        journal.end()
    assert is_at_end(path)
    assert resumed(path).done == 3
    os.truncate(path, path.stat().st_size - 1)
    assert not is_at_end(path)


def test_two_runs_do_not_write_to_one_journal(tmp_path):
    path = written(tmp_path / "j")
    before = path.read_bytes()
    with Journal(path, 10) as mine:
        mine.resume(JOB)
        for begin in (Journal(path, 10).begin, Journal(path, 10).resume):
            with pytest.raises(ConfigError, match="is in use: another run"):
                begin(JOB)
    assert path.read_bytes() == before
    with Journal(path, 10) as next_one:
        next_one.resume(JOB)
    with Journal(tmp_path / "new", 10) as first:
        first.begin(JOB)
        with pytest.raises(ConfigError, match="is in use"):
            Journal(tmp_path / "new", 10).resume(JOB)


def test_what_was_added_is_written_when_it_closes_and_nothing_after_that(tmp_path):
    path = tmp_path / "j"
    with Journal(path, 10) as journal:
        journal.begin(JOB)
        journal.add(3, b"3", None)
    assert list(resumed(path).numbers()) == [3]
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    journal.add(4, b"4", None)
    with pytest.raises(OSError, match="Bad file descriptor"):
        journal.flush()
    os.close(other)
    assert (tmp_path / "other").read_bytes() == b""


def test_who_looked_before_another_run_began_is_refused_all_the_same(tmp_path):
    with Journal(tmp_path / "j", 10) as first, Journal(tmp_path / "j", 10) as second:
        first.begin(JOB)
        with pytest.raises(ConfigError, match="is in use"):
            second.begin(JOB)
        assert [path.name for path in tmp_path.iterdir()] == ["j"]


@pytest.mark.parametrize("carries_on", [True, False])
def test_who_holds_what_another_run_has_replaced_is_refused(tmp_path, monkeypatch, carries_on):
    path = written(tmp_path / "j")
    lock = journal.lock

    def late(file):
        lock(file)
        if os.path.samestat(os.fstat(file), path.stat()):
            (tmp_path / "new").write_bytes(b"")
            (tmp_path / "new").replace(path)

    monkeypatch.setattr(journal, "lock", late)
    with Journal(path, 10) as mine, pytest.raises(ConfigError, match="is in use"):
        mine.resume(JOB) if carries_on else mine.begin(JOB)


@pytest.mark.parametrize("carries_on", [True, False])
def test_what_killed_runs_left_goes_and_what_is_of_others_stays(tmp_path, carries_on):
    path = written(tmp_path / "j")
    (tmp_path / ".j.0123abcd.part").hardlink_to(path)
    (tmp_path / ".j.4567abcd.part").write_bytes(b"of a run that was killed")
    (tmp_path / ".i.4567abcd.part").write_bytes(b"of another job")
    with (tmp_path / ".j.89abcdef.part").open("wb") as other, Journal(path, 10) as mine:
        journal.lock(other.fileno())
        mine.resume(JOB) if carries_on else mine.begin(JOB)
        assert mine.done == (3 if carries_on else 0)
    assert sorted(found.name for found in tmp_path.iterdir()) == [
        ".i.4567abcd.part",
        ".j.89abcdef.part",
        "j",
    ]


def test_reading_a_journal_ends_when_its_run_is_to_end(tmp_path):
    def unwanted():
        raise ConfigError("it is to end")

    with (
        Journal(written(tmp_path / "j"), 10, check_wanted=unwanted) as mine,
        pytest.raises(ConfigError, match="to end"),
    ):
        mine.resume(JOB)


def test_a_file_system_without_links_will_do(tmp_path, monkeypatch):
    def refuse(path, target):
        raise PermissionError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert resumed(written(tmp_path / "j")).done == 3
    assert resumed(written(tmp_path / "j")).done == 3
