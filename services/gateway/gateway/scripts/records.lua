-- What the scripts share that touch the records of idempotency keys. A record is a hash:
--   fingerprint  what was asked; empty while the body is still coming
--   id, at       reserved for what the request creates; at in microseconds since 1970
--   entry        the stream entry in which its fetches were accepted
--   status       what a request that waited for its fetch was answered with; 202 when absent
--   answer       the sealed answer of any other request
--   holder, until  who works on it, and up to which millisecond nobody else may

-- This server's time, in milliseconds.
local function milliseconds()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whether somebody works on a record that is held until then.
local function is_held(until_ms)
  return until_ms and tonumber(until_ms) > milliseconds()
end

-- How long a new record lives, and what to call that: the less the more there are; nil at the limit.
local function retention(limit, seconds, short_seconds)
  local live = redis.call('DBSIZE')
  if live >= tonumber(limit) then
    return nil
  end
  if live * 2 >= tonumber(limit) then
    return short_seconds, 'shortened'
  end
  return seconds, 'new'
end

-- Have a record held by one request for so many milliseconds from now on.
local function hold(record, holder, duration_ms)
  redis.call('HSET', record, 'holder', holder, 'until', string.format('%d', milliseconds() + duration_ms))
end
