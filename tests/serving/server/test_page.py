"""The page of the server in a real browser: an image is chosen, segments are drawn and named."""

import numpy as np
import pytest

import brightness_server
from brightness_server import image, jpeg, png
from browser import browser_page
from maskmill.canonical.png import encode_png

pytestmark = pytest.mark.slow

SHOWN = "!document.getElementById('result').hidden"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with brightness_server.running(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser_page(tmp_path_factory.mktemp("browser")) as page:
        yield page


def text(page, selector):
    return page.run(f"document.querySelector('{selector}').innerText")


def canvas(page):
    box = "document.getElementById('canvas').getBoundingClientRect()"
    return page.run(f"(({{left, top, width, height}}) => [left, top, width, height])({box})")


def shown(page, server, path, *, width):
    """The page with the segments of an image."""
    page.open(f"http://127.0.0.1:{server.port}/", width=width, height=800)
    page.choose_file("#file", path)
    page.wait_until(SHOWN)


@pytest.mark.parametrize("width", [1280, 390])
def test_an_image_is_segmented_and_each_segment_named(page, server, tmp_path, width):
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg(240, 320))
    shown(page, server, path, width=width)
    assert page.run("document.documentElement.scrollWidth") <= width
    assert text(page, "#caption").startswith("photo.jpg: 320 x 240 px, 2 segments, ")
    legend = page.run("[...document.querySelectorAll('#legend li')].map(item => item.innerText)")
    assert [line.split() for line in legend] == [["dark", "<b>", "1"], ["bright", "1"]]
    left, top, box_width, height = canvas(page)
    for share, expected in [(0.25, "dark <b> 75 %, 38,400 px"), (0.75, "bright 50 %, 38,400 px")]:
        x, y = left + share * box_width, top + height / 2
        page.point_at(x, y) if width > 500 else page.tap(x, y)
        assert text(page, "#tip") == expected
        bottom = page.run("document.getElementById('tip').getBoundingClientRect().bottom")
        assert (bottom < y) == (width < 500)  # a finger hides what is below it
    assert page.run("document.getElementById('key').offsetParent") is None  # no key is asked for
    assert page.messages == []


@pytest.mark.parametrize("width", [1280, 390])
def test_a_tall_image_fits_the_window_and_its_classes_come_first(page, server, tmp_path, width):
    path = tmp_path / "tall.png"
    path.write_bytes(encode_png(np.full((640, 64, 3), 220, np.uint8)))
    shown(page, server, path, width=width)
    assert canvas(page)[2:] == pytest.approx([60, 600], abs=0.1)  # 75 % of the window's height
    legend = page.run("[...document.querySelectorAll('#legend li')].map(item => item.innerText)")
    assert [line.split() for line in legend] == [["bright", "1"], ["dark", "<b>"]]


def pixel(page, x, y):
    script = (
        f"[...document.getElementById('canvas').getContext('2d').getImageData({x}, {y}, 1, 1).data]"
    )
    return page.run(script)[:3]


def test_a_class_can_be_shown_alone_and_the_opacity_changed(page, server, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(png(240, 320))
    shown(page, server, path, width=1280)
    page.run("document.querySelectorAll('#legend button')[1].click()")
    assert pixel(page, 40, 120) == [20, 20, 20]  # the photograph alone
    set_opacity = "const o = document.getElementById('opacity'); o.value = 100; o"
    page.run(f"(() => {{ {set_opacity}.dispatchEvent(new Event('input')) }})()")
    assert pixel(page, 280, 120) == [240, 170, 0]


def test_the_keyboard_alone_reaches_each_class_and_each_segment(page, server, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(png(240, 320))
    shown(page, server, path, width=1280)
    page.press("Tab")  # the button of files
    page.press("Tab")
    names = []
    for _ in range(3):
        page.press("ArrowRight")
        names.append(text(page, "#tip").partition(" ")[0])
    assert names == ["dark", "bright", "dark"]
    page.press("Tab")  # opacity
    page.press("Tab")
    page.press("Enter")
    assert page.run("document.querySelector('[aria-pressed=true]').innerText").startswith("dark")
    assert pixel(page, 280, 120) == [220, 220, 220]  # the photograph alone


def test_a_dropped_file_is_segmented_too(page, server):
    page.open(f"http://127.0.0.1:{server.port}/", width=1280, height=800)
    data = list(encode_png(image(48, 64)))
    page.run(
        f"""(() => {{
            const dropped = new DataTransfer();
            dropped.items.add(new File([new Uint8Array({data})], "dropped.png"));
            document.dispatchEvent(new DragEvent("drop", {{dataTransfer: dropped}}));
        }})()"""
    )
    page.wait_until(SHOWN)
    assert text(page, "#caption").startswith("dropped.png: 64 x 48 px, 2 segments")


def test_what_the_server_refuses_is_shown_in_words(page, server, tmp_path):
    path = tmp_path / "notes.png"
    path.write_bytes(b"no image")
    page.open(f"http://127.0.0.1:{server.port}/", width=390, height=800)
    page.choose_file("#file", path)
    page.wait_until("document.getElementById('message').classList.contains('error')")
    assert text(page, "#message") == (
        "Expected a PNG, JPEG or TIFF image, but got 8 bytes of another format - "
        "convert the image to PNG, JPEG or TIFF."
    )
