import gzip

import pytest
import zstandard

from profilekit.bulk.source import Rows, opened
from profilekit.bulk.survey import look_over, numbered
from profilekit.errors import ConfigError


def table(tmp_path, name, content, id_column="user_id"):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Rows(path, id_column)


def survey(rows, **options):
    return look_over(rows, lambda row: row.user_id, kinds=True, **options)


def ids(rows):
    return [row.user_id for row in rows]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "user_id,n\nu1,1\nu2,2\n"),
        ("a.CSV", "\ufeffuser_id,n\r\nu1,1\r\n\r\nu2,2\r\n"),
        ("a.jsonl", '{"user_id": "u1", "n": "1"}\n\n{"user_id": "u2", "n": "2"}'),
        ("a.ndjson", '{"n": "1", "user_id": "u1"}\n{"user_id": "u2", "n": "2"}\n'),
        ("a.txt", "u1\n\nu2\n"),
        ("headed.txt", "user_id\nu1\nu2\n"),
        ("a.tsv", "n\tuser_id\n1\tu1\n2\tu2\n"),
        ("large.csv", "user_id,n\nu1," + "x" * 200_000 + "\nu2,2\n"),
        ("ids", "u1\r\nu2"),
        ("sniffed", '\n{"user_id": "u1"}\n{"user_id": "u2"}\n'),
        ("sniffed2", "n,user_id\n1,u1\n2,u2\n"),
        ("odd.csv", 'n,user_id\n"1, ""2""\n3",u1\n4,u2\n'),
    ],
)
def test_reads_every_form(tmp_path, name, content):
    rows = table(tmp_path, name, content)
    assert ids(rows) == ["u1", "u2"] == ids(rows)
    assert survey(rows).rows == 2
    assert [row.problem for row in rows] == [None, None]


def test_any_column_can_hold_the_id(tmp_path):
    rows = table(tmp_path, "a.csv", "name,who\nAnn,7\n", "who")
    assert ids(rows) == ["7"]
    assert next(iter(rows)).fields == {"name": "Ann", "who": "7"}


def test_ids_are_kept_as_they_are_written(tmp_path):
    assert ids(table(tmp_path, "a.csv", "user_id\n007\n é/日 \n")) == ["007", " é/日 "]
    assert ids(table(tmp_path, "a.jsonl", '{"user_id": 7}\n{"user_id": "007"}')) == ["7", "007"]


@pytest.mark.parametrize(
    ("name", "content", "line", "problem"),
    [
        ("a.csv", "user_id,n\nu1,1\nu2\nu3,3\n", 3, "line 3 has 1 cells under 2 columns"),
        ("a.csv", "user_id,n\nu1,1\nu2,2,2\nu3,3\n", 3, "line 3 has 3 cells under 2 columns"),
        ("a.csv", 'user_id,n\nu1,1\nu2,"2"x\nu3,3\n', 3, "line 3 is not CSV"),
        ("a.jsonl", '{"user_id": "u1"}\nnonsense\n{"user_id": "u3"}', 2, "line 2 is not JSON"),
        ("a.jsonl", '{"user_id": "u1"}\n[1]\n{"user_id": "u3"}', 2, "line 2 is not a JSON object"),
        ("a.jsonl", '{"user_id": "u1"}\n{"id": "u2"}\n{"user_id": "u3"}', 2, "line 2 has no 'user_id'"),
        ("a.jsonl", '{"user_id": "u1"}\n{"user_id": true}\n{"user_id": "u3"}', 2, "line 2 has no 'user_id'"),
        ("a.jsonl", '{"user_id": "u1"}\n{"user_id": 1.5}\n{"user_id": "u3"}', 2, "line 2 has no 'user_id'"),
        (
            "a.jsonl",
            '{"user_id": "u1"}\n{"user_id": "u2", "n": 12345678901234567890123}\n{"user_id": "u3"}',
            2,
            "line 2 holds a whole number beyond 64 bits",
        ),
        (
            "a.jsonl",
            '{"user_id": "u1"}\n{"user_id": "u2", "n": ' + "[" * 300 + "]" * 300 + '}\n{"user_id": "u3"}',
            2,
            "line 2 cannot be written again",
        ),
    ],
)
def test_a_bad_row_is_told_by_its_line_and_stops_nothing(tmp_path, name, content, line, problem):
    rows = list(table(tmp_path, name, content))
    assert ids(rows) == ["u1", None, "u3"]
    assert rows[1].line == line
    assert problem in rows[1].problem


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.csv", "id,n\nu,1\n", "no column 'user_id'; the columns are: id, n"),
        ("a.csv", "", "no column 'user_id'; the columns are: none"),
        ("a.csv", "user_id,n,n\nu,1,2\n", "same name"),
        ("a.csv", b"user_id\n\xff\n", "is not UTF-8"),
        ("a.jsonl", b"\xff\n", "is not UTF-8"),
        ("a.jsonl", '{"id": "u1"}\n{"id": "u2"}', "no column 'user_id'; the columns are: id"),
        ("a.csv", 'user_id,n\nu1,"open\nu2,2\nu3,3\n', "the CSV breaks off at line"),
        ("unnamed", "id,team\n1,red\n", "cannot tell what .* is"),
        ("unnamed", "user_id;team\nu1;red\n", "cannot tell what .* is"),
        ("unnamed", '[{"user_id": "u1"}]', "cannot tell what .* is"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path, name, content, reason):
    with pytest.raises(ConfigError, match=reason):
        survey(table(tmp_path, name, content))


@pytest.mark.parametrize("name", ["missing.csv", "missing"])
def test_a_missing_file_is_said_to_be(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot read .*missing.*: No such file"):
        Rows(tmp_path / name, "user_id")


def test_numbers_of_many_digits_that_fit_are_kept(tmp_path):
    text = (
        '{"user_id": "u", "n": 18446744073709551615, "x": 0.12345678901234567, "t": "1234567890123456789012"}'
    )
    (row,) = table(tmp_path, "a.jsonl", text)
    assert (row.problem, row.fields["n"], row.fields["t"]) == (None, 2**64 - 1, "1234567890123456789012")


def test_an_empty_list_is_a_list(tmp_path):
    assert ids(table(tmp_path, "a.txt", "")) == []
    assert ids(table(tmp_path, "empty", "")) == []


@pytest.mark.parametrize("name", ["users.csv.gz", "users.csv.zst", "no-suffix", "users.csv"])
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_compressed_files_are_read_as_they_are(tmp_path, name, pack):
    content = "user_id,n\n" + "".join(f"u{number},{number}\n" for number in range(50_000))
    rows = table(tmp_path, name, pack(content.encode()))
    assert ids(rows) == [f"u{number}" for number in range(50_000)]


def test_compressed_files_of_several_parts_are_read_to_the_end(tmp_path):
    for pack in (gzip.compress, zstandard.compress):
        assert ids(table(tmp_path, "users.txt", pack(b"u1\n") + pack(b"u2\n"))) == ["u1", "u2"]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.compress])
def test_a_compressed_file_that_is_broken_is_said_to_be(tmp_path, pack):
    packed = pack(b"".join(b"user-%d\n" % (number**7) for number in range(10_000)))
    with pytest.raises(ConfigError, match="compress"):
        survey(table(tmp_path, "users.txt", packed[: len(packed) // 2]))
    with pytest.raises(ConfigError, match="compress"):
        survey(table(tmp_path, "users.txt", packed[:60] + b"garbage" * 100))


def test_a_survey_knows_columns_and_who_comes_again(tmp_path):
    text = '{"user_id": "u", "b": 1}\n{"a": 2, "user_id": "v"}\nbad\n{"user_id": "u"}\n{"user_id": "u"}'
    rows = table(tmp_path, "a.jsonl", text)
    found = survey(rows)
    assert (found.rows, found.again) == (5, 2)
    assert found.columns == ("user_id", "b", "a")
    assert [number for number, _ in numbered(rows, found, lambda row: row.user_id)] == [0, 1, 2, 0, 0]
    assert [number for number, _ in numbered(rows, found, None)] == [0, 1, 2, 3, 4]


def test_users_whose_hashes_meet_are_not_taken_for_one(tmp_path):
    class Meeting(str):
        __slots__ = ()

        def __hash__(self):
            return 7

    rows = table(tmp_path, "a.txt", "u1\nu2\nu1\n")
    key = lambda row: Meeting(row.user_id)  # noqa: E731
    found = look_over(rows, key, kinds=False)
    assert [number for number, _ in numbered(rows, found, key)] == [0, 1, 0]


def test_another_content_is_another_digest(tmp_path):
    first = survey(table(tmp_path, "a.txt", "u1\nu2\n")).digest
    assert survey(table(tmp_path, "b.txt", "u1\nu2\n")).digest == first
    assert survey(table(tmp_path, "a.txt", "u1\nu3\n")).digest != first


async def test_rows_of_any_iterable_are_a_list():
    async def several():
        yield {"user_id": "u1", "n": 1}
        yield "u2"

    for source in (several(), [{"user_id": "u1", "n": 1}, "u2"], iter(({"user_id": "u1", "n": 1}, "u2"))):
        async with opened(source, "user_id") as rows:
            assert ids(rows) == ["u1", "u2"] == ids(rows)
            assert next(iter(rows)).fields == {"user_id": "u1", "n": 1}


@pytest.mark.parametrize("source", [7, None, [{"user_id": object()}]])
async def test_what_holds_no_rows_is_refused(source):
    with pytest.raises(ConfigError, match=r"rows|row"):
        async with opened(source, "user_id"):
            pass
