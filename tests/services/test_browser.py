"""The page: its files over HTTP, and a walk through it in a real headless browser where there is one."""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from processes import PATIENCE_SECONDS
from synthetic import people, situations
from variants import describe_users, give_meaning, make_variant

from recsys.config import SignalConfig
from recsys.data.snapshot import open_snapshot
from recsys.evaluation import charts
from recsys.evaluation.charts import Bar
from recsys.home import Home
from recsys.serving.explanation import TEMPLATES
from recsys.store.generations import current_id, promote, read_generation
from recsys.store.names import GENERATION, set_alias, set_note
from recsys.store.pointer import POINTER
from recsys.texts.vectors import TextVectors
from services.edge.keys import create_key
from services.routes.page import FILES, INDEX, POLICY
from services.serve import running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PHONE = {"width": 360, "height": 740}
HOSTILE = "<img src=x onerror=document.title='broken'>"
# Direction marks, zero-width characters, line ends and accents, and words of a script that runs from right to left.
HEBREW, JOINED = "\u05d0\u05d1\u05d2", "\U0001f469\u200d\U0001f52c"
MOVING = f"first \u202etsal\u2066\u200f\u200b\n\u0007 Z{300 * chr(0x301)} {HEBREW} {JOINED}"
MOVED = re.compile("[\u0000-\u001f\u200b-\u200c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
ODD = {
    "moving": {"title": MOVING, "genres": [HEBREW], "year": 2031},
    "long": {"title": 4_000 * "Wide ", "genres": ["Western"], "year": 2031},
    "unbroken": {"title": 20_000 * "W", "genres": [20_000 * "x"], "year": 2031},
}


SIGNALS = (
    SignalConfig("target", "purchase"),
    SignalConfig("positive", "view", weight=0.2),
    SignalConfig("negative", "dislike"),
)


@dataclass(frozen=True)
class World:
    """A service with a key, users with attributes, a context, and events that mean something.

    It has two generations, ``first`` served, and an item whose title is markup.
    """

    url: str
    key: str
    first: str
    second: str


@dataclass
class Visit:
    """A tab on the page, and what it was seen to do."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def world(
    copy_of_home: Callable[[Path], Home],
    tmp_path_factory: pytest.TempPathFactory,
    eventually: Callable[[Callable[[], bool]], None],
) -> Iterator[World]:
    home = copy_of_home(tmp_path_factory.mktemp("page"))
    given = str(current_id(home))
    snapshot = open_snapshot(home, read_generation(home, given)[1].snapshot)
    described = describe_users(home, people(), situations(snapshot.events()))
    promote(home, described)
    first = give_meaning(home, SIGNALS)
    (home.generations / POINTER).unlink()  # nothing to roll back to
    promote(home, first)
    for earlier in (given, described):
        shutil.rmtree(home.generations / earlier)  # list B is by the other adapter
    second, adapter = make_variant(home, {"content": 1.0})
    set_alias(home, GENERATION, second, "challenger")
    set_note(home, GENERATION, second, HOSTILE)
    TextVectors.of_adapter(home, adapter)  # a list with live items waits for the encoder, but not for a slow export
    _, token = create_key(home, "page", ["admin"])
    with running(home) as url:
        world = World(url, token, first, second)
        for item_id, columns in ({"hostile": {"title": HOSTILE, "year": 2020}} | ODD).items():
            put = httpx.put(f"{url}/v1/items/{item_id}", json=columns, headers=_bearer(token))
            assert put.status_code == 200, put.text
        items = [f"{url}/v1/items/{item_id}" for item_id in ODD]
        eventually(lambda: all(httpx.get(item, headers=_bearer(token)).json()["recommendable"] for item in items))
        yield world


@pytest.fixture(scope="module")
def browser(world: World) -> Iterator[Any]:
    """Chromium. For this module alone: while it runs, its thread has an event loop, which other tests would meet."""
    if CHROMIUM is None:
        pytest.skip("There is no Chromium on this machine; `apt-get install chromium` brings one.")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(world: World, browser: Any) -> Iterator[Visit]:
    """The page with the key in use and both lists there; it may log no error and ask no other origin."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE_SECONDS * 1_000)
    context.add_init_script(f"sessionStorage.setItem('recsys-key', '{world.key}')")
    visit = Visit(context.new_page())
    visit.page.on("console", lambda message: visit.errors.append(message.text) if message.type == "error" else None)
    visit.page.on("pageerror", lambda error: visit.errors.append(str(error)))
    visit.page.on("request", lambda request: visit.requested.append(request.url))
    visit.page.goto(world.url)
    visit.page.locator("#list-B .items > li").first.wait_for()
    yield visit
    context.close()
    assert all(url.startswith(f"{world.url}/") for url in visit.requested)
    assert world.key not in "".join(visit.requested)


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def shown(page: Any, name: str) -> list[str]:
    """Return the ids of a list's items, once it is not busy."""
    page.locator(f"#list-{name}[aria-busy=false]").wait_for(state="attached")
    ids: list[str] = page.locator(f"#list-{name} .items > li").evaluate_all("rows => rows.map(row => row.dataset.item)")
    return ids


def ask_as(page: Any, user: str) -> None:
    """Find a user and wait for the answer to the request for that user."""
    with page.expect_response(lambda response: user in (response.request.post_data or "")):
        page.fill("#user", user)
        page.click("#user-form button")
    page.locator("#history li").first.wait_for()


def test_the_files_are_served_open_with_types_and_a_strict_policy(service: httpx.Client) -> None:
    paths = {"/": INDEX} | {f"/page/{name}": name for name in FILES}
    for path, name in paths.items():
        response = service.get(path)
        assert response.status_code == 200
        assert response.headers["Content-Security-Policy"] == POLICY
        assert POLICY.startswith("default-src 'self';")
        assert "unsafe" not in POLICY
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Type"] == FILES[name].media_type
        assert response.headers["Cache-Control"] == "no-cache"
        again = service.get(path, headers={"If-None-Match": response.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    for path in ("/page/none.js", "/page/..%2f..%2fapi.py", "/page/%2e%2e/api.py"):
        assert service.get(path).status_code == 404


def test_the_files_name_nothing_outside_and_make_no_markup_from_text() -> None:
    for name, file in FILES.items():
        text = file.content.decode().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(?<![\w\\])//(?=\w+\.)|\bhttps?://\w", text), name
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text), name
        assert not re.search(r"<style|<script>|\son\w+=\"|\sstyle=\"", text), name
        for linked in re.findall(r"(?:src|href)=\"/page/([^\"]+)\"|from \"\./([^\"]+)\"", text):
            assert (linked[0] or linked[1]) in FILES


def test_the_page_has_words_for_every_component_of_a_score() -> None:
    (words,) = re.findall(r"const SCORERS = \{(.*?)\}", FILES["lists.js"].content.decode())
    assert set(re.findall(r"(\w+): \"", words)) == set(TEMPLATES)


def test_a_user_is_found_compared_explained_and_filtered(visit: Visit, known_user: str) -> None:
    page = visit.page
    ask_as(page, known_user)
    a, b = shown(page, "A"), shown(page, "B")
    assert len(a) == len(b) == 10
    assert a != b  # the other adapter's list, by its own blend
    assert page.locator("#overlap").inner_text() == f"{len(set(a) & set(b))} of 10 items in both lists"
    assert page.locator("#list-A .chip:not(.alone)").count() == len(set(a) & set(b))
    assert page.locator("#list-A .reason").count() > 0
    page.locator("#list-A details summary").first.click()
    assert page.locator("#list-A details[open] .parts li").count() > 0
    page.click("#add-condition")
    page.get_by_label("Field").fill("year")
    page.get_by_label("Operator").select_option("gte")
    with page.expect_response(lambda response: '"gte":1990' in (response.request.post_data or "")) as answer:
        page.get_by_label("Value").fill("1990")
    assert answer.value.status == 200
    page.locator("#filter-json").evaluate("element => element.closest('details').open = true")
    assert json.loads(page.locator("#filter-json").input_value()) == {"field": "year", "gte": 1990}
    page.fill("#filter-json", '{"field": "nothing", "eq": 1}')
    page.locator("#list-A .note.bad").wait_for()
    assert "body.filter" in page.locator("#list-A .note").inner_text()
    page.fill("#filter-json", "")
    page.locator("#list-A .items > li").first.wait_for()
    assert all("422" in error for error in visit.errors)  # the browser's own line about the filter refused


def test_a_list_that_answers_late_has_the_columns_that_the_other_has_learnt(visit: Visit) -> None:
    page, held, learnt = visit.page, [], []

    def hold(route: Any) -> None:
        if learnt or '"generation"' in (route.request.post_data or ""):
            route.continue_()  # list B's, and all that is asked later
        else:
            held.append(route)

    page.route("**/v1/recommend", hold)
    page.reload()
    page.locator("#list-B .fields").first.wait_for()
    learnt.append(True)
    held[-1].continue_()  # those before were given up for it
    page.locator("#list-A .fields").first.wait_for()
    assert all(page.locator("#list-A .fields").all_inner_texts())


def test_events_say_what_they_are_and_what_they_mean(visit: Visit, world: World) -> None:
    page, user = visit.page, "who minds"
    did = {"i000": ("purchase", None), "i001": ("view", 2.5), "i005": ("dislike", None)}
    events = [
        {"user_id": user, "item_id": one, "event_type": kind, "value": value} for one, (kind, value) in did.items()
    ]
    sent = httpx.post(f"{world.url}/v1/events", json={"events": events}, headers=_bearer(world.key))
    assert sent.json()["accepted"] == 3
    ask_as(page, user)
    told = page.locator("#history li").all_inner_texts()
    assert ["disliked" in told[0], "dislike · " in told[0]] == [True, True]
    assert ["counts" in told[1], "view 2.5 · " in told[1]] == [True, True]
    assert ["target" in told[2], "purchase · " in told[2]] == [True, True]
    assert "i005" not in shown(page, "A")
    with page.expect_response(lambda response: '"history":["i000","i001"]' in (response.request.post_data or "")):
        page.click("#edit-history")  # a history of ids says nothing of dislikes, so they are left out
    assert page.locator("#history li").count() == 2
    assert visit.errors == []


def test_what_a_user_is_like_is_shown_and_edited(visit: Visit, world: World) -> None:
    page = visit.page
    ask_as(page, "u007")
    page.locator("#attributes summary", has_text="town").click()
    entries = page.locator("#attributes-entries")
    assert entries.get_by_label("age").get_attribute("type") == "number"
    entries.get_by_label("age").fill("33")
    entries.get_by_label("town").fill("")
    page.click("#attributes-form button")
    page.locator("#attributes summary", has_text="age 33").wait_for()
    page.locator("#attributes-note", has_text="Saved").wait_for()
    kept = httpx.get(f"{world.url}/v1/users/u007", headers=_bearer(world.key)).json()
    assert (kept["attributes"]["age"], kept["attributes_source"]) == (33, "live")
    assert set(kept["attributes"]) == {"age", "taste"}
    entries.get_by_label("town").fill(300 * "W")
    page.click("#attributes-form button")
    page.locator("#attributes-note.bad", has_text="256 characters").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert all("422" in error for error in visit.errors)


def test_a_list_of_the_shop_is_chosen_with_what_is_its_own(visit: Visit, known_user: str) -> None:
    page = visit.page
    ask_as(page, known_user)
    shown(page, "A")
    with page.expect_response("**/v1/lists/popular") as answer:
        page.get_by_label("What to list").select_option("Popular")
    listed = answer.value.json()
    page.locator("#list-A .list-title", has_text=listed["title"]).wait_for()
    assert shown(page, "A") == [item["item_id"] for item in listed["items"]]
    assert page.locator("#list-A .reason", has_text="chosen by").count() > 0
    with page.expect_response(lambda response: '"days":30' in (response.request.post_data or "")):
        page.locator("#list-entries").get_by_label("Days").fill("30")
        page.keyboard.press("Tab")
    page.get_by_label("What to list").select_option("Like an item")
    page.locator("#list-A .note", has_text="give an item id first").wait_for()
    assert shown(page, "A") == []
    page.locator("#list-entries").get_by_label("Item id").fill("i001")
    with page.expect_response(lambda response: '"by":"behaviour"' in (response.request.post_data or "")) as answer:
        page.locator("#list-entries").get_by_label("Alike by").select_option("behaviour")
    assert answer.value.status == 200
    page.locator("#list-A .items > li").first.wait_for()
    assert visit.errors == []


def test_a_page_of_rows_shows_no_item_twice_and_says_why(visit: Visit, known_user: str) -> None:
    page = visit.page
    ask_as(page, known_user)
    with page.expect_response("**/v1/page") as answer:
        page.get_by_label("What to list").select_option("A page of rows")
    page.locator("#rows[aria-busy=false] .card").first.wait_for()
    rows = answer.value.json()["rows"]
    assert page.locator("#rows h2").all_inner_texts() == [row["title"] for row in rows]
    ids = page.locator("#rows .card").evaluate_all("cards => cards.map(card => card.dataset.item)")
    assert ids == [item["item_id"] for row in rows for item in row["items"]]
    assert len(ids) == len(set(ids)) > 10
    assert page.locator("#rows .reason").count() > 10
    assert not page.locator("#list-A").is_visible()
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.get_by_label("What to list").select_option("For this person")
    page.locator("#list-A .items > li").first.wait_for()
    assert not page.locator("#rows").is_visible()
    assert visit.errors == []


def test_a_boost_changes_the_list_and_its_explanation(visit: Visit, known_user: str) -> None:
    page = visit.page
    ask_as(page, known_user)
    page.locator("#list-B select").select_option("plain")
    plain = shown(page, "A")
    years = page.locator("#list-A .fields").evaluate_all("all => all.map(one => one.lastChild.textContent)")
    page.locator("#dials > summary").click()
    page.click("#add-boost")
    boost = page.locator("#boosts li.boost")
    boost.get_by_label("Field").fill("year")
    boost.get_by_label("Operator").select_option("ne")
    with page.expect_response(lambda response: '"strength":1' in (response.request.post_data or "")):
        boost.get_by_label("Value", exact=True).fill(years[0])
    with page.expect_response(lambda response: '"strength":3' in (response.request.post_data or "")):
        boost.get_by_label("Strength").fill("3")
    page.locator("#list-A .parts li", has_text="boosts and burials").first.wait_for(state="attached")
    assert shown(page, "A") != plain == shown(page, "B")
    assert "(1 on)" in page.locator("#dials summary").inner_text()
    assert page.locator("#list-A .reason", has_text="boosted by the shop").count() > 0
    assert page.locator("#list-B .parts li", has_text="boosts and burials").count() == 0
    boost.get_by_role("button", name="Remove this boost").click()
    page.locator("#list-A .parts li", has_text="boosts and burials").first.wait_for(state="detached")
    assert shown(page, "A") == plain
    assert visit.errors == []


def test_what_is_seen_and_the_situation_are_asked_for_as_they_are_set(visit: Visit, known_user: str) -> None:
    page = visit.page
    ask_as(page, known_user)
    with page.expect_request(lambda request: '"exclude_seen":false' in (request.post_data or "")):
        page.get_by_label("Leave out what the history holds").select_option("no")
    page.locator("#situation > summary").click()
    with page.expect_response(
        lambda response: '"context":{"device":"phone"}' in (response.request.post_data or "")
    ) as answer:
        page.locator("#situation-entries").get_by_label("device").fill("phone")
        page.keyboard.press("Tab")
    assert answer.value.status == 200
    assert visit.errors == []


def test_a_search_adds_to_the_history_and_a_hostile_title_stays_text(visit: Visit) -> None:
    page = visit.page
    page.fill("#query", HOSTILE)
    page.click("#search-form button")
    row = page.locator("#found li", has_text="onerror")
    row.wait_for()
    row.get_by_role("button").click()
    page.locator("#history li", has_text=HOSTILE).wait_for()
    assert page.locator("input[value=history]").is_checked()
    assert page.locator("main img").count() == 0
    assert page.title() == "recsys"
    assert "hostile" not in shown(page, "A")
    assert visit.errors == []


def test_generations_show_their_names_and_what_their_adapters_move(visit: Visit, world: World) -> None:
    page = visit.page
    serving, other = (
        page.locator("#generation-rows tr", has_text="serving"),
        page.locator("#generation-rows tr", has_text=world.second),
    )
    assert "challenger" in other.inner_text()
    assert HOSTILE in other.inner_text()
    assert page.locator("#generations img").count() == 0
    assert "The adapter has no part in this generation's lists" in other.inner_text()
    weights = serving.locator("details")
    assert "no part" in serving.inner_text() or "of the blend’s weight" in weights.inner_text()
    assert "challenger" in page.locator("#list-B select").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert visit.errors == []


def test_adapters_are_listed_and_two_are_set_beside_each_other(visit: Visit, world: World) -> None:
    page = visit.page
    page.click("#adapters summary")
    rows = page.locator("#adapter-rows tr")
    ids = rows.locator(".id").all_inner_texts()
    assert len(ids) == 2
    assert "NDCG@10 0." in rows.nth(0).inner_text()
    assert page.locator("#adapters-difference").is_hidden()
    for place in (0, 1):
        rows.nth(place).locator("input").click()
    page.locator("#adapters-difference").wait_for()
    assert all(one in page.locator("#difference-head").inner_text() for one in ids)
    assert "parent" in page.locator("#difference-rows").inner_text()  # all else is the same
    assert page.locator("#difference-rows tr").count() == 1
    rows.nth(0).locator("input").click()
    page.locator("#adapters-difference").wait_for(state="hidden")
    assert visit.errors == []


def test_two_adapters_are_measured_by_slice_with_lists_of_people(visit: Visit) -> None:
    page = visit.page
    page.click("#adapters summary")
    for place in (0, 1):
        page.locator("#adapter-rows tr").nth(place).locator("input").click()
    page.locator("#slices tbody tr").first.wait_for()
    total = page.locator("#slices tbody tr").first
    told = total.locator("td[data-label=Difference]").inner_text()
    assert re.fullmatch(r"[+−]\d\.\d{4} \([+−]\d\.\d{4} to [+−]\d\.\d{4}\)", told)
    assert page.get_by_role("img", name=told).first.is_visible()
    people = page.locator("#compared-people section")
    assert people.count() == 3
    for place in range(3):
        assert people.nth(place).locator("ol").count() == 2
        assert people.nth(place).locator("ol").first.locator("li").count() == 5
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280
    assert visit.errors == []


@pytest.mark.parametrize("width", [1280, 360])
def test_a_report_is_cut_nowhere_and_fills_the_width(browser: Any, tmp_path: Path, width: int) -> None:
    long = [Bar(name, value, "0.1234", (0.0, 1.0), "ours", name) for name, value in ((200 * "W", 1.0), (HOSTILE, 0.5))]
    lists = [charts.ranked(300 * "W", [(400 * "W", "was 12", 100 * "why "), (HOSTILE, "new", "")])] * 2
    figures = charts.table(["system", *"abcdefghijklmnop"], [[80 * "W", *16 * ["0.1234–0.5678"]]])
    drawn = charts.curve(80 * "Loss ", [(1, 2.0), (2, 1.0), (3, 1.5)], "epoch")
    parts = [charts.bars(long), f'<div class="pair">{"".join(lists)}</div>', figures, drawn]
    path = tmp_path / "report.html"
    path.write_text(charts.whole_page(120 * "Title", [*parts, charts.histogram("Scores", range(100))]))
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme="dark")
    page = context.new_page()
    page.goto(path.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    cut = page.evaluate(
        """() => [...document.querySelectorAll("h1, .bars *, .list *, figcaption, .plot, .columns")]
          .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
          .map((one) => one.outerHTML.slice(0, 99))"""
    )
    assert cut == []
    wide = page.locator(".bars").bounding_box()["width"]
    assert wide >= 0.9 * min(width, 1280)
    assert page.locator(".columns").bounding_box()["width"] == pytest.approx(wide, abs=2)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 29)"
    assert page.locator("img, script").count() == 0
    context.close()


def filtered(page: Any, condition: dict[str, Any]) -> None:
    """Ask for the items that match a filter and wait until list A shows no others."""
    page.locator("#filter-json").evaluate("element => element.closest('details').open = true")
    asked = json.dumps(condition, separators=(",", ":"))
    with page.expect_response(lambda response: asked in (response.request.post_data or "")):
        page.fill("#filter-json", json.dumps(condition))
    page.locator("#list-A .items > li[data-item=moving]").wait_for()
    shown(page, "A")


def lefts(page: Any, selector: str) -> list[float]:
    """Return where each node of an element begins, in the order of the document."""
    found: list[float] = page.locator(selector).first.evaluate(
        """element => [...element.childNodes].map((node) => {
          const range = document.createRange();
          range.selectNodeContents(node);
          return range.getBoundingClientRect().left;
        })"""
    )
    return found


def test_a_title_moves_nothing_beside_it_and_hides_nothing(visit: Visit) -> None:
    page = visit.page
    filtered(page, {"field": "year", "eq": 2031})
    row = "#list-A .items > li[data-item=moving]"
    title = page.locator(f"{row} .title").inner_text()
    assert title.startswith("first [U+202E]tsal[U+2066][U+200F][U+200B][U+000A][U+0007] Z")
    assert title.endswith(f"… {HEBREW} {JOINED}")  # an emoji of two joined ones stays whole
    assert title.count("\u0301") == 4
    # of a list of values the first stays the first, whichever way it is read
    assert page.locator(f"{row} .fields").inner_text() == f"{HEBREW} · 2031"
    places = lefts(page, f"{row} .fields")
    assert len(places) >= 3
    assert places == sorted(places)
    page.locator(f"{row} button").click()
    page.locator("#history li", has_text="first [U+202E]").wait_for()
    places = lefts(page, "#history-note") if page.locator("#history-note bdi").count() else []
    assert places == sorted(places)
    texts = page.locator("body").evaluate("element => element.textContent")
    labels = page.locator("[aria-label]").evaluate_all("all => all.map(one => one.getAttribute('aria-label')).join('')")
    assert not MOVED.search(re.sub(r"[\n\t]", "", texts + labels))
    assert all("404" in error for error in visit.errors)


def test_a_long_title_breaks_no_layout(visit: Visit) -> None:
    page = visit.page
    filtered(page, {"field": "year", "eq": 2031})
    for size in ({"width": 1280, "height": 900}, PHONE):
        page.set_viewport_size(size)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        for item_id in ODD:
            row = page.locator(f"#list-A .items > li[data-item={item_id}]")
            assert len(row.locator(".title").inner_text()) <= 400
            assert row.bounding_box()["height"] < size["height"]


def test_a_phone_scrolls_one_way_and_shows_one_list_at_a_time(visit: Visit, known_user: str) -> None:
    page = visit.page
    page.set_viewport_size(PHONE)
    ask_as(page, known_user)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert not page.locator("#list-B").is_visible()
    page.click("[data-show=B]")
    assert page.locator("#list-B").is_visible()
    assert not page.locator("#list-A").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert visit.errors == []


def test_generations_are_shown_with_what_their_answers_have_brought(visit: Visit, world: World) -> None:
    with httpx.Client(base_url=world.url, headers=_bearer(world.key), timeout=30) as client:
        listed = client.post("/v1/recommend", json={"user_id": "who clicks", "k": 3}).json()
        click = {"user_id": "who clicks", "item_id": listed["items"][0]["item_id"], "rec_id": listed["rec_id"]}
        assert client.post("/v1/events", json={"events": [click]}).json()["accepted"] == 1
        (rate,) = client.get("/v1/rates").json()["rates"]
    visit.page.reload()
    cell = visit.page.locator("#generation-rows td[data-label='Clicked, 24 h']", has_text="%")
    cell.wait_for()
    assert cell.inner_text().startswith(f"{100 * rate['rate']:.1f} % of {rate['lists']} lists")


def test_promoting_asks_first_then_switches_and_rolls_back(visit: Visit, world: World) -> None:
    page = visit.page
    page.get_by_role("button", name=f"Promote generation {world.second}").click()
    page.check("#force")
    page.fill("#reason", "The <b>spring</b> catalogue.")
    assert page.locator("#serving").inner_text() == world.first
    page.click("#confirm-yes")
    page.locator("#confirm-state", has_text="The gate judges").wait_for()
    page.locator("#serving", has_text=world.second).wait_for()
    page.click("#promotions > summary")
    row = page.locator("#promotion-rows tr").first
    assert row.locator("td[data-label=What]").inner_text().startswith("published")
    assert row.locator("td[data-label=Why]").inner_text() == "The <b>spring</b> catalogue."
    assert world.second in row.inner_text()
    page.locator("#list-A .origin", has_text=world.second).wait_for()
    page.click("#roll-back")
    page.fill("#reason", "Odd lists.")
    page.press("#reason", "Enter")
    page.locator("#serving", has_text=world.first).wait_for()
    page.locator("#promotion-rows tr", has_text="Odd lists.").wait_for()
    page.click("#roll-back")
    page.click("#confirm-yes")
    page.locator("#confirm-error", has_text="no earlier generation").wait_for()
    page.click("#confirm-no")
    assert all("409" in error for error in visit.errors)


def test_without_a_key_the_page_says_so(world: World, browser: Any) -> None:
    context = browser.new_context()
    context.set_default_timeout(PATIENCE_SECONDS * 1_000)
    page = context.new_page()
    page.goto(world.url)
    page.locator("#list-A .note.bad", has_text="Send a key").wait_for()
    assert page.locator("#key-state").inner_text() == "A key is needed."
    page.fill("#key", world.key)
    page.click("#key-form button")
    page.locator("#list-A .items > li").first.wait_for()
    assert world.key not in page.url
    context.close()


def test_what_is_told_to_come_again_shortly_is_asked_for_again(visit: Visit) -> None:
    page, told = visit.page, []

    def refuse_once(route: Any) -> None:
        told.append(route.request.url)
        if len(told) == 1:
            body = json.dumps({"title": "Service Unavailable", "status": 503, "detail": "It is still being loaded."})
            route.fulfill(
                status=503, headers={"Retry-After": "0", "Content-Type": "application/problem+json"}, body=body
            )
        else:
            route.continue_()

    page.route("**/v1/similar", refuse_once)
    asks = (
        "const { post } = await import('/page/api.js'); const found = await post('/v1/similar', {item_id: item, k: 3})"
    )
    found = page.evaluate(f"async (item) => {{ {asks}; return found.items.length }}", "i001")
    assert (found, len(told)) == (3, 2)
