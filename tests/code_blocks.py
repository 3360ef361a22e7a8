"""Code blocks of Markdown pages, and how each is kept true.

The HTML comment before a block, which no reader sees, says one of

    <!-- run -->                      run as it is, after the blocks above it
    <!-- run with A -> B; C -> D -->  the same with shorter sizes, or files that are here
    <!-- run after CODE -->           the same after a line of setup; `with` may follow
    <!-- serve -->                    started, and ended after the last block of the page
    <!-- run by tests/FILE.py::NAME -->  a test runs the same on data of its own
    <!-- not run: REASON -->          REASON begins with one of REASONS
"""

import re
from dataclasses import dataclass

from markdown_it import MarkdownIt

REASONS = {
    "GPU": "needs GPUs",
    "cluster": "needs several machines",
    "service": "needs a server, a bucket or a database of somebody else, with credentials",
    "installation": "changes the environment, or needs programs that tests do not have",
    "data": "needs a public data set, which the repository does not include",
    "minutes": "takes minutes to hours",
    "no code": "a diagram, or what a command prints",
}
MARK = re.compile(r"<!--\s*(.*?)\s*-->", re.DOTALL)
RUN = re.compile(r"(?:run|serve)(?: after (.+?))?(?: with (.+))?")
TEST = re.compile(r"(tests/[\w/]+\.py)::(\w+)")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Args:
        page: the page's path in the repository.
        line: of its first line in the page.
        language: as the fence says; empty for an indented block.
        code: its text.
        mark: the comment before it in one line; empty if there is none.
    """

    page: str
    line: int
    language: str
    code: str
    mark: str

    def __str__(self):
        return f"{self.page}:{self.line}"

    @property
    def is_run(self):
        return RUN.fullmatch(self.mark) is not None

    @property
    def tests(self):
        """File and name of the tests that run the same."""
        return TEST.findall(self.mark)

    @property
    def problem(self):
        """What is wrong with its mark; None if nothing is."""
        kind, _, reason = self.mark.partition(":")
        if self.is_run or (self.mark.startswith("run by ") and self.tests):
            return None
        if kind == "not run" and reason.strip().startswith(tuple(REASONS)):
            return None
        return f"{self}: {self.mark or 'no mark'!r}"

    @property
    def script(self):
        """What is run: the setup and the code with the changes of the mark."""
        code = self.code
        setup, changes = RUN.fullmatch(self.mark).groups()
        for change in changes.split("; ") if changes else []:
            old, _, new = change.partition(" -> ")
            if old not in code:
                raise ValueError(f"{self}: {old!r} is not in the block")
            code = code.replace(old, new)
        return f"{setup}\n{code}" if setup else code

    @property
    def commands(self):
        """The words after `maskmill` of each line that calls it."""
        lines = re.sub(r"\\\n\s*", "", self.code).splitlines()
        parts = [part for line in lines for part in re.split(r"&&|\| ", line)]
        calls = [re.match(r"\s*(?:srun .*)?maskmill (\w+.*)", part) for part in parts]
        return [match[1] for match in calls if match]


def read_blocks(page, text):
    """The blocks of a page in their order; directives of the site are no code."""
    blocks = []
    before = None
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type in {"fence", "code_block"} and not token.info.startswith("{"):
            mark = MARK.fullmatch(before.content.strip()) if before is not None else None
            words = " ".join(mark[1].split()) if mark else ""
            blocks.append(Block(page, token.map[0] + 1, token.info, token.content, words))
        before = token if token.type == "html_block" else None
    return blocks
