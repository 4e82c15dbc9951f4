-- One look at a request log of any size: what remains are counts, and they add up.
--
-- DuckDB's dialect, limited to what sqlglot translates without a remainder (Spark, Trino, BigQuery, Snowflake,
-- ClickHouse, Databricks): floor() before every integer cast, because a cast rounds here and truncates in Spark;
-- date_trunc() and extract() and no epoch(); ln() and no log(), whose base differs.
--
-- $request_log  a relation with the columns of a request log, timestamp in UTC
-- $failed       the condition under which a call failed (rollup.py)
--
-- Seven statements, each named by the line above it. The first three look at all rows of a log (`reason` is null for a
-- call, `example` what any other row holds), before the calls among them are counted.

-- name: reasons
SELECT reason, count(*) AS number,
  count(CASE WHEN status_code IS NULL AND error_type IS NULL THEN 1 END) AS unsigned,
  min(timestamp) AS first_at, max(timestamp) AS last_at
FROM $request_log
GROUP BY reason;

-- name: examples
SELECT reason, min(example) AS example FROM $request_log WHERE reason IS NOT NULL GROUP BY reason;

-- name: days
SELECT date_trunc('day', timestamp) AS day, count(*) AS number FROM $request_log WHERE reason IS NULL GROUP BY 1;

-- name: windows
-- One row per quota window, app, method, route, status code, error type and the reset that the headers named: when our
-- clock and the limiter's differ, a window of ours holds calls of two of theirs. A window is `minute` plus `tens` times
-- ten seconds; s0 to s9 are the arrivals in each of its seconds. Only a call that names a contact or a conversation
-- can be distinguished from others like it: `identified` counts those.
SELECT minute, tens, app, method, route, status_code, error_type, ratelimit_reset AS reset,
  count(*) AS requests,
  count(CASE WHEN second = 0 THEN 1 END) AS s0,
  count(CASE WHEN second = 1 THEN 1 END) AS s1,
  count(CASE WHEN second = 2 THEN 1 END) AS s2,
  count(CASE WHEN second = 3 THEN 1 END) AS s3,
  count(CASE WHEN second = 4 THEN 1 END) AS s4,
  count(CASE WHEN second = 5 THEN 1 END) AS s5,
  count(CASE WHEN second = 6 THEN 1 END) AS s6,
  count(CASE WHEN second = 7 THEN 1 END) AS s7,
  count(CASE WHEN second = 8 THEN 1 END) AS s8,
  count(CASE WHEN second = 9 THEN 1 END) AS s9,
  count(CASE WHEN contact IS NOT NULL OR conversation IS NOT NULL THEN 1 END) AS identified,
  max(ratelimit_limit) AS "limit",
  min(ratelimit_remaining) AS remaining,
  min(request_id) AS sample_request_id,
  min(timestamp) AS first_at,
  max(timestamp) AS last_at
FROM (
  SELECT *,
    date_trunc('minute', timestamp) AS minute,
    CAST(floor(extract(second FROM timestamp) / 10) AS INTEGER) AS tens,
    CAST(floor(extract(second FROM timestamp)) AS INTEGER) % 10 AS second
  FROM $request_log
) AS calls
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

-- name: retries
-- A throttled call is repeated when the same call (app, method, route, contact, conversation) comes again within 35 s,
-- the longest wait of a common backoff. `repeated_1s` and `repeated_before_reset` count throttled calls that came again;
-- r0 to r9 count the calls that are such repeats, in each second of the window in which they came. Only identified calls
-- can be linked, and only those of a minute in which a call about the same contact and conversation was throttled, or of
-- the next, need sorting. Where there is no next or previous call, some engines say null and others 1970.
WITH throttled AS (
  SELECT date_trunc('minute', timestamp) AS minute,
    coalesce(contact, '') AS contact, coalesce(conversation, '') AS conversation
  FROM $request_log
  WHERE status_code = 429 AND (contact IS NOT NULL OR conversation IS NOT NULL)
  GROUP BY 1, 2, 3
)
SELECT minute, tens, app, method, route, status_code, error_type, reset,
  count(CASE WHEN comes_again AND next_at <= timestamp + INTERVAL '1' SECOND THEN 1 END) AS repeated_1s,
  count(CASE WHEN comes_again AND date_trunc('minute', next_at) = minute
    AND CAST(floor(extract(second FROM next_at) / 10) AS INTEGER) = tens THEN 1 END) AS repeated_before_reset,
  count(CASE WHEN is_repeat AND second = 0 THEN 1 END) AS r0,
  count(CASE WHEN is_repeat AND second = 1 THEN 1 END) AS r1,
  count(CASE WHEN is_repeat AND second = 2 THEN 1 END) AS r2,
  count(CASE WHEN is_repeat AND second = 3 THEN 1 END) AS r3,
  count(CASE WHEN is_repeat AND second = 4 THEN 1 END) AS r4,
  count(CASE WHEN is_repeat AND second = 5 THEN 1 END) AS r5,
  count(CASE WHEN is_repeat AND second = 6 THEN 1 END) AS r6,
  count(CASE WHEN is_repeat AND second = 7 THEN 1 END) AS r7,
  count(CASE WHEN is_repeat AND second = 8 THEN 1 END) AS r8,
  count(CASE WHEN is_repeat AND second = 9 THEN 1 END) AS r9
FROM (
  SELECT ordered.*,
    CAST(floor(extract(second FROM timestamp) / 10) AS INTEGER) AS tens,
    CAST(floor(extract(second FROM timestamp)) AS INTEGER) % 10 AS second,
    status_code = 429 AND next_at >= timestamp AND next_at <= timestamp + INTERVAL '35' SECOND AS comes_again,
    previous_status = 429 AND previous_at <= timestamp AND previous_at >= timestamp - INTERVAL '35' SECOND AS is_repeat
  FROM (
    SELECT calls.*,
      lead(timestamp) OVER same_call AS next_at,
      lag(timestamp) OVER same_call AS previous_at,
      lag(status_code) OVER same_call AS previous_status
    FROM (
      SELECT date_trunc('minute', log.timestamp) AS minute,
        log.app, log.method, log.route, log.contact, log.conversation,
        log.timestamp, log.status_code, log.error_type, log.ratelimit_reset AS reset
      FROM $request_log AS log
      JOIN (
        SELECT minute, contact, conversation FROM throttled
        UNION
        SELECT minute + INTERVAL '1' MINUTE AS minute, contact, conversation FROM throttled
      ) AS near
        ON date_trunc('minute', log.timestamp) = near.minute
        AND coalesce(log.contact, '') = near.contact AND coalesce(log.conversation, '') = near.conversation
      WHERE log.contact IS NOT NULL OR log.conversation IS NOT NULL
    ) AS calls
    WINDOW same_call AS (
      PARTITION BY app, method, route, contact, conversation
      ORDER BY timestamp, CASE WHEN status_code = 429 THEN 0 ELSE 1 END, coalesce(error_type, ''),
        coalesce(status_code, 0), coalesce(reset, 0)
    )
  ) AS ordered
) AS pairs
WHERE comes_again OR is_repeat
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

-- name: latency
-- One row per minute, route, status class and logarithmic bucket: bucket b holds 1.02^b <= duration_ms < 1.02^(b+1).
-- What took under 0.01 ms counts as 0.01 ms; what has no duration has no bucket. Calls without an answer are the
-- class 'none', so timeouts stay in the picture.
SELECT
  date_trunc('minute', timestamp) AS minute,
  route,
  CASE
    WHEN status_code IS NULL THEN 'none'
    WHEN status_code = 429 THEN '429'
    WHEN status_code < 300 THEN '2xx'
    WHEN status_code < 400 THEN '3xx'
    WHEN status_code < 500 THEN '4xx'
    ELSE '5xx'
  END AS status_class,
  CAST(floor(ln(CASE WHEN duration_ms < 0.01 THEN 0.01 ELSE duration_ms END) / ln(1.02)) AS INTEGER) AS bucket,
  count(*) AS requests
FROM $request_log
GROUP BY 1, 2, 3, 4;

-- name: affected
-- One row per contact or conversation, app, route and minute in which it met at least one failed call.
WITH failed AS (
  SELECT contact, conversation, app, route, date_trunc('minute', timestamp) AS minute,
    count(*) AS calls, min(timestamp) AS first_at, max(timestamp) AS last_at
  FROM $request_log
  WHERE $failed AND (contact IS NOT NULL OR conversation IS NOT NULL)
  GROUP BY 1, 2, 3, 4, 5
)
SELECT 'contact' AS kind, contact AS hash, app, route, minute,
  sum(calls) AS failed, min(first_at) AS first_failed, max(last_at) AS last_failed
FROM failed
WHERE contact IS NOT NULL
GROUP BY 1, 2, 3, 4, 5
UNION ALL
SELECT 'conversation' AS kind, conversation AS hash, app, route, minute,
  sum(calls) AS failed, min(first_at) AS first_failed, max(last_at) AS last_failed
FROM failed
WHERE conversation IS NOT NULL
GROUP BY 1, 2, 3, 4, 5
