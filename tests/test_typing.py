"""What mypy --strict makes of the package, seen from the code of those who use it."""

from pathlib import Path

import pytest
from mypy import api

HERE = Path(__file__).parent / "typing"


@pytest.mark.parametrize("name", ["accepted", "rejected"])
def test_mypy(name, tmp_path):
    out, err, status = api.run(
        [
            "--strict",
            "--config-file=",
            f"--cache-dir={tmp_path}",
            "--no-error-summary",
            str(HERE / f"{name}.py"),
        ]
    )
    assert (out + err, status) == ("", 0)


def test_the_negative_samples_can_fail(tmp_path):
    """Without its ignores, every line of the negative samples is an error."""
    text = (HERE / "rejected.py").read_text()
    bare = tmp_path / "bare.py"
    bare.write_text("\n".join(line.partition("  # type: ignore")[0] for line in text.splitlines()))
    out, _, status = api.run(["--strict", "--config-file=", f"--cache-dir={tmp_path}", str(bare)])
    assert status == 1
    assert out.count(": error: ") >= text.count("# type: ignore")
