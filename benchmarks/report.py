"""Figures as people read them: a Markdown table and a bar chart."""

from xml.sax.saxutils import escape

NAMES = {
    "floor": "the floor: raw socket, C parser",
    "profilekit_stream": "profilekit, stream",
    "profilekit_send": "profilekit, send",
    "profilekit_session": "profilekit over an aiohttp session",
    "wreq_msgspec": "wreq (Rust) + msgspec",
    "pyreqwest_msgspec": "pyreqwest (Rust) + msgspec",
    "aiohttp_tuned": "aiohttp, tuned, + msgspec",
    "aiohttp_usual": "aiohttp as most people write it",
    "niquests_msgspec": "niquests + msgspec",
    "httpx2_pydantic": "httpx2 + pydantic",
    "httpx_pydantic": "httpx + pydantic",
    "decode_orjson": "orjson.loads",
    "decode_profilekit": "profilekit, typed",
    "decode_into": "profilekit, into ids and cohorts",
    "decode_json": "json.loads",
    "decode_pydantic": "pydantic",
    "decode_cattrs": "cattrs over orjson",
}


def name_of(key):
    name, _, loop = key.partition("+")
    return NAMES[name] + (", uvloop" if loop else "")


def table(head, align, rows):
    """Return a Markdown table; ``align`` has one sign a column, "-" for left and ":" for right."""
    marks = ["--:" if sign == ":" else "---" for sign in align]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, marks, *rows))


def contenders(result):
    """Return the table of a comparison."""
    rows = [
        (
            name_of(key),
            f"{row['cpu_us']:.1f} us ({row['cpu_us_least']:.1f}-{row['cpu_us_most']:.1f})",
            f"{row['ratio']:.2f}",
            f"{row['per_second']:.0f}",
            f"{row['p50_ms']:.1f} / {row['p99_ms']:.1f} ms",
            f"{row['peak_mib']:.0f} MiB",
            f"{row['minor_faults']:.2f}",
            f"{row['collection_ms']:.0f} ms",
        )
        for key, row in sorted(result["rows"].items(), key=lambda item: item[1]["cpu_us"])
    ]
    rows += [
        (name_of(key), f"not measured: {reason}", *[""] * 6) for key, reason in result["missing"].items()
    ]
    head = ("", "CPU each (least-most)", "ratio", "a second", "p50 / p99", "peak", "faults", "collection")
    return table(head, "-:::::::", rows)


def figures(result):
    """Return the table of a part without contenders."""
    rows = [
        (name.replace("_", " "), *(f"{spread[key]:.3g}" for key in ("median", "least", "most")))
        for name, spread in result.items()
    ]
    return table(("", "median", "least", "most"), "-:::", rows)


def svg(result):
    """Draw each contender's cost as a bar, in multiples of the first."""
    rows = sorted(result["rows"].items(), key=lambda item: item[1]["ratio"])
    scale = 420 / max(row["ratio"] for _, row in rows)
    size = f'width="760" height="{24 * len(rows) + 16}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">']
    parts.append('<rect width="100%" height="100%" fill="white"/>')
    for place, (key, row) in enumerate(rows):
        y = 24 * place + 8
        fill = "#2563eb" if key.startswith("profilekit") else "#94a3b8"
        width = max(2.0, row["ratio"] * scale)
        parts.append(
            f'<text x="270" y="{y + 14}" text-anchor="end">{escape(name_of(key))}</text>'
            f'<rect x="280" y="{y}" width="{width:.1f}" height="18" fill="{fill}"/>'
            f'<text x="{286 + width:.1f}" y="{y + 14}">{row["ratio"]:.1f}</text>'
        )
    return "".join(parts) + "</svg>\n"
