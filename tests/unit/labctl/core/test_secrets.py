"""Secrets in texts that are published: found in their usual forms, and never quoted."""

import pytest

from labctl.core.errors import BenchError
from labctl.core.secrets import secret_in, without_addresses, without_secrets

CANARY = "c4n4ry0f7h3"
SECRETS = [
    f"https://me:{CANARY}@192.0.2.1/x",
    f"https://{CANARY}@192.0.2.1/x",
    f"https://hooks.example.org/services/T0/B0/{CANARY}",
    f"https://chat.example.org/api/webhooks/123/{CANARY}",
    f"https://example.org/send?channel=lab&access_token={CANARY}",
    f"https://example.org/bot?key={CANARY}",
    f"https://api.example.org/bot123456:AAF{CANARY}QwErTyUiOpAsDf/send",
    f"curl -d done hooks.example.org/services/T0/B0/{CANARY}",
    f"example.org:8443/send?access_token={CANARY}",
    f"slack://T1/B1/{CANARY}/#lab",
    f"mailtos://lab:{CANARY}@example.org?to=night@example.org",
    f"ntfys://lab-{CANARY}",
    f"TCPIP://me:{CANARY}@192.0.2.1",
    f"https://hc.example.org/ping/{CANARY}",
    f"hc.example.org/ping/{CANARY}/start",
    f"https://up.example.org/api/push/{CANARY}?status=up",
    f"password: {CANARY}",
    f"smtp_password: '{CANARY}'",
    f'{{"api_key": "{CANARY}"}}',
    f"api-token={CANARY}",
    f"# passphrase: {CANARY}",
    f"routing_key: {CANARY}",
    f"https://maker.example.org/trigger/run/with/key/{CANARY}",
    f"https://api.example.org/bot123456:{CANARY}/send",
    f"curl -H 'Authorization: Bearer {CANARY}' example.org",
    f"authorization={CANARY}",
    f"curl -u lab:{CANARY} example.org",
    f"[curl, --user, 'lab:{CANARY}', example.org]",
]
PUBLIC = [
    "https://github.com/usnistgov/daffodil-lib/blob/0123456789abcdef0123456789abcdef01234567/README.md",
    "https://example.org/lab/mtj/commit/3f2b1c9e0d4a4c1b9a575f0c2d7e8a113f2b1c9e",
    "https://www.example.org/science/article/pii/S0304885323004567",
    "https://healthchecks.example.org/docs/monitoring",
    "https://doi.org/10.1103/PhysRevLett.93.123456 and doi://10.24432/C5PC7J",
    "https://archive.ics.uci.edu/dataset/109/wine?page=3#top",
    "www.example.org/manual.pdf, scripts.d/tell.sh, maps/lot.csv and application/json",
    "ssh://git@192.0.2.1/lab.git",
    "dask=tcp://192.0.2.5:8786",
    "TCPIP0::192.0.2.5::5025::SOCKET, GPIB0::26::INSTR, ASRL/dev/ttyUSB0::INSTR",
    'xmlns="http://www.semi.org"',
    "file:///C:/lab/run",
    "the password of the station is on the wall; no token: none",
    "without authorization: no. Basic examples are below; authorization: none",
    "docker run -u 1000:1000 image; labctl plan -u x",
    "https://example.org/docs/key/",
    "token: 5, secret: true, keys: [abcdefgh]",
    "C:\\lab\\file.yaml:3: found 1, expected 2; did you mean x:y?",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_found_and_not_quoted(text: str) -> None:
    place, kind = secret_in(f"title: x\n{text} and more\n")
    assert place >= 9
    assert kind.startswith(("a", "the"))
    for shown in (without_secrets(text), without_addresses(text), str(BenchError(f"x.yaml: found '{text}'")), kind):
        assert CANARY not in shown
    assert secret_in(without_secrets(text)) == (-1, "")


@pytest.mark.parametrize(
    "text",
    [
        "https://hc.example.org/3f2b1c9e-0d4a-4c1b-9a57-5f0c2d7e8a11",
        "https://status.example.org/a/3F2B1C9E-0D4A-4C1B-9A57-5F0C2D7E8A11/b",
        "hc.example.org/3f2b1c9e0d4a4c1b9a575f0c2d7e8a11",
        "https://example.org/p?id=3f2b1c9e-0d4a-4c1b-9a57-5f0c2d7e8a11",
    ],
)
def test_an_address_with_a_uuid_is_one_with_a_secret(text: str) -> None:
    assert secret_in(f"# tell {text} that all is well")[0] == 7
    assert "5f0c2d7e8a11" not in without_secrets(text).lower()


@pytest.mark.parametrize("text", PUBLIC)
def test_what_is_no_secret_is_left_as_it_is(text: str) -> None:
    assert secret_in(text) == (-1, "")
    assert without_secrets(text) == text


def test_a_text_of_megabytes_is_looked_through_in_a_moment() -> None:
    parts = {
        "a://": 300_000,
        "token": 300_000,
        "a:b@": 300_000,
        "x-": 500_000,
        "a.b/": 300_000,
        "a://-hc/": 200_000,
        "ab.": 300_000,
    }
    for text in ("https://" + "a" * 1_000_000, *(part * number for part, number in parts.items())):
        assert without_secrets(f"{text} end").endswith((" end", "..."))
