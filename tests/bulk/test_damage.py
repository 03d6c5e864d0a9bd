"""Journals that are damaged or forged: a clear error, or every row with its own profile, and no third way."""

import asyncio
import os
import random
import zlib

import msgspec
import orjson
import pytest
from stub import Stub, response

from profilekit import ProfileClient, Rate, Retry, amplitude, userflux
from profilekit.bulk import Job, look_ahead, run
from profilekit.bulk import lines as lines_module
from profilekit.errors import ConfigError

UNBOUND = Rate(1_000_000, per=1)
ACCOUNTS = (
    amplitude.Account(secret_key="key", rate=UNBOUND),
    userflux.Account(write_key="key", rate=UNBOUND),
)
USERS = ["u0", "lost1", "u2", "u3", "u4", "u5", "u6", "u7"]


def user_of(request):
    return request.target.partition("user_id=")[2].partition("&")[0]


def answer(request):
    user = user_of(request)
    if user.startswith("lost"):
        return response(404, b"not here")
    return response(200, b'{"userData": {"user_id": "%s", "amp_props": {"n": 1}}}' % user.encode())


async def done(job, stub=None, **options):
    async with ProfileClient(*ACCOUNTS, transport=stub or Stub(answer), retry=Retry(attempts=1)) as client:
        return await run(job, client, **options)


def job_of(tmp_path, **options):
    return Job(source=USERS, request=amplitude.GetProfile, output=tmp_path / "out.jsonl", **options)


async def left(job):
    """Return what the journal of a job holds that was stopped when all but its last rows were through."""
    stop = asyncio.Event()
    stub = Stub(lambda request: (stop.set() if user_of(request) == "u5" else None, answer(request))[1])
    accounts = [msgspec.structs.replace(account, max_in_flight=1) for account in ACCOUNTS]
    async with ProfileClient(*accounts, transport=stub, retry=Retry(attempts=1)) as client:
        report = await run(job, client, stop=stop)
    assert not report.is_complete
    return job.journal.read_bytes()


def line(payload):
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def rows_of(path):
    return [orjson.loads(text) for text in path.read_bytes().splitlines()]


def is_right(job):
    """Say whether every row is there, with its own profile or its own error."""
    rows = rows_of(job.output)
    profiles = [row["profile"] and row["profile"]["user_id"] for row in rows]
    return [row["user_id"] for row in rows] == USERS and profiles == [
        None if user.startswith("lost") else user for user in USERS
    ]


# ---- damaged ---------------------------------------------------------------------------------------


def damaged(content, draw):
    """Return a journal as a disk, a kill or a careless hand may leave it."""
    at, length = draw.randrange(len(content)), draw.randrange(1, 40)
    return draw.choice(
        [
            content[:at],
            content[:at] + content[at + length :],
            content[:at] + draw.randbytes(length) + content[at + length :],
            content[:at] + bytes(length) + content[at + length :],
            content[:at] + b"\n" * length + content[at:],
            content[:at] + content[at : at + length] * 2 + content[at + length :],
            content[at:] + content[:at],
            bytes([*content[:at], content[at] ^ 1 << draw.randrange(8), *content[at + 1 :]]),
            content + draw.randbytes(length),
            content + content,
        ]
    )


async def survives(tmp_path, seed, rounds):
    job, draw = job_of(tmp_path), random.Random(seed)
    content = await left(job)
    refused = right = 0
    for _ in range(rounds):
        job.output.unlink(missing_ok=True)
        job.journal.write_bytes(damaged(content, draw))
        try:
            await done(job)
        except ConfigError as error:
            refused += str(job.journal) in str(error)
            assert not job.output.exists()
            job.journal.unlink()
        else:
            right += is_right(job)
    assert refused + right == rounds
    assert right > rounds / 2


async def test_a_damaged_journal_is_refused_or_every_row_gets_its_own_profile(tmp_path):
    await survives(tmp_path, seed=1, rounds=150)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 12))
async def test_journals_damaged_in_many_ways(tmp_path, seed):
    await survives(tmp_path, seed, rounds=1000)


async def test_of_a_line_damaged_between_whole_ones_only_the_row_is_asked_for_again(tmp_path, caplog):
    job = job_of(tmp_path)
    lines = (await left(job)).splitlines(keepends=True)
    row = next(number for number, text in enumerate(lines) if b" 3 =" in text)
    lines[row] = lines[row].replace(b"u3", b"u9")
    job.journal.write_bytes(b"".join(lines))
    asked = {"u3"} | {user for number, user in enumerate(USERS) if not _has(lines, number)}
    stub = Stub(answer)
    await done(job, stub)
    assert {user_of(request) for request in stub.requests} == asked
    assert is_right(job)
    assert f"{job.journal}: 1 damaged lines: their rows will be sent again" in caplog.text


def _has(lines, number):
    return any(text[9:].startswith(b"%d " % number) for text in lines)


async def test_writes_that_came_after_a_damaged_line_are_sent_again_in_their_order(tmp_path, caplog):
    source = tmp_path / "in.jsonl"
    source.write_text("".join(f'{{"user_id": "u", "n": {n}}}\n' for n in range(6)))
    job = Job(source=source, request=userflux.UpdateProfile, rest="properties")
    stop = asyncio.Event()
    sent = []

    def count(request):
        sent.append(orjson.loads(request.body)["properties"]["n"])
        if len(sent) == 5:
            stop.set()
        return response(204)

    await done(job, Stub(count), stop=stop)
    lines = job.journal.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"null", b"nu1l")
    job.journal.write_bytes(b"".join(lines))
    sent.clear()
    await done(job, Stub(count))
    assert sent == [1, 2, 3, 4, 5]
    assert "1 damaged lines: all that came after them will be sent again" in caplog.text


async def test_an_endless_line_is_read_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(lines_module, "_LONGEST_LINE", 1_000)
    job = job_of(tmp_path)
    first, rest = (await left(job)).split(b"\n", 1)
    job.journal.write_bytes(first + b"\n" + b"x" * 100_500 + b"\n" + rest)
    stub = Stub(answer)
    await done(job, stub)
    assert len(stub.requests) < len(USERS)
    assert is_right(job)


# ---- forged ----------------------------------------------------------------------------------------

ERROR = b'{"type":"ThrottledError","message":"no"}'
IMPOSSIBLE = {
    "nothing": b"",
    "no number": b"x =1",
    "a negative row": b"-1 ={}",
    "a row beyond the input": b"8 ={}",
    "a row beyond counting": b"9" * 400 + b" ={}",
    "a row with an underscore": b"0_1 ={}",
    "a row with zeros": b"01 ={}",
    "a row with a space": b" 1 ={}",
    "a row in other digits": "\u0661 ={}".encode(),
    "no mark": b"1 {}",
    "another mark": b"1 ?{}",
    "a section": b'{"journal":1}',
    "an end of another kind": b"end ",
    "no value": b"1 =",
    "half a value": b'1 ={"a":',
    "two values": b"1 ={}{}",
    "a value that breaks out": b'1 ={},"user_id":"x"',
    "a value that is no object": b"1 =[1]",
    "a value that is a number": b"1 =" + b"9" * 400,
    "a value that is no number": b"1 =NaN",
    "a value in no UTF-8": b'1 ={"a":"\xff"}',
    "a value with control characters": b'1 ={"a":"\x00\x1b"}',
    "a value nested beyond measure": b'1 ={"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "no error": b"1 !",
    "an error that is no JSON": b"1 !no",
    "an error that is no object": b"1 ![]",
    "an error that is null": b"1 !null",
    "an error without a class": b'1 !{"message":"no"}',
    "an error without a message": b'1 !{"type":"ThrottledError"}',
    "an error of a number": b'1 !{"type":1,"message":"no"}',
    "an error that drives a terminal": b'1 !{"type":"\\u001b[31m","message":"no"}',
    "an error with a number for a message": b'1 !{"type":"ThrottledError","message":1}',
    "an error nested beyond measure": b'1 !{"type":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}


async def refused(job, *, match="fresh=True"):
    """See a journal refused before anything is sent, and left as it is."""
    before, stub = job.journal.read_bytes(), Stub(answer)
    for retry_failed in (False, True):
        with pytest.raises(ConfigError, match=match) as raised:
            await done(job, stub, retry_failed=retry_failed)
        assert str(job.journal) in str(raised.value)
    with pytest.raises(ConfigError, match=match):
        await look_ahead(job)
    assert (stub.requests, job.output.exists()) == ([], False)
    assert job.journal.read_bytes() == before


@pytest.mark.parametrize("kind", IMPOSSIBLE)
async def test_a_whole_line_that_no_job_writes_is_refused_by_its_number(tmp_path, kind):
    job = job_of(tmp_path)
    content = await left(job)
    first, rest = content.split(b"\n", 1)
    job.journal.write_bytes(first + b"\n" + line(IMPOSSIBLE[kind]) + rest)
    await refused(
        job, match=r"line 2 of .*out\.jsonl\.journal cannot be from this job \(.*start over with fresh=True"
    )
    await done(job, fresh=True)
    assert is_right(job)


async def test_more_classes_of_errors_than_there_are_are_refused(tmp_path):
    job = job_of(tmp_path)
    content = await left(job)
    kinds = [b'1 !{"type":"Error%d","message":"no"}' % number for number in range(256)]
    job.journal.write_bytes(content + b"".join(map(line, kinds)))
    await refused(job, match="too many classes of errors")


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"properties": ("n",)}, b"[1]"),
        ({"properties": ("n",)}, b"5"),
        ({"properties": ("n",)}, b'{"n":1'),
        ({"into": amplitude.Profile}, b"null"),
    ],
)
async def test_a_value_that_is_not_as_the_job_has_it_is_refused(tmp_path, options, value):
    job = job_of(tmp_path, **options)
    content = await left(job)
    job.journal.write_bytes(content + line(b"1 =" + value))
    await refused(job)


async def test_a_value_that_does_not_fit_the_columns_is_refused_before_anything_is_sent(tmp_path):
    class Mine(msgspec.Struct):
        user_id: str

    output = tmp_path / "out.parquet"
    job = Job(source=USERS, request=amplitude.GetProfile, output=output, into=Mine, prefix="p_")
    content = await left(job)
    job.journal.write_bytes(content + line(b'1 ={"user_id":5}'))
    await refused(job, match="Expected `str`, got `int`")


async def test_a_forged_line_that_could_be_from_the_job_is_taken_for_one(tmp_path):
    job = job_of(tmp_path)
    content = await left(job)
    job.journal.write_bytes(content + line(b'1 ={"user_id":"found"}') + line(b"7 !" + ERROR))
    report = await done(job)
    rows = rows_of(job.output)
    assert rows[1]["profile"] == {"user_id": "found"}
    assert rows[7]["error"] == orjson.loads(ERROR)
    assert report.failed == {"ThrottledError": 1}


async def test_digits_that_no_number_of_python_holds_are_kept_as_they_came(tmp_path):
    job = job_of(tmp_path)
    content = await left(job)
    job.journal.write_bytes(content + line(b'1 ={"amp_props":{"n":1e999}}'))
    await done(job)
    assert b'"n":1e999' in job.output.read_bytes()


# ---- what is no journal ----------------------------------------------------------------------------


def nested(depth):
    return line(b'{"journal":' + b"[" * depth + b"]" * depth + b"}")


NO_JOURNAL = {
    "empty": b"",
    "random": random.Random(3).randbytes(5_000),
    "zeros": bytes(5_000),
    "one endless line": b"x" * 5_000_000,
    "no UTF-8": line(b'{"journal":"\xff"}'),
    "a list": line(b"[1]"),
    "an endless version": line(b'{"journal":' + b"9" * 400 + b"}"),
    "a number": line(b"9" * 400),
    "no version": line(b'{"input":"x"}'),
    "nested": nested(100_000),
    "a half header": line(b'{"journal":1}')[:-1],
    "a header that is damaged": line(b'{"journal":1}').replace(b"1}", b"2}"),
}
OTHER = {"newer": b"2", "text": b'"1"', "none": b"null", "a list": b"[]"}


@pytest.mark.parametrize("kind", NO_JOURNAL)
async def test_what_is_no_journal_is_refused_and_left_alone(tmp_path, kind):
    job = job_of(tmp_path)
    job.journal.write_bytes(NO_JOURNAL[kind])
    await refused(job, match="is no journal of profilekit: move it out of the way, or name another output")
    with pytest.raises(ConfigError, match="is no journal of profilekit"):
        await done(job, fresh=True)
    assert job.journal.read_bytes() == NO_JOURNAL[kind]


@pytest.mark.parametrize("version", OTHER)
async def test_a_journal_of_another_version_is_called_that(tmp_path, version):
    job = job_of(tmp_path)
    job.journal.write_bytes(line(b'{"journal":%b}' % OTHER[version]))
    await refused(job, match="is a journal of another version of profilekit: move it out of the way")


@pytest.mark.parametrize("field", ["input", "form", "request", "parameters", "columns", "properties"])
async def test_a_header_that_lacks_a_field_or_has_another_in_its_place_is_of_another_job(tmp_path, field):
    job = job_of(tmp_path)
    first, rest = (await left(job)).split(b"\n", 1)
    header = orjson.loads(first[9:])
    for value in (1, -1.5, None, [], {"a": {}}, "x" * 10_000, "\x1b"):
        job.journal.write_bytes(line(orjson.dumps({**header, field: value})) + rest)
        if value != header[field]:
            await refused(job, match=f"is of another job, by its {field}: .*fresh=True")


def _loop(path):
    path.symlink_to(path.name)


def _nowhere(path):
    path.symlink_to("nowhere")


def _device(path):
    path.symlink_to("/dev/zero")


PLACES = {"folder": os.mkdir, "pipe": os.mkfifo, "loop": _loop, "nowhere": _nowhere, "device": _device}


@pytest.mark.parametrize("kind", PLACES)
async def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path, kind):
    job, stub = job_of(tmp_path), Stub(answer)
    PLACES[kind](job.journal)
    for options in ({}, {"fresh": True}, {"retry_failed": True}):
        with pytest.raises(
            ConfigError, match="cannot be used as a journal .*move it out of the way"
        ) as raised:
            await done(job, stub, **options)
        assert str(job.journal) in str(raised.value)
    assert stub.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl.journal"]


async def test_a_journal_that_may_not_be_read_is_refused(tmp_path, monkeypatch):
    job = job_of(tmp_path)
    await left(job)
    real = os.open

    def refuse(path, *arguments, **options):
        if str(path) == str(job.journal):
            raise PermissionError(13, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ConfigError, match=r"cannot be used as a journal \(Permission denied\): move"):
        await done(job)


async def test_a_journal_that_changes_while_the_job_runs_gives_no_row_anothers_profile(tmp_path):
    job = job_of(tmp_path)

    def swap(request):
        if user_of(request) == "u7":
            content = job.journal.read_bytes()
            job.journal.write_bytes(content.replace(b'"u2"', b'"u3"'))
        return answer(request)

    accounts = [msgspec.structs.replace(account, max_in_flight=1) for account in ACCOUNTS]
    async with ProfileClient(*accounts, transport=Stub(swap), retry=Retry(attempts=1)) as client:
        with pytest.raises(ConfigError, match="changed while the job ran: start over with fresh=True"):
            await run(job, client)
    assert not job.output.exists()


def test_an_output_that_is_a_loop_of_links_is_refused(tmp_path):
    _loop(tmp_path / "out.jsonl")
    with pytest.raises(ConfigError, match=r"out\.jsonl is a loop of symbolic links: remove it"):
        job_of(tmp_path)
