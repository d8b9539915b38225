-- Bring what Redis knows of keys up to the ledger: at least as many fetches accepted, exactly as many finished. Atomic, since
-- gateways count what they accept all the while; what is equal is not written, since every write is fsynced.
--
-- KEYS  1 hash of accepted totals   2 hash of finished totals
-- ARGV  for each key: its id, the ledger's accepted total, the ledger's finished total
-- Returns how many accepted totals were behind the ledger.

local raised = 0
for i = 1, #ARGV, 3 do
  local accepted = tonumber(redis.call('HGET', KEYS[1], ARGV[i]) or 0)
  if accepted < tonumber(ARGV[i + 1]) then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
    raised = raised + 1
  end
  if redis.call('HGET', KEYS[2], ARGV[i]) ~= ARGV[i + 2] then
    redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 2])
  end
end
return raised
