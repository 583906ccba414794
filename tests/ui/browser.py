"""What the suite `ui` does in its browser, in an environment that has Playwright. Each function is a claim, and has a page of its own."""

import contextlib
import json
import os
import re
import sys
import threading
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

# Behind the environment's own.
sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import checks

URL, KEYED_URL, KEY = os.environ["UI_URL"], os.environ["UI_KEYED_URL"], os.environ["UI_KEY"]
SCREENSHOTS = Path(os.environ["UI_SCREENSHOTS"])
# Bytes of all files of the page.
MOST = 100_000
WIDE, PHONE = {"width": 1280, "height": 860}, {"width": 390, "height": 844}
QUERY = "How do I stop bread from going stale?"
DOCUMENTS = [
    "Keep a loaf cut side down on a board, or in a cloth bag.",
    "A sourdough starter wants flour and water every day.",
    "Bread goes stale faster in a refrigerator.",
    "Slice it, freeze it the day it is baked, and toast it from frozen.",
    "The town of Stone lies on the river Trent. 面包 🥖 <b>&amp;</b>",
    "Butter that stands in the light turns rancid.",
]
POLICY = {
    "default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "form-action 'none'", "base-uri 'none'",
    "frame-ancestors 'none'",
}


def post(path, body, url=URL):
    """The API's answer."""
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def ranked(model="reranker", documents=DOCUMENTS, **more):
    """Indices and scores, best first."""
    answer = post("/v1/rerank", {"model": model, "query": QUERY, "documents": documents, **more})
    return [(result["index"], result["relevance_score"]) for result in answer["results"]]


def shown(page, letter=""):
    """What the page shows: texts and scores, in order."""
    rows = page.locator(".ranking li")
    rows.first.wait_for()
    bar = f".bar.{letter}" if letter else ".bar"
    return page.eval_on_selector_all(
        ".ranking li",
        f"""rows => rows.map(row => [row.querySelector(".text").textContent,
            Number(row.querySelector("{bar}").closest(".measure").querySelector("data").value)])""",
    )


def fill(page, documents=DOCUMENTS, query=QUERY):
    page.fill("#query", query)
    page.fill("#documents", "\n".join(documents))


def rank(page):
    page.click("#run")
    expect(page.locator("#run")).to_have_attribute("aria-busy", "false")


def knows_models(page):
    page.locator("#model option").first.wait_for(state="attached")


class Browser:
    """Pages that note their files, and what they should not do: errors, and requests to others than their server."""

    def __init__(self, chromium):
        self.chromium, self.faults, self.files = chromium, [], set()

    @contextlib.contextmanager
    def page(self, path="/ui", url=URL, expected=(), **options):
        """A page of a browser without memories; `expected` are what the console may complain of."""
        context = self.chromium.new_context(viewport=WIDE, locale="en-GB", **options)
        context.set_default_timeout(20_000)
        page = context.new_page()

        def heard(message):
            if message.type in ("error", "warning") and not any(word in message.text for word in expected):
                self.faults.append(f"{path}: {message.text}")

        def asked(request):
            if not request.url.startswith(("/".join(url.split("/")[:3]) + "/", "data:")):
                self.faults.append(f"{path}: a request to {request.url}")

        def answered(response):
            if file := re.search(r"/ui/([a-z]+\.[a-z]+)$", response.url):
                self.files.add(file[1])

        page.on("console", heard)
        page.on("pageerror", lambda error: self.faults.append(f"{path}: {error}"))
        page.on("request", asked)
        page.on("response", answered)
        try:
            page.goto(url + path)
            page.locator(".state.good").wait_for()
            if url == URL:
                knows_models(page)
            yield page
        finally:
            context.close()


def a_ranking(browser):
    with browser.page() as page:
        expect(page.locator("#results")).to_contain_text("Results appear here")
        fill(page)
        rank(page)
        assert shown(page) == [[DOCUMENTS[index], score] for index, score in ranked()], shown(page)
        assert re.search(r"6 documents\. \d+ tokens in .* tokens/s", page.text_content("#summary")), page.text_content("#summary")
        page.click("#options summary")
        page.check("[name=raw][value='1']")
        page.fill("#instruction", "Find what is about towns")
        rank(page)
        raw = ranked(use_activation=False, instruction="Find what is about towns")
        assert shown(page) == [[DOCUMENTS[index], score] for index, score in raw], shown(page)


def the_example(browser):
    with browser.page("/") as page:
        page.click("#example")
        page.keyboard.press("Enter")
        assert len(shown(page)) == 8
        page.screenshot(path=SCREENSHOTS / "ranking.png", full_page=True)
        page.click("#compare summary")
        page.select_option("#model-b", "reranker-int8")
        rank(page)
        page.screenshot(path=SCREENSHOTS / "comparison.png", full_page=True)


def two_precisions_and_two_instructions(browser):
    with browser.page() as page:
        fill(page)
        page.click("#compare summary")
        page.select_option("#model-b", "reranker-int8")
        rank(page)
        scores = [dict(ranked(model)) for model in ("reranker", "reranker-int8")]
        for letter, of in zip("ab", scores):
            assert {text: score for text, score in shown(page, letter)} == {DOCUMENTS[i]: score for i, score in of.items()}
        first = [text for text, _ in shown(page)]
        assert first == [DOCUMENTS[i] for i, _ in ranked("reranker")], first
        page.check(".side:nth-of-type(2) input")
        assert [text for text, _ in shown(page)] == [DOCUMENTS[i] for i, _ in ranked("reranker-int8")], "ordered by the other"
        page.select_option("#model-b", "reranker")
        page.fill("#instruction-b", "Find what is about towns")
        rank(page)
        other = {DOCUMENTS[i]: score for i, score in ranked(instruction="Find what is about towns")}
        assert {text: score for text, score in shown(page, "b")} == other


def a_matrix_and_a_search(browser):
    with browser.page() as page:
        page.select_option("#model", "embedder")
        page.check("[name=task][value=matrix]")
        page.fill("#documents", "\n".join(DOCUMENTS))
        rank(page)
        cells = page.eval_on_selector_all(".matrix tbody tr", "rows => rows.map(row => [...row.querySelectorAll('td')].map(cell => cell.textContent))")
        found = [item["embedding"] for item in post("/v1/embeddings", {"model": "embedder", "input": DOCUMENTS})["data"]]
        cosines = [[f"{sum(x * y for x, y in zip(a, b)):.2f}".replace("-0.00", "0.00") for b in found] for a in found]
        assert [[cell.replace("-0.00", "0.00") for cell in row] for row in cells] == cosines, cells
        page.screenshot(path=SCREENSHOTS / "matrix.png", full_page=True)
        page.check("[name=task][value=rank]")
        page.fill("#query", QUERY)
        rank(page)
        query = post("/v1/embeddings", {"model": "embedder:query", "input": QUERY})["data"][0]["embedding"]
        near = sorted(range(len(DOCUMENTS)), key=lambda i: -sum(x * y for x, y in zip(query, found[i])))
        assert [text for text, _ in shown(page)] == [DOCUMENTS[i] for i in near], shown(page)


def what_is_copied_runs(browser):
    with browser.page() as page:
        fill(page)
        rank(page)
        command = page.text_content("#snippet")
        printed = os.popen(command).read()
        assert [(r["index"], r["relevance_score"]) for r in json.loads(printed)["results"]] == ranked(), printed
        page.check("[name=copy][value=python]")
        code = page.text_content("#snippet")
        compile(code, "snippet", "exec")
        body = re.search(r"json=(\{.*\})\)\nanswer", code, re.S)[1]
        assert eval(body) == {"model": "reranker", "query": QUERY, "documents": DOCUMENTS}, body
        page.check("[name=copy][value=ragflow]")
        told = page.text_content("#snippet")
        assert f"{URL}/v1\n" in told and "Model name   reranker\n" in told, told


def files_passages_and_long_lists(browser):
    with browser.page() as page:
        article = "\n\n".join(" ".join(f"Sentence {p}.{s} says something of bread." for s in range(40)) for p in range(20))
        page.set_input_files("#file", {"name": "article.txt", "mimeType": "text/plain", "buffer": article.encode()})
        page.check("[name=split][value=passages]")
        page.fill("#words", "60")
        expect(page.locator("#count")).to_contain_text("80, ")
        page.fill("#query", QUERY)
        rank(page)
        assert len(shown(page)) == 80
        page.check("[name=split][value=lines]")
        page.fill("#documents", "\n".join(f"document {i} of many" for i in range(950)))
        rank(page)
        assert len(shown(page)) == 100, "as many as can be looked at"
        page.click(".more")
        assert len(shown(page)) == 200
        page.set_input_files("#file", {"name": "picture.png", "mimeType": "image/png", "buffer": b"\x89PNG\0\0"})
        expect(page.locator("#error")).to_have_text("picture.png is no text.")


def refusals_are_the_servers_sentences(browser):
    with browser.page(expected=["400"]) as page:
        fill(page, ["word " * 2000, "short"])
        rank(page)
        expect(page.locator("#error")).to_contain_text("documents[0] is too long")
        page.click("#options summary")
        page.check("#truncate")
        rank(page)
        expect(page.locator("#error")).to_be_hidden()
        assert len(shown(page)) == 2
        page.locator(".open").first.click()
        assert max(len(text) for text, _ in shown(page)) > 9000, "all of a long text"


def a_request_is_given_up(browser):
    with browser.page(expected=["ERR_FAILED"]) as page:
        held = []
        page.route("**/v1/rerank", lambda route: held.append(route))
        fill(page)
        page.click("#run")
        page.locator("#stop").wait_for()
        page.click("#stop")
        expect(page.locator("#summary")).to_have_text("Stopped.")
        page.unroute("**/v1/rerank")
        rank(page)
        assert len(shown(page)) == len(DOCUMENTS)


def the_key_is_typed_once(browser):
    for path in "/ui", "/ui/", "":
        with browser.page(path, KEYED_URL, expected=["401"]) as page:
            expect(page.locator("#banner")).to_contain_text("asks for an API key")
            assert page.is_visible("#query"), "the page is there without the key"
            page.click("#key-open")
            page.fill("#key", "a-wrong-key")
            page.keyboard.press("Enter")
            expect(page.locator("#key-error")).to_contain_text("is not one of this server's")
            page.fill("#key", KEY)
            page.keyboard.press("Enter")
            expect(page.locator("#key-dialog")).to_be_hidden()
            expect(page.locator("#banner")).to_be_hidden()
            fill(page)
            rank(page)
            assert len(shown(page)) == len(DOCUMENTS)
            assert KEY not in page.text_content("#snippet") and "$API_KEY" in page.text_content("#snippet")
            page.reload()
            knows_models(page)
            rank(page)
            assert len(shown(page)) == len(DOCUMENTS), "texts and key are there after a reload"
            assert page.evaluate("localStorage.length") == 0
            page.click("#key-open")
            page.click("#key-forget")
            expect(page.locator("#banner")).to_contain_text("asks for an API key")
            assert KEY not in page.evaluate("JSON.stringify(sessionStorage)")


def charts_move_under_load(browser):
    over = threading.Event()

    def load():
        turn = 0
        while not over.is_set():
            turn += 1
            documents = [f"passage {turn} {i} of bread and starch " * 8 for i in range(24)]
            post("/v1/rerank", {"model": ("reranker", "reranker-int8")[turn % 2], "query": QUERY, "documents": documents})
            time.sleep(0.1)

    with browser.page("/ui#/live") as page:
        tile = page.locator(".tile", has_text="Tokens a second")
        tile.locator(".line").first.wait_for(state="attached")
        still = tile.locator(".line").first.get_attribute("d")
        worker = threading.Thread(target=load)
        worker.start()
        try:
            expect(tile.locator(".figure strong")).to_have_text(re.compile(r"^[1-9]"))
            assert tile.locator(".line").first.get_attribute("d") != still, "the line goes on"
            expect(page.locator(".tile", has_text="Time to an answer").locator("strong")).to_have_text(re.compile(r"\d.* m?s"))
            expect(page.locator(".tile", has_text="Requests a second").locator("strong")).to_have_text(re.compile(r"[\d.]+"))
            # It is measured once the page has asked and something was computed.
            expect(page.locator(".tile", has_text="Use of the machine").locator("strong")).to_have_text(re.compile(r"[\d.]+ %"))
            models = page.locator("section", has=page.locator("h2", has_text="Models")).last
            expect(models.locator("tbody tr")).to_have_count(3)
            machine = page.locator(".machine")
            for part in re.compile(r"threads of \w+"), re.compile(r"FLOP/s in float32"), re.compile(r"ironrank \d+\.\d+"):
                expect(machine).to_contain_text(part)
            page.wait_for_timeout(6000)
            page.screenshot(path=SCREENSHOTS / "live.png", full_page=True)
            page.emulate_media(color_scheme="dark")
            page.screenshot(path=SCREENSHOTS / "live-dark.png", full_page=True)
            page.select_option("#live-model", "embedder")
            expect(tile.locator(".figure strong")).to_have_text("0")
            page.select_option("#live-model", "")
            page.set_viewport_size(PHONE)
            page.wait_for_timeout(300)
            page.screenshot(path=SCREENSHOTS / "live-phone.png", full_page=True)
            fits(page)
        finally:
            over.set()
            worker.join()


def the_keyboard_is_enough(browser):
    with browser.page() as page:
        # A radio button's focus is shown by itself, or by its label.
        outlines = """[document.activeElement, document.activeElement.nextElementSibling]
            .map(one => one && getComputedStyle(one).outlineStyle)"""

        def at(selector):
            for _ in range(40):
                page.keyboard.press("Tab")
                if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                    found = page.evaluate(outlines)
                    assert any(outline not in (None, "none") for outline in found), f"{selector} shows no focus: {found}"
                    return
            raise AssertionError(f"{selector} is not reached by Tab")

        at("#query")
        page.keyboard.type(QUERY)
        at("[name=split]")
        page.keyboard.press("ArrowRight")
        assert page.is_checked("[name=split][value=passages]")
        page.keyboard.press("ArrowLeft")
        at("#documents")
        page.keyboard.insert_text("\n".join(DOCUMENTS))
        at("#compare summary")
        page.keyboard.press("Enter")
        at("#run")
        page.keyboard.press("Enter")
        assert len(shown(page)) == len(DOCUMENTS)
        at("[name=by]")
        page.keyboard.press("ArrowRight")
        at("[name=copy]")
        page.keyboard.press("ArrowRight")
        assert "import requests" in page.text_content("#snippet")
        page.reload()
        at("#tab-playground")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#live")).to_be_visible()
        expect(page.locator("#tab-live")).to_be_focused()
        at("#pause")
        page.keyboard.press("Enter")
        expect(page.locator("#pause")).to_have_text("Go on")
        at(".tile svg")
        page.keyboard.press("Home")


def everything_has_a_name(browser):
    with browser.page() as page:
        page.click("#example")
        rank(page)
        for view in "playground", "live":
            page.click(f"#tab-{view}")
            nameless = page.eval_on_selector_all(
                "button, select, input, textarea, svg[role=img], [role=tabpanel], [role=region]",
                """all => all.filter(one => one.checkVisibility() && !(one.labels?.length || one.textContent.trim()
                    || one.getAttribute("aria-label") || one.getAttribute("aria-labelledby"))).map(one => one.outerHTML.slice(0, 200))""",
            )
            assert not nameless, nameless


def fits(page):
    """Nothing but what scrolls by itself is wider than the page."""
    wide = page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
    assert wide <= 0, f"{wide} pixels are out of sight"


def in_the_dark_and_on_a_phone(browser):
    with browser.page(color_scheme="dark") as page:
        page.click("#example")
        rank(page)
        dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.screenshot(path=SCREENSHOTS / "ranking-dark.png", full_page=True)
        page.click("#theme")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark, "the light colours are asked for"
        page.set_viewport_size(PHONE)
        page.screenshot(path=SCREENSHOTS / "ranking-phone.png", full_page=True)
        fits(page)


def small_closed_and_kept(browser):
    sizes = {}
    for path in ["ui", *(f"ui/{name}" for name in sorted(browser.files))]:
        with urllib.request.urlopen(f"{URL}/{path}", timeout=60) as response:
            sizes[path] = len(response.read())
            policy = {part.strip() for part in response.headers["content-security-policy"].split(";")}
            assert POLICY <= policy and "unsafe" not in str(policy), f"{path}: {policy}"
            tag = response.headers["etag"]
        again = urllib.request.Request(f"{URL}/{path}", headers={"If-None-Match": tag})
        try:
            urllib.request.urlopen(again, timeout=60)
            raise AssertionError(f"{path} is sent again")
        except urllib.error.HTTPError as kept:
            assert kept.code == 304, kept
    assert len(sizes) > 10 and sum(sizes.values()) < MOST, sizes
    checks.note(f"{sum(sizes.values()):,} bytes in {len(sizes)} files")


def a_server_that_is_gone(browser):
    with browser.page("/ui#/live", expected=["ERR_"]) as page:
        page.route("**/metrics?*", lambda route: route.abort())
        expect(page.locator(".state.bad")).to_have_text("The server does not answer.")
        page.unroute("**/metrics?*")
        expect(page.locator(".state.good")).to_contain_text("ready")


CLAIMS = {
    "a ranking is made, in the order and with the scores of the API": a_ranking,
    "a browser finds the page at /, and its example": the_example,
    "two precisions and two instructions stand side by side": two_precisions_and_two_instructions,
    "an embedder's texts make a matrix, and a search": a_matrix_and_a_search,
    "what is copied as curl, Python and for RAGFlow is what was asked": what_is_copied_runs,
    "files, passages and long lists": files_passages_and_long_lists,
    "a refusal is shown in the server's sentence": refusals_are_the_servers_sentences,
    "a request can be given up": a_request_is_given_up,
    "the page is there without the key, which is typed in once, behind a proxy's prefix too": the_key_is_typed_once,
    "charts move under load": charts_move_under_load,
    "the keyboard is enough": the_keyboard_is_enough,
    "everything has a name": everything_has_a_name,
    "it is dark in the dark, and fits a phone": in_the_dark_and_on_a_phone,
    "a server that is gone is told of": a_server_that_is_gone,
    "its files are small, closed to others' scripts, and kept by browsers": small_closed_and_kept,
}


def main():
    # Longer than anything takes on a busy machine.
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        # Whoever runs it is root in a container, where Chromium has no sandbox of its own.
        chromium = playwright.chromium.launch(executable_path=os.environ["UI_CHROMIUM"], chromium_sandbox=False)
        browser = Browser(chromium)
        for claim, test in CLAIMS.items():
            checks.succeeds(claim, test, browser)
        checks.check("the console has no error, and nobody but the server was asked", not browser.faults, "\n".join(browser.faults))
        chromium.close()
    checks.leave_counts()


main()
