-- Change a record, for its holder only: who lost it to another request changes nothing.
--
-- KEYS  1 the record   2 bytes of answers kept for its tenant in this stretch of time
-- ARGV  1 the holder   2 what to do:
--       renew: 3 milliseconds to hold it from now on
--       release: let the next try work on it, with the same id and time
--       forget: let anything come under this key, unless something was accepted under it
--       settle: 3 status that a request which waited for its fetch was answered with
--       complete: 3 fingerprint   4 sealed answer   5 limit of key 2   6 seconds that key 2 lives
-- Returns what came of it: lost, done, over_budget.

local record, holder, action = KEYS[1], ARGV[1], ARGV[2]
local result = 'done'
if redis.call('HGET', record, 'holder') ~= holder then
  return 'lost'
end
if action == 'renew' then
  hold(record, holder, ARGV[3])
  return result
elseif action == 'forget' and not redis.call('HGET', record, 'entry') then
  redis.call('DEL', record)
  return result
elseif action == 'settle' then
  redis.call('HSET', record, 'status', ARGV[3])
elseif action == 'complete' then
  local kept = redis.call('INCRBY', KEYS[2], #ARGV[4])
  redis.call('EXPIRE', KEYS[2], ARGV[6])
  if kept > tonumber(ARGV[5]) then
    result = 'over_budget'
  else
    redis.call('HSET', record, 'fingerprint', ARGV[3], 'answer', ARGV[4])
  end
end
redis.call('HDEL', record, 'until')
return result
