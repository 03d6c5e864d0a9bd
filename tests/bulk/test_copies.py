"""Copies of lists that can be read only once: private, and gone whatever becomes of the process."""

import os
import resource
import subprocess
import sys
import tempfile

import pytest

from profilekit.bulk.copies import private_copy
from profilekit.errors import ConfigError


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_copy_is_of_its_owner_only_and_goes_with_the_block(folder):
    before = os.umask(0)
    try:
        with private_copy("the list", ".csv") as copy:
            copy.write(b"user_id\nu1\n")
            copy.finish()
            assert copy.path.read_bytes() == b"user_id\nu1\n"
            assert (copy.path.suffix, copy.path.stat().st_mode & 0o777) == (".csv", 0o600)
    finally:
        os.umask(before)
    assert list(folder.iterdir()) == []


KILLED = """
import os, signal, tempfile
from profilekit.bulk.copies import private_copy
with private_copy("the list", "") as copy:
    copy.write(b"u1\\n")
    copy.finish()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_copy_of_a_killed_process_goes_with_the_next_and_that_of_a_living_one_stays(folder):
    (folder / "profilekit-input-of-another-user").mkdir()
    with private_copy("the list", "") as living:
        subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, "TMPDIR": str(folder)}, check=False)
        assert len(list(folder.iterdir())) == 3
        with private_copy("the list", "") as mine:
            assert {path.name for path in folder.iterdir()} == {
                "profilekit-input-of-another-user",
                living.path.name,
                mine.path.name,
            }


def test_a_folder_without_room_is_named_and_not_the_list(folder):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (32_768, hard))
    try:
        with pytest.raises(ConfigError) as refused, private_copy("standard input", "") as copy:
            copy.write(b"x" * 40_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(refused.value) == (
        f"cannot copy standard input to {folder}: File too large; set TMPDIR to a folder with more room"
    )
    assert list(folder.iterdir()) == []
