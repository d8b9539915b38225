-- Accept fetches: bound the backlog, append each event, and note where each fetch is until the ledger has it. Atomic, and
-- under `appendfsync always` on disk before the reply.
--
-- KEYS  1 stream of accepted fetches   2 hash of fetches being ingested (fetch id -> stream entry id)
-- ARGV  1 limit of the hash, then for each event: the event (JSON), how many fetches it has, their ids
-- Returns for each event its stream entry id, or nil when the limit is reached.

local limit, position, entries = tonumber(ARGV[1]), 2, {}
local ingesting = redis.call('HLEN', KEYS[2])
while position <= #ARGV do
  local event, count = ARGV[position], tonumber(ARGV[position + 1])
  local first = position + 2
  local known = redis.call('HGET', KEYS[2], ARGV[first])
  if known then
    entries[#entries + 1] = known -- the same call once more, after its first reply was lost
  elseif ingesting + count > limit then
    entries[#entries + 1] = false
  else
    local entry = redis.call('XADD', KEYS[1], '*', 'event', event)
    for i = first, first + count - 1 do
      redis.call('HSET', KEYS[2], ARGV[i], entry)
    end
    ingesting = ingesting + count
    entries[#entries + 1] = entry
  end
  position = first + count
end
return entries
