-- Claim the record of an idempotency key for one request: of those that come at once one works, and a later one is told.
--
-- KEYS  1 the record
-- ARGV  1 fingerprint, '' while the body is still coming   2, 3 id and time to reserve   4 milliseconds to hold it
--       5 limit of records   6, 7 seconds that a record lives, and while there are many
-- Returns what came of it, and
--       new, shortened, resumed: the id and time that are reserved   replayed: fingerprint and sealed answer
--       in_flight, reused, refused

local record, fingerprint, id, at, duration_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local known = redis.call('HMGET', record, 'fingerprint', 'id', 'at', 'answer', 'until')
local is_same = known[1] == fingerprint
if not known[2] then
  local seconds, result = retention(ARGV[5], ARGV[6], ARGV[7])
  if not seconds then
    return {'refused'}
  end
  redis.call('HSET', record, 'fingerprint', fingerprint, 'id', id, 'at', at)
  redis.call('EXPIRE', record, seconds)
  hold(record, id, duration_ms)
  return {result, id, at}
elseif known[4] and (is_same or fingerprint == '') then
  return {'replayed', known[1], known[4]} -- who does not know its own fingerprint yet compares them at its body's end
elseif not is_same then
  return {'reused'}
elseif is_held(known[5]) then
  return {'in_flight'}
end
hold(record, id, duration_ms)
return {'resumed', known[2], known[3]}
