-- From a log's columns to the calls of a request log: parts, each named by the line above it.
--
-- $words     the segments that the vendor's API spells (protocol.py)
-- $blanks    words for no value; $code an HTTP status, $no_answer what says that there was none (columns.py)
-- $relation  the log; $written its values as they are written, and the conditions under which a row is none or no call;
--            $parsed the parts of a call, made of those (normalize.py)
-- $has_others, $is_telling  whether the log tells more of a call than a time and a status; a method, path or route
-- $has_path, $has_kind  whether the log has such a column: nothing is worked out of one that it lacks
-- $unzoned   the condition under which a time tells no zone, and none was given
-- $excluded, $start, $other_host, $naive  reasons that are named in Python too
-- $lines     the JSON of a file of spans

-- name: macros
-- What a text in a log means, as macros that DuckDB is given when a log is opened. Null is: it cannot be read.

CREATE OR REPLACE TEMP MACRO known(t) AS CASE WHEN lower(trim(t)) IN ($blanks) THEN NULL ELSE trim(t) END;

-- The JSON object that a line ends in, behind a prefix or not.
CREATE OR REPLACE TEMP MACRO read_object(t) AS TRY_CAST(substr(t, strpos(t, '{')) AS JSON);

-- Times: a TIMESTAMP in UTC. Unix time is known by its size: seconds, milli-, micro- and nanoseconds do not overlap.
CREATE OR REPLACE TEMP MACRO unix_time(n) AS make_timestamp(TRY_CAST(round(CASE
  WHEN n >= 9e17 AND n < 4.2e18 THEN n / 1000
  WHEN n >= 9e14 AND n < 4.2e15 THEN n::DOUBLE
  WHEN n >= 9e11 AND n < 4.2e12 THEN n * 1000.0
  WHEN n >= 9e8 AND n < 4.2e9 THEN n * 1000000.0 END) AS BIGINT));

-- A time that a change of the clocks skips, or gives twice, is none.
CREATE OR REPLACE TEMP MACRO local_time(p, zone) AS CASE
  WHEN zone = 'UTC' THEN p
  WHEN p AT TIME ZONE zone AT TIME ZONE zone = p
    AND (p AT TIME ZONE zone - INTERVAL 1 HOUR) AT TIME ZONE zone <> p
    AND (p AT TIME ZONE zone + INTERVAL 1 HOUR) AT TIME ZONE zone <> p
  THEN make_timestamp(epoch_us(p AT TIME ZONE zone)) END;

-- slashed: the formats of 11/24/2026 or 24/11/2026, whichever this log has.
CREATE OR REPLACE TEMP MACRO plain_time(t, slashed) AS CASE
  WHEN regexp_full_match(t, '\d{14}|\d{17}') THEN try_strptime(t, ['%Y%m%d%H%M%S', '%Y%m%d%H%M%S%g'])
  WHEN regexp_matches(t, '\d{1,2}:\d{2}|\dT\d{6}') THEN coalesce(
    TRY_CAST(replace(t, ',', '.') AS TIMESTAMP),
    try_strptime(t, ['%d/%b/%Y:%H:%M:%S', '%d/%b/%Y:%H:%M:%S.%f', '%a, %d %b %Y %H:%M:%S', '%a %b %d %H:%M:%S %Y',
      '%d %b %Y %H:%M:%S', '%b %d, %Y @ %H:%M:%S.%f', '%b %d, %Y @ %H:%M:%S', '%b %d, %Y %H:%M:%S',
      '%b %d, %Y %I:%M:%S %p', '%b %d, %Y, %I:%M:%S %p', '%Y%m%dT%H%M%S', '%Y%m%dT%H%M%S.%f', '%d-%b-%Y %H:%M:%S',
      '%d-%b-%Y %H:%M:%S.%f', '%Y/%m/%d %H:%M:%S.%f', '%Y/%m/%d %H:%M:%S', '%Y-%m-%d %I:%M:%S %p',
      '%A, %d %B %Y %H:%M:%S', '%A, %d-%b-%y %H:%M:%S',
      '%d.%m.%Y %H:%M:%S', '%d.%m.%Y %H:%M', '%Y-%m-%d %H:%M', '%Y:%m:%d %H:%M:%S']),
    try_strptime(t, slashed)) END;

-- A time with its zone in two parts; both are blank where it tells none.
CREATE OR REPLACE TEMP MACRO zoned(t, part) AS regexp_extract(
  t, '^(.*\d{1,2}:\d{2}.*?|.*\dT\d{4,6}(?:\.\d+)?)\s*(Z|z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)$', part);

CREATE OR REPLACE TEMP MACRO offset_of(z) AS CASE WHEN regexp_matches(z, '\d') THEN to_minutes(CAST(
  (CASE WHEN z[1] = '-' THEN -1 ELSE 1 END) * (60 * CAST(z[2:3] AS INTEGER)
    + (length(z) > 3)::INTEGER * coalesce(TRY_CAST(regexp_extract(z, '(\d\d)$', 1) AS INTEGER), 0)) AS BIGINT))
  ELSE INTERVAL 0 MINUTE END;

-- The first forms are those of most logs: they are recognised by characters, as an expression costs ten times as much.
CREATE OR REPLACE TEMP MACRO text_time(t, zone, slashed) AS CASE
  WHEN t LIKE '____-__-__T__:__:__%Z' THEN TRY_CAST(replace(t[:-2], ',', '.') AS TIMESTAMP)
  WHEN t LIKE '____-__-___%:__:__%' AND (t[-3] IN ('+', '-') OR t[-3] = ':' AND t[-6] IN ('+', '-'))
  THEN make_timestamp(epoch_us(TRY_CAST(replace(t, ',', '.') AS TIMESTAMPTZ)))
  WHEN t LIKE '____-__-___%:__:__%' AND length(t) < 27 AND t[-1] BETWEEN '0' AND '9' AND NOT contains(t[12:], '+')
    AND NOT contains(t[12:], '-') THEN local_time(TRY_CAST(replace(t, ',', '.') AS TIMESTAMP), zone)
  WHEN TRY_CAST(t AS DOUBLE) BETWEEN 9e8 AND 4.2e18 AND NOT regexp_full_match(t, '\d{14}|\d{17}')
  THEN unix_time(TRY_CAST(t AS DOUBLE))
  WHEN t LIKE '% UTC ____' OR t LIKE '% GMT ____'
  THEN try_strptime(t, ['%a %b %d %H:%M:%S UTC %Y', '%a %b %d %H:%M:%S GMT %Y'])
  WHEN zoned(t, 2) <> '' THEN plain_time(zoned(t, 1), slashed) - offset_of(zoned(t, 2))
  ELSE local_time(plain_time(t, slashed), zone) END;

-- Durations, in milliseconds: 50ms, 1m2.5s, PT1.2S, 0:00:01; a bare number times the factor.
CREATE OR REPLACE TEMP MACRO unit_ms(u) AS CASE
  WHEN u LIKE 'n%' THEN 1e-6 WHEN regexp_matches(u, '^[uµμ]') THEN 1e-3 WHEN u LIKE 'ms%' OR u LIKE 'mil%' THEN 1
  WHEN u LIKE 's%' THEN 1000 WHEN u LIKE 'h%' THEN 3600000 ELSE 60000 END;

CREATE OR REPLACE TEMP MACRO unit_parts(t, part) AS regexp_extract_all(
  t, '(\d+(?:\.\d+)?)\s?(nsec|ns|usec|us|µs|μs|msecs|msec|ms|millis[a-z]*|seconds?|secs?|s|minutes?|min|m|h)\s?', part);

CREATE OR REPLACE TEMP MACRO duration(t, factor) AS coalesce(TRY_CAST(t AS DOUBLE) * factor, CASE
  WHEN regexp_full_match(lower(t), '(?:pt)?(?:\d+(?:\.\d+)?\s?[a-zµμ]+\s?)+')
  THEN list_sum(list_transform(list_zip(unit_parts(lower(t), 1), unit_parts(lower(t), 2)),
    lambda part: CAST(part[1] AS DOUBLE) * unit_ms(part[2])))
  WHEN regexp_full_match(t, '(?:\d+ days?,? )?\d+:\d\d(?::\d\d(?:\.\d+)?)?')
  THEN epoch(TRY_CAST(CASE WHEN t LIKE '%:%:%' THEN t ELSE '0:' || t END AS INTERVAL)) * 1000 END);

CREATE OR REPLACE TEMP MACRO is_unknown(t) AS regexp_matches(
  t, '(?i)timed?[ _-]?out|^(?:unknown|error|failed|never|aborted|[+]?inf(?:inity)?)$|^[<>]');

-- Answers and errors. An error that is no code is reported by its kind only: its text may be about somebody.
CREATE OR REPLACE TEMP MACRO status_of(t) AS CASE
  WHEN length(t) = 3 THEN TRY_CAST(t AS INTEGER)
  ELSE TRY_CAST(nullif(regexp_extract(t, $code, 1), '') AS INTEGER) END;

CREATE OR REPLACE TEMP MACRO is_no_answer(t) AS regexp_matches(t, $no_answer);

CREATE OR REPLACE TEMP MACRO error_of(t) AS CASE
  WHEN t IS NULL OR lower(t) IN ('0', 'false', '[]', '{}') THEN NULL
  WHEN regexp_full_match(t, '[A-Za-z0-9_][A-Za-z0-9_.:$/-]{0,63}') THEN t
  WHEN regexp_matches(t, '(?i)time[ds]?[ -]?out|deadline') THEN 'timeout'
  WHEN regexp_matches(t, '(?i)enotfound|eai_again|getaddrinfo|resol') THEN 'dns'
  WHEN regexp_matches(t, '(?i)certificate|ssl|tls|handshake') THEN 'tls'
  WHEN regexp_matches(t, '(?i)reset|broken pipe|hang ?up|closed|disconnect') THEN 'reset'
  WHEN regexp_matches(t, '(?i)refused|connect|unreachable|network|socket') THEN 'connect'
  WHEN regexp_matches(t, '(?i)cancel|abort') THEN 'cancelled'
  WHEN regexp_matches(t, '(?i)rate.?limit|too many') THEN 'rate_limit_exceeded' ELSE 'other' END;

CREATE OR REPLACE TEMP MACRO error_of_status(t) AS CASE
  WHEN t IS NULL THEN NULL
  WHEN regexp_matches(t, '^[\d.-]+$') THEN 'no_answer'
  ELSE error_of(regexp_extract(t, '(?:[Nn]on HTTP response code: )?(?:[a-z]+\.)*(.*)', 1)) END;

-- Paths and hosts: `GET /me HTTP/1.1`, URLs with or without a scheme, in any case.
CREATE OR REPLACE TEMP MACRO bare_url(t) AS regexp_extract(t, '^(?:[A-Z]+ )?(\S*)', 1);

CREATE OR REPLACE TEMP MACRO without_host(t) AS CASE WHEN t[1] = '/' AND t[2] <> '/' THEN t ELSE regexp_replace(
  t, '^(?:(?:[A-Za-z][A-Za-z0-9+.-]*:)?//[^/?#]*|[\w-]+(?:\.[\w-]+)+(?::\d+)?(?:[/?#]|$))', '') END;

CREATE OR REPLACE TEMP MACRO host_of(t) AS nullif(regexp_extract(
  lower(t), '^(?:(?:[a-z][a-z0-9+.-]*:)?//)?(?:[^@/?#]*@)?([^:/?#]+)', 1), '');

CREATE OR REPLACE TEMP MACRO host_in(t) AS CASE WHEN without_host(t) <> t THEN host_of(t) END;

CREATE OR REPLACE TEMP MACRO path_in(t) AS split_part(split_part(without_host(t), '?', 1), '#', 1);

-- The twin of protocol.route_of.
CREATE OR REPLACE TEMP MACRO route_of(p) AS '/' || array_to_string(
  [CASE WHEN s IN ($words) THEN s ELSE '{id}' END FOR s IN string_split(p, '/') IF s <> ''], '/');

CREATE OR REPLACE TEMP MACRO whose(p, what) AS nullif(regexp_extract(p, '/' || what || '/([^/]*[0-9][^/]*)', 1), '');

-- name: candidates
-- The columns of a request log, of every row: `reason` says why a row is no call, or no readable one, and `example` what
-- it holds; both are null for a call. `pair` is the id that the lines of one call share.
SELECT "timestamp",
  coalesce(app_text, 'unknown') AS app,
  coalesce(verb, 'unknown') AS method,
  coalesce(route_text, CASE WHEN $has_path AND url IS NOT NULL THEN route_of(path_in(url)) END, 'unknown') AS route,
  CASE WHEN status BETWEEN 100 AND 599 THEN status END AS status_code,
  coalesce(error, CASE WHEN coalesce(status NOT BETWEEN 100 AND 599, TRUE) THEN error_of_status(raw_status) END)
    AS error_type,
  CASE WHEN took >= 0 AND took < 1e12 THEN took END AS duration_ms,
  request_id, ratelimit_limit, ratelimit_remaining, ratelimit_reset,
  coalesce(contact_text, CASE WHEN $has_path THEN whose(path_in(url), 'contacts') END) AS contact,
  coalesce(conversation_text, CASE WHEN $has_path THEN whose(path_in(url), 'conversations') END) AS conversation,
  CASE
    WHEN NOT broken AND NOT excluded AND NOT other_metric AND NOT other_kind AND NOT elsewhere
      AND "timestamp" IS NOT NULL AND status BETWEEN 100 AND 599 AND took >= 0 AND took < 1e12
    THEN NULL  -- most rows, and the rest of this is slow
    WHEN broken THEN 'not a row'
    WHEN excluded THEN $excluded
    WHEN other_metric THEN 'other metric'
    WHEN other_kind THEN 'span of another kind'
    WHEN status_text IS NULL AND (
      $has_others AND coalesce(verb, url, route_text, error, took_text::VARCHAR) IS NULL
      OR $is_telling AND missing AND coalesce(verb, url, route_text, error) IS NULL) THEN 'no request'
    WHEN NOT elsewhere AND status_text IS NULL AND error IS NULL AND took_text IS NULL
      AND (missing OR coalesce(regexp_matches(message_text,
        '(?i)\b(?:start(?:ed|ing)?|begin|beginning|sending|outgoing|incoming|dispatch(?:ed|ing)?)\b'), FALSE)) THEN $start
    WHEN verb = 'CONNECT' THEN 'tunnel'
    WHEN elsewhere THEN $other_host
    WHEN time_text IS NULL THEN 'no timestamp'
    WHEN "timestamp" IS NULL AND $unzoned THEN $naive
    WHEN "timestamp" IS NULL THEN 'timestamp not readable'
    WHEN status BETWEEN 100 AND 599 OR raw_status IS NULL OR is_no_answer(raw_status) THEN CASE
      WHEN raw_took IS NULL OR took < 1e12 OR is_unknown(raw_took) THEN NULL ELSE 'duration not readable' END
    WHEN regexp_full_match(raw_status, '-?\d+') THEN 'no such status code'
    ELSE 'status code not readable' END AS reason,
  left(CASE WHEN broken OR excluded OR elsewhere THEN NULL
    WHEN raw_status IS NULL AND error IS NULL AND took IS NULL AND missing THEN keys
    WHEN "timestamp" IS NULL THEN time_text::VARCHAR
    WHEN raw_status IS NOT NULL AND coalesce(status, 0) NOT BETWEEN 100 AND 599 THEN raw_status
    ELSE raw_took END, 60) AS example,
  pair_text AS pair
FROM (
  SELECT *, $parsed,
    coalesce(method_text, CASE WHEN $has_path THEN nullif(regexp_extract(path_text, '^([A-Z]+) ', 1), '') END) AS verb,
    CASE WHEN $has_path THEN nullif(bare_url(path_text), '') END AS url,
    $has_kind AND coalesce(lower(replace(kind_text, 'SPAN_KIND_', '')) IN (
      '1', '2', '4', '5', 'internal', 'server', 'producer', 'consumer'), FALSE) AS other_kind
  FROM (SELECT $written FROM $relation));

-- name: alone
-- The starts whose finish never came, though the log goes on.
WITH begun AS (FROM parsed WHERE reason = $start AND pair IS NOT NULL AND timestamp IS NOT NULL),
  other AS (FROM parsed WHERE reason IS NULL OR reason <> $start)
SELECT pair, timestamp, (SELECT count(*) FROM begun) AS starts
FROM begun
WHERE timestamp < (
    SELECT max(timestamp) - to_milliseconds(CAST(coalesce(max(duration_ms), 0) AS BIGINT)) FROM other
    WHERE reason IS NULL)
  AND NOT EXISTS (FROM other WHERE other.pair = begun.pair AND other.timestamp >= begun.timestamp);

-- name: spans
-- The spans of OpenTelemetry's own JSON: batches by resource, then by scope, with attributes as lists.
SELECT s IS NULL AS broken_span, service, s,
  [{'k': a ->> 'key', 'v': coalesce(a ->> '$.value.stringValue', a ->> '$.value.intValue', a ->> '$.value.doubleValue',
      a ->> '$.value.boolValue', a ->> '$.value.arrayValue.values[0].stringValue')}
    FOR a IN json_extract(s, '$.attributes[*]')] AS attributes
FROM (
  SELECT [a ->> '$.value.stringValue' FOR a IN json_extract(r, '$.resource.attributes[*]')
      IF a ->> 'key' = 'service.name'][1] AS service,
    unnest(CASE WHEN r IS NULL THEN [NULL] ELSE
      coalesce(json_extract(r, '$.scopeSpans[*].spans[*]'), [])
      || coalesce(json_extract(r, '$.instrumentationLibrarySpans[*].spans[*]'), [])
      || coalesce(json_extract(r, '$.scope_spans[*].spans[*]'), []) END) AS s
  FROM (
    SELECT unnest(CASE WHEN json_type(json) = 'OBJECT' THEN
      coalesce(json_extract(json, '$.resourceSpans[*]'), [])
      || coalesce(json_extract(json, '$.batches[*]'), [])
      || coalesce(json_extract(json, '$.trace.resourceSpans[*]'), [])
      || coalesce(json_extract(json, '$.trace.batches[*]'), [])
      || coalesce(json_extract(json, '$.resource_spans[*]'), []) ELSE [NULL] END) AS r
    FROM $lines))
