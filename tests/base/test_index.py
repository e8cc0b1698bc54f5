"""Atlas looks for the corpus where pip looks."""

import os
import re

import pytest
from unearth import PackageFinder

from atlas.base import release
from atlas.base.release import finder_of_pip, parse_options, pip_options
from atlas.errors import AtlasError


def sources(monkeypatch, options):
    monkeypatch.setattr(release, "pip_options", lambda: options)
    return [(source["type"], source["url"]) for source in finder_of_pip().sources]


def test_the_environment_wins_over_a_command_over_all_commands():
    listed = (
        "global.index-url='https://one.test/simple'\n"
        "global.timeout='5'\n"
        "install.index-url='https://not.for.download.test'\n"
        "download.index-url='https://two.test/simple'\n"
        "download.cert='/etc/it''s/ca.pem'\n"
        ":env:.index-url='https://three.test/?a=b'\n"
    )
    assert parse_options(listed) == {
        "index-url": "https://three.test/?a=b",
        "timeout": "5",
        "cert": "/etc/its/ca.pem",
    }


def test_what_pip_itself_says(tmp_path, monkeypatch):
    for variable in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(variable)
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://one.test/simple\nfind-links = a\n    b\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_INDEX_URL", "https://two.test/simple")
    options = pip_options()
    assert options["index-url"] == "https://two.test/simple"
    assert options["find-links"].split() == ["a", "b"]


def test_a_broken_configuration_is_said_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "pip.conf").write_text("index-url without a section\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    with pytest.raises(AtlasError, match=r"pip config list: .*mend pip's configuration") as error:
        pip_options()
    assert "\n" not in str(error.value)


def test_the_public_index_unless_told_otherwise(monkeypatch):
    public = PackageFinder().sources[0]["url"]
    assert sources(monkeypatch, {}) == [("index", public)]
    assert sources(monkeypatch, {"extra-index-url": "https://more.test/simple"}) == [
        ("index", public),
        ("index", "https://more.test/simple"),
    ]


def test_indexes_and_folders(monkeypatch, tmp_path):
    options = {
        "index-url": "https://one.test/simple",
        "extra-index-url": "https://two.test/simple\nhttps://three.test/simple",
        "find-links": f"{tmp_path} https://wheels.test/list.html",
    }
    assert sources(monkeypatch, options) == [
        ("index", "https://one.test/simple"),
        ("index", "https://two.test/simple"),
        ("index", "https://three.test/simple"),
        ("find_links", tmp_path.as_uri()),
        ("find_links", "https://wheels.test/list.html"),
    ]


@pytest.mark.parametrize("yes", ["1", "true", "Yes"])
def test_no_index_is_respected(monkeypatch, tmp_path, yes):
    assert sources(monkeypatch, {"no-index": yes, "index-url": "https://one.test"}) == []
    folder = {"no-index": yes, "find-links": str(tmp_path)}
    assert sources(monkeypatch, folder) == [("find_links", tmp_path.as_uri())]


def test_a_certificate_that_is_missing_is_said(monkeypatch, tmp_path):
    complaint = f"{tmp_path / 'none.pem'}: not a file of certificates"
    with pytest.raises(AtlasError, match=re.escape(complaint)):
        sources(monkeypatch, {"cert": str(tmp_path / "none.pem")})
