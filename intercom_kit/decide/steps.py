"""Actions that more than one cause calls for, as the runbook's building blocks.

Commands are for bash or zsh. `{name}` in a command is filled from the settings, quoted for the shell, by the runbook.
The token goes to curl and aws on standard input: an argument could be read by every user of the machine. Commands that
carry it follow no redirects; those of the status page do, since its old hosts redirect.
"""

from intercom_kit.records import Action

ME = """printf 'Authorization: Bearer %s' "$INTERCOM_ACCESS_TOKEN" | curl -sS -H @- -H {version} {me}"""
STATUS = "curl -sSL {status_summary} | jq '{status, incidents: [.incidents[]? | {name, status, impact}]}'"

VERIFY = Action(
    title="Verify the token",
    steps=(
        "Ask Intercom who the token is. A valid one answers with type admin.",
        "Keep the error code: it decides whether rotating helps at all.",
    ),
    commands=(ME + " | jq '{type, app: .app.name, errors}'",),
)
STORE = Action(
    title="Store the new token and restart",
    steps=(
        "One line at a time: read the new token without showing it, and check it before it is stored.",
        "Write it to the secret manager; if the secret is a JSON document, change only its token.",
        "Restart the application so that it picks the new token up, and triage again.",
    ),
    commands=(
        "printf 'New token: ' >&2; IFS= read -rs NEW_TOKEN",
        """printf 'Authorization: Bearer %s' "$NEW_TOKEN" | curl -sS -H @- -H {version} {me} | jq -r .type""",
        """printf %s "$NEW_TOKEN" | aws secretsmanager update-secret --secret-id {secret_id} --secret-string file:///dev/stdin""",
        "unset NEW_TOKEN",
        "kubectl rollout restart {deployment} && kubectl rollout status {deployment} --timeout=5m",
    ),
)
ESCALATE = Action(
    title="No access to the Developer Hub? Escalate to the workspace admin",
    steps=("Ask an admin of the Intercom workspace to do the step above, or to give you access to the Developer Hub.",),
)
REGENERATE = Action(
    title="Regenerate the token",
    steps=(
        "Developer Hub > your app > Configure > Authentication > regenerate the token.",
        "The old token stops working at once: have the next step ready.",
    ),
)
DEGRADE = Action(
    title="Degrade gracefully",
    steps=(
        "On 429 and 5xx, and when no answer comes, serve the last cached data, marked as stale, or a fallback.",
        "Never do so on 401 or 403: it would hide that we lost our access.",
        "Retry only what is safe to repeat, with exponential backoff and jitter.",
    ),
)
WARM = Action(
    title="Cache empty? Warm it",
    steps=(
        "If the fallback has nothing to serve, fill the cache with the most used contacts once calls get through.",
        "Run that warming job on a schedule from now on, so that the next outage finds the cache full.",
    ),
)
WATCH_PAGE = Action(
    title="Follow the status page",
    steps=(
        "Read both the indicator and the incidents: they can disagree. Anything but JSON means unknown.",
        "No incident there does not mean that it is ours: the page has lagged a fault by 23 minutes.",
    ),
    commands=(STATUS,),
)
KEEP_IDS = Action(
    title="Keep the request_ids for Intercom's support",
    steps=(
        "Each answer names its id in X-Request-Id and in the error's request_id; this triage's evidence keeps them.",
        "Open a case with support: times in UTC, routes, status codes and request_ids.",
    ),
    commands=(ME + " -o /dev/null -D - | grep -i '^x-request-id'",),
)
HEADERS = Action(
    title="Read the rate-limit headers",
    steps=(
        "Limit and Remaining count a window of 10 seconds, aligned to the clock; Reset is its end in Unix seconds.",
        "They tell our app's window only; the workspace's pool (25,000 a minute over all its apps) is invisible.",
    ),
    commands=(ME + " -o /dev/null -D - | grep -i '^x-ratelimit'",),
)
PAUSE = Action(
    title="Lower our own request volume",
    steps=(
        "Pause batch and sync jobs.",
        "Queue what can wait, and spread it below the limit of the window.",
        "Retry after the window's reset plus some random seconds: a shorter backoff only burns retries.",
        "Do not let all retries wake at the reset: they would collide again.",
        "Honour Retry-After if it is sent.",
    ),
)
FIND_APPS = Action(
    title="Find the other apps of the workspace",
    steps=(
        "25,000 requests a minute are shared by every app of the workspace, 10,000 are each app's own.",
        "Settings > Developers and Integrations: list the apps, ask their owners about syncs and imports running now.",
        "Our own request log shows our part; what remains stays unattributed.",
    ),
)
LOOK_INSIDE = Action(
    title="Look at our own service",
    steps=("Are the pods up, restarting, or short of memory?", "Do its logs name Intercom, a dependency, or itself?"),
    commands=(
        "curl -sS {health} | jq {health_filter}",
        "kubectl rollout status {deployment} --timeout=10s",
        "kubectl describe {deployment}",
        "kubectl logs {deployment} --since=15m --tail=200",
        "kubectl top pods",
    ),
)
NETWORK = Action(
    title="Find where the network ends",
    steps=(
        "Does the name resolve, does the port answer, is the certificate Intercom's? A proxy may answer in its place.",
        "Look at DNS, egress rules, proxies and the firewall; did one of them change?",
    ),
    commands=(
        "getent hosts {api_host}",
        "curl -sS -o /dev/null -w 'dns %{time_namelookup}s connect %{time_connect}s tls %{time_appconnect}s\\n' {base}",
        "kubectl exec {deployment} -- getent hosts {api_host}",
    ),
)
OTHER_NETWORK = Action(
    title="Try another network",
    steps=(
        "Ask the same from a mobile network or through a VPN: if it works there, it is our network.",
        "Status page unreachable as well? The same holds for it; its answer there counts.",
    ),
    commands=("curl -sS -o /dev/null -w '%{http_code}\\n' {base}/me", STATUS),
)
TOKEN_NOT_SET = Action(
    title="Set the token",
    steps=("Without INTERCOM_ACCESS_TOKEN the API cannot be asked. Read it without showing it, then triage again.",),
    commands=(
        "printf 'Token: ' >&2; IFS= read -rs INTERCOM_ACCESS_TOKEN && export INTERCOM_ACCESS_TOKEN",
        "intercom-kit triage",
    ),
)
PAGE_UNREADABLE = Action(
    title="Read the status page another way",
    steps=(
        "It could not be read from here: try a mobile network or a VPN, or open it in a browser.",
        "If it moved, set INTERCOM_STATUS_URL to its new host. Its old hosts redirect and may answer with HTML.",
    ),
    commands=("curl -sSL -o /dev/null -w '%{http_code} %{content_type} %{url_effective}\\n' {status_summary}",),
)
AGAIN = Action(title="Triage again", steps=("Confirm that the fix worked.",), commands=("intercom-kit triage",))
