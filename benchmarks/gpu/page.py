"""The results of the parts as a Markdown page."""

TITLES = {
    "machine": "The machine",
    "data": "The data",
    "tests": "Tests that need a GPU",
    "metrics": "Metrics on the device",
    "training": "The default training in bf16",
    "networks": "Speed and memory of six networks",
    "resume": "Deterministic resume",
    "fsdp": "FSDP on one GPU",
    "postprocess": "Post-processing in validation",
    "loader": "Is training bound by the loader?",
    "export": "Exported programs",
    "deterministic": "The cost of deterministic algorithms",
    "compiled": "Compiled networks",
}


def write_page(content, descriptions):
    """The page.

    Args:
        content: of results.json.
        descriptions: part -> what it measures.
    """
    lines = ["# Measured on a GPU", ""]
    if content["smoke"]:
        lines += ["**A dry run on the CPU with small sizes: these figures mean nothing.**", ""]
    lines += [f"Written by `benchmarks/gpu/run`, started {content['started']}.", ""]
    for name, part in content["parts"].items():
        lines += [f"## {TITLES[name]}", "", descriptions[name], ""]
        if part["status"] != "ok":
            lines += [f"**This part did not end well: {part['status']}.**", ""]
        if part["error"]:
            lines += ["```", part["error"], "```", ""]
        if part["facts"]:
            lines += table(
                [{"quantity": key, "value": part["facts"][key]} for key in part["facts"]]
            )
        for title, rows in part["tables"].items():
            lines += [f"{title}:", "", *table(rows)]
        lines += [f"({part['seconds']} s)", ""]
    return "\n".join(lines)


def table(rows):
    """Rows of the same or different columns as lines of a Markdown table."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = [text_of(row.get(column, "")) for column in columns]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def text_of(value):
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:.4g}" if isinstance(value, float) and abs(value) < 1e4 else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
