"""The words that the linter knows: what stands for nothing, blames, exaggerates, promises, or acts."""

import re


def _any(*patterns: str) -> re.Pattern[str]:
    """Return a pattern that finds any of these, whatever the case of its letters."""
    return re.compile("|".join(patterns), re.IGNORECASE)


PLACEHOLDER = _any(
    r"^\W*$",
    r"\b(?:todo|tbd|tba|tbc|fixme|xxx+|lorem ipsum|placeholder|fill (?:this )?in|n/a|none yet|same as above)\b",
    r"\[(?!e-mail\]|phone\]|secret\]|token\])[^\]]*(?:\.\.\.|…|name|describe|what|technical|measure|sentences)[^\]]*\]",
    r"\bYYYY-MM-DD\b|\bHH:MM\b",
    r"\[(?:e-mail|phone|secret|token)\]",  # what was taken out when it was written down
)
PEOPLE_AS_CAUSE = _any(
    r"\b(?:human|operator|user|pilot|engineer(?:'s)?|developer(?:'s)?|manual) error\b",
    r"\bcarelessness\b|\bnegligence\b|\bforgot to\b",
    r"\b(?:somebody|someone|an? (?:engineer|developer|operator|colleague|admin))\b[^.]{0,30}\b"
    r"(?:forgot|mistyped|broke|missed|deleted|fat[- ]fingered)",
)
BLAME = _any(
    r"\bshould(?:n't| not)? have\b|\bshould've\b",
    r"\b(?:could|would)(?:n't| not)? have (?:known|seen|prevented|caught|noticed)\b",
    r"\bfailed to\b|\bneglected to\b|\bsimply forgot\b|\bwhy did(?:n't| not)\b",
    r"\bcareless(?:ly|ness)?\b|\bnegligen\w+|\bobvious(?:ly)?\b|\bsloppy\b|\blazy\b|\bincompeten\w+",
    r"\bat fault\b|\b(?:his|her|their) fault\b|\bto blame\b",
)
OUTAGE = _any(r"\boutages?\b", r"\bcompletely down\b", r"\btotal(?:ly)? (?:failure|down)\b")
FIXES = _any(
    r"\bwe (?:should|will|need to|must|are going to)\b|\bwill be (?:added|fixed|improved|changed)\b|\blet's\b",
    r"\baction items?\b|\bfollow[- ]?ups?\b|\bto prevent (?:this|it)\b|\btodo\b",
    r"\bnext time\b|\bin (?:the )?future\b|\bgoing forward\b",
)
WEAK = _any(
    r"\b(?:investigate|look into|be (?:more )?careful|pay attention|monitor|consider|think about|try to)\b",
)
NOBODY = (
    "team",
    "everyone",
    "everybody",
    "all",
    "we",
    "us",
    "nobody",
    "somebody",
    "someone",
    "tbd",
    "?",
    "-",
    "on call",
)
MANY = _any(r",|/|&|\+|;|\band\b|\bor\b")
SENTENCE_END = _any(r"(?<!\be\.g)(?<!\bi\.e)(?<!\betc)(?<!\bvs)(?<!\bapprox)(?<!\bca)(?<!\bno)[.!?]+(?=\s|$)")
QUANTITY = _any(
    r"(?<![\w.:-])\d[\d,.]*(?:\s*%|\s+\w+)",
    r"\b(?:all|every|no|none|half|two thirds|a third|a quarter)\b(?: of)? \w+",
)
NO_QUANTITY = _any(
    r"\d[\d,.]*[\s-]*(?:days?|d|hours?|hrs?|h|minutes?|mins?|min|m|seconds?|secs?|s)\b|\bP[1-4]\b",
    r"\b\d+:\d+\b|\b\d{4}-\d{2}-\d{2}\b",
)
ACRONYM = re.compile(r"(?<![\w`./-])[A-Z][A-Z0-9]{1,6}s?(?![\w./-])")

_WORDS_TOO = """
art bill chase dean drew frank grant guy hope jack mark may miles pat ray rich rob sandy sue will
"""
WORDS_TOO = frozenset(_WORDS_TOO.split())  # names that are also words: a person is meant only where they are capitals

_VERBS = """
accept add adjust adopt agree alert align allow analyse analyze apply archive ask assign attach audit automate back
backfill backport ban batch be block bound budget build bump bundle cache call cancel cap catch change check clarify
clean close collect compare compress configure confirm connect consider consolidate contact convert copy correct
count cover create cut decide declare decouple define delay delete deploy deprecate describe design detect disable
discard display distribute document double draft drain drill drop dump duplicate eliminate email enable encode
encrypt enforce ensure escalate establish estimate evaluate exclude expand expire explain export expose extend
extract fail fetch filter find finish fix flag forbid force freeze gather generate give grant group guard handle
harden hide hold identify implement import improve include increase inform inject install instrument integrate
introduce invalidate investigate invite isolate issue jitter join keep kill label launch lengthen limit link list
load lock log look lower maintain make map mark match measure merge migrate mirror mock monitor move mute name
negotiate notify offer open order organise organize own page pair parse patch pause pay pin place plan poll pool
post practice practise prefer prepare preserve prevent print prioritise prioritize probe produce promote protect
prove provide prune publish pull purge push put quarantine queue raise randomise randomize rate reach read rebuild
record redact redesign redirect reduce refactor refresh refuse register rehearse reject release reload remind remove
rename render renew replace replay replicate report request require rerun reserve reset resize resolve respect
respond restart restore restrict retire retry return reuse revert review revise revoke rewrite roll rotate route run
sample save scale schedule scope script seal search secure send separate serve set share shed shift shorten show
shut simplify simulate skip slow snapshot sort space specify split spread stage stagger standardise standardize
start stop store stream streamline stress strip subscribe suppress surface swap switch sync tag take talk teach tear
tell test think throttle tighten time trace track train translate treat trigger trim try tune turn unify unlock
update upgrade use validate verify version visualise visualize wait warm warn watch wire wrap write
"""
VERBS = frozenset(_VERBS.split())  # an action item begins with one of these, or with one in -ize, -ise, -ify

_ACRONYMS = """
API APIS AU AWS CI CLI CPU CSV CTO DNS DRILL EU FAQ FIXME GET GMT HTML HTTP HTTPS ID IDS INC IP IPS IPV JSON JWT MD
OK P1 P2 P3 P4 PDF POST PUT RAM REST SDK SHA SLA SLO SQL SRE SSH SSL SVG TBA TBC TBD TCP TLS TODO UI URL URLS US UTC
UUID UX VM VPN XML
"""
KNOWN_ACRONYMS = frozenset(_ACRONYMS.split())  # what every reader of a postmortem knows
