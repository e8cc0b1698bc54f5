"""YAML that people write, read strictly: a key that is doubled is a mistake, and every key knows its line.

The plain reader takes the last of two equal keys without a word, and numbers for what they do not look like.
"""

from __future__ import annotations

import json
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from atlas.errors import AtlasError
from atlas.study.settings import BETWEEN, laid_over

Keys = tuple[str | int, ...]
"""Where a value stands: keys of mappings, and places in lists from 0."""

TAG = "tag:yaml.org,2002:"
NOT_AS_IT_LOOKS = re.compile(r"[-+]?0[0-9_]+|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
"""Numbers to the base of eight and of sixty."""


@dataclass(frozen=True)
class Document:
    """A YAML file, its mistakes among it."""

    path: str
    values: Mapping[str, Any]
    lines: dict[Keys, int] = field(default_factory=dict)
    mistakes: list[str] = field(default_factory=list)


def load(path: Path | str) -> Any:
    """The values of a YAML file. AtlasError that names each mistake with its line."""
    document = read(path)
    if document.mistakes:
        raise AtlasError(BETWEEN.join(document.mistakes))
    return document.values


def read(path: Path | str) -> Document:
    """A YAML file with a mapping on top. AtlasError where it is none."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        if Path(path).suffix == ".json":
            text = text.replace("\t", " ")  # JSON may be indented so, YAML may not
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            found = "a list" if isinstance(node, yaml.SequenceNode) else repr(node.value) if node else "nothing"
            raise AtlasError(f"{path}: found {found}, expected keys with values, such as `seeds: [1, 2]`")
        seen = Document(str(path), {})
        _look_at(node, (), seen, loader, set())
        return Document(seen.path, loader.construct_document(node), seen.lines, seen.mistakes)
    except OSError as error:
        said = "no such file" if isinstance(error, FileNotFoundError) else (error.strerror or str(error)).lower()
        raise AtlasError(f"{path}: {said}; give the path of a YAML file, such as config.yaml") from None
    except UnicodeDecodeError as error:
        raise AtlasError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise AtlasError(_not_yaml(path, error)) from None


def _not_yaml(path: Path | str, error: Exception) -> str:
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    said = " ".join(str(problem or error).split()) + (f", line {mark.line + 1}" if mark else "")
    remedy = "indent with spaces" if "\\t" in said else "close what is open, indent alike, quote text with : or #"
    return f"{path}: not valid YAML ({said}); {remedy}"


def _look_at(node: yaml.Node, keys: Keys, document: Document, loader: yaml.SafeLoader, seen: set[int]) -> None:
    """Note the line of every key below a node, and what is wrong with it; what an anchor shares is looked at once."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        lines: dict[tuple[type, Hashable], int] = {}
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if key_node.tag == f"{TAG}merge" else loader.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # the constructor refuses it
            inner: Keys = (*keys, key)  # type: ignore[arg-type]
            if first := lines.get((type(key), key)):
                document.mistakes.append(
                    f"{document.path}: {_dotted(inner)}: found twice, in lines {first} and {line}; keep one of the two"
                )
            lines.setdefault((type(key), key), line)
            document.lines[inner] = line
            _look_at(value, inner, document, loader, seen)
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            document.lines[(*keys, place)] = value.start_mark.line + 1
            _look_at(value, (*keys, place), document, loader, seen)
    elif isinstance(node, yaml.ScalarNode) and node.style is None:
        dated = node.tag == f"{TAG}timestamp"
        if dated or (node.tag in (f"{TAG}int", f"{TAG}float") and NOT_AS_IT_LOOKS.fullmatch(node.value)):
            taken = "a date" if dated else json.dumps(loader.construct_object(node))
            document.mistakes.append(
                f"{document.path}: {_dotted(keys)}: YAML takes {node.value} for {taken}; write it plainly, or in "
                f"quotes (line {node.start_mark.line + 1})"
            )


def _dotted(keys: Sequence[str | int]) -> str:
    return ".".join(map(str, keys))


def merged(documents: Iterable[Document]) -> dict[str, Any]:
    """What several files say, later ones laid over the earlier ones."""
    values: dict[str, Any] = {}
    for document in documents:
        values = laid_over(values, document.values)
    return values


def in_order_of(written: Any, given: Any) -> Any:
    """The same values, keys in the order in which they are written, and others behind them."""
    if not (isinstance(written, Mapping) and isinstance(given, Mapping)):
        return given
    keys = [*(key for key in written if key in given), *(key for key in given if key not in written)]
    return {key: in_order_of(written.get(key), given[key]) for key in keys}


def placed(mistake: str, given: Mapping[str, Any], documents: Sequence[Document], origin: str) -> str:
    """A mistake, ``KEY: what is wrong``, with the last file that has the key, and its line, as far as it is written.

    ``--config`` stands for a file where what was given is not what the files say, ``origin`` where there are none.
    """
    keys: Keys = ()
    here, there = _by_key(given), _by_key(merged(documents))
    for part in mistake.partition(": ")[0].split("."):
        key = next((key for key in here if str(key) == part), None)
        if key is None:
            break
        if documents and (key not in there or not (_by_key(here[key]) or repr(here[key]) == repr(there[key]))):
            return f"--config: {mistake}"
        keys, here, there = (*keys, key), _by_key(here[key]), _by_key(there.get(key))
    for document in reversed(documents):
        if keys in document.lines:
            return f"{document.path}: {mistake} (line {document.lines[keys]})"
    return f"{' + '.join(document.path for document in documents) or origin}: {mistake}"


def _by_key(value: Any) -> Mapping[Any, Any]:
    """What a mapping or a list holds; nothing of other values."""
    return value if isinstance(value, Mapping) else dict(enumerate(value if isinstance(value, list | tuple) else ()))
