#!/bin/sh
# Intercom triage: five questions. Made by `intercom-kit runbook --script`. Needs curl; jq, where there is one, names
# the incidents. Exit status: 0 all that was asked is well, 1 something is not, 2 the API was not asked: no token.
#   INTERCOM_ACCESS_TOKEN=... sh triage.sh
set -u
base=${INTERCOM_BASE_URL:-}; [ -n "$base" ] || base=@base@
version=${INTERCOM_API_VERSION:-}; [ -n "$version" ] || version=@version_number@
status=${INTERCOM_STATUS_URL:-}; [ -n "$status" ] || status=@status@
health=${INTERCOM_HEALTH_URL:-}; [ -n "$health" ] || health=@health@
health_filter=@health_filter@

umask 077
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
result=0
: > "$work/headers"; : > "$work/me"; : > "$work/error"

has_jq() { command -v jq > /dev/null 2>&1; }
page() { curl -sSL --max-time 10 "$1" 2> /dev/null; }  # no token: redirects may be followed

echo "=== Intercom triage, $(date -u '+%Y-%m-%d %H:%M:%S') UTC ==="

printf '1. API (GET /me): '
code=000
if [ -z "${INTERCOM_ACCESS_TOKEN:-}" ]; then
    result=2
    echo 'NOT ASKED: export INTERCOM_ACCESS_TOKEN'
else
    # printf is the shell's own: the token stands in no process's arguments, and redirects are not followed with it.
    code=$(printf 'Authorization: Bearer %s\n' "$INTERCOM_ACCESS_TOKEN" |
        curl -sS --max-time 10 -H @- -H "Intercom-Version: $version" -D "$work/headers" -o "$work/me" \
            -w '%{http_code}' "$base/me" 2> "$work/error") || true
    [ "$code" = 200 ] || result=1
    if [ "$code" = 000 ]; then
        echo "NO ANSWER: $(head -n 1 "$work/error")"
    else
        echo "$code $(sed -n 's/.*"code" *: *"\([A-Za-z0-9_.-]*\)".*/\1/p' "$work/me" | head -n 1)"
        id=$(sed -n 's/^[Xx]-[Rr]equest-[Ii]d: *//p' "$work/headers" | tr -d '\r' | head -n 1)
        [ "$code" = 200 ] || echo "   request_id: ${id:-none: perhaps a proxy, gateway or edge answered}"
    fi
fi

printf '2. Status page: '
page "$status/api/v2/summary.json" > "$work/page" || : > "$work/page"
indicator=$(tr -d '\n' < "$work/page" | sed -n 's/.*"indicator" *: *"\([a-z_]*\)".*/\1/p')
if [ -n "$indicator" ]; then
    echo "$indicator"
    [ "$indicator" = none ] || [ "$result" != 0 ] || result=1
else
    echo "UNKNOWN: no JSON with an indicator at $status"
fi

printf '3. Unresolved incidents: '
open='[.incidents[]? | select(.status != "resolved" and .status != "postmortem")]'
if has_jq && page "$status/api/v2/incidents.json" > "$work/incidents" &&
    count=$(jq -er "select(.incidents | type == \"array\") | $open | length" "$work/incidents" 2> /dev/null); then
    echo "$count"
    jq -r "$open[] | \"   \(.name) (\(.status), \(.impact))\"" "$work/incidents"
elif ! grep -q '"incidents" *:' "$work/page"; then
    count=
    echo 'UNKNOWN: the page lists none that could be read; that does not mean that there is none'
elif grep -qE '"status" *: *"(investigating|identified|monitoring)"' "$work/page"; then
    count=1
    echo "at least one: see $status"
else
    count=0
    echo '0 (the page can lag behind a fault by half an hour)'
fi
[ "${count:-0}" = 0 ] || [ "$result" != 0 ] || result=1

printf '4. Rate limit remaining: '
left=$(sed -n 's/^[Xx]-[Rr]ate[Ll]imit-[Rr]emaining: *//p' "$work/headers" | tr -d '\r' | head -n 1)
limit=$(sed -n 's/^[Xx]-[Rr]ate[Ll]imit-[Ll]imit: *//p' "$work/headers" | tr -d '\r' | head -n 1)
case $code in
    000) echo 'UNKNOWN: no answer' ;;
    401 | 403) echo 'UNKNOWN: it is told with valid credentials only' ;;
    *) [ -n "$left" ] && echo "$left of ${limit:-?} in this 10-second window" || echo 'UNKNOWN: no headers came' ;;
esac

printf '5. Our integration health: '
if [ -z "$health" ]; then
    echo 'NOT ASKED: set INTERCOM_HEALTH_URL'
else
    answer=$(curl -sS --max-time 10 -o "$work/health" -w '%{http_code}' "$health" 2> /dev/null) || true
    value=
    if has_jq; then value=$(jq -r "$health_filter // empty" "$work/health" 2> /dev/null) || value=; fi
    echo "$answer ${value:-UNKNOWN}"
    case $answer in 2*) ;; *) [ "$result" != 0 ] || result=1 ;; esac
fi

case $code in
    200) next='the API works: look at our own service, or triage again soon' ;;
    401) next='token or permission (the code above tells), or another region: look before you rotate' ;;
    403) next='scope, plan, allowlist, region or edge: the code and the request_id above tell' ;;
    407) next='our own proxy answered: look there' ;;
    429) next='pause batch jobs, queue, back off to the reset; too_many_requests is an overload of Intercom' ;;
    5*) next="Intercom's servers fail: degrade, follow the page, keep the request_id" ;;
    000) next='name, network, proxy or TLS between us and Intercom, unless the page reports an incident' ;;
    *) next='look at the answer by hand: is it Intercom that answers?' ;;
esac
[ "$result" = 2 ] || echo "Next: $next"
exit "$result"
