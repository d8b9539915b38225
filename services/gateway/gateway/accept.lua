-- Accept fetches: bound the backlog, append the event, and note where each fetch is until the ledger has it. Atomic,
-- and under `appendfsync always` on disk before the reply.
--
-- KEYS  1 stream of accepted fetches   2 hash of fetches being ingested (fetch id -> stream entry id)
-- ARGV  1 event (JSON)   2 limit of the hash   3.. fetch ids
-- Returns the stream entry id, or nil when the limit is reached.

local known = redis.call('HGET', KEYS[2], ARGV[3])
if known then
  return known -- the same call once more, after its first reply was lost
end
if redis.call('HLEN', KEYS[2]) + #ARGV - 2 > tonumber(ARGV[2]) then
  return false
end
local entry = redis.call('XADD', KEYS[1], '*', 'event', ARGV[1])
for i = 3, #ARGV do
  redis.call('HSET', KEYS[2], ARGV[i], entry)
end
return entry
