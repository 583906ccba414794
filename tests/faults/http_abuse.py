"""Requests that nobody should send: each is answered with the right 4xx, and other clients notice nothing.
"""

import gzip
import json
import time
import zlib

from harness import COMPUTES, Server, check, eventually, note, tiny_model

from .raw import HEAD, MIB, Bystander, raw, says, status



def post(body, more="", length=None):
    length = len(body) if length is None else length
    return (HEAD + more + f"Content-Length: {length}\r\nConnection: close\r\n\r\n").encode() + body


def refused(server, claim, request, expected, words=""):
    """One check: the status, a sentence in JSON if `words` are given, and no 5xx."""
    answer = raw(server, request)
    good = status(answer) == expected and words in says(answer)
    check(f"{claim}: {expected}", good, answer[:300])


def lines_and_headers(server):
    fields = "".join(f"X-{i}: y\r\n" for i in range(200))
    refused(server, "two hundred headers", f"GET /health HTTP/1.1\r\nHost: x\r\n{fields}\r\n".encode(), 431)
    long = "y" * 200_000
    refused(server, "a header of 200 kB", f"GET /health HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n".encode(), 431)
    refused(server, "a header without an end", f"GET /health HTTP/1.1\r\nHost: x\r\nX: {long}".encode(), 431)
    refused(server, "no colon in a header", b"GET /health HTTP/1.1\r\nHost: x\r\nnonsense\r\n\r\n", 400)
    refused(server, "NUL in a header", b"GET /health HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", 400)
    refused(server, "no host", b"GET /health HTTP/1.1\r\n\r\n", 400)
    refused(server, "a version of the future", b"GET /health HTTP/3.7\r\nHost: x\r\n\r\n", 400)
    refused(server, "HTTP/2 without a warning", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400)
    refused(server, "TLS to a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 512, 400)
    refused(server, "binary noise", bytes(range(256)) * 8, 400)
    close = "Host: x\r\nConnection: close\r\n\r\n"
    refused(server, "a method of nobody's", f"BREW /v1/rerank HTTP/1.1\r\n{close}".encode(), 405, "takes POST")
    refused(server, "a method of 10 kB", f"{'X' * 10_000} /v1/rerank HTTP/1.1\r\n{close}".encode(), 405, "takes POST")
    refused(server, "CONNECT", b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\nConnection: close\r\n\r\n", 405, "takes GET, HEAD, POST")
    refused(server, "a path of nobody's", f"GET /../../etc/passwd HTTP/1.1\r\n{close}".encode(), 404, "There is no")
    refused(server, "a path with bytes that are no text", f"GET /%00%ff%fe HTTP/1.1\r\n{close}".encode(), 404, "There is no")
    refused(server, "a path of 60 kB", f"GET /{'a/' * 30_000} HTTP/1.1\r\n{close}".encode(), 404, "There is no")
    refused(server, "a path of 100 kB", f"GET /{'a' * 100_000} HTTP/1.1\r\n{close}".encode(), 400)
    old = raw(server, b"GET /version HTTP/1.0\r\n\r\n")
    check("HTTP/1.0 is answered, and the connection closed", status(old) == 200 and b"version" in old, old)
    body = b'{"query":"q","documents":["a"]}'
    old = raw(server, b"POST /rerank HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 31\r\n\r\n" + body)
    check("HTTP/1.0 is reranked for", status(old) == 200 and b"relevance_score" in old, old)


def pipelines(server):
    body = b'{"query":"q","documents":["a"]}'
    one = (HEAD + f"Content-Length: {len(body)}\r\n\r\n").encode() + body
    for count in 3, 100:
        answer = raw(server, one * (count - 1) + post(body))
        got = answer.count(b"HTTP/1.1 200"), answer.count(b"relevance_score")
        check(f"{count} requests in one write have {count} answers", got == (count, count), got)
    answer = raw(server, one * 20 + b"\0" * 1000)
    check("noise behind good requests ends the connection", answer.count(b"HTTP/1.1 5") == 0, answer[-200:])


def lengths_and_chunks(server):
    body = b'{"query":"q","documents":["a"]}'
    # What follows is no HTTP, which ends the connection, perhaps before the first answer.
    check("a length that is too short: 400 or nothing", status(raw(server, post(body, length=5))) in (0, 400))
    refused(server, "a length that is too long, for ever", post(body, length=500), 408, "too slowly")
    for length in "-1", "+5", "1e3", "abc", "99999999999999999999", "5, 6":
        refused(server, f"a length of {length}", post(body, length=length), 400)
    refused(server, "two lengths", post(body, "Content-Length: 5\r\n"), 400)
    refused(server, "a length and chunks", post(body, "Transfer-Encoding: chunked\r\n"), 400)
    refused(server, "a length of 10 TB", post(body, length=10**13), 413, "limit of 33554432 bytes")
    chunked = (HEAD + "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n").encode()
    for claim, chunks in {
        "chunks of nonsense": b"zz\r\nhello\r\n0\r\n\r\n",
        "a chunk of negative length": b"-5\r\nhello\r\n0\r\n\r\n",
        "a chunk whose length overflows": b"ffffffffffffffffff\r\nhello\r\n",
        "a chunk that is longer than it says": b"3\r\n" + body + b"\r\n0\r\n\r\n",
    }.items():
        refused(server, claim, chunked + chunks, 400)
    refused(server, "chunks without an end", chunked + b"1f\r\n" + body + b"\r\n", 408, "too slowly")
    refused(server, "an unknown transfer encoding", post(body, "Transfer-Encoding: rot13\r\n"), 400)
    bytewise = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    check("chunks of a byte are read", status(raw(server, chunked + bytewise)) == 200)


def made_bombs():
    zeros = b"[" + b"0," * (128 * MIB)
    return {"gzip": gzip.compress(zeros, 9), "deflate": zlib.compress(zeros, 9)}


def bombs(server, made):
    before = server.memory() / MIB
    for name, packed in made.items():
        refused(server, f"256 MiB in {len(packed) >> 10} kB of {name}", post(packed, f"Content-Encoding: {name}\r\n"), 413, "limit")
    good = gzip.compress(b'{"query":"q","documents":["a"]}')
    check("gzip is read", status(raw(server, post(good, "Content-Encoding: gzip\r\n"))) == 200)
    gzipped = "Content-Encoding: gzip\r\n"
    refused(server, "gzip that is cut", post(good[:-9], gzipped), 400, "cannot be read")
    refused(server, "gzip that is none", post(b"nonsense", gzipped), 400, "cannot be read")
    refused(server, "gzip within gzip", post(gzip.compress(good), gzipped), 400)
    refused(server, "an unknown content encoding", post(good, "Content-Encoding: br\r\n"), 400, "gzip or deflate")
    after = server.memory() / MIB
    check("bombs take no memory", after < before + 150, f"{before:.0f} MB before, {after:.0f} MB after")


def json_that_is_none(server):
    deep = b"[" * 100_000
    wrong = {
        "nothing": (b"", "Field required"),
        "JSON 100,000 levels deep": (b'{"query":"q","documents":["a"],"x":' + deep + b"]" * 100_000 + b"}", "recursion"),
        "100,000 open brackets": (deep, "recursion"),
        "invalid UTF-8": (b'{"query":"\xff\xfe","documents":["a"]}', "not valid UTF-8"),
        "half a surrogate pair": (b'{"query":"\\ud800","documents":["a"]}', "surrogate"),
        "a bare NUL": (b'{"query":"a\0b","documents":["a"]}', "JSON decode error"),
        "NUL in place of everything": (b"\0" * 1000, "JSON decode error"),
        "text behind the object": (b'{"query":"q","documents":["a"]} {}', "JSON decode error"),
        "a comma too many": (b'{"query":"q","documents":["a",]}', "JSON decode error"),
        "NaN": (b'{"query":"q","documents":["a"],"top_n":NaN}', "top_n"),
        "Infinity": (b'{"query":"q","documents":["a"],"top_n":-Infinity}', "top_n"),
        "1e400": (b'{"query":"q","documents":["a"],"top_n":1e400}', ""),
        "a number of 100,000 digits": (b'{"query":"q","documents":["a"],"top_n":' + b"9" * 100_000 + b"}", ""),
        "numbers in place of texts": (b'{"query":1,"documents":[2,3]}', "query"),
        "no documents": (b'{"query":"q","documents":[]}', "text_pair"),
    }
    for name, (body, words) in wrong.items():
        refused(server, name, post(body), 400, words)
    for name, body in {
        "100,000 open objects": b'{"a":' * 100_000,
        "two million numbers": b'{"query":"q","documents":[' + b"1," * 2_000_000 + b"1]}",
    }.items():
        refused(server, name, post(body), 413, "asks for more memory")
    right = {
        "an escaped NUL is a character": b'{"query":"a\\u0000b","documents":["a"]}',
        "a pair of surrogates is a character": b'{"query":"\\ud83d\\ude00","documents":["a"]}',
        "of two keys the last counts": b'{"query":"x","query":"q","documents":7,"documents":["a"]}',
        "a byte order mark is skipped": b'\xef\xbb\xbf{"query":"q","documents":["a"]}',
        "UTF-16 is read": '{"query":"q","documents":["a"]}'.encode("utf-16"),
        "fields that nobody knows are ignored": b'{"query":"q","documents":["a"],"\\u0000":[{"":1e300}]}',
        "a text of nothing is one": b'{"query":"","documents":["",""]}',
        "100 levels are not too deep": b'{"query":"q","documents":["a"],"x":' + b"[" * 100 + b"]" * 100 + b"}",
    }
    for claim, body in right.items():
        answer = raw(server, post(body))
        check(claim, status(answer) == 200, answer[:300])


def large(server, shortening):
    text = "word " * (MIB // 5)
    def body_of(size):
        frame = b'{"query":"q","documents":["%s"]}'
        return frame % (b"w " * ((size - len(frame) + 2) // 2)).ljust(size - len(frame) + 2)[: size - len(frame) + 2]
    limit = 32 * MIB
    full = body_of(limit)
    assert len(full) == limit
    start = time.monotonic()
    refused(server, "32 MiB of one document", post(full), 400, "token")
    seconds = time.monotonic() - start
    refused(server, "a byte more", post(full + b" "), 413, "limit of 33554432 bytes")
    chunked = (HEAD + "Transfer-Encoding: chunked\r\n\r\n").encode()
    refused(server, "a byte more, in one chunk", chunked + b"%x\r\n%s \r\n0\r\n\r\n" % (limit + 1, full), 413, "limit")
    answer = raw(shortening, post(full))
    check("32 MiB are shortened where that is asked for: 200", b"x-ironrank-truncated: 1" in answer, answer[:300])
    many = json.dumps({"query": "q", "documents": [f"document {i % 7}" for i in range(10_000)]}).encode()
    answer = raw(server, post(many))
    check("10,000 documents are ranked", status(answer) == 200 and answer.count(b'"index"') == 10_000, answer[:300])
    five = json.dumps({"query": "q", "documents": [text * 5, "b"]}).encode()
    refused(server, "a document of 5 MB", post(five), 400, "token")
    answer = raw(shortening, post(five))
    check("a document of 5 MB is shortened where that is asked for: 200", b"x-ironrank-truncated: 1" in answer, answer[:300])
    note(f"32 MiB took {seconds:.1f} s; {server.memory() / MIB:.0f} MB of memory afterwards")


def run(binary):
    model = tiny_model()
    # Before anything is timed: that takes this program's own time.
    made = made_bombs()
    flags = ["--max-model-len", "8192", "--receive-timeout", "2", *COMPUTES]
    with Server(binary, model, *flags) as server, Server(binary, model, "--overflow", "truncate", *flags) as shortening:
        with Bystander(server) as alone:
            time.sleep(1)
        for part in (
            lambda: lines_and_headers(server),
            lambda: pipelines(server),
            lambda: lengths_and_chunks(server),
            lambda: bombs(server, made),
            lambda: json_that_is_none(server),
            lambda: large(server, shortening),
        ):
            with Bystander(server) as other:
                part()
            check("others were answered meanwhile", not other.problems, other.problems[:3])
            other.took_no_longer(alone)
        for one in server, shortening:
            check("nothing is left at work", eventually(lambda: one.load() == 0, 10), one.load())
            check("no answer was a 5xx", one.server_errors() == 0, one.server_errors())
            check("nothing panicked, nothing is an error of ours", "panicked" not in one.log() and "ERROR" not in one.log(), one.log()[-2000:])
            check("the server stops in order", one.stop() == 0)
