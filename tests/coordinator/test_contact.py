"""Since when the shared store is reached."""

from dispatchd.coordinator.contact import Contact
from tests.support.clock import FakeClock


def reach(contact: Contact, clock: FakeClock, seconds: int) -> None:
    for _ in range(seconds):
        clock.advance(1)
        contact.made()


def test_a_clock_that_is_set_back_is_no_break() -> None:
    clock = FakeClock()
    contact = Contact(clock, 10)
    reach(contact, clock, 31)
    assert contact.lasts(30)
    clock.advance(-3600)
    reach(contact, clock, 31)
    assert (contact.lasts(30), contact.breaks) == (True, 0)


def test_how_long_it_was_lost_is_known_for_a_while() -> None:
    clock = FakeClock()
    contact = Contact(clock, 10)
    clock.advance(60)
    contact.made()
    assert (contact.away(30), contact.breaks) == (60, 1)
    reach(contact, clock, 30)
    assert (contact.away(30), contact.breaks) == (0, 1)
