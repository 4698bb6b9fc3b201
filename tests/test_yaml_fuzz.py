"""Mutated YAML gives a config or our error, and never a hang: by bytes, by lines, and by what YAML's grammar is made of."""

import contextlib
import random
import time

import pytest

from stockrnn.configfile import build_config, load_config, shipped_configs, to_yaml
from stockrnn.errors import ConfigError
from stockrnn.storage import shipped
from stockrnn.strictyaml import MAX_BYTES, parse_yaml

SEEDS = [(shipped("configs") / name).read_bytes() for name in shipped_configs()] + [to_yaml(load_config("lstm")).encode()]
TOKENS = [
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "!!python/object:os.system ",
    "!x ",
    "|",
    ">",
    "? ",
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "#",
    "'",
    '"',
    "<<: ",
    "\t",
]
TOKENS += [
    "\\x00",
    "\\u0000",
    "\\ud800",
    "\ufeff",
    "\u2028",
    "\x85",
    "1e999",
    "-0",
    ".inf",
    ".nan",
    "0x1F",
    "1_0",
    "_1",
    "9" * 400,
    "9" * 5000,
    "null",
    "~",
    "ON",
    "2024-01-01",
    "12:30",
]
TOKENS += [
    "  ",
    "\n",
    "\r",
    "\0",
    "é",
    "\U0001f600",
    "model",
    "train:",
    "units: [",
    "window: {lookback: ",
    "data",
    "[" * 30,
    "{a: " * 30,
    "- " * 30,
    "a: " * 30,
]


def mutated(dice):
    data = bytearray(dice.choice(SEEDS))
    for _ in range(dice.randint(1, 6)):
        at = dice.randrange(len(data) + 1)
        kind = dice.randrange(6)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            del data[at : at + dice.randint(1, 40)]
        elif kind == 2:
            data[at:at] = dice.choice(TOKENS).encode("utf-8", "surrogatepass")
        elif kind == 3:
            lines = bytes(data).split(b"\n")
            dice.shuffle(lines)
            data = bytearray(b"\n".join(lines))
        elif kind == 4:
            part = bytes(data[at : at + dice.randint(1, 60)])
            data[at:at] = part * dice.randint(1, 4)
        else:
            data[at : at + 1] = bytes([dice.randrange(256)])
    return bytes(data)


def fuzz(count, seed):
    """The configs and errors among mutated files, and the longest time of one; anything but our errors is raised."""
    dice, configs, longest, refusals = random.Random(seed), 0, 0.0, []
    for _ in range(count):
        data = mutated(dice)
        start = time.process_time()
        try:
            build_config(parse_yaml(data, "c.yaml"), "c.yaml")
            configs += 1
        except ConfigError as error:
            refusals.append(str(error))
        longest = max(longest, time.process_time() - start)
    assert not any("\n" in refusal for refusal in refusals)
    return configs, longest


def test_mutated_yaml_is_a_config_or_our_error():
    configs, _ = fuzz(300, seed=0)
    assert 0 < configs < 300


@pytest.mark.slow
def test_a_hundred_thousand_mutated_files():
    configs, longest = fuzz(100_000, seed=1)
    assert 0 < configs < 100_000
    assert longest < 2.0
    print(f"{configs} configs, longest {longest:.3f} s")


FULL = {
    "brackets": b"a: " + b"[" * (MAX_BYTES - 10),
    "braces": b"{" * (MAX_BYTES - 10),
    "dashes": b"- " * (MAX_BYTES // 2 - 10),
    "keys": b"\n".join(b"k%d: 1" % k for k in range(6000)),
    "questions": b"? " * (MAX_BYTES // 2 - 10),
    "quotes": b"a: '" + b"''" * (MAX_BYTES // 2 - 10),
    "escapes": b'a: "' + b"\\x41" * (MAX_BYTES // 4 - 10) + b'"',
    "blank lines": b"a:\n" + b"\n" * (MAX_BYTES - 10),
    "comments": b"#" * (MAX_BYTES - 10),
    "digits": b"a: " + b"9" * (MAX_BYTES - 10),
    "underscores": b"a: 1" + b"_1" * (MAX_BYTES // 2 - 10) + b"x",
    "points": b"a: ." + b"0" * (MAX_BYTES - 10) + b"x",
    "one long plain": b"a: " + b"x " * (MAX_BYTES // 2 - 10),
    "flow values": b"a: [" + b"1," * (MAX_BYTES // 2 - 10) + b"1]",
    "block": b"a: |\n" + b"  x\n" * (MAX_BYTES // 4 - 10),
    "tabs": b"a:\t" + b"\t" * (MAX_BYTES - 10),
    "documents": b"---\n" * (MAX_BYTES // 4 - 10),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(FULL))
def test_the_largest_file_of_a_kind_does_not_hang(kind):
    start = time.process_time()
    with contextlib.suppress(ConfigError):
        build_config(parse_yaml(FULL[kind], "c.yaml"), "c.yaml")
    assert time.process_time() - start < 10.0
