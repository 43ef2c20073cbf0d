"""The explorer's page: what is in the file, and how it behaves in a browser (headless Chromium, where there is one)."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
import shutil

import pytest

from graphc.explorer import render

NONE, MINUS = "\N{EN DASH}", "\N{MINUS SIGN}"
NAMESPACES = {"http://www.w3.org/1999/xhtml", "http://www.w3.org/2000/svg"}  # names, which nothing loads
HOSTILE = "<script>document.title = 'hacked'</script>"


def value(id, name, op, layer, phase="forward", operands=(), type="f32[N,4]"):
    origin = f"grad({layer})" if phase == "backward" else layer
    return {"id": id, "name": name, "op": op, "text": f"{name} = {op}({', '.join(operands)}): {type}", "type": type,
            "origin": origin, "layer": layer, "phase": phase, "operands": list(operands)}


def stage(name, values, seconds=0.001, **rules):
    return {"name": name, "seconds": seconds, "changed": True, "values": values, "outputs": {}, "updates": {},
            "rules": rules}


def kernel(index, name, layer, values, phase="forward", seconds=1e-4, operands=(), **more):
    operands = [{"name": f"%o{k}", "type": "f32[N,4]", "kernel": k} for k in operands]
    return {"index": index, "name": name, "origin": layer, "layer": layer, "layers": [layer], "phase": phase,
            "values": list(values), "operands": operands, "results": ["f32[N,4]"], "flops": 2e6, "bytes": 1e5,
            "seconds": seconds, "wait": 1e-6, "body": f"graph {name}() {{\n}}", "loops": "for i0 in N {\n}",
            "schedule": "for i0 in 8 vector {\n}", "llvm": "define void @f() {\n  ret void\n}",
            "optimised": "define void @g() {\n  ret void\n}", "assembly": "f:\n\tvfmadd231ps\t%zmm1, %zmm2, %zmm3\n",
            "fallback": "", **more}


def step(kind, stages, kernels, seconds=0.001):
    buffers = [{"name": f"%0 of {k['name']}", "type": "f32[N,4]", "kernel": k["index"], "layer": k["layer"],
                "offset": 64 * k["index"], "size": 64, "first": k["index"], "last": k["index"] + 1} for k in kernels]
    return {"kind": kind, "sizes": {"N": 8}, "seconds": seconds, "stages": stages, "kernels": kernels,
            "plan": {"text": f"plan {kind} {{\n}}", "arena": 64 * len(kernels), "weights": 80, "buffers": buffers}}


def page_data(layers, steps, title="model"):
    machine = {"cpu": "znver4", "triple": "x86_64-linux", "vector_bits": 512, "registers": 32, "threads": 2,
               "llvm": "22", "operations": 2e11, "bandwidth": {"16384": 1e12, "67108864": 5e10}}
    described = [{"name": name, "type": "Dense", "output": "(None, 4)", "parameters": 20, "activation": "relu"}
                 for name in layers]
    return {"title": title, "version": "0.1.0", "made": "today", "machine": machine, "layers": described,
            "steps": steps}


def small(layer="second", seconds=1e-4):
    """A model of two layers: training changes its graph, prediction is one kernel."""
    leaves = [value("x", "%x", "input", "", "input"), value("w", "%first.kernel", "state", "first", "state")]
    traced = [*leaves, value("a", "%0", "einsum", "first", operands="xw"),
              value("b", "%1", "double", layer, operands="a")]
    after = [*traced[:3], value("c", "%1", "add", layer, operands="aa"),
             value("d", "%2", "where", "first", "backward", operands="c")]
    train = [kernel(0, "einsum", "first", "a", seconds=seconds),
             kernel(1, "add", layer, "c", operands=[0], seconds=seconds and seconds / 2),
             kernel(2, "where", "first", "d", "backward", operands=[1], seconds=seconds and seconds * 3)]
    predict = [kernel(0, "einsum_double", layer, "ab", seconds=seconds)]
    stages = [stage("traced", traced, 0.0), stage("simplify", after, twice_is_a_sum=1)]
    return page_data(["first", layer], [step("train", stages, train, seconds and 0.001),
                                        step("predict", stages[:1], predict, seconds and 0.001)])


def large(blocks=150):
    """Layers one after the other with 20 values and two kernels each, and a skip over every third."""
    values, kernels, last = [value("x", "%x", "input", "", "input")], [], "x"
    skip = last
    for block in range(blocks):
        layer, own = f"block_{block // 10}/layer_{block}", []
        for k in range(20):
            operands = [last, skip] if k == 0 and block % 3 == 0 else [last]
            last = f"{layer}.{k}"
            own.append(last)
            values.append(value(last, f"%{len(values)}", "add", layer, operands=operands))
        skip = last if block % 3 == 0 else skip
        for part in (own[:10], own[10:]):
            kernels.append(kernel(len(kernels), "add", layer, part, operands=[len(kernels) - 1] if kernels else []))
    layers = [f"block_{block // 10}/layer_{block}" for block in range(blocks)]
    return page_data(layers, [step("predict", [stage("traced", values)], kernels)])


def content(page):
    """The data of a page."""
    packed = re.search(r'<script type="application/gzip" id="data">([^<]*)</script>', page)[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


# ------------------------------------------------------------------------------------------------------- the file


def test_data_round_trip():
    data = small(HOSTILE)
    assert content(render(data)) == data
    assert render(data) == render(data)


def test_loads_nothing():
    page = render(small())
    assert set(re.findall(r"\w+://[^\s\"'`)]+", page)) == NAMESPACES
    assert not re.search(r"<link|@import|url\((?!#)|<(?:script|img|iframe)[^>]* src=", page)
    assert "default-src 'none'" in page


def test_only_its_own_script_runs():
    page = render(small(HOSTILE))
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    # elements are made and texts are set, so no text can become markup
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", script)


@pytest.mark.parametrize("title", ["</title>" + HOSTILE, "[[script]]", "[[data]] \\1"])
def test_title_is_text(title):
    page = render({**small(), "title": title})
    shown = re.search(r"<title>(.*?)</title>", page)[1]
    assert "<" not in shown and html.unescape(shown) == f"{title} · graphc explorer"
    assert content(page)["title"] == title


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        render({**small(), "version": float("nan")})


# ------------------------------------------------------------------------------------------------------- a browser


@pytest.fixture(scope="module")
def browser():
    """Headless Chromium: Playwright's own, or one that is installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="it needs a browser: pip install playwright")
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    paths = [None, *filter(None, map(shutil.which, names))]
    with playwright.sync_playwright() as running:
        for path in paths:
            try:
                found = running.chromium.launch(executable_path=path)
            except playwright.Error:
                continue
            yield found
            found.close()
            return
        pytest.skip("no Chromium can be started: playwright install chromium, or apt-get install chromium")


@pytest.fixture
def show(browser, tmp_path):
    """A function that opens the page of some data; afterwards nothing may have gone wrong, and nothing been loaded."""
    problems = []
    contexts = []

    def open_page(data, place="", **options):
        file = tmp_path / "page.html"
        file.write_text(render(data), encoding="utf-8")
        contexts.append(browser.new_context(viewport={"width": 1400, "height": 900}, **options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith("file:") else problems.append(r.url))
        page.goto(file.as_uri() + place)
        page.wait_for_selector("#header h1")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert problems == []


def wait(page, selector, text=None):
    """Wait until the page shows an element, with a text in it; addresses are followed a moment after a click."""
    page.locator(selector, has_text=text).first.wait_for()


def lit(page, half):
    """The marks that are lit in the left or the right half of the graph."""
    found = page.locator(f".half:nth-child({half + 1}) .lit")
    return {node.get_attribute("data-id") for node in found.all()}


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "seconds"), [("light", 1e-4), ("dark", None)])
def test_every_view_of_every_step(show, scheme, seconds):
    data = small(seconds=seconds)
    if seconds is None:
        data["machine"].update(operations=None, bandwidth={})
    page = show(data, color_scheme=scheme)
    for kind in ("train", "predict"):
        page.get_by_role("link", name=kind, exact=True).click()
        for view in ("Overview", "Graph", "Passes", "Memory", "Kernels", "Roofline"):
            page.get_by_role("link", name=view, exact=True).click()
            wait(page, f"#view[data-view={view.lower()}]")
            assert page.locator("#view > *").count() == 1
    page.get_by_role("link", name="train", exact=True).click()
    page.get_by_role("link", name="Kernels", exact=True).click()
    last = page.locator(".kernels tbody tr").last
    assert (NONE in last.inner_text()) == (seconds is None)


@pytest.mark.slow
def test_names_are_text(show):
    page = show(small(HOSTILE), "#train/overview")
    assert page.get_by_role("button", name=HOSTILE).inner_text() == HOSTILE
    page.get_by_role("button", name=HOSTILE).click()
    wait(page, ".group.open.current")
    for view in ("passes", "memory", "roofline", "kernels"):
        page.goto(page.url.split("#")[0] + f"#train/{view}/1")
        wait(page, f"#view[data-view={view}]")
        wait(page, "#detail", HOSTILE)
    assert page.title() == "model · graphc explorer" and page.locator("script").count() == 2


@pytest.mark.slow
@pytest.mark.parametrize("place", ["#%E0%A4%A/%", "#train/nothing/99", "#predict/toString/-1"])
def test_wrong_addresses_lead_to_the_overview(show, place):
    page = show(small(), place)
    wait(page, "#view[data-view=overview]")
    assert page.locator(".steps [aria-current]").count() == 1


@pytest.mark.slow
def test_figures_of_the_step(show):
    page = show(small(), "#train")
    names, figures = (page.locator(f".key-figures {tag}").all_inner_texts() for tag in ("span", "b"))
    assert dict(zip(names, figures, strict=True)) == {
        "Kernels": "3", "Operations": "6.00 MFLOP", "Memory traffic": "300 kB", "Arena": "192 B", "Time": "1.00 ms",
        "Speed": "6.00 GFLOP/s", "Of the peak": "3.0 %"}


@pytest.mark.slow
def test_hovering_shows_which_values_went_where(show):
    page = show(small(), "#train/graph")
    page.hover("[data-id=k1]")
    assert "c" in lit(page, 0) and "a" not in lit(page, 0)
    assert lit(page, 1) == {"k0", "k1", "k2"}  # and the kernels that it reads from or that read it
    page.hover("[data-id=a]")
    assert lit(page, 1) == {"k0"}
    assert page.locator(".wires path").count() == 1
    assert "in #0 einsum" in page.locator("#tip").inner_text()
    page.mouse.move(5, 5)
    assert lit(page, 0) == lit(page, 1) == set() and not page.locator("#tip").is_visible()


@pytest.mark.slow
def test_groups_open_and_close(show):
    page = show(small(), "#train/graph")
    page.get_by_role("button", name="Collapse").click()
    page.locator(".value").wait_for(state="detached")
    page.click("[data-id='forward:first']")
    wait(page, ".value")
    assert page.locator(".value").count() == 2
    page.get_by_role("button", name="Expand").click()
    wait(page, "[data-id=d]")
    page.select_option("select", "traced")
    wait(page, "[data-id=b]")  # what simplify replaces
    assert page.locator("[data-id=d]").count() == 0


@pytest.mark.slow
def test_kernel_opens_and_shows_its_code(show):
    page = show(small(), "#train/graph")
    page.click("[data-id=k2]")
    detail = page.locator("#detail")
    wait(page, "#detail h2", "where")
    assert page.url.endswith("#train/graph/2")
    assert "#1 add" in detail.inner_text()
    for tab, texts in (("Loops", ["for i0 in N", "for i0 in 8 vector"]), ("LLVM IR", ["@f", "@g"]),
                       ("Assembly", ["vfmadd231ps"])):
        detail.get_by_role("tab", name=tab).click()
        for text in texts:
            wait(page, "#detail pre", text)
    assert detail.locator(".operation").inner_text() == "vfmadd231ps"
    detail.get_by_role("button", name="Copy").click()
    detail.get_by_role("button", name="Copied").wait_for()
    page.keyboard.press("k")
    wait(page, "#detail h2", "add")
    page.go_back()
    wait(page, "#detail h2", "where")
    page.keyboard.press("Escape")
    detail.wait_for(state="hidden")


@pytest.mark.slow
def test_kernels_are_sorted_and_filtered(show):
    page = show(small(), "#train/kernels")
    names = page.locator(".kernels tbody th")
    assert names.all_inner_texts() == ["where", "einsum", "add"]  # the slowest first
    page.get_by_role("button", name="Kernel").click()
    assert names.all_inner_texts() == ["add", "einsum", "where"]
    page.get_by_role("button", name="Kernel").press("Enter")
    assert names.all_inner_texts() == ["where", "einsum", "add"]
    assert page.locator("[aria-sort=descending]").inner_text().startswith("Kernel")
    page.get_by_label("Filter kernels").fill("backward")
    assert names.all_inner_texts() == ["where"]


@pytest.mark.slow
def test_passes_show_what_changed(show):
    page = show(small(), "#train/passes")
    body = page.locator(".passview .columns")
    assert page.locator(".pass[aria-pressed=true] b").inner_text() == "simplify"
    assert page.locator(".diff .minus").all_inner_texts() == [f"{MINUS} %1 = double(a): f32[N,4]"]
    assert len(page.locator(".diff .plus").all()) == 2
    assert "twice_is_a_sum" in body.inner_text()
    page.get_by_role("button", name="traced").click()
    assert "This is where it begins" in body.inner_text()


@pytest.mark.slow
def test_memory_and_roofline_have_a_mark_for_each_kernel(show):
    page = show(small(), "#train/memory")
    assert page.locator(".buffer").count() == 3
    page.locator(".buffer").nth(1).hover()
    assert "written by #1 add" in page.locator("#tip").inner_text()
    page.get_by_role("link", name="Roofline").click()
    wait(page, ".dot")
    assert page.locator(".dot").count() == 3
    page.locator(".chart").focus()
    page.keyboard.press("ArrowRight")
    assert "of the roofline" in page.locator("#tip").inner_text()
    page.keyboard.press("Enter")
    wait(page, "#detail h2")


@pytest.mark.slow
def test_search_by_keyboard(show):
    page = show(small(), "#train/overview")
    page.keyboard.press("/")
    page.keyboard.type("where")
    assert page.locator("#hits [role=option]").first.inner_text().startswith("#2 where")
    page.keyboard.press("Enter")
    wait(page, "#detail h2", "where")
    page.keyboard.press("/")
    page.keyboard.type("second")
    page.keyboard.press("Enter")
    wait(page, "#view[data-view=graph] .group.current")
    page.keyboard.press("/")
    page.keyboard.type("nothing like it")
    assert page.locator("#hits").inner_text() == "Nothing found"


@pytest.mark.slow
def test_graph_by_keyboard(show):
    page = show(small(), "#train/graph")
    page.locator(".pane").last.focus()
    for key in ("ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)
    wait(page, "#detail h2", "einsum")
    assert page.locator("#announcer").inner_text().startswith("#0 einsum")
    page.locator(".pane").first.focus()
    scale = "document.querySelector('.pane [transform*=scale]').getCTM().a"
    before = page.evaluate(scale)
    page.keyboard.press("+")
    page.wait_for_function(f"before => {scale} > before", arg=before)


@pytest.mark.slow
def test_large_graph_draws_what_is_in_sight(show):
    page = show(large(), "#predict/graph")
    wait(page, ".group")
    assert page.locator(".group.open").count() == 0
    page.get_by_role("button", name="Expand").click()
    wait(page, ".value")
    assert page.locator(".value").count() < 300
    first = page.locator(".value").first.get_attribute("data-id")
    page.mouse.move(300, 600)
    page.mouse.wheel(0, 20000)
    page.locator(f"[data-id='{first}']").wait_for(state="detached")
    assert 0 < page.locator(".value").count() < 300
    page.get_by_role("link", name="Kernels").click()
    wait(page, ".kernels")
    assert page.locator(".kernels tbody tr").count() == 300


@pytest.mark.slow
def test_paper_has_every_view(show):
    page = show(small(), "#train/overview")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#view > *").count() == 6 and page.locator(".dot").count() == 3
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#view > *").count() == 1
