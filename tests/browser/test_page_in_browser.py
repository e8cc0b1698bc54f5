"""The page as a reader meets it: drawn, without a network, following choices, on every screen, for everyone."""

from pathlib import Path

import axe_core_python
import pytest
from selenium.webdriver.common.keys import Keys

from tests.browser import chromium

WIDTHS = (360, 768, 1440)
CHOICES = {
    "a metric": (["input[value=recognition]"], ["input[value=recall]"], {"base_loss", "front"}),
    "sessions": (["input[name=sessions][value='10']"], ["input[name=sessions][value='30']"], {"base_loss", "claims"}),
    "an arm": (["button[data-all=no]", "input[name=arms][value=qv]"], ["button[data-all=yes]"], set()),
}
"""What is pressed, what takes it back, and the charts that may stay as they are: the loss has no metric and is drawn
alike after all sessions, the essay has no figure after 10."""
AXE = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
SERIOUS = ("serious", "critical")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_the_screen_and_is_silent(opened, pictures, width, scheme):
    opened.console(), opened.requests()
    opened.open(width, scheme)
    opened.picture(pictures / f"page-{width}-{scheme}.png")
    assert opened.run("return document.documentElement.scrollWidth") <= width
    assert opened.console() == []
    asked = opened.requests()
    own = ("data:", "blob:", "about:", "chrome:")  # what needs no network, or is the browser's
    assert {url for url in asked if not url.startswith(own)} == {opened.path.as_uri()}


def test_every_chart_is_drawn_with_marks_and_its_picture_is_put_aside(opened):
    opened.open(1440)
    drawn = opened.charts()
    assert {"retention", "claims_shares", "curve", "domains", "matrix", "contrasts", "confound", "base_loss"} <= set(
        drawn
    )
    for name, svg in drawn.items():
        assert svg.count("<path") > 10, name
        assert "NaN" not in svg, name
    aside = "return [...document.querySelectorAll('.drawn > .still')].filter((still) => still.checkVisibility()).length"
    assert opened.run(aside) == 0


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_changes_all_charts(opened, name):
    there, back, spared = CHOICES[name]
    opened.open(1440)
    before, words = opened.charts(), opened.words()
    for selector in there:
        opened.press(selector)
    unchanged = [chart for chart, svg in opened.charts().items() if svg == before[chart]]
    assert [chart for chart in unchanged if not chart.startswith(tuple(spared))] == []
    for selector in back:
        opened.press(selector)
    assert opened.words() == words


def test_without_arms_the_charts_say_so_and_come_back(opened):
    opened.open(1440)
    opened.press("button[data-all=no]")
    nothing = "return [...document.querySelectorAll('.nothing')].every((note) => note.checkVisibility())"
    assert opened.run(nothing)
    assert opened.run("return [...document.querySelectorAll('tr[data-arm]')].some((row) => !row.hidden)") is False
    opened.press("button[data-all=yes]")
    assert not opened.run("return [...document.querySelectorAll('.nothing')].some((note) => note.checkVisibility())")


def test_the_address_keeps_the_choice(opened):
    opened.open(1440, choice="#metric=association&sessions=10&arms=qv+ffn")
    status = opened.run("return document.getElementById('status').textContent")
    assert status.startswith("Association after 10 sessions, 2 of 16 arms")
    opened.press("input[value=recognition_net]")
    assert opened.run("return location.hash") == "#metric=recognition_net&sessions=10&arms=qv+ffn"
    aside = opened.run("return document.querySelector('[data-figure=curve] .aside').textContent")
    assert aside == "Not measured here as recognition, net of placebo: this is recognition."


def test_pointing_at_a_dot_tells_seeds_interval_and_placebo(opened):
    opened.open(1440, choice="#metric=recognition&sessions=30")
    told = opened.run("""
      const dot = [...document.querySelectorAll('[data-figure=retention] .mark-symbol path')].at(0);
      dot.scrollIntoView({ block: 'center' });
      const box = dot.getBoundingClientRect();
      const at = { bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2 };
      dot.dispatchEvent(new PointerEvent('pointermove', at));
      dot.dispatchEvent(new MouseEvent('mousemove', at));
      return document.getElementById('tip').innerText;
    """)
    for word in ("Arm: ", "95% interval from: ", "Placebo: ", "Seeds: 2", "Facts a seed: 90"):
        assert word in told


def test_the_table_below_a_chart_has_what_it_shows(opened):
    opened.open(1440, choice="#metric=recall&sessions=30&arms=ffn")
    opened.run("document.querySelector('[data-figure=base_loss] details').open = true")
    rows = opened.run("""
      return new Promise((done) => requestAnimationFrame(() => setTimeout(() => done(
        [...document.querySelectorAll('[data-figure=base_loss] .rows tr')].map((row) => row.innerText.split('\\t'))))))
    """)
    assert rows[0][:3] == ["Arm", "Rise", "95% interval"]
    assert [row[0] for row in rows[1:]] == ["ffn"]


def test_the_keyboard_is_enough(opened):
    opened.open(1440)
    body = opened.driver.find_element("css selector", "body")
    body.send_keys(Keys.TAB)
    assert opened.run("return document.activeElement.className") == "skip"
    opened.run("document.querySelector('input[name=metric]:checked').focus()")
    opened.driver.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    opened.wait()
    assert opened.run("return document.getElementById('status').textContent").startswith("Association")
    opened.run("document.querySelector('.bar summary').focus()")
    opened.driver.switch_to.active_element.send_keys(Keys.ENTER)
    assert opened.run("return document.querySelector('.bar details').open")
    opened.driver.switch_to.active_element.send_keys(Keys.ESCAPE)
    assert opened.run("return [document.querySelector('.bar details').open, document.activeElement.tagName]") == [
        False,
        "SUMMARY",
    ]


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1440, "dark")])
def test_axe_finds_nothing_serious(opened, width, scheme):
    opened.open(width, scheme, choice="#metric=recall&sessions=30&arms=qv+ffn")  # few rows, or it takes minutes
    opened.run("for (const part of document.querySelectorAll('details')) part.open = true")
    opened.run(AXE)
    found = opened.driver.execute_async_script(
        "axe.run({ exclude: [['svg']] }, { resultTypes: ['violations'] })"
        ".then((result) => arguments[0](result.violations.map("
        "(one) => [one.impact, one.id, one.nodes.map((node) => node.html).slice(0, 3)])))"
    )
    assert [one for one in found if one[0] in SERIOUS] == []


def test_dark_is_dark_and_can_be_chosen(opened):
    ground = "return getComputedStyle(document.body).backgroundColor"
    opened.open(1440, "light")
    assert opened.run(ground) == "rgb(255, 255, 255)"
    opened.run("""
      const list = document.querySelector('select[name=scheme]');
      list.value = 'dark';
      list.dispatchEvent(new Event('change', { bubbles: true }));
    """)
    assert opened.run(ground) == "rgb(21, 24, 29)"
    inks = "return getComputedStyle(document.querySelector('[data-figure=retention] svg text')).fill"
    assert opened.run(inks) == "rgb(236, 236, 236)"


def test_on_paper_the_pictures_stand_instead_of_the_charts(opened, pictures):
    opened.open(768, "dark")
    opened.media([], "print")
    visible = "return [...document.querySelectorAll(arguments[0])].filter((node) => node.checkVisibility()).length"
    assert opened.run(visible, ".still svg") == opened.run("return document.querySelectorAll('.still').length")
    assert opened.run(visible, ".chart svg") == 0
    assert opened.run(visible, ".bar") == 0
    opened.picture(pictures / "page-print.png")
    opened.media([])


def test_without_scripts_the_pictures_stand_there(index, tmp_path, pictures):
    with chromium.browser(tmp_path / "profile", script=False) as driver:
        page = chromium.Page(driver, index)
        page.resize(768)
        driver.get(index.as_uri())
        stills = driver.find_elements("css selector", ".still svg")
        assert stills
        assert all(still.is_displayed() for still in stills)
        assert not driver.find_element("css selector", ".bar").is_displayed()
        page.picture(pictures / "page-no-script.png")
