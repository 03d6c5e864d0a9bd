"""CSV outputs that a spreadsheet shows, and does not run."""

import csv
import json

import pytest
from stub import Stub, response

from profilekit import ProfileClient, Rate, amplitude
from profilekit.bulk import Job, run
from profilekit.bulk.formulas import without_formula
from profilekit.errors import ConfigError

ACCOUNT = amplitude.Account(secret_key="key", rate=Rate(1_000_000, per=1))
FORMULAS = [
    "=1+1",
    "=HYPERLINK(A1)",
    "+49 30 123",
    "-1+1",
    "--1",
    "-A1",
    "@SUM(A1)",
    "\t=1",
    "\t",
    "\r",
    "\n=1",
    "  =1",
    "\u00a0=1",
    "\u3000@x",
    "\ufeff=1",
    "\x00=1",
    "\x0b+1",
    "\uff1d1",
    "\uff0b1",
    "\uff0d1",
    "\uff20x",
    "-",
    "-1 ",
    "-1e",
    "-\u0661",
]
HARMLESS = [
    "",
    " ",
    "a=1",
    "1-1",
    "-1",
    "-1.5",
    "-.5",
    "-0",
    "-1e-07",
    "-1.5E+300",
    "'=1",
    '{"a":"=1"}',
    "é",
    "a\n=1",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_run_stands_behind_an_apostrophe(text):
    assert without_formula(text) == f"'{text}"


@pytest.mark.parametrize("text", HARMLESS)
def test_all_else_stays_as_it_is(text):
    assert without_formula(text) == text


async def enriched(tmp_path, **options):
    def answer(request):
        properties = {"plan": "=cmd", "@sum": "+x", "debt": -1.5, "list": ["=a"]}
        return response(200, json.dumps({"userData": {"user_id": "=u", "amp_props": properties}}).encode())

    rows = [{"user_id": "=u", "@note": "\t=1", "n": -2, "text": "a"}]
    job = Job(source=rows, request=amplitude.GetProfile, output=tmp_path / "out.csv", **options)
    async with ProfileClient(ACCOUNT, transport=Stub(answer)) as client:
        await run(job, client)
    with (tmp_path / "out.csv").open(newline="") as file:
        return list(csv.reader(file))


async def test_headers_cells_of_the_input_and_properties_are_escaped_and_numbers_are_not(tmp_path):
    header, row = await enriched(tmp_path, properties=("plan", "@sum", "debt", "list"), escape_formulas=True)
    assert header == ["user_id", "'@note", "n", "text", "plan", "'@sum", "debt", "list", "error"]
    assert row == ["'=u", "'\t=1", "-2", "a", "'=cmd", "'+x", "-1.5", '["=a"]', ""]


async def test_a_whole_profile_is_json_and_no_formula(tmp_path):
    header, row = await enriched(tmp_path, escape_formulas=True, prefix="=")
    assert header[-2:] == ["'=profile", "'=error"]
    assert json.loads(row[-2])["user_id"] == "=u"


async def test_without_the_option_nothing_is_changed(tmp_path):
    _, row = await enriched(tmp_path, properties=("plan",))
    assert row == ["=u", "\t=1", "-2", "a", "=cmd", ""]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.jsonl.gz"])
def test_only_csv_is_escaped_and_for_all_else_that_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=r"escape_formulas=True needs a CSV output, got .*out\."):
        Job(source=["u"], request=amplitude.GetProfile, output=tmp_path / name, escape_formulas=True)
    Job(source=["u"], request=amplitude.GetProfile, output=tmp_path / "out.csv.gz", escape_formulas=True)
