"""Windows of a browser that note everything that should not be: errors, violations, strangers."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

MODES: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "viewport": {"width": 1280, "height": 800}},
    "dark": {"color_scheme": "dark", "viewport": {"width": 1280, "height": 800}},
    "phone": {
        "color_scheme": "light",
        "viewport": {"width": 360, "height": 740},
        "has_touch": True,
    },
    "dark phone": {
        "color_scheme": "dark",
        "viewport": {"width": 360, "height": 740},
        "has_touch": True,
        "reduced_motion": "reduce",
    },
}
# Before any script of the page: what its policy forbids is told here.
WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""
# What a person would trip over, in a form that a failing test can show. While a dialog is open
# nobody comes to what is behind it.
AXE = """async () => {
  const seen = document.querySelector("dialog[open]") || document;
  const found = await axe.run(seen, { resultTypes: ["violations"] });
  return found.violations.map((rule) => ({
    id: rule.id,
    help: rule.help,
    nodes: rule.nodes.slice(0, 5).map((node) => `${node.target} ${node.failureSummary}`),
  }));
}"""

# What is wider than its place, and so lies over what stands beside it. Fields scroll within.
OVERFLOWING = """() => [...document.querySelectorAll("main *, header *, footer *, dialog *")]
  .filter((e) => !e.closest(".unseen, svg, thead, input, select") && e.checkVisibility())
  .filter((e) => getComputedStyle(e).display !== "inline" && e.scrollWidth > e.clientWidth + 1)
  .map((e) => `${e.tagName} ${e.className} ${e.scrollWidth} > ${e.clientWidth}: ${e.innerText}`)"""


class Window:
    """One page in a context of its own."""

    def __init__(self, browser: Any, address: str, mode: str, *, scripts: bool = True) -> None:
        self.address = address
        self.context = browser.new_context(java_script_enabled=scripts, **MODES[mode])
        self.width = MODES[mode]["viewport"]["width"]
        self.scripts = scripts
        self.page = self.context.new_page()
        self.wrong: list[str] = []
        self.expected: list[str] = []
        self.page.set_default_timeout(30_000)
        if scripts:
            self.page.add_init_script(WATCH)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.wrong.append(f"error: {error}"))
        self.context.on("request", self._asked)

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.wrong.append(f"console: {message.text}")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.address + "/", "data:")):
            self.wrong.append(f"asked a stranger: {request.url}")

    def expect(self, part: str) -> None:
        """Have what the browser says of this be in order: it tells of every 4xx and 5xx."""
        self.expected.append(part)

    def open(self, path: str, status: int = 200) -> Any:
        """Go to a page, and give it."""
        if status != 200:
            self.expect(f"status of {status}")
        answer = self.page.goto(self.address + path)
        assert answer.status == status, (path, answer.status)
        return self.page

    def check(self) -> None:
        """Look whether anybody could use this page: axe, and no sideways scrolling."""
        import axe_playwright_python

        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= self.width, f"{self.page.url} is {wide} wide"
        over = self.page.evaluate(OVERFLOWING)
        assert over == [], f"{self.page.url}: over what is beside it: {over}"
        if not self.page.evaluate("'axe' in window"):
            # Through the debugger, so that the page's policy stays as it is.
            source = Path(axe_playwright_python.__file__).with_name("axe.min.js")
            self.page.evaluate(source.read_text())
        found = self.page.evaluate(AXE)
        assert found == [], f"{self.page.url}: {found}"

    def close(self) -> None:
        """Close it; nothing may have gone wrong."""
        violations = self.page.evaluate("window.violations") if self.scripts else []
        self.context.close()
        left = [told for told in self.wrong if not any(part in told for part in self.expected)]
        assert not violations, f"against the policy: {violations}; {left}"
        assert not left, f"{left}"


class Windows:
    """Opens windows, and closes what is open at the end."""

    def __init__(self, browser: Any, address: str) -> None:
        assert urlsplit(address).hostname == "127.0.0.1"
        self.browser = browser
        self.address = address
        self.open: list[Window] = []

    def __call__(self, mode: str = "light", *, scripts: bool = True) -> Window:
        made = Window(self.browser, self.address, mode, scripts=scripts)
        self.open.append(made)
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for window in self.open:
            if error is None:
                window.close()
            else:
                window.context.close()
