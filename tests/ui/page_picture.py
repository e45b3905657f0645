"""Take the pictures of a page that is one file, such as a review or a dashboard, in a real Chromium, desk and phone.

    PYTHONPATH=. python tests/ui/page_picture.py FILE.html review [--output docs/images]

Writes review.png and review-phone.png; fails when the page is wider than one of them.
"""

from pathlib import Path

from airflow_ui import ARGUMENTS, SIZE
from arguments import picture_arguments
from playwright.sync_api import sync_playwright

PHONE = {"width": 390, "height": 844}


def take(file: Path, name: str, output: Path, chromium: str, *, height: int = SIZE["height"]) -> None:
    """Take both pictures.

    :param file: the page
    :param name: stem of the pictures' files
    :param output: their folder
    :param chromium: the browser
    :param height: of the picture at a desk, in pixels
    """
    output.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        for suffix, size in (("", {**SIZE, "height": height}), ("-phone", PHONE)):
            page = browser.new_page(viewport=size)
            page.goto(file.resolve().as_uri())
            wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
            if wide > 0:
                raise SystemExit(f"error: the page is {wide} px wider than {size['width']} px")
            path = output / f"{name}{suffix}.png"
            page.screenshot(path=path)
            print(path, path.stat().st_size // 1000, "kB")
        browser.close()


def main() -> None:
    parser = picture_arguments(__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("name")
    options = parser.parse_args()
    take(options.file, options.name, options.output, options.chromium)


if __name__ == "__main__":
    main()
