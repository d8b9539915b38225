-- Accept fetches: bound the backlog, append each event, and note where each fetch is until the ledger has it. Atomic, and
-- under `appendfsync always` on disk before the reply. What came with an idempotency key is accepted once for all its tries.
--
-- KEYS  1 stream of accepted fetches   2 hash of fetches being ingested (fetch id -> stream entry id)
--       3, 4 hashes of fetches accepted and finished (API key -> count)   5… the records, of those submissions that have one
-- ARGV  1 limit of hash 2   2 limit of records   3, 4 seconds that a record lives, and while there are many; then for each
--       submission: the event (JSON; empty to look only), its API key or '', how many unfinished fetches that may have or '',
--       its fingerprint ('' without a record), its time, milliseconds to hold the record, how many fetches it has, how many ids, the
--       ids: of its fetches, and of a batch that it ends. A batch that comes again may have its fetches in other parts, and end
--       otherwise: what it shares with its first try is known to the ledger and not counted again
-- Returns for each submission what came of it, and
--       accepted, new, shortened: its stream entry id, and with the last two a record was made   backlog, quota, refused: a limit
--       replayed: id, time and status of the first try   in_flight, reused, unknown
--       closed: there is no stream. A store makes it, after a wipe only when it has noted the loss, and nobody else does

local ACCEPTED, INGESTING, KEY_ACCEPTED, KEY_FINISHED = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local ingesting = redis.call('HLEN', INGESTING)

-- What came of an earlier try, or of this one when it is repeated because its reply was lost; and whether a record is there.
local function earlier(record, fingerprint, id)
  local known = redis.call('HMGET', record, 'fingerprint', 'id', 'at', 'entry', 'status', 'until')
  local entry = known[4]
  if not known[2] then
    return nil, false
  elseif known[1] ~= fingerprint then
    return {'reused'}, true
  elseif known[2] == id then
    return entry and {'accepted', entry}, true
  elseif not entry or is_held(known[6]) then
    return {'in_flight'}, true
  end
  return {'replayed', known[2], known[3], known[5] or '202'}, true
end

local function is_over_quota(key, limit, count)
  if limit == '' then
    return false
  end
  local unfinished = (redis.call('HGET', KEY_ACCEPTED, key) or 0) - (redis.call('HGET', KEY_FINISHED, key) or 0)
  return unfinished + count > tonumber(limit)
end

-- How many of these ids are not on their way already, how many of the first so many, and the entry where all are that is known.
local function new_among(ids, fetches)
  local entries, ids_new, fetches_new = redis.call('HMGET', INGESTING, unpack(ids)), 0, 0
  for i = 1, #ids do
    if not entries[i] then
      ids_new = ids_new + 1
      fetches_new = fetches_new + (i <= fetches and 1 or 0)
    end
  end
  return ids_new, fetches_new, entries[1]
end

local function append(event, key, ids, ids_new, fetches_new)
  local entry = redis.call('XADD', ACCEPTED, 'NOMKSTREAM', '*', 'event', event)
  if not entry then
    return nil
  end
  for _, id in ipairs(ids) do
    redis.call('HSET', INGESTING, id, entry)
  end
  ingesting = ingesting + ids_new
  if key ~= '' and fetches_new > 0 then
    redis.call('HINCRBY', KEY_ACCEPTED, key, fetches_new)
  end
  return entry
end

local function submit(record, event, key, limit, fingerprint, at, hold_ms, fetches, ids)
  local reply, is_there, seconds, result = nil, false, nil, 'accepted'
  if record then
    reply, is_there = earlier(record, fingerprint, ids[1])
  end
  if reply then
    return reply
  elseif event == '' then
    return {'unknown'}
  end
  local ids_new, fetches_new, known = new_among(ids, fetches)
  if ids_new == 0 and #ids == fetches then
    return {'accepted', known} -- the same call once more, after its first reply was lost
  elseif fetches_new > 0 and ingesting + ids_new > tonumber(ARGV[1]) then
    return {'backlog'}
  elseif fetches_new > 0 and is_over_quota(key, limit, fetches_new) then
    return {'quota'}
  end
  if record and not is_there then
    seconds, result = retention(ARGV[2], ARGV[3], ARGV[4])
    if not seconds then
      return {'refused'}
    end
  end
  local entry = append(event, key, ids, ids_new, fetches_new)
  if not entry then
    return {'closed'}
  end
  if record then
    redis.call('HSET', record, 'fingerprint', fingerprint, 'id', ids[1], 'at', at, 'entry', entry)
  end
  if seconds then
    redis.call('EXPIRE', record, seconds)
  end
  if record and hold_ms ~= '0' then
    hold(record, ids[1], hold_ms)
  end
  return {result, entry}
end

local position, records, replies = 5, 4, {}
while position <= #ARGV do
  local event, key, limit, fingerprint, at, hold_ms, fetches, count = unpack(ARGV, position, position + 7)
  local record, ids = nil, {}
  if fingerprint ~= '' then
    records = records + 1
    record = KEYS[records]
  end
  for i = 1, count do
    ids[i] = ARGV[position + 7 + i]
  end
  replies[#replies + 1] = submit(record, event, key, limit, fingerprint, at, hold_ms, tonumber(fetches), ids)
  position = position + 8 + count
end
return replies
