"""The IDX reader: round trips, every kind of damage, and what a hostile header may
claim.
"""

import gzip
import math
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from minilib.data.idx import read_idx

HUGE = 2**32 - 1
arrays = npst.arrays(
    np.uint8, npst.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=5)
)


def idx(array: np.ndarray) -> bytes:
    """A whole IDX file, written from the format's definition."""
    return (
        bytes([0, 0, 8, array.ndim])
        + struct.pack(f">{array.ndim}I", *array.shape)
        + array.tobytes()
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Writes a file and says where; hypothesis uses one folder for all its examples."""
    folder = tmp_path_factory.mktemp("idx")

    def write(content: bytes, name: str = "some-idx") -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


@given(array=arrays, zipped=st.booleans())
def test_idx_round_trip(place, array, zipped):
    path = (
        place(gzip.compress(idx(array), 1), "some.gz") if zipped else place(idx(array))
    )
    back = read_idx(path)
    assert back.dtype == np.uint8
    assert back.shape == array.shape
    assert np.array_equal(back, array)
    assert back.flags.writeable


def test_a_folder_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(IsADirectoryError, match="is a folder: name in it one in the"):
        read_idx(f"{tmp_path}")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*a\.gz: name one"):
        read_idx(tmp_path / "a.gz")


@given(array=arrays, data=st.data())
def test_idx_truncated_anywhere(place, array, data):
    whole = idx(array)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(
        ValueError, match=r"some-idx cannot be read: .* Fetch the file again"
    ):
        read_idx(place(whole[:cut]))


@given(array=arrays, extra=st.binary(min_size=1, max_size=9))
def test_idx_with_trailing_bytes(place, array, extra):
    with pytest.raises(
        ValueError,
        match=f"that is {array.size} bytes, but {array.size + len(extra)} follow",
    ):
        read_idx(place(idx(array) + extra))


@given(array=arrays, position=st.integers(0, 3), value=st.integers(0, 255))
def test_idx_with_a_wrong_magic_byte(place, array, position, value):
    content = bytearray(idx(array))
    if content[position] == value:
        value = (value + 1) % 256
    content[position] = value
    # another number of dimensions can be a lawful file: then it is that one
    if position == 3 and 1 <= value <= 3:
        start = 4 + 4 * value
        shape = (
            struct.unpack(f">{value}I", content[4:start])
            if len(content) >= start
            else None
        )
        if shape and math.prod(shape) == len(content) - start:
            assert read_idx(place(bytes(content))).shape == shape
            return
    wrong = {
        0: "two zero bytes",
        1: "two zero bytes",
        2: "only uint8",
        3: "dimension|header",
    }[position]
    with pytest.raises(ValueError, match=wrong):
        read_idx(place(bytes(content)))


@given(array=arrays, axis=st.integers(0, 2), count=st.integers(0, 2**32 - 1))
def test_idx_with_a_lying_count_is_refused_before_memory_is_taken(
    place, array, axis, count
):
    content, shape = bytearray(idx(array)), list(array.shape)
    axis %= array.ndim
    content[4 + 4 * axis : 8 + 4 * axis], shape[axis] = struct.pack(">I", count), count
    path = place(bytes(content))
    if math.prod(shape) == array.size:
        assert read_idx(path).shape == tuple(shape)
    else:
        with pytest.raises(ValueError, match="its header says"):
            read_idx(path)


BROKEN_GZIP = {
    "empty": b"",
    "text": b"not gzip",
    "cut": gzip.compress(b"x" * 99, mtime=0)[:-9],
}


@pytest.mark.parametrize("content", BROKEN_GZIP.values(), ids=BROKEN_GZIP)
def test_a_name_in_gz_without_a_whole_gzip_file(place, content):
    with pytest.raises(ValueError, match=r"odd\.gz cannot be read"):
        read_idx(place(content, "odd.gz"))


def test_a_name_that_says_otherwise_than_the_content_is_told_so(place):
    whole = idx(np.ones((2, 2), np.uint8))
    with pytest.raises(ValueError, match=r"odd\.gz is a plain IDX file.*call it odd$"):
        read_idx(place(whole, "odd.gz"))
    with pytest.raises(ValueError, match=r"odd is a gzip file.*call it odd\.gz$"):
        read_idx(place(gzip.compress(whole), "odd"))


@given(position=st.integers(0, 60), bit=st.integers(0, 7))
def test_a_gzip_file_with_a_flipped_bit_is_refused_unless_it_says_the_same(
    place, position, bit
):
    array = np.arange(250, dtype=np.uint8)
    content = bytearray(gzip.compress(idx(array), mtime=0))
    content[position] ^= 1 << bit
    try:
        assert np.array_equal(read_idx(place(bytes(content), "flip.gz")), array)
    except ValueError as error:
        assert "flip.gz cannot be read" in str(error)  # noqa: PT017
        return
    # bits of the header, or of the first block's, that change nothing
    assert position <= 10


def header(*shape: int) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("idx")


@given(
    shape=st.lists(st.integers(2**16, HUGE), min_size=2, max_size=3),
    zipped=st.booleans(),
    after=st.binary(max_size=20),
)
def test_a_huge_claim_takes_no_memory(folder, shape, zipped, after):
    path = folder / f"huge{'.gz' * zipped}"
    path.write_bytes(
        gzip.compress(header(*shape) + after) if zipped else header(*shape) + after
    )
    tracemalloc.start()
    try:
        with pytest.raises(
            ValueError,
            match=rf"huge.* cannot be read: its header says .* but {len(after)} follow",
        ):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(0, HUGE, HUGE), (HUGE, HUGE, 0), (HUGE, 0, HUGE)])
def test_a_zero_among_huge_numbers_is_refused_and_the_file_named(folder, shape):
    (folder / "zero").write_bytes(header(*shape))
    with pytest.raises(
        ValueError,
        match=r"zero cannot be read: its header says .*, which is too large\. Fetch",
    ):
        read_idx(folder / "zero")


def test_one_file_by_hand(folder):
    """Two pictures of 1 × 3, byte by byte from the format's definition."""
    (folder / "hand").write_bytes(
        b"\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x03\x01\x02\x03\xfd\xfe\xff"
    )
    assert read_idx(folder / "hand").tolist() == [[[1, 2, 3]], [[253, 254, 255]]]


@pytest.mark.parametrize("dimensions", [0, 4, 255])
def test_other_numbers_of_dimensions_are_refused(folder, dimensions):
    (folder / "dimensions").write_bytes(
        bytes([0, 0, 8, dimensions]) + b"\0\0\0\x01" * dimensions + b"\0"
    )
    with pytest.raises(
        ValueError,
        match=rf"expected 1 dimension \(labels\) to 3 \(pictures\), got {dimensions}",
    ):
        read_idx(folder / "dimensions")
