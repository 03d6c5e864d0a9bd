"""From a file to a file, over a stub transport on a virtual clock."""

import csv
import json
import os
from contextlib import aclosing

import orjson
import pytest
from clock import virtual
from stub import Stub, response

from profilekit import ProfileClient, Rate, amplitude
from profilekit.bulk import enrich, open_sink, open_table
from profilekit.errors import AuthError, ConfigError, ProfileNotFoundError

ACCOUNT = amplitude.Account(secret_key="key", rate=Rate(1_000_000, per=1))


def answer(request):
    user = request.target.rpartition("=")[2]
    if user.startswith("lost"):
        return response(404, b"not here, \xe2\x80\xa8 really")
    return response(200, b'{"userData": {"user_id": "%s", "amp_props": {"n": 1, "x": null}}}' % user.encode())


def run(tmp_path, name, content, output, *, prefix="", id_column="user_id"):
    source = tmp_path / name
    source.write_text(content)
    stub = Stub(answer, latency=0.1)

    async def main():
        table = open_table(source, id_column)
        async with ProfileClient(ACCOUNT, transport=stub) as client:
            with open_sink(tmp_path / output, table.columns, prefix=prefix) as write:
                async with aclosing(enrich(client, table, amplitude.GetProfile)) as rows:
                    async for row in rows:
                        write(row)

    virtual(main())
    return stub


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_csv_to_jsonl(tmp_path):
    run(tmp_path, "in.csv", "user_id,team\nu1,red\nlost,blue\nu2,\n", "out.jsonl")
    rows = lines(tmp_path / "out.jsonl")
    assert rows[0] == {
        "user_id": "u1",
        "team": "red",
        "profile": {"user_id": "u1", "amp_props": {"n": 1, "x": None}},
        "error": None,
    }
    assert (rows[1]["user_id"], rows[1]["team"], rows[1]["profile"]) == ("lost", "blue", None)
    assert (rows[1]["error"]["type"], rows[1]["error"]["status"]) == ("ProfileNotFoundError", 404)
    assert "404" in rows[1]["error"]["message"]
    assert rows[2]["team"] == ""


def test_jsonl_to_csv(tmp_path):
    content = '{"user_id": "u1", "tags": ["a"], "n": null}\n{"user_id": "lost", "extra": true}\n'
    run(tmp_path, "in.jsonl", content, "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["user_id", "tags", "n", "extra", "profile", "error"]
    assert (rows[0]["tags"], rows[0]["n"], rows[0]["extra"]) == ('["a"]', "", "")
    assert orjson.loads(rows[0]["profile"])["user_id"] == "u1"
    assert rows[0]["error"] == ""
    assert rows[1]["extra"] == "true"
    assert rows[1]["profile"] == ""
    assert rows[1]["error"].startswith("ProfileNotFoundError: amplitude.GetProfile: the vendor answered 404")


def test_rows_keep_their_order_and_ids_that_come_again_are_fetched_once(tmp_path):
    order = (
        [f"u{number % 7}" for number in range(100)] + ["lost"] * 3 + [f"v{number}" for number in range(100)]
    )
    stub = run(tmp_path, "in.txt", "\n".join(order), "out.jsonl")
    rows = lines(tmp_path / "out.jsonl")
    assert [row["user_id"] for row in rows] == order
    for row in rows:
        if row["user_id"] == "lost":
            assert row["error"]["type"] == "ProfileNotFoundError"
        else:
            assert row["profile"]["user_id"] == row["user_id"]
    assert len(stub.requests) == 7 + 1 + 100


def test_bad_rows_and_bad_ids_are_in_the_output_with_their_error(tmp_path):
    content = 'user_id,n\nu1,1\n,2\nu2\nnull,3\nu1,4\n" ",5\n'
    stub = run(tmp_path, "in.csv", content, "out.jsonl")
    rows = lines(tmp_path / "out.jsonl")
    errors = [row["error"] and row["error"]["message"] for row in rows]
    assert errors[0] is None
    assert "blank" in errors[1]
    assert "line 4 has 1 cells under 2 columns" in errors[2]
    assert "an id got lost" in errors[3]
    assert errors[4] is None
    assert "blank" in errors[5]
    assert len(stub.requests) == 1


def test_results_are_kept_only_while_they_are_needed_again(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("\n".join(["a", "b", "a", "c", "a", "b"]))
    seen = []

    async def main():
        async with ProfileClient(ACCOUNT, transport=Stub(answer)) as client:
            rows = enrich(client, open_table(source), amplitude.GetProfile)
            async for row in rows:
                seen.append((row.row.user_id, sorted(rows.ag_frame.f_locals["kept"])))

    virtual(main())
    assert seen == [
        ("a", ["a"]),
        ("b", ["a", "b"]),
        ("a", ["a", "b"]),
        ("c", ["a", "b"]),
        ("a", ["b"]),
        ("b", []),
    ]


def test_odd_cells_are_one_cell_each(tmp_path):
    cells = ["a\rb", "a\nb", 'a"b', "a,b", " a ", "é日"]
    content = "\n".join(
        json.dumps({"user_id": f"u{number}", "cell": cell}) for number, cell in enumerate(cells)
    )
    run(tmp_path, "in.jsonl", content, "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert [row["cell"] for row in csv.DictReader(file)] == cells


def test_an_input_that_changes_meanwhile_is_noticed(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("u1\nu2\nu3\n")

    async def main():
        table = open_table(source)
        source.write_text("u1\nu2\n")
        async with ProfileClient(ACCOUNT, transport=Stub(answer)) as client:
            async for _ in enrich(client, table, amplitude.GetProfile):
                pass

    with pytest.raises(ConfigError, match="3 rows became 2"):
        virtual(main())


def test_a_prefix_lets_outputs_be_enriched_again(tmp_path):
    run(tmp_path, "in.txt", "u1\n", "one.jsonl")
    with pytest.raises(ConfigError, match="already has a column 'error'"):
        run(tmp_path, "again.jsonl", (tmp_path / "one.jsonl").read_text(), "two.jsonl")
    run(tmp_path, "again.jsonl", (tmp_path / "one.jsonl").read_text(), "two.jsonl", prefix="second_")
    (row,) = lines(tmp_path / "two.jsonl")
    assert list(row) == ["user_id", "profile", "error", "second_profile", "second_error"]


def test_the_output_is_whole_or_not_there(tmp_path):
    path = tmp_path / "out.csv"
    path.write_text("before")
    with pytest.raises(AuthError), open_sink(path, ["user_id"]):
        assert len(list(tmp_path.iterdir())) == 2
        raise AuthError("stop")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    with open_sink(path, ["user_id"]):
        pass
    assert path.read_bytes() == b"user_id,profile,error\r\n"
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def test_an_output_that_is_there_keeps_its_mode_and_its_place(tmp_path):
    kept, link = tmp_path / "kept.csv", tmp_path / "link.csv"
    kept.touch(mode=0o600)
    link.symlink_to(kept)
    with open_sink(link, ["user_id"]):
        pass
    assert link.is_symlink()
    assert kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_output_must_be_writable_and_of_a_known_form(tmp_path):
    with pytest.raises(ConfigError, match=r"is \.jsonl or \.csv"), open_sink(tmp_path / "out.xml", []):
        pass
    with pytest.raises(ConfigError, match="cannot write to"), open_sink(tmp_path / "no" / "out.csv", []):
        pass
    (tmp_path / "dir.csv").mkdir()
    with pytest.raises(ConfigError, match="not an ordinary file"), open_sink(tmp_path / "dir.csv", []):
        pass


def test_a_profile_or_an_error_and_never_both(tmp_path):
    source = tmp_path / "in.txt"
    source.write_text("u1\nlost\n")

    async def main():
        async with ProfileClient(ACCOUNT, transport=Stub(answer)) as client:
            return [row async for row in enrich(client, open_table(source), amplitude.GetProfile)]

    found, lost = virtual(main())
    assert (found.profile.user_id, found.error) == ("u1", None)
    assert (lost.profile, type(lost.error)) == (None, ProfileNotFoundError)
