"""Pages of changes, while others are written."""

from gateway.storage.changes import ChangesWanted, page


class Meanwhile:
    """A session in whose readings something is committed right after the rows."""

    def __init__(self) -> None:
        self.last = 7

    def first(self, sql, parameters=()):
        return (self.last,)

    def fetch(self, sql, parameters=()):
        self.last = 9
        return []


def test_what_is_written_while_a_page_is_read_is_in_the_next_one():
    assert page(Meanwhile(), ChangesWanted(since=7)).last == 7


def test_nobody_is_sent_back():
    assert page(Meanwhile(), ChangesWanted(since=12)).last == 12
