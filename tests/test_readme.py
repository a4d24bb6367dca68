"""Proves that what the README tells its reader is there: commands, files, and the list of files with their lines."""

import re

import file_map

from rocl import train

README = file_map.README.read_text(encoding="utf-8")


def test_the_list_of_files_is_up_to_date():
    assert file_map.BETWEEN.search(README)[2] == file_map.file_map(), "run python tests/file_map.py"


def test_every_file_it_links_to_exists():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links and not [link for link in links if not (file_map.ROOT / link).exists()]


def test_every_training_command_has_flags_that_exist(monkeypatch):
    monkeypatch.chdir(file_map.ROOT)
    commands = re.findall(r"python -m rocl\.train ([^#&\n]+)", README)
    assert len(commands) >= 2
    for words in commands:
        assert train.parse(words.split()).file.exists()


def test_no_placeholder_is_left():
    assert not re.findall(r"@[A-Z_]+@", README)
