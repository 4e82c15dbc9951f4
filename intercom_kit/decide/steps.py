"""Actions that more than one cause calls for, as the runbook's building blocks.

Commands are for bash or zsh. `{name}` in a command is filled from the settings, quoted for the shell, by the runbook.
The token goes to curl and aws on standard input: an argument could be read by every user of the machine. Where it is
not in the shell's environment (the kit may have it from a `.env` file) the command says so. Commands that carry it
follow no redirects; those of the status page do, since its old hosts redirect.
"""

from intercom_kit.records import Action

ME = (
    """printf 'Authorization: Bearer %s' "${INTERCOM_ACCESS_TOKEN:?export it in this shell first}" | """
    "curl -sS -H @- -H {version} {me}"
)
STATUS = "curl -sSL {status_summary} | jq '{status, incidents: [.incidents[]? | {name, status, impact}]}'"


def todo(title: str, *steps: str, commands: tuple[str, ...] = ()) -> Action:
    """Return an action: its title, then its steps in order."""
    return Action(title=title, steps=steps, commands=commands)


VERIFY = todo(
    "Verify the token",
    "Ask Intercom who the token is. A valid one answers with type admin.",
    "Keep the error code: it decides whether rotating helps at all.",
    "A token of another region's workspace gets the same 401: the second command asks the other regions' hosts too.",
    commands=(ME + " | jq '{type, app: .app.name, errors}'", "intercom-kit token verify"),
)
STORE = todo(
    "Store the new token and restart",
    "The kit does all of this, asking before each step: intercom-kit token rotate --apply",
    "By hand, one line at a time: read the new token without showing it, and check it before it is stored.",
    "Write it to the secret manager; if the secret is a JSON document, change only its token.",
    "Restart the application so that it picks the new token up, and triage again.",
    commands=(
        "printf 'New token: ' >&2; IFS= read -rs NEW_TOKEN",
        """printf 'Authorization: Bearer %s' "$NEW_TOKEN" | curl -sS -H @- -H {version} {me} | jq -r .type""",
        """printf %s "$NEW_TOKEN" | aws secretsmanager update-secret --secret-id {secret_id} --secret-string file:///dev/stdin""",
        "unset NEW_TOKEN",
        "kubectl rollout restart {deployment} && kubectl rollout status {deployment} --timeout=5m",
    ),
)
ESCALATE = todo(
    "No access to the Developer Hub? Escalate to the workspace admin",
    "Ask an admin of the Intercom workspace to do the step above, or to give you access to the Developer Hub.",
)
REGENERATE = todo(
    "Regenerate the token",
    "Developer Hub > your app > Configure > Authentication > regenerate the token.",
    "The old token stops working at once: have the next step ready.",
)
NOTHING_OF_OURS = todo(
    "No action needed on our side",
    "Intercom has acknowledged it: there is nothing to repair in our integration.",
    "Rotate no token and roll back no deploy. Ease it for our users, follow the page, and keep the request_ids.",
)
DEGRADE = todo(
    "Degrade gracefully",
    "On 429 and 5xx, and when no answer comes, serve the last cached data, marked as stale, or a fallback.",
    "Never do so on 401 or 403: it would hide that we lost our access.",
    "Retry only what is safe to repeat, with exponential backoff and jitter.",
)
WARM = todo(
    "Cache empty? Warm it",
    "If the fallback has nothing to serve, fill the cache with the most used contacts once calls get through.",
    "Run that warming job on a schedule from now on, so that the next outage finds the cache full.",
    commands=("intercom-kit warm --contacts ids.txt",),
)
WATCH_PAGE = todo(
    "Follow the status page",
    "Read both the indicator and the incidents: they can disagree. Anything but JSON means unknown.",
    "No incident there does not mean that it is ours: the page has lagged a fault by 23 minutes.",
    "Intercom renamed itself and is being acquired, so hosts may move: INTERCOM_STATUS_URL and the regions' hosts are "
    "settings.",
    commands=(STATUS,),
)
KEEP_IDS = todo(
    "Keep the request_ids for Intercom's support",
    "Each answer names its id in X-Request-Id and in the error's request_id; this triage's evidence keeps them.",
    "Open a case with support: times in UTC, routes, status codes and request_ids, as the report's packet lists them.",
    commands=(ME + " -o /dev/null -D - | grep -i '^x-request-id'",),
)
HEADERS = todo(
    "Read the rate-limit headers",
    "Limit and Remaining count a window of 10 seconds, aligned to the clock; Reset is its end in Unix seconds.",
    "They tell our app's window only; the workspace's pool (25,000 a minute over all its apps) is invisible.",
    commands=(ME + " -o /dev/null -D - | grep -i '^x-ratelimit'",),
)
PAUSE = todo(
    "Lower our own request volume",
    "Pause batch and sync jobs.",
    "Queue what can wait, and spread it below the limit of the window.",
    "Retry after the window's reset plus some random seconds: a shorter backoff only burns retries.",
    "Do not let all retries wake at the reset: they would collide again.",
    "Honour Retry-After if it is sent.",
)
FIND_APPS = todo(
    "Find the other apps of the workspace",
    "25,000 requests a minute are shared by every app of the workspace, 10,000 are each app's own.",
    "Settings > Developers and Integrations: list the apps, ask their owners about syncs and imports running now.",
    "Our own request log shows our part; what remains stays unattributed.",
)
LOOK_INSIDE = todo(
    "Look at our own service",
    "Are the pods up, restarting, or short of memory?",
    "Do its logs name Intercom, a dependency, or itself?",
    commands=(
        "curl -sS {health} | jq {health_filter}",
        "kubectl rollout status {deployment} --timeout=10s",
        "kubectl describe {deployment}",
        "kubectl logs {deployment} --since=15m --tail=200",
        "kubectl top pods",
    ),
)
GATEWAY = todo(
    "Look at the proxy or gateway in between",
    "The answer is not Intercom's: no X-Request-Id, and the marks of something else.",
    "Look at our egress proxy, gateway or web filter: what did it block, does it ask for a password, did it change?",
    "The second command sends no token. Via, Server, X-Squid-Error or WWW-Authenticate name what answered.",
    "Until its answer is Intercom's, neither the token nor Intercom's status says anything: change no token.",
    commands=(
        "env | grep -i '_proxy=' | sed 's#//[^@/]*@#//***@#'",
        "curl -sS -D - {me} | head -c 2000",
        "kubectl exec {deployment} -- curl -sS -D - {me} | head -c 2000",
    ),
)
CERTIFICATE = todo(
    "Look whose certificate it is",
    "Intercom's is issued by a public authority for its own host. Another issuer means that something opens our TLS,",
    "another host's name means a captive portal or a wrong address; both are on our side.",
    "Expired? Compare our clock first: a wrong one makes every certificate expired.",
    commands=(
        "openssl s_client -connect {api_address} -servername {api_host} 2>&1 </dev/null | grep -E 'issuer|subject|Not'",
        "date -u",
    ),
)
BASE_URL = todo(
    "Compare INTERCOM_REGION and INTERCOM_BASE_URL with the workspace's region",
    "A workspace is hosted in one region, and its token works on that region's host only.",
    "The answer's text, or where it redirects to, names the region; so does the host of our Intercom inbox.",
    "Set INTERCOM_REGION to us, eu or au, or INTERCOM_BASE_URL to the host, in our service as well, and deploy.",
    "The token stays as it is.",
    commands=("intercom-kit settings", "intercom-kit token verify", "intercom-kit triage"),
)
NETWORK = todo(
    "Find where the network ends",
    "Does the name resolve, does the port answer, is the certificate Intercom's? A proxy may answer in its place.",
    "Look at DNS, egress rules, proxies and the firewall; did one of them change?",
    commands=(
        "getent hosts {api_host}",
        "curl -sS -o /dev/null -w 'dns %{time_namelookup}s connect %{time_connect}s tls %{time_appconnect}s\\n' {base}",
        "kubectl exec {deployment} -- getent hosts {api_host}",
    ),
)
OTHER_NETWORK = todo(
    "Try another network",
    "Ask the same from a mobile network or through a VPN: if it works there, it is our network.",
    "Any status, 401 too as no token is sent, means that the API was reached; 000 means that it was not.",
    "Status page unreachable as well? The same holds for it; its answer there counts.",
    commands=("curl -sS -o /dev/null -w '%{http_code}\\n' {base}/me", STATUS),
)
TOKEN_NOT_SET = todo(
    "Set the token",
    "Without INTERCOM_ACCESS_TOKEN the API cannot be asked. Read it without showing it, then triage again.",
    commands=(
        "printf 'Token: ' >&2; IFS= read -rs INTERCOM_ACCESS_TOKEN && export INTERCOM_ACCESS_TOKEN",
        "intercom-kit triage",
    ),
)
PAGE_UNREADABLE = todo(
    "Read the status page another way",
    "It could not be read from here: try a mobile network or a VPN, or open it in a browser.",
    "If it moved, set INTERCOM_STATUS_URL to its new host. Its old hosts redirect and may answer with HTML.",
    commands=("curl -sSL -o /dev/null -w '%{http_code} %{content_type} %{url_effective}\\n' {status_summary}",),
)
NOT_IN_VERSION = todo(
    "Is the route in the API version that we send?",
    "We send Intercom-Version {version_number}, and the route is not found: an old version may lack it, a new one may "
    "have retired it.",
    "Compare with Intercom's changelog of versions, and pin one that has the route.",
)
AGAIN = todo(
    "Triage again",
    "Confirm that the fix worked.",
    commands=("intercom-kit triage",),
)
