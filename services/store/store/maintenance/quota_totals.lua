-- Bring what Redis knows of keys to the ledger: as many fetches accepted, exactly as many finished. Atomic, since gateways count
-- what they accept all the while; what is equal is not written, since every write is fsynced.
--
-- An accepted total above the ledger's is lowered only where it is that of before the ledger was read, `settled`: nothing was on
-- its way into the ledger then, so that what it exceeds the ledger by was counted more than once.
--
-- KEYS  1 hash of accepted totals   2 hash of finished totals
-- ARGV  for each key: its id, the ledger's accepted total, the ledger's finished total, the settled total or ''
-- Returns how many accepted totals were behind the ledger, and how many ahead of it.

local raised, lowered = 0, 0
for i = 1, #ARGV, 4 do
  local key, ledger, finished, settled = unpack(ARGV, i, i + 3)
  local known = redis.call('HGET', KEYS[1], key)
  local ahead = tonumber(known or 0) - tonumber(ledger)
  if ahead < 0 then
    raised = raised + 1
  elseif ahead > 0 and known == settled then
    lowered = lowered + 1
  end
  if ahead < 0 or (ahead > 0 and known == settled) then
    redis.call('HSET', KEYS[1], key, ledger)
  end
  if redis.call('HGET', KEYS[2], key) ~= finished then
    redis.call('HSET', KEYS[2], key, finished)
  end
end
return {raised, lowered}
