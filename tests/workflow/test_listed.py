"""A list of paths stands for the paths that it lists."""

from pathlib import Path

import pytest

from atlas.errors import AtlasError
from atlas.workflow import files


def test_a_text_file_stands_for_what_it_lists(tmp_path):
    paths = [f"my results/it's {number}" for number in range(6000)]
    (tmp_path / "runs.txt").write_text("\n".join(paths) + "\n")
    assert files.listed([tmp_path / "runs.txt", Path("one more")]) == [*map(Path, paths), Path("one more")]


@pytest.mark.parametrize(("text", "said"), [(None, "no such file"), ("\n", "lists no path")])
def test_a_list_that_says_nothing_is_named(tmp_path, text, said):
    if text:
        (tmp_path / "runs.txt").write_text(text)
    with pytest.raises(AtlasError, match=rf"runs\.txt: .*{said}"):
        files.listed([tmp_path / "runs.txt"])
