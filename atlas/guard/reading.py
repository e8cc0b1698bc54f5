"""Files that anybody may have written: read within bounds, refused in one printable line, and never told to be deleted.

``atlas.guard.formats.read_tensors`` is for the files of Atlas's own steps, which are made again by the same command.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from atlas.errors import AtlasError
from atlas.guard.formats import INDEX, REMEDY, SUFFIX, WHOLE, Contents, GgufFile, is_gguf
from atlas.guard.report import printable
from atlas.guard.weight_checks import Mismatch

JSON_AT_MOST = 2**26  # bytes; the index of a model of 100,000 tensors has 2**23
HEADER_AT_MOST = 100_000_000  # bytes, as the library safetensors has it
NAME_AT_MOST = 1000  # characters of a tensor's name; the longest of real models has about 100
OURS = "base.json"  # beside every base of a study, which is RESULTS/base/REPLICA/base.safetensors
FETCH = "fetch or copy it again"
CONVERT = "save_pretrained, or with safetensors.torch.save_file"
PICKLES = (b"PK\x03\x04", b"\x80\x02")
DEQUANTISE = "verify the checkpoint that it was quantised from"
CODES = {"float4_e2m1fn_x2"}  # dtypes of torch with several numbers a byte, which nothing can be worked out with


@contextmanager
def plainly() -> Iterator[None]:
    """Whatever keeps a checkpoint from being read is an AtlasError of one printable line; its subclasses pass."""
    try:
        yield
    except AtlasError as error:
        if type(error) is not AtlasError:
            raise
        raise AtlasError(printable(str(error))) from None
    except OSError as error:
        said = (error.strerror or str(error)).lower()
        where = printable(f"{error.filename:.200}" if isinstance(error.filename, str) else "the checkpoint")
        raise AtlasError(f"{where}: cannot be read ({said}); check the path, and who may read it") from None
    except MemoryError:
        raise AtlasError("the checkpoint takes more memory than there is; verify it on a larger machine") from None


def ours(path: Path) -> bool:
    """Whether a file is one that a step of a study made: in ``base/REPLICA``, with a manifest beside it."""
    folder = path.absolute().parent
    return folder.parent.name == "base" and folder.name.isdecimal() and (folder / OURS).is_file()


def remedy(path: Path) -> str:
    """How to mend a damaged file. What a study made is made again; what others own is theirs."""
    return REMEDY if ours(path) else FETCH


def checkpoint_in(path: Path) -> Path:
    """The checkpoint itself; of a folder the file that transformers would load, or its only safetensors or GGUF one."""
    with plainly():
        if not path.is_dir():
            return path
        for name in (WHOLE, INDEX):
            if (path / name).is_file():
                return path / name
        found = sorted(path.glob("*.safetensors")) or sorted(path.glob(f"*{SUFFIX}"))
        if len(found) == 1:
            return found[0]
        kind = "GGUF" if found and found[0].suffix == SUFFIX else "safetensors"
        convert = "; convert a .bin file with save_pretrained" if list(path.glob("*.bin")) else ""
        raise AtlasError(
            f"{path}: {len(found)} {kind} files, expected {WHOLE}, {INDEX} or a single one; "
            f"name the file to verify{convert}"
        )


def contents(path: Path) -> Contents:
    """All that a checkpoint holds, whatever it is and in however many files; of shards, where their index is wrong.

    Raises AtlasError, in one printable line, where a file is missing, damaged or cannot be read.
    """
    with plainly():
        checkpoint = checkpoint_in(path)
        if is_gguf(checkpoint):
            file = GgufFile(checkpoint)
            return Contents(tensors=file.tensors, stored=file.stored)
        if checkpoint.name.endswith(".index.json"):
            return _of_shards(checkpoint)
        return Contents(tensors=read_safetensors(checkpoint))


def _of_shards(index: Path) -> Contents:
    places, tensors, wrong = shards_of(index), dict[str, Tensor](), []
    for shard in sorted(set(places.values())):
        for name, tensor in read_safetensors(index.parent / shard).items():
            if places.get(name) != shard:
                wrong.append(Mismatch("names", name, f"in {shard}, the index has {places.get(name, 'no such tensor')}"))
            tensors.setdefault(name, tensor)
    wrong += [Mismatch("names", name, f"not in {places[name]}") for name in sorted(places.keys() - tensors.keys())]
    return Contents(tensors=tensors, misplaced=tuple(wrong))


def shards_of(index: Path) -> dict[str, str]:
    """The file beside an index of shards that has each tensor, by the tensor's name.

    Raises AtlasError where the index is none, names what does not lie beside it, or where shards are missing: all of
    them are named.
    """
    values = read_json(index)
    places = values.get("weight_map") if isinstance(values, dict) else None
    if not isinstance(places, dict) or not places:
        raise AtlasError(f"{index}: no weight_map; expected the index that save_pretrained writes beside its shards")
    for name, shard in places.items():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise AtlasError(f"{index}: weight_map.{name} is {shard!r:.100}, expected the name of a file beside it")
    shards = sorted(set(places.values()))
    if missing := [shard for shard in shards if not (index.parent / shard).is_file()]:
        raise AtlasError(
            f"{index}: {len(missing)} of its {len(shards)} shards are not there ({', '.join(missing)}); {FETCH}"
        )
    return places


def read_json(path: Path) -> Any:
    """Read JSON. Raises AtlasError where the file is missing, too large, or not JSON, or where it has a key twice."""
    if not path.is_file():
        raise AtlasError(f"{path}: no such file; check the path, or {FETCH}")
    if (size := path.stat().st_size) > JSON_AT_MOST:
        raise AtlasError(f"{path}: {size:,} bytes, expected JSON of at most {JSON_AT_MOST:,}; {remedy(path)}")
    if not size:
        raise AtlasError(f"{path}: empty, expected JSON; {remedy(path)}")
    return _parsed(path.read_bytes(), str(path), remedy(path))


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Read all tensors of a safetensors file.

    Raises AtlasError where the file is missing, truncated or has a broken header, where a name stands there twice, so
    that readers differ in which they take, and where a dtype is none that torch can work with.
    """
    _check_header(path)
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118, it is no mapping
                tensors[name] = file.get_tensor(name)
                kind = str(tensors[name].dtype).removeprefix("torch.")
                if kind in CODES:
                    raise AtlasError(f"{path}: {name} has dtype {kind}, codes without a number each; {DEQUANTISE}")
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise AtlasError(f"{path}: safetensors cannot read it ({reason}); {remedy(path)}") from None
    return tensors


def _check_header(path: Path) -> None:
    """AtlasError unless the file begins with a header of its own length, each name in it once."""
    if not path.is_file():
        raise AtlasError(f"{path}: no such file; check the path, or {FETCH}")
    whole = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(8)
        length = int.from_bytes(begin, "little")
        if len(begin) < 8 or length > min(whole - 8, HEADER_AT_MOST):
            if begin.startswith(PICKLES):
                saved = "a file of torch.save, which runs code when it is read"
                raise AtlasError(f"{path}: {saved}; convert it with {CONVERT}")
            states = f"its header should have {length:,} bytes" if len(begin) == 8 else "there is no header"
            raise AtlasError(f"{path}: not a whole safetensors file ({states}, the file has {whole:,}); {remedy(path)}")
        header = _parsed(file.read(length), f"{path}: header", remedy(path))
    if not isinstance(header, dict):
        raise AtlasError(f"{path}: the header is no JSON object; {remedy(path)}")
    ends = [entry["data_offsets"][1] for entry in header.values() if isinstance(entry, dict) and _places(entry)]
    if (reach := max(ends, default=0)) != whole - 8 - length:
        raise AtlasError(
            f"{path}: not a whole safetensors file (its tensors end after {reach:,} bytes, "
            f"{whole - 8 - length:,} are there); {remedy(path)}"
        )
    if long := [name for name in header if len(name) > NAME_AT_MOST]:
        raise AtlasError(f"{path}: a name of {len(long[0]):,} characters, {long[0][:40]}...; {remedy(path)}")


def _places(entry: dict[str, Any]) -> bool:
    offsets = entry.get("data_offsets")
    return isinstance(offsets, list) and len(offsets) == 2 and all(isinstance(at, int) for at in offsets)


def _parsed(raw: bytes, where: str, mend: str) -> Any:
    """JSON whose objects have each key once."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
            raise AtlasError(f"{where}: {twice} stands there twice, so that readers differ in what they take; {mend}")
        return found

    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=once)
    except RecursionError:
        raise AtlasError(f"{where}: nested too deeply for JSON of a checkpoint; {mend}") from None
    except ValueError as error:  # of the text or its encoding
        raise AtlasError(f"{where}: not valid JSON ({error}); {mend}") from None
