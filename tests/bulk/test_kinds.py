import pytest

from profilekit.bulk.kinds import Kinds, cell_of_kind


def kind(values, *, texts):
    kinds = Kinds(texts=texts)
    for value in values:
        kinds.see({"a": value})
    return kinds.of(["a"])["a"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "-20", "0", ""], "int"),
        (["1", "2.5", "-1e3"], "float"),
        (["true", "FALSE", ""], "bool"),
        (["007", "1"], "text"),
        (["+1"], "text"),
        (["1", "true"], "text"),
        (["1", "x", "2"], "text"),
        (["NaN", "1.5"], "text"),
        (["1234567890123456789", "5"], "int"),
        (["9223372036854775808"], "text"),
        (["12345678901234567890"], "text"),
        (["9007199254740993", "1.5"], "text"),
        (["9007199254740991", "1.5"], "float"),
        (["1e999"], "text"),
        (["", ""], "text"),
        (["\u0661\u0662"], "text"),
    ],
)
def test_a_column_of_text_is_of_the_kind_of_all_its_cells(cells, expected):
    assert kind(cells, texts=True) == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, None, -2], "int"),
        ([1, 2.5], "float"),
        ([True, None, False], "bool"),
        ([True, 1], "json"),
        (["a", None], "text"),
        (["a", 1], "json"),
        ([[1], [2]], "json"),
        ([{}], "json"),
        ([2**60, 1], "int"),
        ([2**60, 1.5], "json"),
        ([2**63], "json"),
        ([None], "json"),
    ],
)
def test_a_column_of_values_is_of_the_kind_of_all_of_them(values, expected):
    assert kind(values, texts=False) == expected


def test_cells_become_values_of_their_kind():
    assert cell_of_kind("12", "int") == 12
    assert cell_of_kind("12", "float") == 12.0
    assert cell_of_kind("False", "bool") is False
    assert cell_of_kind("12", "text") == "12"
