"""Shapes of secrets in text, each with the source of its form.

Most text holds no secret, so a pattern is tried only where one of its triggers occurs, and triggers are looked for only
where one of their group's characters occurs; both are lower case, and looked for in the lower-cased text. Patterns take
time linear in the text, since a hostile agent chooses it: a run of characters is entered at its first one only
(look-behind), and no two neighbouring repeats can share a character. Group ``s`` of a pattern is what is replaced; what
stands there as ``[redacted:…]`` already is left alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["FLAG", "GROUPS", "NAME", "Shape"]


class Shape(NamedTuple):
    """One kind of secret. The pattern is compiled when it is first needed: all of them take 30 ms."""

    kind: str
    triggers: tuple[str, ...]
    source: str
    flags: int = 0

    @property
    def pattern(self) -> re.Pattern[str]:
        """The compiled pattern; :mod:`re` keeps it."""
        return re.compile(self.source, self.flags)


def _shape(kind: str, triggers: str, source: str, flags: int = 0) -> Shape:
    return Shape(kind, tuple(triggers.split("|")), source, flags)


NAME = re.compile(
    r"[\w.-]*?(?:passw(?:or)?d|passphrase|secret|token"
    r"|(?:api|access|auth|secret|private|signing|master|account|encryption|session)[_-]?key)",
    re.IGNORECASE,
)
"""Names of options, variables and members that hold a secret. They end so: ``--password-file`` names a file."""

FLAG = re.compile(rf"--?(?:{NAME.pattern}|pass)", re.IGNORECASE)
"""An option whose secret is the next argument."""

# Environment variables are upper case by custom, and there KEY alone is telling: STRIPE_KEY, but not sort_key=name.
_UPPER = r"(?-i:[A-Z0-9_]*(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD))"
# A value written as a reference is no secret: $VAR, ${VAR}, $(command), %s, <placeholder>, {{ template }}, ***.
_VALUE = r"(?!\[redacted:|\$|%[a-z(]|<|\{|\*)"

_DASH: tuple[Shape, ...] = (
    # RFC 7468, sections 10 and 11; OpenSSH's PROTOCOL.key and OpenPGP's armour (RFC 9580, section 6.2) look alike. A
    # block without its end is one that was cut: it is redacted to the end of the text.
    _shape(
        "private-key", "private key",
        r"(?P<s>-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?"
        r"(?:-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----|\Z))",
        re.DOTALL,
    ),
    # The end of a block whose beginning was cut: the base64 before it (RFC 4648), with real or escaped line ends.
    _shape(
        "private-key", "private key",
        r"(?P<s>(?<![A-Za-z0-9+/=\s\\])[A-Za-z0-9+/=\s\\]++-----END [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----)",
    ),
    # GitLab, "Security: tokens", table of token prefixes; 20 characters, or longer and with dots where routable.
    _shape("gitlab-token", "gl", r"(?P<s>gl(?:pat|oas|dt|rt|cbt|ptt|ft|imt|agent|soat)-[A-Za-z0-9_.-]{20,})"),
    # Slack, "Token types": xoxb bot, xoxp user, xoxe rotated, and so on; xapp for apps.
    _shape(
        "slack-token", "xox|xapp-",
        r"(?P<s>xox[a-z](?:\.xox[a-z])?-[A-Za-z0-9-]{10,}|xapp-[0-9]-[A-Za-z0-9-]{10,})",
    ),
    # OpenAI (sk-, sk-proj-, sk-svcacct-, sk-admin-), Anthropic (sk-ant-api03-, …) and OpenRouter (sk-or-v1-), as in
    # gitleaks' rules of those names; the lengths are the least that ordinary words do not reach.
    _shape(
        "api-key", "sk-",
        r"(?<![A-Za-z0-9])(?P<s>sk-(?:(?:proj|svcacct|admin|ant|or)-[A-Za-z0-9_-]{32,}|[A-Za-z0-9]{32,}))",
    ),
    # PyPI, "API tokens": pypi- and a serialised macaroon (version 2, then a location field: AgE in base64).
    _shape("pypi-token", "pypi-age", r"(?P<s>pypi-AgE[A-Za-z0-9_-]{50,})"),
    # The option inside a longer command line (bash -c '… --password x').
    _shape(
        "secret", "pass|secret|token|key",
        rf"(?<![\w.-]){FLAG.pattern}[ \t]+(?P<s>{_VALUE}(?!-)(?:\"[^\"\r\n]+\"?|'[^'\r\n]+'?|[^\s\"'&;|<>()]+))",
        re.IGNORECASE,
    ),
    # curl(1), -u and -U: user:password. The distance is bounded to keep the time linear.
    _shape(
        "url-password", "curl",
        r"curl\b[^;&|\r\n]{0,200}?\s(?:-u|-U|--user|--proxy-user)[ =]?[\"']?(?!\[redacted:)[^\s:\"']+:"
        rf"(?P<s>{_VALUE}[^\s\"']+)",
    ),
)  # fmt: skip

_UNDERSCORE: tuple[Shape, ...] = (
    # GitHub, "Behind GitHub's new authentication token formats" (2021): prefixes, and up to 255 characters in future;
    # "About authentication to GitHub": github_pat_ for fine-grained tokens.
    _shape("github-token", "gh", r"(?P<s>gh[pousr]_[A-Za-z0-9]{36,251})"),
    _shape("github-token", "github_pat_", r"(?P<s>github_pat_[A-Za-z0-9_]{22,244})"),
    # Hugging Face, "User access tokens"; gitleaks' huggingface-access-token: hf_ and 34 letters.
    _shape("huggingface-token", "hf_", r"(?P<s>hf_[A-Za-z0-9]{34,})"),
    # GitHub, "Announcing npm's new access token format" (2021): npm_ and 36 characters.
    _shape("npm-token", "npm_", r"(?P<s>npm_[A-Za-z0-9]{36,})"),
)

_LETTERS: tuple[Shape, ...] = (
    # AWS, IAM User Guide, "Unique identifiers": AKIA access key, ASIA temporary access key; 20 characters in all.
    _shape("aws-key", "akia|asia", r"(?P<s>(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Za-z0-9]))"),
    # Google Cloud, "Manage API keys"; gitleaks' gcp-api-key: AIza and 35 characters.
    _shape("google-key", "aiza", r"(?P<s>AIza[0-9A-Za-z_-]{35})"),
    # RFC 7519 in the compact form of RFC 7515: header and claims are JSON objects, so both parts begin with eyJ.
    _shape("jwt", "eyj", r"(?:(?<![\w-])|(?<=%20))(?P<s>eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{16,})"),
)

_COLON_OR_EQUALS: tuple[Shape, ...] = (
    # RFC 9110, section 11.6.2; schemes of RFC 7617 (Basic), RFC 6750 (Bearer) and the customary others.
    _shape(
        "authorization", "authorization",
        r"authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|token|digest|negotiate|apikey)\s+"
        rf"(?P<s>{_VALUE}[^\s\"',]{{6,}})",
        re.IGNORECASE,
    ),
    # RFC 6265, sections 4.1 and 4.2: the rest of the line.
    _shape("cookie", "cookie", rf"cookie\s*:\s*(?P<s>{_VALUE}[^\s=;,:\"']+=[^\r\n\"']+)", re.IGNORECASE),
    # RFC 3986, section 3.2.1: scheme://user:password@host.
    _shape("url-password", "://", rf"://[^\s/:@?#\"']*:(?P<s>{_VALUE}[^\s/@?#\"']+)(?=@)"),
    # name=value, name="value", "name": "value".
    _shape(
        "secret", "key|token|secret|passw|passphrase",
        rf"(?<![\w.-])(?:{NAME.pattern}|{_UPPER})"
        rf"(?:=|\s*=\s*(?=[\"'])|[\"']\s*:\s*(?=[\"']))(?P<s>{_VALUE}"
        rf"(?:\"{_VALUE}[^\"\r\n]+\"?|'{_VALUE}[^'\r\n]+'?|[^\s\"'&;|<>()=,][^\s\"'&;|<>(),]*))",
        re.IGNORECASE,
    ),
    # The same alone on a line, in the manner of ~/.aws/credentials, YAML and HTTP header fields; the value must look
    # random, for prose and programs have lines like these.
    _shape(
        "secret", "key|token|secret|passw|passphrase",
        rf"^[ \t]*{NAME.pattern}[ \t]*[:=][ \t]*"
        r"(?P<s>(?=[^\s]*[0-9])(?=[^\s]*[A-Za-z])[A-Za-z0-9+/=_.~!@#%^&-]{12,})[ \t]*\r?$",
        re.IGNORECASE | re.MULTILINE,
    ),
)  # fmt: skip

GROUPS: tuple[tuple[str, str, tuple[Shape, ...]], ...] = (
    ("-", "-", _DASH),
    ("_", "_", _UNDERSCORE),
    ("", "", _LETTERS),
    (":", "=", _COLON_OR_EQUALS),
)
"""Two characters of which a group's text holds one, and the group's shapes. They are applied in this order."""
