"""The README says what the program does: generated blocks are current, commands have help, and links lead somewhere."""

import re
from pathlib import Path

import pytest

from tests.generate import BLOCKS, commands, generated

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_generated_blocks_are_current():
    assert generated(README) == README, "run `make fix`"


@pytest.mark.parametrize("name", sorted(BLOCKS))
def test_every_block_stands_in_the_readme(name):
    assert README.count(f"<!-- generated: {name} -->") == 1


def test_every_command_has_help():
    assert [usage for usage, text in commands() if len(text) < 10] == []


def test_the_readme_is_short_and_its_links_lead_to_files():
    assert len(README.splitlines()) < 200
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert "://" in target or (ROOT / target).exists(), target
