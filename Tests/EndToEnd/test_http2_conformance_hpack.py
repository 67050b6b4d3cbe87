"""HPACK as the proxy reads and writes it (RFC 7541, RFC 9113 §4.3)."""

import hpack
import pytest

from edge import conformance
from edge.conformance import MALFORMED, NEVER, Case, answer, cases, connection_error
from edge.frames import COMPRESSION_ERROR, CONTINUATION, END_HEADERS, END_STREAM, HEADERS, \
    HEADER_TABLE_SIZE, SETTINGS, frame, settings

BROKEN = connection_error(COMPRESSION_ERROR)


@pytest.fixture(scope="module")
def bench(module_edges, module_keep, configuration):
    yield from conformance.bench(module_edges, module_keep, configuration)


def integer(value, bits, first=0):
    """An integer with a prefix of so many bits below the bits of `first` (§5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes([first | value])
    out, value = [first | most], value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def indexed(index):
    return integer(index, 7, 0x80)


def resized(size):
    """A dynamic table size update (§6.3)."""
    return integer(size, 5, 0x20)


def text(value, huffman=False):
    """A string literal (§5.2)."""
    value = value.encode("latin-1") if isinstance(value, str) else value
    if huffman:
        # hyper's encoder of header blocks holds the code table, and nothing else needs it here.
        value = hpack.Encoder().huffman_coder.encode(value)
    return integer(len(value), 7, 0x80 if huffman else 0) + value


# First bits and prefix of a literal: with indexing, without, and never.
LITERALS = {"with-indexing": (0x40, 6), "without-indexing": (0x00, 4), "never-indexed": (0x10, 4)}


def block(c, before=b"", after=b""):
    """A good request with octets before and after its fields."""
    return before + c.block() + after


def head(block, stream=1, flags=END_STREAM | END_HEADERS):
    return frame(HEADERS, flags, stream, block)


def with_octets(name, octets, allowed, seen=NEVER, section="7541"):
    """A request whose block ends with these octets."""
    return Case(f"{section}-{name}", lambda c: head(block(c, after=octets)), allowed,
                seen="any" if allowed & answer(200) else seen)


# :method GET, :scheme https, :path by name, :authority by name (static table).
def by_tables(c):
    return indexed(2) + indexed(7) + integer(4, 4) + text(c.target) \
        + integer(1, 6, 0x40) + text("localhost")


def remembered(c):
    """The second request takes :authority and a field of its own from the dynamic table."""
    c.send(head(by_tables(c) + b"\x40" + text("x-test") + text("1")))
    assert c.finish() == 200
    return head(indexed(2) + indexed(7) + integer(4, 4) + text(c.target) + indexed(63)
                + indexed(62), 3)


def forgotten(c):
    """The table's size is 0 for a moment, which empties it."""
    c.send(head(by_tables(c)))
    assert c.finish() == 200
    return head(resized(0) + resized(4096) + indexed(2) + indexed(7) + integer(4, 4)
                + text(c.target) + indexed(62), 3)


def evicted(index):
    """Of four entries of 1038 octets each, a table of 4096 holds the last three."""
    def play(c):
        c.send(head(by_tables(c) + b"".join(
            b"\x40" + text(f"x-{n:04}") + text("v" * 1000) for n in range(4))))
        assert c.finish() == 200
        return head(c.block() + indexed(index), 3)
    return play


def too_large_to_keep(c):
    """An entry larger than the table empties it, and is no error."""
    c.send(head(by_tables(c) + b"\x40" + text("x-large") + text("v" * 5000)))
    assert c.finish() == 200
    return head(c.block() + indexed(62), 3)


def at_the_largest_size(c):
    return head(resized(4096) + by_tables(c))


DECODING = [
    Case("7541-6.1-indexed-fields", lambda c: head(by_tables(c)), answer(200)),
    *[Case(f"7541-6.2-{kind}-{named}{coding}",
           lambda c, first=first, bits=bits, named=named, coding=coding: head(block(
               c, after=(integer(58, bits, first) if named == "name-of-the-table"
                         else bytes([first]) + text("x-agent", coding == "-huffman"))
               + text("agent/1.0", coding == "-huffman"))), answer(200))
      for kind, (first, bits) in LITERALS.items()
      for named in ("name-of-the-table", "new-name") for coding in ("", "-huffman")],
    Case("7541-6.3-size-update", lambda c: head(resized(128) + by_tables(c)), answer(200)),
    Case("7541-6.3-size-updates", lambda c: head(resized(128) + resized(4096) + by_tables(c)),
         answer(200)),
    Case("7541-6.3-size-update-to-0", lambda c: head(resized(0) + by_tables(c)), answer(200)),
    Case("7541-6.3-size-update-to-what-is-allowed", at_the_largest_size, answer(200)),
    Case("7541-2.3.2-entries-of-earlier-requests", remembered, answer(200), stream=3),
    Case("7541-4.3-a-size-of-0-empties-the-table", forgotten, BROKEN, stream=3),
    Case("7541-4.4-evicted-entries-are-gone", evicted(65), BROKEN, stream=3),
    Case("7541-4.4-the-newest-entries-are-there", evicted(64), answer(200), stream=3),
    Case("7541-4.4-an-entry-too-large-empties-the-table", too_large_to_keep, BROKEN, stream=3),
    Case("7541-5.1-integer-with-needless-octets",
         lambda c: head(block(c, after=b"\x10\x7f\x80\x00" + b"n" * 127 + text("1"))),
         answer(200) | BROKEN),
    Case("7541-5.2-empty-strings-huffman",
         lambda c: head(block(c, after=b"\x10" + text("x-empty", True) + b"\x80")), answer(200)),
    Case("7541-5.2-every-octet-huffman",
         lambda c: head(block(c, after=b"\x10" + text("x-all", True) + text(
             bytes([*range(0x21, 0x7F), *range(0x80, 0x100)]), True))), answer(200)),
    Case("9113-4.3-block-cut-at-every-octet", lambda c: frame(HEADERS, END_STREAM, 1)
         + b"".join(frame(CONTINUATION, 0, 1, by_tables(c)[n * 40:n * 40 + 40]) for n in range(5))
         + frame(CONTINUATION, END_HEADERS, 1, by_tables(c)[200:]), answer(200)),
]

ERRORS = [
    with_octets("6.1-index-0", b"\x80", BROKEN),
    with_octets("2.3.3-index-beyond-the-table", indexed(62), BROKEN),
    with_octets("2.3.3-index-far-beyond-the-table", indexed(10_000), BROKEN),
    *[with_octets(f"2.3.3-name-beyond-the-table-{kind}",
                  integer(62, bits, first) + text("value"), BROKEN)
      for kind, (first, bits) in LITERALS.items()],
    with_octets("4.2-size-update-at-the-end", resized(128), BROKEN),
    Case("7541-4.2-size-update-between-fields",
         lambda c: head(indexed(2) + resized(128) + block(c)), BROKEN, seen=NEVER),
    Case("7541-6.3-size-update-larger-than-allowed", lambda c: head(resized(4097) + by_tables(c)),
         BROKEN, seen=NEVER),
    Case("7541-6.3-size-update-much-larger",
         lambda c: head(resized(2**31) + by_tables(c)), BROKEN, seen=NEVER),
    with_octets("5.1-index-that-overflows", b"\xff" + b"\xff" * 9 + b"\x7f", BROKEN),
    with_octets("5.1-index-without-end", b"\xff" + b"\x80" * 40 + b"\x01", BROKEN),
    with_octets("5.1-length-that-overflows", b"\x10\x7f" + b"\xff" * 9 + b"\x7f", BROKEN),
    with_octets("5.1-size-that-overflows", b"\x3f" + b"\xff" * 9 + b"\x7f", BROKEN),
    with_octets("5.1-integer-cut-short", b"\xff\x80", BROKEN),
    with_octets("5.2-name-longer-than-the-block", b"\x10\x20name", BROKEN),
    with_octets("5.2-value-longer-than-the-block", b"\x10" + text("x") + b"\x20value", BROKEN),
    with_octets("5.2-name-without-value", b"\x10" + text("x-test"), BROKEN),
    with_octets("5.2-literal-without-name", b"\x10", BROKEN),
    # Huffman's "a" is 00011; EOS is 30 bits of 1.
    with_octets("5.2-huffman-padded-with-8-bits", b"\x10" + text("x") + b"\x82\x1f\xff", BROKEN),
    with_octets("5.2-huffman-padded-with-zeros", b"\x10" + text("x") + b"\x81\x18", BROKEN),
    with_octets("5.2-huffman-with-eos", b"\x10" + text("x") + b"\x84\xff\xff\xff\xff", BROKEN),
    with_octets("5.2-huffman-with-eos-within",
                b"\x10" + text("x") + b"\x85\x1f\xff\xff\xff\xff", BROKEN),
    with_octets("5.2-huffman-name-with-eos", b"\x10\x84\xff\xff\xff\xff" + text("v"), BROKEN),
    with_octets("5.2-huffman-cut-within-a-code", b"\x10" + text("x") + b"\x81\xfe", BROKEN),
    with_octets("6.2-upper-case-in-huffman", b"\x10" + text("X-Test", True) + text("1"), MALFORMED),
    with_octets("6.2-newline-in-huffman", b"\x10" + text("x") + text("a\r\nb", True), MALFORMED),
    with_octets("6.2-nul-in-huffman", b"\x10" + text("x") + text("a\0b", True), MALFORMED),
    with_octets("6.2-empty-name-with-indexing", b"\x40" + text("") + text("v"), MALFORMED),
    Case("9113-4.3-broken-trailers",
         lambda c: c.post() + head(b"\x80"), BROKEN, seen="cut"),
    Case("9113-4.3-broken-in-a-continuation",
         lambda c: head(c.block(), flags=END_STREAM) + frame(CONTINUATION, END_HEADERS, 1, b"\x80"),
         BROKEN, seen=NEVER),
    Case("9113-4.3-cut-by-the-end-of-the-block",
         lambda c: head(c.block() + b"\x10\x07x-", flags=END_STREAM)
         + frame(CONTINUATION, END_HEADERS, 1, b"te"), BROKEN, seen=NEVER),
    Case("9113-4.3-broken-on-a-refused-stream",
         lambda c: head(b"\x10" + text("Upper") + text("1") + b"\x80"), BROKEN | MALFORMED,
         seen=NEVER, may_end=True),
]


def malformed_with_entry(c):
    """What a malformed request put into the table is there for the next one (RFC 9113 §4.3)."""
    c.send(head(c.block() + b"\x10" + text("Upper") + text("1")
                + b"\x40" + text("x-after") + text("kept")))
    assert c.until(lambda f: f.stream == 1)
    return head(c.block() + indexed(62), 3)


STATE = [
    Case("9113-4.3-a-malformed-request-is-decoded-to-its-end", malformed_with_entry, answer(200),
         stream=3),
    Case("9113-4.3-trailers-share-the-table",
         lambda c: c.post() + head(b"\x40" + text("x-test") + text("1"))
         + head(c.block() + indexed(62), 3), answer(200), stream=3),
    Case("9113-6.5.2-the-table-of-responses-may-be-0",
         lambda c: settings([(HEADER_TABLE_SIZE, 0)]) + c.get(), answer(200)),
]


@cases(DECODING, ERRORS, STATE)
def test_a_field_block_has_the_outcome_that_the_rfc_allows(bench, case):
    bench.play(case)


@pytest.mark.parametrize("representation", [*LITERALS, "huffman", "table"])
def test_fields_arrive_as_they_were_sent(bench, representation):
    """7541-6: whatever the representation, the upstream sees name and value octet by octet."""
    talk = bench.converse(f"arrives-{representation}")
    value = "".join(map(chr, range(0x21, 0x7F)))
    coded = representation == "huffman"
    first = LITERALS.get(representation, LITERALS["with-indexing"])[0]
    field = bytes([first]) + text("x-arrives", coded) + text(value, coded)
    with talk.raw:
        talk.send(head(talk.block() + field))
        assert talk.finish() == 200
        if representation == "table":
            talk.send(head(talk.block() + indexed(62), 3))
            assert talk.finish(3) == 200
    seen = [request for request in bench.upstream.requests if request.target == talk.target]
    assert {request.get("x-arrives") for request in seen} == {value}
    assert len(seen) == (2 if representation == "table" else 1)


@pytest.mark.parametrize("size", [0, 64, 4096, 65_536])
def test_the_encoder_keeps_to_the_table_of_the_client(bench, size):
    """7541-4.2, 9113-4.3.1: a smaller table is acknowledged in the first block, then kept to."""
    talk = bench.converse(f"encoder-{size}")
    with talk.raw:
        talk.send(settings([(HEADER_TABLE_SIZE, size)]))
        talk.until(lambda f: f.kind == SETTINGS and f.flags & 1)
        talk.raw.decoder.max_allowed_table_size = size
        for stream in range(1, 20, 2):
            talk.send(talk.get(stream))
            assert talk.finish(stream) == 200
        assert talk.raw.decoder.header_table_size <= size
