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
}


def name_of(key):
    name, _, loop = key.partition("+")
    return NAMES[name] + (", uvloop" if loop else "")


def markdown(result):
    lines = [
        "| | CPU a request (least-most) | to the floor | requests/s | p50 / p99 | peak | faults |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {name_of(key)} | {row['cpu_us']:.0f} us ({row['cpu_us_least']:.0f}-{row['cpu_us_most']:.0f})"
        f" | {row['to_floor']:.2f} | {row['per_second']:.0f} | {row['p50_ms']:.1f} / {row['p99_ms']:.1f} ms"
        f" | {row['peak_mib']:.0f} MiB | {row['minor_faults']:.2f} |"
        for key, row in sorted(result["rows"].items(), key=lambda item: item[1]["cpu_us"])
    ]
    lines += [
        f"| {name_of(key)} | not measured: {reason} | | | | | |" for key, reason in result["missing"].items()
    ]
    return "\n".join(lines)


def svg(result):
    """Draw each contender's cost as a bar, in multiples of the floor."""
    rows = sorted(result["rows"].items(), key=lambda item: item[1]["to_floor"])
    scale = 420 / max(row["to_floor"] for _, row in rows)
    size = f'width="760" height="{24 * len(rows) + 16}"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">']
    parts.append('<rect width="100%" height="100%" fill="white"/>')
    for place, (key, row) in enumerate(rows):
        y = 24 * place + 8
        fill = "#2563eb" if key.startswith("profilekit") else "#94a3b8"
        width = max(2.0, row["to_floor"] * scale)
        parts.append(
            f'<text x="270" y="{y + 14}" text-anchor="end">{escape(name_of(key))}</text>'
            f'<rect x="280" y="{y}" width="{width:.1f}" height="18" fill="{fill}"/>'
            f'<text x="{286 + width:.1f}" y="{y + 14}">{row["to_floor"]:.1f}</text>'
        )
    return "".join(parts) + "</svg>\n"
