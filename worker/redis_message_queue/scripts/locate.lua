-- Where a message is. Writes nothing. A small queue is looked through in one call; a large one in several, each of which
-- goes on where the last one ended. Places are looked at in the order in which a message goes through them.
-- KEYS  1 delayed, 2 pending, 3 processing, 4 dead letters, 5 failed, 6 completed, 7 to 9 the records of these three,
--       10 deadlines, 11 tokens, 12 counts, 13 workers, 14 waiting (see lanes)
-- ARGV  1 id, 2 the id as an envelope has it (JSON), 3 place to go on with: its number among KEYS, or 1.5 for waiting, 4 entries passed over
--       there, 5 its length then, 6 how many equal letters are to be passed over there, or '', 7 most entries, 8 most bytes
-- reply { 'delayed', due ms }; { 'pending', how many are before it, in its lane if it has one }; { 'in_flight', end of the lease ms or '', deliveries
--       or '', worker or '' }; { 'dead', 'failed' or 'completed', its record }; { 'unknown' }; or { 'more', ARGV 3 to 6 of
--       the next call }
-- cost  O(entries looked at): at most 1000 or 1 MiB, and one more; O(records), of which there are at most 3000
--#include base
--#include types
--#include envelope
--#include worker
--#include leased_by
local ID, QUOTED, RECORDS = ARGV[1], ARGV[2], 3 -- how far behind its list the records of a place are
local STATES = { 'delayed', 'pending', 'in_flight', 'dead', 'failed', 'completed' }
local WAITING = 1.5
local place, from, before, equal = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6]
local entries, bytes = tonumber(ARGV[7]), tonumber(ARGV[8])
local wrong = check({ KEYS[1], 'zset', KEYS[2], 'list', KEYS[3], 'list', KEYS[4], 'list', KEYS[5], 'list', KEYS[6], 'list',
  KEYS[7], 'list', KEYS[8], 'list', KEYS[9], 'list', KEYS[10], 'zset', KEYS[11], 'hash', KEYS[12], 'hash', KEYS[13], 'hash', KEYS[14], 'zset' })
if wrong then return wrong end

local usual = PREFIX .. '{"id":'
local head = usual .. QUOTED
local function is_it(stored)
  if string.sub(stored, 1, #usual) == usual then return string.sub(stored, 1, #head) == head end
  return (unwrap(stored)) == ID
end

-- The first entry that fits, and its place; nil when there is none, false when there is more to look at than may be.
-- Newest first: what comes meanwhile moves the rest away from the beginning, so it is seen twice at most; and by as much
-- as the list is shorter than before, it has moved nearer at most.
local function search(key, fits)
  local length = call(place < 2 and 'ZCARD' or 'LLEN', key)
  from, before = math.max(0, from - math.max(0, before - length)), length
  local step = 1
  while from < length do
    if entries <= 0 or bytes <= 0 then return false end
    local part
    if place < 2 then
      part = call('ZRANGE', key, from, from + step - 1, 'REV')
    else
      part = call('LRANGE', key, from, from + step - 1)
    end
    for i, entry in ipairs(part) do
      entries, bytes = entries - 1, bytes - #entry
      if place == WAITING then entry = string.match(entry, '^[^%z]*%z%d+%z(.*)$') or entry end
      if fits(entry) then return entry, from + i - 1 end
    end
    from = from + #part
    -- No command tells the size of an entry without reading it: many are read together when they are small.
    step = math.max(1, math.min(2 * step, 100, math.floor(65536 / (#part[#part] + 1))))
  end
end

-- What is recorded of the message, its digest of the payload, and how many newer records have the same.
local function record_of(key)
  local needle, newer = '"id":' .. cjson.encode(ID), {}
  for at = 0, call('LLEN', key) - 1, 100 do
    for _, record in ipairs(call('LRANGE', key, at, at + 99)) do
      local of = string.match(record, '"digest":"(%x+)"') or ''
      if string.find(record, needle, 1, true) then return record, of, newer[of] or 0 end
      newer[of] = (newer[of] or 0) + 1
    end
  end
end

local function found(key, stored, index)
  if place == WAITING then
    local member = call('ZREVRANGE', key, index, index)[1]
    local lane = string.match(member, '^[^%z]*')
    return { 'pending', text(call('ZLEXCOUNT', key, '[' .. lane .. '\0', '(' .. member)), ARGV[9] and stored }
  end
  if place == 1 then return { 'delayed', call('ZSCORE', key, stored), ARGV[9] and stored } end
  if place == 2 then return { 'pending', text(before - 1 - index), ARGV[9] and stored } end
  return { 'in_flight', call('ZSCORE', KEYS[10], stored) or '', call('HGET', KEYS[12], stored) or '',
    leased_by(KEYS[13], call('HGET', KEYS[11], stored)), ARGV[9] and stored }
end

while place <= 6 do
  local key, stored, index, record = KEYS[place == WAITING and 14 or place], nil, nil, nil
  if place <= 3 then
    stored, index = search(key, is_it)
  else
    local wanted, newer
    record, wanted, newer = record_of(KEYS[place + RECORDS])
    if record then
      -- Of equal letters the newest belong to newer records: this one is of a message that has gone, if no more are left.
      local left = tonumber(equal) or newer
      stored = search(key, function(payload)
        if redis.sha1hex(payload) ~= wanted then return false end
        left = left - 1
        return left < 0
      end)
      equal = text(math.max(0, left))
    end
  end
  if stored == false then return { 'more', tostring(place), text(from), text(before), equal } end
  if stored then return record and { STATES[place], record } or found(key, stored, index) end
  -- What has a lane may go from there to pending, and the other way.
  place = place == 1 and WAITING or place == WAITING and 2 or place + 1
  from, before, equal = 0, 0, ''
end
return { 'unknown' }
