"""Phrases that no record supports, whatever it holds: why, and what may be said instead.

A record holds what processes asked for and what became of it. It holds no wish, no plan, no character.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["PHRASES", "Phrase"]


class Phrase(NamedTuple):
    """``pattern`` is looked for in running text; ``why`` and ``instead`` are shown."""

    pattern: re.Pattern[str]
    why: str
    instead: str


def _phrase(pattern: str, why: str, instead: str) -> Phrase:
    return Phrase(re.compile(rf"(?<!\w)(?:{pattern})(?!\w)", re.IGNORECASE), why, instead)


_ACT = "name the act: opened a connection to …; read …; was refused …"
_RAN = "say what was recorded: ran …; wrote …; its transcript states '…'"
_MIND = "a record holds no intent, wish or plan"

PHRASES: tuple[Phrase, ...] = (
    # Before the single words that they hold: of two that overlap the longer one is told.
    _phrase(
        r"(?:tr(?:ied|ies|ying)|attempt(?:ed|s|ing)|sought|seeks|aim(?:ed|s|ing)|(?:was|were|is|are) trying) to"
        r"(?:\s+(?:hide|mask|conceal|escape|cheat|evade|deceive))?",
        "it states a purpose, and a record holds none",
        "asked to …; the outcome was not observed (or: refused)",
    ),
    _phrase(
        r"(?:(?:in order|so as) )?to (?:mask|hide|conceal|disguise|obscure|cover up|evade|deceive|fool|trick|cheat|"
        r"avoid (?:detection|discovery|notice|suspicion|being (?:caught|seen|noticed|detected)))",
        "it states a purpose, and a record holds none",
        _RAN,
    ),
    _phrase(
        r"(?:hid|hiding|mask(?:ed|ing)|conceal(?:ed|ing)|cover(?:ed|ing)(?: up)?|disguis(?:ed|ing)) (?:its|"
        r"their|the|his|her)"
        r" (?:\w+ )?(?:tracks?|traces?|activit\w+|consumption|use|usage|work|actions?|behaviou?r|traffic|load)",
        "it states a purpose, and a record holds none",
        _RAN,
    ),
    _phrase(
        r"decid(?:ed|es|ing)(?: (?:to|that|not|on|against))|decided|resolved to|chose to|plann(?:ed|ing) to|"
        r"plots?|plott(?:ed|ing)|"
        r"schem(?:ed|ing)|conspir(?:ed|ing)",
        _MIND,
        _RAN,
    ),
    _phrase(
        r"want(?:s|ed|ing)?|wish(?:es|ed|ing)?|desir(?:e|es|ed|ing)|hop(?:ed|es|ing) to|long(?:ed|ing) (?:to|for)|"
        r"yearn(?:ed|s|ing)|crav(?:ed|es|ing)|fear(?:ed|s|ing)|(?:was|is) afraid|out of (?:greed|spite|fear|"
        r"curiosity)|greed(?:y|ily)?",
        _MIND,
        _RAN,
    ),
    _phrase(
        r"intend(?:ed|s|ing)|intentional(?:ly)?|intent|intentions?|deliberate(?:ly)?|on purpose|purposel?y|"
        r"purposefully|knowingly|"
        r"wil(?:l)?ful(?:ly)?|meant to|motiv(?:e|es|ed|ation|ations|ated)|(?:for|financial|seeking|"
        r"of) (?:\w+ )?(?:profits?|gain)|profit motive",
        _MIND,
        _RAN,
    ),
    _phrase(r"kn(?:ew|ows)|reali[sz](?:ed|es|ing)|was aware|self-aware|sentient|conscious(?:ly)?", _MIND, _RAN),
    _phrase(
        r"(?:secret|covert|stealthi|surreptitious|clandestine|furtive)(?:ly)|sneak(?:ed|ily|ing|s|y)?|snuck|stealth|"
        r"behind (?:its|their|the) \w+ backs?",
        "it says how somebody meant it, not what was recorded",
        _RAN,
    ),
    _phrase(
        r"(?:br(?:oke|eaks?|eaking|oken)) (?:free|out|loose)(?: of| from)?|escap(?:e|ed|es|ing)|"
        r"(?:went|goes|going|gone|turned) rogue|rogue|(?:lost|losing|loss of|out of) control|jail-?br(?:oke|eak|"
        r"oken)|rebel(?:led|s)?|"
        r"took over|tak(?:es|en|ing) over|takeover|(?:a )?mind of its own",
        "no event says this: it is a picture, not a fact",
        _ACT,
    ),
    _phrase(
        r"hack(?:ed|s|ing|er|ers)?(?: into)?|br(?:oke|eaks?|eaking|oken) into|breach(?:ed|es|ing)|"
        r"infiltrat(?:ed|es|ing)|"
        r"penetrat(?:ed|es|ing)|hijack(?:ed|s|ing)|st(?:ole|olen|eals|ealing)|exfiltrat(?:ed|es|ing)|"
        r"smuggl(?:ed|es|ing)",
        "it names an offence instead of the act",
        _ACT + "; a key published beside its ciphertext: decrypted with a published key",
    ),
    _phrase(
        r"cheat(?:ed|s|ing|er)?|gam(?:ed|ing) the \w+",
        "it is a judgement; the record holds what it rests on",
        "say what was observed: the submission equals the planted decoy; asked to change a protected test",
    ),
    _phrase(
        r"l(?:ied|ying) (?:to|about)|deceiv(?:ed|es|ing)|decepti(?:on|ve|vely)|pretend(?:ed|s|ing)|feign(?:ed|s|"
        r"ing)|fak(?:ed|es|ing)|"
        r"trick(?:ed|s|ing)|fool(?:ed|s|ing)|malicious(?:ly)?|malice|nefarious(?:ly)?|sinister|evil|"
        r"treacherous(?:ly)?|"
        r"betray(?:ed|s|ing)|devious(?:ly)?|cunning(?:ly)?",
        "it says how somebody meant it, not what was recorded",
        _RAN + ", and what differs from it",
    ),
    _phrase(
        r"(?:was|were|is|are|been|be|kept|keeps|began|begun|started|caught|"
        r"found) (?:\w+ )?(?:(?:crypto(?:currency)?|bitcoin|monero|coin)"
        r"[- ]?)?mining|(?:crypto[- ]?)?mined|mines (?:bitcoin|monero|crypto\w*|coins?)|(?:ran|runs|running|"
        r"launched|started) "
        r"(?:an? |the )?(?:\w+ )?(?:crypto[- ]?)?miner|mining (?:bitcoin|monero|crypto\w*|coins?)",
        "what is supported is `consistent with`",
        "spoke Stratum with …; one core at 100 % for … s in step …; consistent with mining",
    ),
    _phrase(
        r"always|every time|clearly|(?:it )?(?:is|was) (?:clear|obvious|evident|plain) that|obvious(?:ly)?|"
        r"evidently|undoubtedly|unquestionably|undeniabl[ey]|certainly|definitely|"
        r"plainly|invariably|of course|"
        r"without (?:a |any )?doubt|no doubt|beyond (?:any |all )?doubt|every single|time and (?:time )?again",
        "it is stronger than any record",
        "n of m, with its interval",
    ),
    _phrase(
        r"(?:(?:clear|distinct|regular|consistent|telltale) )?(?:temporal|time(?:-of-day)?) patterns?|"
        r"clear patterns?|off-?peak",
        "a record of one episode holds no pattern over time",
        "n events in m episodes, at …",
    ),
    _phrase(
        r"(?:broke|breaks?|breaking|broken) containment|slipped (?:its|the|their) leash|off the rails|"
        r"uncontrollabl[ey]|outsmart(?:ed|s|ing)|outwit(?:ted|s)?",
        "no event says this: it is a picture, not a fact",
        _ACT,
    ),
    _phrase(
        r"(?:so that|when|while|as) (?:nobody|no one|no-one) (?:would|could|was|were|is|looked|noticed|saw)(?: \w+)?",
        "it says what somebody was not to see, and a record holds no purpose",
        _RAN,
    ),
    _phrase(
        r"(?:at|by|during the) night|overnight|dead of night|(?:small|quiet|early) hours|after[- ]hours",
        "a part of the day depends on the place, which the record does not hold",
        "a time within the record, in UTC",
    ),
)
