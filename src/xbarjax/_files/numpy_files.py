"""Arrays in `.npy` and `.npz` files. The size in a header is checked before memory is allocated."""

import io
import math
import zipfile
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

Stream: TypeAlias = IO[bytes] | io.BufferedIOBase
MAGIC = b"\x93NUMPY"
HEADERS: dict[tuple[int, ...], Any] = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
BOMB = 2**30, 100  # allowed: unpacked bytes, or else unpacked bytes per packed byte


def load_npy(file: Path) -> np.ndarray:
    """The array of a `.npy` file. Raises `ValueError` for a file without one plain array."""
    with file.open("rb") as stream:
        return _read(stream, file.stat().st_size, str(file))


def load_npz(file: Path, name: str | None) -> np.ndarray:
    """The array of this name in a `.npz` file, or its only array for `None`. Raises `ValueError` if
    there is no such array."""
    with _archive(file) as archive:
        entries = archive.infolist()
        names = [entry.filename.removesuffix(".npy") for entry in entries]
        listed = ", ".join(names) if names else "none"
        if name is None and len(names) != 1:
            raise ValueError(
                f"{file} holds {len(names)} arrays ({listed}); choose one as {file}:NAME."
            )
        name = names[0] if name is None else name
        if name not in names:
            raise ValueError(f"{file} has no array {name!r}; choose one of: {listed}.")
        if names.count(name) > 1:
            raise ValueError(f"{file} holds {name!r} twice; write the file with each name once.")
        return _read_entry(archive, entries[names.index(name)], f"{name} in {file}")


def names_in(file: Path) -> list[str]:
    """Names of the arrays in a `.npz` file."""
    with _archive(file) as archive:
        return [entry.filename.removesuffix(".npy") for entry in archive.infolist()]


def _archive(file: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except Exception as error:  # zipfile also raises struct.error and NotImplementedError
        raise ValueError(
            f"{file} is damaged or no numpy archive; write the file with numpy.savez."
        ) from error


def _read_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, what: str) -> np.ndarray:
    least, ratio = BOMB
    if entry.file_size > max(least, ratio * entry.compress_size):
        raise ValueError(
            f"{what} would unpack to {entry.file_size} bytes from {entry.compress_size}; store the"
            " array with numpy.savez, which does not compress."
        )
    try:
        stream = archive.open(entry)
    except Exception as error:  # encrypted, of unknown compression, or misplaced
        raise ValueError(_damage(what)) from error
    with stream:
        return _read(stream, entry.file_size, what)


def _read(stream: Stream, size: int, what: str) -> np.ndarray:
    """The array in a stream of `size` bytes that holds nothing else."""
    dtype, shape, fortran = _header(stream, what)
    if dtype.hasobject:
        raise ValueError(
            f"{what} holds pickled Python objects, which are not loaded; store plain numbers."
        )
    if dtype.kind not in "iuf":
        raise ValueError(f"{what} holds values of type {dtype}; it must hold real numbers.")
    if any(length < 0 for length in shape):
        raise ValueError(_damage(what))
    bytes_there, wanted = size - stream.tell(), math.prod(shape) * dtype.itemsize
    if bytes_there > wanted:
        raise ValueError(
            f"{what} goes on after its array of shape {shape}; store one array per file."
        )
    if bytes_there < wanted:
        raise ValueError(_damage(what))
    if wanted == 0:
        raise ValueError(f"{what} is empty (its shape is {shape}); it must hold numbers.")
    try:
        content = stream.read(wanted + 1)  # zipfile checks the checksum when read past the end
        flat = np.frombuffer(content, dtype)
        return flat.reshape(shape[::-1]).T if fortran else flat.reshape(shape)
    except Exception as error:  # errors of zlib and lzma, wrong checksum, early end
        raise ValueError(_damage(what)) from error


def _header(stream: Stream, what: str) -> tuple[np.dtype, tuple[int, ...], bool]:
    try:
        start = stream.read(len(MAGIC) + 2)
    except Exception as error:
        raise ValueError(_damage(what)) from error
    if start[: len(MAGIC)] != MAGIC:
        raise ValueError(f"{what} is not a numpy file; write the file with numpy.save.")
    version = tuple(start[len(MAGIC) :])
    if version not in HEADERS:  # later versions are for structured dtypes
        raise ValueError(f"{what} holds no plain numbers, or is damaged; store plain numbers.")
    try:
        shape, fortran, dtype = HEADERS[version](stream)
    except Exception as error:  # numpy evaluates the header as a Python literal
        raise ValueError(_damage(what)) from error
    return dtype, shape, fortran


def _damage(what: str) -> str:
    return f"{what} is damaged or cut short; write the file again."
