"""Who may see the page: by which name it is asked for, and the token."""

import pytest

from labctl.serve.access import COOKIE, Access

TOKEN = "t" * 32


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8642", "localhost:1", "[::1]:8642", "LOCALHOST"])
def test_this_computer_may_be_asked_for_by_its_own_names(host: str) -> None:
    assert Access.of("127.0.0.1").knows(host)


def test_the_address_that_the_page_is_bound_to_is_known() -> None:
    assert Access.of("127.0.0.2").knows("127.0.0.2:8642")
    assert not Access.of("127.0.0.2").knows("127.0.0.3:8642")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil:80", "192.0.2.5", "", "a b", "[x]", "é"],
)
def test_a_foreign_name_is_not_known(host: str) -> None:
    assert not Access.of("127.0.0.1").knows(host)


def test_beyond_this_computer_any_address_and_the_named_names_are_known() -> None:
    access = Access.of("0.0.0.0", ["Lab3.local"], TOKEN)
    known = ["192.0.2.5:8642", "[2001:db8::5]:8642", "lab3.local:8642", "lab3.LOCAL.", "127.0.0.1"]
    assert [access.knows(host) for host in [*known, "evil.example"]] == [*(True for _ in known), False]


@pytest.mark.parametrize("address", ["0.0.0.0", "192.0.2.5", "::", "2001:db8::5"])
def test_beyond_this_computer_there_is_no_page_without_a_token(address: str) -> None:
    with pytest.raises(ValueError, match="needs a token"):
        Access.of(address)


def test_only_the_token_lets_in() -> None:
    access = Access.of("0.0.0.0", (), TOKEN)
    assert access.admits(TOKEN)
    assert [access.admits(wrong) for wrong in ("", TOKEN[1:], TOKEN + "t", "ü" * 32)] == [False] * 4
    assert access.is_let_in("", f"Bearer {TOKEN}")
    assert access.is_let_in(f"other=1; {COOKIE}={access.pass_}", "")
    wrong = [
        ("", ""),
        ("", f"Basic {TOKEN}"),
        ("", "Bearer"),
        (f"{COOKIE}={TOKEN}", ""),
        (f"{COOKIE}=", ""),
        ("\x00=;", ""),
    ]
    assert [access.is_let_in(*headers) for headers in wrong] == [False] * len(wrong)


def test_the_cookie_does_not_tell_the_token_and_belongs_to_it() -> None:
    access, other = Access.of("0.0.0.0", (), TOKEN), Access.of("0.0.0.0", (), "u" * 32)
    assert TOKEN not in access.pass_
    assert not other.is_let_in(f"{COOKIE}={access.pass_}", "")


def test_without_a_token_everybody_who_reaches_it_is_let_in() -> None:
    assert Access.of("127.0.0.1").is_let_in("", "")
