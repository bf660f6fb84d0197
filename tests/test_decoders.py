"""Content decoding: every coding whole, in pieces, cut off, corrupt and hostile; and stacks of them."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import brotli
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from httpcore import decoders
from httpcore.decoders import MAX_CODINGS, Decoder, accept_encoding, codings_of
from httpcore.exceptions import DecodingError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# Compressible in part, and larger than a decoder's step in both forms.
TEXT = b"".join(random.Random(1).choice((b"lorem ", b"ipsum ", b"dolor ")) for _ in range(50_000))
NOISE = random.Random(2).randbytes(100_000)
CONTENT = TEXT + NOISE + bytes(200_000)

STEP_LIMIT = 65536
BR_STEP_LIMIT = 96 * 1024  # brotli fills its blocks


def deflate(data: bytes) -> bytes:
    return zlib.compress(data)


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


def br(data: bytes) -> bytes:
    return bytes(brotli.compress(data, quality=5))


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zst(data: bytes, checksum: bool = True) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: int(checksum)})


Encoder = Callable[[bytes], bytes]

ENCODERS: dict[bytes, Encoder] = {b"gzip": gz, b"deflate": deflate, b"br": br, b"zstd": zst}
VARIANTS = [
    pytest.param(b"gzip", gz, id="gzip"),
    pytest.param(b"x-gzip", gz, id="x-gzip"),
    pytest.param(b"deflate", deflate, id="deflate-zlib"),
    pytest.param(b"deflate", raw_deflate, id="deflate-raw"),
    pytest.param(b"br", br, id="br"),
    pytest.param(b"zstd", zst, id="zstd"),
]
every_coding = pytest.mark.parametrize(("coding", "encode"), VARIANTS)


def drain(decoder: Decoder, max_bytes: int = STEP_LIMIT) -> Iterator[bytes]:
    while data := decoder.read(max_bytes):
        yield data


def decode(codings: list[bytes], coded: bytes, size: int = 1 << 30, max_bytes: int = STEP_LIMIT) -> bytes:
    """Decodes `coded`, fed in pieces of `size` bytes."""
    decoder = Decoder(codings)
    decoded = bytearray()
    for start in range(0, len(coded), size):
        decoder.feed(coded[start : start + size])
        for data in drain(decoder, max_bytes):
            decoded += data
    decoder.finish()
    return bytes(decoded)


def encode_all(codings: list[bytes], data: bytes) -> bytes:
    for coding in codings:
        data = ENCODERS[coding](data)
    return data


# -- One coding --------------------------------------------------------------------------------------------------------


@every_coding
@pytest.mark.parametrize("size", [1 << 30, 70_000, 1000, 1])
def test_content_in_pieces_of_any_size_is_decoded(coding: bytes, encode: Encoder, size: int) -> None:
    content = CONTENT if size > 1 else CONTENT[:20_000] + NOISE[:5_000] + CONTENT[-30_000:]
    assert decode([coding], encode(content), size) == content


@every_coding
@pytest.mark.parametrize("max_bytes", [1, 7, 258, 32_752, 32_753, 98_272, 98_273, 1 << 20])
def test_every_output_limit_gives_the_whole_content_in_steps_within_it(
    coding: bytes, encode: Encoder, max_bytes: int
) -> None:
    content = CONTENT if max_bytes > 258 else TEXT[:3000] + NOISE[:1000] + bytes(3000)
    decoder = Decoder([coding])
    decoder.feed(encode(content))
    parts = list(drain(decoder, max_bytes))
    decoder.finish()
    assert b"".join(parts) == content
    bound = max(32 * 1024, 3 * max_bytes + 64) if coding == b"br" else max_bytes
    assert max(map(len, parts)) <= bound


@every_coding
def test_coded_nothing_decodes_to_nothing(coding: bytes, encode: Encoder) -> None:
    assert decode([coding], encode(b"")) == b""
    assert decode([coding], encode(b""), size=1) == b""


@every_coding
def test_content_of_no_bytes_is_complete(coding: bytes, encode: Encoder) -> None:
    decoder = Decoder([coding])
    assert decoder.read() == b""
    decoder.finish()
    decoder.feed(b"")
    assert decoder.read() == b""
    decoder.finish()


@every_coding
def test_content_cut_off_at_any_byte_is_an_error(coding: bytes, encode: Encoder) -> None:
    content = b"to be or not to be, " * 3 + NOISE[:20] + bytes(300)
    coded = encode(content)
    for cut in range(1, len(coded)):
        decoder = Decoder([coding])
        decoder.feed(coded[:cut])
        decoded = b"".join(drain(decoder))
        assert content.startswith(decoded)
        with pytest.raises(DecodingError, match=rf"^{coding.decode().removeprefix('x-')} content was cut off$"):
            decoder.finish()


@every_coding
def test_large_content_cut_off_gives_what_there_was_and_then_an_error(coding: bytes, encode: Encoder) -> None:
    coded = encode(CONTENT)
    decoder = Decoder([coding])
    decoder.feed(coded[:-1])
    decoded = b"".join(drain(decoder))
    assert len(decoded) > len(TEXT)
    assert CONTENT.startswith(decoded)
    with pytest.raises(DecodingError, match="cut off"):
        decoder.finish()


@every_coding
def test_any_flipped_byte_raises_nothing_but_decoding_error(coding: bytes, encode: Encoder) -> None:
    content = b"to be or not to be, " * 3 + NOISE[:20]
    coded = encode(content)
    refused = 0
    for position in range(len(coded)):
        for mask in (0x01, 0x80, 0xFF):
            broken = bytearray(coded)
            broken[position] ^= mask
            try:
                decode([coding], bytes(broken))
            except DecodingError:
                refused += 1
    assert refused > len(coded) // 2  # br and raw deflate have no checksum: not everything can be found


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"zstd"])
def test_wrong_checksum_is_an_error_with_its_cause(coding: bytes) -> None:
    coded = bytearray(ENCODERS[coding](TEXT))
    coded[-5 if coding == b"gzip" else -1] ^= 0xFF
    with pytest.raises(DecodingError, match=f"^{coding.decode()} content is corrupt: ") as caught:
        decode([coding], bytes(coded))
    assert isinstance(caught.value.__cause__, (zlib.error, zstd.ZstdError))


@pytest.mark.parametrize(
    ("coding", "cause"),
    [(b"gzip", zlib.error), (b"deflate", zlib.error), (b"br", brotli.error), (b"zstd", zstd.ZstdError)],
)
def test_content_that_is_not_coded_is_an_error_that_stays(coding: bytes, cause: type[Exception]) -> None:
    decoder = Decoder([coding])
    decoder.feed(b"<!doctype html>" + bytes(range(256)))
    with pytest.raises(DecodingError, match=f"^{coding.decode()} content is corrupt") as first:
        list(drain(decoder))
    assert isinstance(first.value.__cause__, cause)
    decoder.feed(ENCODERS[coding](b"fine"))
    with pytest.raises(DecodingError) as second:
        decoder.read()
    assert second.value is first.value
    with pytest.raises(DecodingError) as third:
        decoder.finish()
    assert third.value is first.value


def test_error_found_at_the_end_stays() -> None:
    decoder = Decoder([b"gzip"])
    decoder.feed(gz(b"abc")[:-1])
    assert decoder.read() == b"abc"
    assert decoder.read() == b""
    for _ in range(2):
        with pytest.raises(DecodingError, match="gzip content was cut off"):
            decoder.finish()
    with pytest.raises(DecodingError, match="gzip content was cut off"):
        decoder.read()


@every_coding
@pytest.mark.parametrize("size", [1 << 30, 1])
@pytest.mark.parametrize("trailing", [b"x", b"\r\n", b"garbage that goes on for a while"])
def test_data_behind_the_end_is_an_error(coding: bytes, encode: Encoder, size: int, trailing: bytes) -> None:
    with pytest.raises(DecodingError):
        decode([coding], encode(b"content") + trailing, size)


@pytest.mark.parametrize("coding", [b"deflate", b"br"])
@pytest.mark.parametrize("size", [1 << 30, 1])
def test_second_stream_where_there_is_only_one_is_an_error(coding: bytes, size: int) -> None:
    with pytest.raises(DecodingError):
        decode([coding], ENCODERS[coding](b"one") * 2, size)


def test_content_before_trailing_data_is_delivered_first() -> None:
    decoder = Decoder([b"deflate"])
    decoder.feed(deflate(b"content") + b"x")
    assert decoder.read() == b"content"
    with pytest.raises(DecodingError, match="deflate content goes on behind its end"):
        decoder.read()


def test_data_fed_behind_the_end_of_br_is_an_error() -> None:
    decoder = Decoder([b"br"])
    decoder.feed(br(b"content"))
    assert b"".join(drain(decoder)) == b"content"
    decoder.feed(b"x")
    with pytest.raises(DecodingError, match="br content goes on behind its end"):
        decoder.read()


def test_feeding_ahead_of_reading_keeps_all_of_it() -> None:
    decoder = Decoder([b"gzip"])
    coded = gz(CONTENT)
    for start in range(0, len(coded), 10_000):
        decoder.feed(coded[start : start + 10_000])
    assert b"".join(drain(decoder)) == CONTENT
    decoder.finish()


def flush_zlib(wbits: int) -> tuple[Encoder, Callable[[], bytes]]:
    compressor = zlib.compressobj(wbits=wbits)
    return compressor.compress, lambda: compressor.flush(zlib.Z_SYNC_FLUSH)


def flush_br() -> tuple[Encoder, Callable[[], bytes]]:
    compressor = brotli.Compressor(quality=5)
    return compressor.process, compressor.flush


def flush_zstd() -> tuple[Encoder, Callable[[], bytes]]:
    compressor = zstd.ZstdCompressor()
    return compressor.compress, lambda: compressor.flush(zstd.ZstdCompressor.FLUSH_BLOCK)


@pytest.mark.parametrize(
    ("coding", "compressor"),
    [
        pytest.param(b"gzip", lambda: flush_zlib(31), id="gzip"),
        pytest.param(b"deflate", lambda: flush_zlib(15), id="deflate-zlib"),
        pytest.param(b"deflate", lambda: flush_zlib(-15), id="deflate-raw"),
        pytest.param(b"br", flush_br, id="br"),
        pytest.param(b"zstd", flush_zstd, id="zstd"),
    ],
)
@pytest.mark.parametrize("max_bytes", [1, 65536])
def test_what_the_server_flushed_can_be_read_before_more_arrives(
    coding: bytes, compressor: Callable[[], tuple[Encoder, Callable[[], bytes]]], max_bytes: int
) -> None:
    compress, flush = compressor()
    decoder = Decoder([coding])
    for event in (b"data: one\n\n", b"a" * 400, NOISE[:500], b"data: one\n\n"):
        coded = compress(event) + flush()
        decoder.feed(coded)
        assert b"".join(drain(decoder, max_bytes)) == event


@pytest.mark.parametrize("length", [21, 259, 4000])
def test_deflate_match_at_the_very_end_is_not_lost_at_the_output_limit(length: int) -> None:
    # At the limit zlib has taken the last byte of input and still has the end of the match to write.
    content = b"a" * length
    assert decode([b"deflate"], raw_deflate(content), max_bytes=length - 1) == content


def test_finish_before_all_was_read_is_refused() -> None:
    decoder = Decoder([b"gzip"])
    decoder.feed(gz(CONTENT))
    with pytest.raises(RuntimeError, match="finish"):
        decoder.finish()
    assert decoder.read()
    with pytest.raises(RuntimeError, match="finish"):
        decoder.finish()


@pytest.mark.parametrize("max_bytes", [0, -1])
def test_read_without_a_limit_is_refused(max_bytes: int) -> None:
    with pytest.raises(ValueError, match="max_bytes"):
        Decoder([b"gzip"]).read(max_bytes)


@pytest.mark.parametrize("codings", [[], [b"compress"], [b"gzip", b"identity"], [b"GZIP"]])
def test_decoder_for_what_codings_of_does_not_return_is_refused(codings: list[bytes]) -> None:
    with pytest.raises(ValueError, match="not a row of supported codings"):
        Decoder(codings)


# -- What is particular to one coding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", [b"gzip", b"zstd"])
@pytest.mark.parametrize("size", [1 << 30, 1000, 1])
def test_several_members_are_decoded_one_after_the_other(coding: bytes, size: int) -> None:
    parts = [b"first ", b"", TEXT[:40_000], b"", b"", b" last"]
    assert decode([coding], b"".join(map(ENCODERS[coding], parts)), size) == b"".join(parts)


@pytest.mark.parametrize("coding", [b"gzip", b"zstd"])
def test_second_member_cut_off_is_an_error(coding: bytes) -> None:
    one, two = ENCODERS[coding](b"one"), ENCODERS[coding](b"two")
    for cut in range(1, len(two)):
        with pytest.raises(DecodingError, match="cut off"):
            decode([coding], one + two[:cut])


@pytest.mark.parametrize("coding", [b"gzip", b"zstd"])
def test_endless_empty_members_are_an_error(coding: bytes) -> None:
    encode = ENCODERS[coding]
    many = encode(b"") * 999
    assert decode([coding], (many + encode(b"x")) * 2) == b"xx"
    with pytest.raises(DecodingError, match=f"{coding.decode()} content has more than 1000 empty parts in a row"):
        decode([coding], many * 2)


@pytest.mark.parametrize("size", [1 << 30, 1])
def test_gzip_zero_padding_is_skipped(size: int) -> None:
    assert decode([b"gzip"], gz(b"one") + gz(b"two") + bytes(1000), size) == b"onetwo"


@pytest.mark.parametrize("size", [1 << 30, 1])
def test_gzip_anything_behind_zero_padding_is_an_error(size: int) -> None:
    with pytest.raises(DecodingError, match="gzip content goes on behind its end"):
        decode([b"gzip"], gz(b"one") + bytes(10) + gz(b"two"), size)


def test_gzip_padding_alone_is_an_error() -> None:
    with pytest.raises(DecodingError, match="gzip content is corrupt"):
        decode([b"gzip"], bytes(100))


def test_gzip_optional_header_fields_are_skipped() -> None:
    plain = gz(b"content")
    header = plain[:3] + bytes([0x04 | 0x08 | 0x10]) + plain[4:10]
    fields = (5).to_bytes(2, "little") + b"extra" + b"file.txt\0" + b"a comment\0"
    assert decode([b"gzip"], header + fields + plain[10:], size=1) == b"content"


def test_gzip_stored_blocks_are_decoded() -> None:
    assert decode([b"gzip"], gzip.compress(CONTENT, compresslevel=0), 50_000) == CONTENT


@pytest.mark.parametrize("wbits", range(9, 16))
def test_deflate_zlib_header_of_any_window_size_is_recognised(wbits: int) -> None:
    compressor = zlib.compressobj(wbits=wbits)
    assert decode([b"deflate"], compressor.compress(TEXT) + compressor.flush()) == TEXT


@pytest.mark.parametrize("level", range(10))
@pytest.mark.parametrize("strategy", [zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_FIXED])
def test_deflate_raw_data_of_any_block_kind_is_recognised(level: int, strategy: int) -> None:
    for content in (b"", b"x", NOISE, TEXT):
        compressor = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
        assert decode([b"deflate"], compressor.compress(content) + compressor.flush()) == content


def test_deflate_with_a_preset_dictionary_is_an_error() -> None:
    compressor = zlib.compressobj(zdict=b"lorem ipsum dolor")
    with pytest.raises(DecodingError, match="deflate content is corrupt"):
        decode([b"deflate"], compressor.compress(b"lorem ipsum dolor") + compressor.flush())


def test_br_content_held_back_in_the_window_is_not_lost() -> None:
    # All input is used up long before the output comes: the library then says that it can accept more.
    content = TEXT * 4
    for size in (1 << 30, 1000):
        assert decode([b"br"], bytes(brotli.compress(content, quality=5, lgwin=22)), size, max_bytes=1000) == content


def test_zstd_window_of_8_mib_is_the_largest_accepted() -> None:
    def frame(window_log: int) -> bytes:
        # An unknown size keeps the window in the header; a checksum makes the result certain.
        options: dict[int, int] = {
            zstd.CompressionParameter.window_log: window_log,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        compressor = zstd.ZstdCompressor(options=options)
        return compressor.compress(TEXT) + compressor.flush()

    assert decode([b"zstd"], frame(23)) == TEXT
    with pytest.raises(DecodingError, match="zstd content is corrupt") as caught:
        decode([b"zstd"], frame(24))
    assert isinstance(caught.value.__cause__, zstd.ZstdError)


def test_zstd_single_segment_that_promises_too_much_is_refused_unallocated() -> None:
    # Frame header: single segment, 8 bytes of content size; the window is the content (RFC 8878 3.1.1.1.2).
    huge = b"\x28\xb5\x2f\xfd" + b"\xe0" + (1 << 40).to_bytes(8, "little") + b"\x01\x00\x00"
    tracemalloc.start()
    try:
        with pytest.raises(DecodingError, match="zstd content is corrupt"):
            decode([b"zstd"], huge)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_zstd_skippable_frames_are_skipped() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    for size in (1 << 30, 1):
        assert decode([b"zstd"], skippable + zst(b"content") + skippable, size) == b"content"


def test_zstd_that_needs_a_dictionary_is_an_error() -> None:
    dictionary = zstd.ZstdDict(NOISE[:1000], is_raw=True)
    with pytest.raises(DecodingError):
        decode([b"zstd"], zstd.compress(NOISE[:1000], zstd_dict=dictionary))


# -- Bombs -------------------------------------------------------------------------------------------------------------


def gzip_bomb(size: int) -> bytes:
    """A member that decodes to `size` zeros, made from the repeating middle of a smaller one."""
    compressor = zlib.compressobj(9, wbits=31)
    step = bytes(1 << 20)
    return b"".join(compressor.compress(step) for _ in range(size >> 20)) + compressor.flush()


@pytest.mark.parametrize(
    ("codings", "coded", "size"),
    [
        pytest.param([b"gzip"], gzip_bomb(1 << 28), 1 << 28, id="gzip"),
        pytest.param([b"br"], br(bytes(1 << 28)), 1 << 28, id="br"),
        pytest.param([b"zstd"], zst(bytes(1 << 28)), 1 << 28, id="zstd"),
        pytest.param([b"gzip"] * 5, encode_all([b"gzip"] * 4, gzip_bomb(1 << 28)), 1 << 28, id="gzip-5"),
        pytest.param(
            [b"gzip", b"br", b"zstd", b"deflate", b"br"],
            encode_all([b"br", b"zstd", b"deflate", b"br"], gzip_bomb(1 << 28)),
            1 << 28,
            id="mixed-5",
        ),
    ],
)
def test_bomb_is_decoded_in_bounded_steps_and_memory(codings: list[bytes], coded: bytes, size: int) -> None:
    decoder = Decoder(codings)
    decoder.feed(coded)
    total = largest = 0
    tracemalloc.start()
    try:
        for data in drain(decoder):
            total += len(data)
            largest = max(largest, len(data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    decoder.finish()
    assert total == size
    assert largest <= (BR_STEP_LIMIT if codings[0] == b"br" else STEP_LIMIT)
    assert peak < 2 << 20


def test_bomb_that_nobody_reads_stays_small() -> None:
    coded = gzip_bomb(1 << 28)
    tracemalloc.start()
    try:
        decoder = Decoder([b"gzip"])
        decoder.feed(coded)
        assert len(decoder.read(1000)) == 1000
        assert tracemalloc.get_traced_memory()[1] < 1 << 19
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("inner", "barren"),
    [
        pytest.param(b"gzip", gz(b"") + bytes(1 << 25), id="gzip-padding"),
        pytest.param(b"gzip", gz(b"")[:3] + b"\x08" + gz(b"")[4:10] + b"n" * (1 << 25), id="gzip-file-name"),
        pytest.param(b"zstd", b"\x50\x2a\x4d\x18" + (1 << 25).to_bytes(4, "little") + bytes(1 << 25), id="zstd-skip"),
    ],
)
@pytest.mark.parametrize("outer", [b"gzip", b"br", b"zstd"])
def test_layer_that_blows_up_to_nothing_is_an_error(outer: bytes, inner: bytes, barren: bytes) -> None:
    with pytest.raises(DecodingError, match=rf"^{outer.decode()} content holds \d+ bytes that decode to nothing$"):
        decode([inner, outer], ENCODERS[outer](barren))


def test_some_barren_bytes_between_content_are_fine() -> None:
    skippable = b"\x50\x2a\x4d\x18" + (500_000).to_bytes(4, "little") + bytes(500_000)
    assert decode([b"zstd", b"gzip"], gz((skippable + zst(b"x")) * 10)) == b"x" * 10


# -- Stacks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", ENCODERS)
@pytest.mark.parametrize("inner", ENCODERS)
@pytest.mark.parametrize("size", [1 << 30, 997])
def test_two_codings_are_undone_in_reverse(inner: bytes, outer: bytes, size: int) -> None:
    codings = [inner, outer]
    assert decode(codings, encode_all(codings, CONTENT), size) == CONTENT


@pytest.mark.parametrize("depth", range(1, MAX_CODINGS + 1))
def test_stack_of_every_allowed_depth_is_decoded(depth: int) -> None:
    codings = [b"zstd", b"gzip", b"br", b"deflate", b"gzip"][:depth]
    assert decode(codings, encode_all(codings, CONTENT), 5000) == CONTENT
    assert decode(codings, encode_all(codings, b"")) == b""
    decoder = Decoder(codings)
    assert decoder.read() == b""
    decoder.finish()


def test_stack_cut_off_at_any_byte_is_an_error() -> None:
    codings = [b"gzip", b"zstd", b"br"]
    coded = encode_all(codings, b"to be or not to be, " * 10)
    for cut in range(1, len(coded)):
        with pytest.raises(DecodingError, match="cut off"):
            decode(codings, coded[:cut])


def test_inner_coding_cut_off_inside_a_complete_outer_one_is_named() -> None:
    with pytest.raises(DecodingError, match="gzip content was cut off"):
        decode([b"gzip", b"br"], br(gz(TEXT)[:-1]))


def test_inner_coding_corrupt_inside_a_good_outer_one_is_named() -> None:
    with pytest.raises(DecodingError, match="zstd content is corrupt"):
        decode([b"zstd", b"gzip"], gz(b"not zstd at all"))


def test_inner_coding_that_ends_before_the_outer_one_is_an_error() -> None:
    with pytest.raises(DecodingError, match="deflate content goes on behind its end"):
        decode([b"deflate", b"gzip"], gz(deflate(b"content") + b"x"))


@settings(max_examples=150, deadline=None)
@given(
    content=st.binary(max_size=3000)
    | st.builds(lambda part, times: part * times, st.binary(max_size=9), st.just(9999)),
    codings=st.lists(st.sampled_from(sorted(ENCODERS)), min_size=1, max_size=MAX_CODINGS),
    split=st.randoms(use_true_random=False),
    max_bytes=st.sampled_from([1, 2, 100, 4096, 65536]),
)
def test_any_content_split_anywhere_survives_the_round_trip(
    content: bytes, codings: list[bytes], split: random.Random, max_bytes: int
) -> None:
    max_bytes = max(max_bytes, len(content) // 500)
    coded = encode_all(codings, content)
    decoder = Decoder(codings)
    decoded = bytearray()
    while coded:
        size = split.choice((1, 2, 50, 1000, len(coded)))
        decoder.feed(coded[:size])
        coded = coded[size:]
        for data in drain(decoder, max_bytes):
            decoded += data
    decoder.finish()
    assert decoded == content


@settings(max_examples=300, deadline=None)
@given(
    coded=st.binary(max_size=200),
    prefix=st.sampled_from([b"", gz(b"a"), gz(b"")[:10], deflate(b"")[:2], zst(b"a"), zst(b"a")[:4], br(b"a" * 99)]),
    codings=st.lists(st.sampled_from(sorted(ENCODERS)), min_size=1, max_size=2),
)
def test_any_bytes_at_all_raise_nothing_but_decoding_error(coded: bytes, prefix: bytes, codings: list[bytes]) -> None:
    results: list[bytes | None] = []
    for size in (1 << 30, 1):
        try:
            results.append(decode(codings, prefix + coded, size))
        except DecodingError:
            results.append(None)
    assert results[0] == results[1]  # the same verdict whole and byte by byte


# -- Content-Encoding and Accept-Encoding ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "codings"),
    [
        ([], []),
        ([b""], []),
        ([b"identity"], []),
        ([b"Identity, ,\t"], []),
        ([b"gzip"], [b"gzip"]),
        ([b" GZip\t"], [b"gzip"]),
        ([b"x-gzip"], [b"x-gzip"]),
        ([b"deflate, gzip"], [b"deflate", b"gzip"]),
        ([b"br,identity", b"zstd"], [b"br", b"zstd"]),
        ([b"gzip,gzip,gzip", b"gzip,gzip"], [b"gzip"] * 5),
        ([b"identity, " * 20 + b"gzip"], [b"gzip"]),
        ([b"compress"], None),
        ([b"gzip, aes128gcm"], None),
        ([b"exi", b"gzip"], None),
        ([b"gzip;q=1"], None),
        ([b"gzip gzip"], None),
        ([b"\xff\x00"], None),
    ],
)
def test_content_encoding_fields_are_read_as_one_list(values: list[bytes], codings: list[bytes] | None) -> None:
    assert codings_of(values) == codings


@pytest.mark.parametrize(
    "values", [[b"gzip, gzip, gzip, gzip, gzip, gzip"], [b"gzip"] * 6, [b"br,br,br", b"gzip", b"x", b"y"]]
)
def test_six_codings_are_refused(values: list[bytes]) -> None:
    with pytest.raises(DecodingError, match="content was coded 6 times, more than 5"):
        codings_of(values)


def test_what_is_offered_can_be_decoded() -> None:
    assert accept_encoding() == b"gzip, deflate, br, zstd"
    codings = codings_of([accept_encoding()])
    assert codings == [b"gzip", b"deflate", b"br", b"zstd"]
    assert decode(codings, encode_all(codings, CONTENT)) == CONTENT


# -- The libraries -----------------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_libraries() -> Iterator[None]:
    """Has the libraries looked for anew, in the test and after it."""
    cached = (decoders._brotli_module, decoders._zstd_module_name, decoders._stage_classes)
    for function in cached:
        function.cache_clear()
    yield
    for function in cached:
        function.cache_clear()


@pytest.mark.usefixtures("fresh_libraries")
def test_without_a_zstd_library_zstd_is_neither_offered_nor_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_zstd", None)
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    assert accept_encoding() == b"gzip, deflate, br"
    assert codings_of([b"zstd"]) is None
    assert codings_of([b"gzip, br"]) == [b"gzip", b"br"]


@pytest.mark.usefixtures("fresh_libraries")
def test_without_any_backports_zstd_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_zstd", None)
    monkeypatch.delitem(sys.modules, "backports.zstd", raising=False)
    monkeypatch.setitem(sys.modules, "backports", None)
    assert accept_encoding() == b"gzip, deflate, br"


@pytest.mark.usefixtures("fresh_libraries")
def test_standard_library_zstd_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    # Stands in for Python 3.14, whose module has the interface of the backport.
    monkeypatch.setitem(sys.modules, "_zstd", zstd)
    monkeypatch.setitem(sys.modules, "compression.zstd", zstd)
    monkeypatch.delitem(sys.modules, "backports.zstd", raising=False)
    monkeypatch.setitem(sys.modules, "backports", None)
    assert accept_encoding() == b"gzip, deflate, br, zstd"
    assert decode([b"zstd"], zst(CONTENT)) == CONTENT


@pytest.mark.usefixtures("fresh_libraries")
def test_brotlicffi_is_used_where_brotli_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "brotlicffi", brotli)  # both have the interface that is used
    assert decode([b"br"], br(CONTENT)) == CONTENT


def test_importing_the_module_loads_no_compression_library() -> None:
    code = (
        "import sys; from httpcore.decoders import accept_encoding; accept_encoding()\n"
        "print(sorted({'brotli', '_brotli', 'brotlicffi', 'backports.zstd', 'compression.zstd'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
