"""Round trips, truncation and wrong counts are in test_data_digits; here is what a hostile header may claim."""

import gzip
import struct
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minilib.data.idx import read_idx

HUGE = 2**32 - 1


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
    path.write_bytes(gzip.compress(header(*shape) + after) if zipped else header(*shape) + after)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"huge.* cannot be read: its header says .* but {len(after)} follow"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("shape", [(0, HUGE, HUGE), (HUGE, HUGE, 0), (HUGE, 0, HUGE)])
def test_a_zero_among_huge_numbers_is_refused_and_the_file_named(folder, shape):
    (folder / "zero").write_bytes(header(*shape))
    with pytest.raises(ValueError, match=r"zero cannot be read: its header says .*, which is too large\. Fetch"):
        read_idx(folder / "zero")


def test_one_file_by_hand(folder):
    """Two pictures of 1 × 3, byte by byte from the format's definition."""
    (folder / "hand").write_bytes(b"\0\0\x08\x03\0\0\0\x02\0\0\0\x01\0\0\0\x03\x01\x02\x03\xfd\xfe\xff")
    assert read_idx(folder / "hand").tolist() == [[[1, 2, 3]], [[253, 254, 255]]]


@pytest.mark.parametrize("dimensions", [0, 4, 255])
def test_other_numbers_of_dimensions_are_refused(folder, dimensions):
    (folder / "dimensions").write_bytes(bytes([0, 0, 8, dimensions]) + b"\0\0\0\x01" * dimensions + b"\0")
    with pytest.raises(ValueError, match=rf"expected 1 dimension \(labels\) to 3 \(pictures\), got {dimensions}"):
        read_idx(folder / "dimensions")
