"""Write the generated blocks of the README afresh: python -m tests.generate README.md."""

import re
import sys
from pathlib import Path

import typer

from stockrnn import errors
from stockrnn.cli import app
from stockrnn.configfile import config_fields, find_config, shipped_configs
from tests import combinations
from tests.benchmarks import figures


def commands(command=None, name="stockrnn"):
    """Every command with its arguments and first help line."""
    command = command or typer.main.get_command(app)
    if hasattr(command, "commands"):
        return [row for key, child in command.commands.items() for row in commands(child, f"{name} {key}")]
    parameters = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            parameters.append(parameter.name.upper() if parameter.required else f"[{parameter.name.upper()}]")
        else:
            flag = parameter.opts[0]
            value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.split('_')[-1].upper()}"
            parameters.append(f"[{flag}{value}]")
    return [(f"`{' '.join([name, *parameters])}`", command.help.splitlines()[0])]


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def exit_codes():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.StockRNNError)]
    first = {}
    for kind in kinds:
        if kind is not errors.NotFittedError and kind is not errors.StockRNNError and kind is not errors.InterruptedRunError:
            first[kind.exit_code] = kind.__doc__.splitlines()[0]
    rows = [("0", "Done."), ("1", "A bug: one line, and the traceback in a log file.")]
    rows += [(str(code), first[code]) for code in sorted(first)]
    return [*rows, ("130, 143", "Interrupted by SIGINT or SIGTERM.")]


def title(name):
    """The first line of a shipped config, without its full stop."""
    line = find_config(name).read_text().splitlines()[0].lstrip("# ")
    return line[0].lower() + line[1:].rstrip(".")


def sections():
    """A row for each section of the config, with a line for each of its keys."""
    lines = {}
    for path, values, default, meaning in config_fields():
        section, _, key = path.rpartition(".")
        lines.setdefault(section, []).append(f"`{key}` ({values}; `{default}`): {meaning}")
    return [(f"`{section}`", "<br>".join(keys)) for section, keys in lines.items()]


BLOCKS = {
    "commands": lambda: table(("command", "does"), commands()),
    "configs": lambda: "Shipped: " + " · ".join(f"`{name}` {title(name)}" for name in shipped_configs()),
    "config": lambda: table(("section", "`key` (values; default): meaning"), sections()),
    "benchmarks": lambda: table(figures.table()[0], figures.table()[1:]) + f"\n\n{figures.caption()}",
    "combinations": lambda: table(("option", "architectures", "heads"), combinations.rows()),
    "exit codes": lambda: (
        "Exit codes: " + " · ".join(f"{code} {meaning[0].lower()}{meaning[1:].rstrip('.')}" for code, meaning in exit_codes())
    ),
}


def generated(text):
    """The text with every generated block as it should be."""
    for name, block in BLOCKS.items():
        pattern = rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda found, block=block: f"{found[1]}{block()}\n{found[2]}", text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        Path(argument).write_text(generated(Path(argument).read_text()))
