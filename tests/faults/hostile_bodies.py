"""Bodies that ask for far more memory or time than they have bytes: each takes what docs/reliability.md states at most, and
many of them at a time leave the process small and another client answered.
"""

import contextlib
import gzip
import http.client
import itertools
import threading
import time

from harness import COMPUTES, PATIENCE, Server, check, eventually, note, tiny_embedder, tiny_model

from .raw import MIB, Bystander

# What docs/reliability.md states: bytes for each byte of the body, unpacked, and besides; and for the process.
PER_BYTE, BESIDES, ALL, PROCESS = 12, 64 * MIB, 640 * MIB, 2048 * MIB
# What a template may take besides, and one that says its texts as often as a request wants.
RENDERING = 64 * MIB
TEMPLATE = "{% for i in range(times | default(1)) %}{{ messages[0].content }}{{ messages[1].content | trim }}{% endfor %}{{ x | default('') | tojson }}"
HALF = "\\ud800"
# Answers and refusals; TEI's clients are refused with 422 as well.
ANSWERED, TEIS = {200, 400, 404, 413}, {422}
# How long many are sent at a time.
SECONDS = 20.0
CLIENTS = 16


def many(item, size):
    """A list of as many as fit into `size` bytes."""
    return "[" + ",".join(itertools.repeat(item, size // (len(item) + 1))) + "]"


def numbered(form, count):
    return "[" + ",".join(form % i for i in range(count)) + "]"


def rerank(documents, query='"q"', more=""):
    return f'{{"query":{query},"documents":{documents}{more}}}'


def word(count):
    return '"' + "word " * count + '"'


def long(size):
    return '"' + "words and more " * (size // 15) + '"'


def bodies():
    """Name, path, text; the status is 200 or a refusal, never a 5xx but for a full queue."""
    wrong = {"numbers": "1", "nulls": "null", "objects": "{}", "lists": "[]", "objects with a field": '{"":0}', "nested lists": "[[[[0]]]]"}
    for name, item in wrong.items():
        yield f"{name} for documents", "/v1/rerank", rerank(many(item, MIB))
    yield "what is no number for documents", "/v1/rerank", rerank(many("NaN", 4 * MIB))
    yield "infinities for documents, 32 MiB", "/v1/rerank", rerank(many("Infinity", 32 * MIB - 100))
    yield "halves of surrogate pairs", "/v1/rerank", rerank('["a"]', more=f',"x":"{HALF * (4 * MIB)}"')
    yield "numbers for documents, 32 MiB", "/v1/rerank", rerank(many("1", 32 * MIB - 100))
    yield "objects for documents, 32 MiB", "/v1/rerank", rerank(many('{"":0}', 32 * MIB - 100))
    yield "numbers for texts", "/rerank", f'{{"query":"q","texts":{many("1", 4 * MIB)}}}'
    yield "nulls for both sides of scores", "/v1/score", f'{{"queries":{many("null", 2 * MIB)},"documents":{many("null", 2 * MIB)}}}'
    yield "objects in DashScope's form", "/rerank", f'{{"input":{{"query":"q","documents":{many("{}", 4 * MIB)}}},"parameters":{{}}}}'
    yield "numbers for an invocation", "/invocations", rerank(many("1", 4 * MIB))
    yield "numbers for messages", "/classify", f'{{"messages":{many("1", 4 * MIB)}}}'
    yield "messages without a role", "/pooling", f'{{"messages":{many("{}", 4 * MIB)}}}'
    yield "half the list wrong", "/v1/rerank", rerank(many('"a",1', 4 * MIB))
    yield "empty documents, a long query", "/v1/rerank", rerank(many('""', 150_000), word(8000))
    yield "empty documents, 8 MiB", "/v1/rerank", rerank(many('""', 8 * MIB))
    yield "as many pairs of both sides", "/v1/score", f'{{"queries":{many(word(60), MIB)},"documents":{many(word(60), MIB)}}}'
    queries = numbered('"%d ' + "word " * 1000 + '"', 60)
    yield "different long queries", "/v1/score", f'{{"queries":{queries},"documents":{queries}}}'
    names, fields = many('"a"', 40_000), many('{"a":"' + "x" * 40 + '"}', MIB // 2)
    yield "a name 10,000 times for every document", "/v1/rerank", rerank(fields, more=f',"rank_fields":{names}')
    yield "10,000 names for empty documents", "/v1/rerank", rerank(many("{}", 30_000), more=f',"rank_fields":{numbered(chr(34) + "%d" + chr(34), 10_000)}')
    yield "one document of 32 MiB", "/v1/rerank", rerank(f"[{long(32 * MIB - 200)}]")
    yield "one document of 32 MiB, its end wanted", "/v1/rerank", rerank(f"[{long(32 * MIB - 200)}]", more=',"truncate_prompt_tokens":-1,"truncation_side":"left"')
    yield "a query of 8 MiB", "/v1/rerank", rerank('["a","b"]', long(8 * MIB))
    yield "an instruction of 8 MiB for many documents", "/v1/rerank", rerank(many('""', 30_000), more=f',"instruction":{long(8 * MIB)}')
    yield "variables of 8 MiB", "/v1/rerank", rerank('["a"]', more=f',"chat_template_kwargs":{{"x":{many("[0]", 8 * MIB)}}}')
    yield "a name of 8 MiB", "/v1/rerank", rerank('["a"]', more=f',"model":"{"___" * (8 * MIB // 3)}"')
    yield "a request's name of 8 MiB", "/v1/rerank", rerank('["a"]', more=f',"request_id":{long(8 * MIB)}')
    yield "JSON within a string", "/v1/rerank", rerank('["a"]', more=f',"kwargs":"{{\\"a\\":{many("0", 8 * MIB)}}}"')
    yield "127 levels, again and again", "/v1/rerank", rerank('["a"]', more=f',"x":{many("[" * 120 + "]" * 120, 4 * MIB)}')
    yield "100,000 levels", "/v1/rerank", rerank('["a"]', more=f',"x":{"[" * 100_000}{"]" * 100_000}')
    keys = ",".join(f'"{i}":0' for i in range(300_000))
    yield "300,000 keys", "/v1/rerank", rerank('["a"]', more=f",{keys}")
    yield "a key a million times", "/v1/rerank", rerank('["a"]', more=',"a":0' * MIB)
    yield "a number of a million digits", "/v1/rerank", rerank('["a"]', more=f',"top_n":{"9" * MIB}')
    yield "numbers that are written longer", "/v1/rerank", rerank(many('{"a":1e15}', 4 * MIB), more=',"rank_fields":["a"]')
    yield "escapes", "/v1/rerank", rerank(many('"' + "\\u0000" * 1000 + '"', 8 * MIB))
    yield "token ids", "/pooling", f'{{"input":{many("1", 32 * MIB - 100)}}}'
    yield "lists of one token", "/classify", f'{{"input":{many("[1]", 200_000)}}}'
    yield "texts of one digit", "/pooling", f'{{"input":{many(chr(34) + "1" + chr(34), 400_000)}}}'
    yield "digits to tokenize", "/tokenize", f'{{"prompt":"{"1" * (32 * MIB - 100)}","return_token_strs":true}}'
    yield "control tokens to tokenize", "/tokenize", f'{{"prompt":"{"<think>" * (4 * MIB)}"}}'
    yield "a megabyte to tokenize", "/tokenize", f'{{"prompt":{long(MIB)},"return_token_strs":true}}'
    yield "the longest token to write", "/detokenize", f'{{"tokens":{many("27767", 4 * MIB)}}}'
    yield "a message of 32 MiB", "/tokenize", f'{{"messages":[{{"role":"query","content":{long(32 * MIB - 300)}}}]}}'


def embedded():
    """The same for an embedding model, whose answers have a row of numbers for each text."""
    one = many('"1"', 400_000)
    yield "texts of one digit", "/v1/embeddings", f'{{"input":{one}}}'
    yield "texts of one digit, in base64", "/v1/embeddings", f'{{"input":{one},"encoding_format":"base64"}}'
    yield "texts of one digit, as bytes", "/v1/embeddings", f'{{"input":{one},"encoding_format":"bytes"}}'
    yield "empty texts", "/v1/embeddings", f'{{"input":{many(chr(34) * 2, 8 * MIB)}}}'
    yield "20,000 texts of one digit", "/v1/embeddings", f'{{"input":{many(chr(34) + "1" + chr(34), 80_000)}}}'
    yield "2,048 texts of 200 words", "/v1/embeddings", f'{{"input":{numbered(chr(34) + "%d " + "word " * 20 + chr(34), 2048)}}}'
    yield "token ids", "/v1/embeddings", f'{{"input":{many("1", 32 * MIB - 100)}}}'
    yield "lists of one token", "/v1/embeddings", f'{{"input":{many("[1]", 200_000)}}}'
    yield "objects with a text", "/v1/embeddings", f'{{"input":{many(chr(123) + chr(34) + "text" + chr(34) + ":" + chr(34) * 2 + chr(125), 4 * MIB)}}}'
    yield "objects for texts, 32 MiB", "/v1/embeddings", f'{{"input":{many("{}", 32 * MIB - 100)}}}'
    yield "one text of 32 MiB", "/v1/embeddings", f'{{"input":{long(32 * MIB - 200)}}}'
    yield "one text of 32 MiB, its end wanted", "/v1/embeddings", f'{{"input":{long(32 * MIB - 200)},"truncate_prompt_tokens":-1,"truncation_side":"left"}}'
    yield "a name of 8 MiB", "/v1/embeddings", f'{{"input":"a","model":"{":query" * (8 * MIB // 6)}"}}'
    yield "a prompt of 8 MiB", "/embed", f'{{"inputs":"a","prompt_name":{long(8 * MIB)}}}'
    yield "nulls for texts", "/embed", f'{{"inputs":{many("null", 4 * MIB)}}}'
    yield "texts of one digit for TEI", "/embed", f'{{"inputs":{one}}}'
    yield "sentences of one digit", "/similarity", f'{{"inputs":{{"source_sentence":"a","sentences":{one}}}}}'
    yield "texts in every type", "/v2/embed", f'{{"texts":{one},"embedding_types":["float","binary","ubinary","base64"]}}'
    yield "a type a million times", "/v2/embed", f'{{"texts":["a"],"embedding_types":{many(chr(34) + "float" + chr(34), 8 * MIB)}}}'
    yield "numbers for texts of Cohere", "/v1/embed", f'{{"texts":{many("1", 4 * MIB)}}}'
    yield "texts of one digit for Ollama", "/api/embed", f'{{"input":{one}}}'
    yield "a prompt of 32 MiB for Ollama", "/api/embeddings", f'{{"prompt":{long(32 * MIB - 200)}}}'
    yield "as many vectors of both sides", "/v1/score", f'{{"queries":{one},"documents":{one}}}'
    yield "documents of one digit", "/v1/rerank", rerank(one)
    yield "texts of one digit to pool", "/pooling", f'{{"input":{one}}}'
    yield "an invocation of TEI's", "/invocations", f'{{"inputs":{one}}}'
    yield "an invocation of OpenAI's", "/invocations", f'{{"input":{one}}}'
    yield "texts of one digit without a path", "/", f'{{"inputs":{one}}}'
    yield "lists of one token for TEI", "/embed", f'{{"inputs":{many("[1]", 200_000)}}}'
    yield "texts of one digit, as bits", "/v1/embeddings", f'{{"input":{one},"embedding_type":"ubinary"}}'
    yield "texts of one digit, cut", "/v1/embeddings", f'{{"input":{one},"dimensions":1}}'
    yield "digits to tokenize", "/tokenize", f'{{"prompt":"{"1" * (32 * MIB - 100)}","return_token_strs":true}}'


def rendered():
    times = ',"chat_template_kwargs":{"times":%d}'
    yield "a pair a million times", "/v1/rerank", rerank('["a"]', more=times % 1_000_000)
    yield "a query of 100 kB, 160 times", "/v1/rerank", rerank('["a"]', long(100_000), times % 160)
    yield "a query of 1 MB, 15 times", "/v1/rerank", rerank('["a","b"]', long(1_000_000), times % 15)
    yield "a query of 8 MB, twice", "/v1/rerank", rerank('["a","b"]', long(8_000_000), times % 2)
    yield "a document of 24 MB", "/v1/rerank", rerank(f"[{long(24_000_000)}]")
    yield "its end wanted", "/v1/rerank", rerank(f"[{long(24_000_000)}]", more=',"truncate_prompt_tokens":-1,"truncation_side":"left"')
    yield "a document of 24 MB, three times", "/v1/rerank", rerank(f"[{long(24_000_000)}]", more=times % 3)
    yield "control tokens, three times", "/v1/rerank", rerank(f'["{"<|im_end|>" * 800_000}"]', more=times % 3)
    yield "empty documents, a long query", "/v1/rerank", rerank(many('""', 30_000), word(1000))
    yield "a large variable", "/v1/rerank", rerank('["a"]', more=f',"chat_template_kwargs":{{"x":{many("0", MIB)}}}')
    yield "a large text for a variable", "/v1/rerank", rerank('["a"]', more=f',"chat_template_kwargs":{{"x":{long(8 * MIB)}}}')
    yield "a message of 8 MB, three times", "/tokenize", f'{{"messages":[{{"role":"query","content":{long(8_000_000)}}}]{times % 3}}}'
    yield "a message of 24 MB", "/classify", f'{{"messages":[{{"role":"query","content":{long(24_000_000)}}}]}}'


def packed():
    yield "32 MiB of gzip, numbers", "/v1/rerank", rerank(many("1", 32 * MIB - 100))
    yield "32 MiB of gzip, white space", "/v1/rerank", rerank('["a"]', more=" " * (32 * MIB - 100))


class Body:
    def __init__(self, name, path, text, packs=False):
        self.name, self.path, self.size = name, path, len(text)
        self.answered = ANSWERED | TEIS if text.startswith('{"inputs"') else ANSWERED
        self.bytes = gzip.compress(text.encode(), 6) if packs else text.encode()
        self.headers = {"Content-Encoding": "gzip"} if packs else {}

    def send(self, server, timeout=10 * PATIENCE):
        """The status and the answer's length; the status is 0 where the connection ended instead."""
        try:
            status, _, answer = server.ask("POST", self.path, self.bytes, self.headers, timeout)
            return status, len(answer)
        except (OSError, http.client.HTTPException):
            return 0, 0


def forget_peak(server):
    with open(f"/proc/{server.pid}/clear_refs", "w") as refs:
        refs.write("5")


def one_by_one(server, all_bodies, besides=BESIDES):
    """The table."""
    good = True
    note(f"{'body':44} {'KiB':>7} {'grows MiB':>10} {'may':>6} {'s':>6}  answer")
    first, most, worst = server.memory(), 0, 0.0
    for body in all_bodies:
        forget_peak(server)
        base, start = server.memory(), time.monotonic()
        status, length = body.send(server)
        seconds, grown = time.monotonic() - start, server.memory("VmHWM") - base
        may = PER_BYTE * body.size + besides
        worst, most = max(worst, seconds), max(most, server.memory("VmHWM") - first)
        figures = f"{body.size / 1024:7.0f} {grown / MIB:10.0f} {may / MIB:6.0f} {seconds:6.1f}"
        note(f"{body.name:44} {figures}  {status}, {length} bytes")
        if grown > may or status not in body.answered:
            good = check(f"{body.name} is within its bound and answered", False, f"{grown} of {may} bytes, {status}")
    check(f"{len(all_bodies)} hostile bodies are each within the stated bound", good)
    check("all of them, one after the other, leave it below what all together may take", most < ALL, most)
    check("none of them takes a minute", worst < 60, worst)


def many_at_a_time(server, all_bodies, seconds):
    """All of them from many connections, beside one client that is honest."""
    turn, statuses, until = itertools.count(), {}, time.monotonic() + seconds

    def client():
        while time.monotonic() < until:
            status, _ = all_bodies[next(turn) * 7 % len(all_bodies)].send(server)
            statuses[status] = statuses.get(status, 0) + 1

    forget_peak(server)
    clients = [threading.Thread(target=client) for _ in range(CLIENTS)]
    with Bystander(server) as honest:
        for thread in clients:
            thread.start()
        for thread in clients:
            thread.join()
    peak = server.memory("VmHWM")
    note(f"{sum(statuses.values())} requests in {seconds:.0f} s, by status {statuses}; {peak / MIB:.0f} MiB at most")
    note(f"the honest client: {len(honest.times)} answers, median {honest.median():.2f} s, slowest {max(honest.times):.2f} s")
    check("the process stays below 2 GiB", peak < PROCESS, peak)
    check("every request was answered, none with a fault of ours", set(statuses) <= ANSWERED | TEIS | {503}, statuses)
    check("an honest client was answered throughout", not honest.problems, honest.problems[:3])


def half_sent(server):
    """Bodies that stop before their end, on as many connections as there are files for."""
    head = f"POST /v1/rerank HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {MIB}\r\n\r\n".encode()
    with contextlib.ExitStack() as connections:
        base = server.memory()
        forget_peak(server)
        for _ in range(900):
            stream = connections.enter_context(server.connect())
            with contextlib.suppress(OSError):
                stream.sendall(head + b" " * (MIB - 1))
        status, _, _ = server.ask("GET", "/health")
        grown = server.memory("VmHWM") - base
    note(f"900 bodies without an end, 900 MiB: the process grew by {grown / MIB:.0f} MiB")
    check("bodies without an end take no more than all together may", status == 200 and grown < ALL, (status, grown))


def left_alone(server):
    """Work whose client has gone is not done."""
    body = Body("many different texts", "/v1/rerank", rerank(numbered('"%d ' + "word " * 500 + '"', 5000)))
    answer = body.send(server, timeout=1)
    check("what a client leaves is dropped", eventually(lambda: server.load() == 0, 10), answer)


def run(binary, seconds=SECONDS):
    model = tiny_model()
    all_bodies = [Body(*body) for body in bodies()] + [Body(*body, packs=True) for body in packed()]
    flags = ["--max-model-len", "8192", *COMPUTES]
    # The prefix cache has a limit of its own, and is not a request's.
    # What is freed goes back to the system, so that the next body is measured by itself.
    freed = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    alone = Server(binary, model, *flags, "--prefix-cache-mib", "16", env=freed)
    templated = Server(binary, model, *flags, "--prefix-cache-mib", "16", "--chat-template", TEMPLATE, env=freed)
    embedder = Server(binary, tiny_embedder(512), *flags, "--prefix-cache-mib", "16", env=freed)
    with alone, templated, embedder, Server(binary, model, *flags) as shared:
        alone.rerank("who", ["me", "you"])
        one_by_one(alone, all_bodies)
        templated.rerank("who", ["me", "you"])
        one_by_one(templated, [Body(*body) for body in rendered()], BESIDES + RENDERING)
        embedder.ask("POST", "/v1/embeddings", b'{"input":["me","you"]}')
        one_by_one(embedder, [Body(*body) for body in embedded()])
        left_alone(alone)
        half_sent(alone)
        many_at_a_time(shared, all_bodies, seconds)
        for server in alone, templated, embedder, shared:
            check("nothing is left at work", eventually(lambda: server.load() == 0, 10), server.load())
            check("nothing panicked", "panicked" not in server.log(), server.log()[-2000:])
            check("the server stops in order", server.stop() == 0)
