-- Give letters another life: each goes to the head of pending in an envelope of its own, those beside it stay.
-- KEYS  1 dead or failed letters, 2 pending, 3 record of the redrive: hash of the last call, what it moved, what all
--       calls moved, how many letters there were at the start, 4 waiting, 5 turns (see lanes), then the records of why
--       letters were given up, if they are to go with them
-- ARGV  1 TTL of the record ms, 2 id of this call, 3 most letters to move in all calls, or '', 4 letters at the start,
--       then for each letter, oldest first: its place from the tail (0 is the tail), the SHA-1 of its payload, which is
--       not sent twice, its new stored form, or '' to remove it
-- reply { how many were moved now, how many in all calls, letters at the start }; a repeated call is answered as it was.
--       It stops at a letter that is not in its place: somebody else changed the list meanwhile
-- cost  O(distance of the last letter from the nearer end of the list), for the removal; O(distance of the last letter from
--       the tail) where one has no record in its place, at most all records, of which there are at most 1000
--#include base
--#include types
--#include lane
local LETTERS, PENDING, RECORD, WAITING, TURNS_KEY, INFO, CALL = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[2]
local wrong = check({ LETTERS, 'list', PENDING, 'list', RECORD, 'hash', WAITING, 'zset', TURNS_KEY, 'zset',
  INFO or RECORD, INFO and 'list' or 'hash' })
if wrong then return wrong end
local before = call('HMGET', RECORD, 'call', 'now', 'moved', 'total')
local total = tonumber(before[4] or ARGV[4])
if before[1] == CALL then return { tonumber(before[2]), tonumber(before[3]), total } end
local moved, most = tonumber(before[3] or 0), tonumber(ARGV[3]) or math.huge
if not before[4] then -- a login that may not have it expire leaves no record for ever
  call('HSET', RECORD, 'moved', 0, 'total', total)
  local expires = pcall_redis('PEXPIRE', RECORD, ARGV[1])
  if type(expires) == 'table' then
    call('HDEL', RECORD, 'moved', 'total')
    return expires
  end
end

local places, payloads, lost, records, found_at = {}, {}, {}, {}, {}
local before_all, recorded = call('LLEN', LETTERS), INFO and call('LLEN', INFO) or 0
local function digest_of(record)
  return string.match(record, '"digest":"(%x+)"')
end

-- What tells of a letter stands as far from the head as the letter does. Where letters that nothing tells of (process_message
-- or 7.0.0 gave them up) are newer, it stands nearer to the head, and is known by its digest, unless an equal letter stands
-- as far from the head as it does. From the tail it is no further than its letter: to read them all takes long, where many
-- letters have none.
local function find_lost()
  for to = -1, places[#places], -100 do
    local part = call('LRANGE', INFO, math.max(to - 99, places[#places]), to)
    for i = #part, 1, -1 do
      local at, letters = recorded + to - #part + i, lost[digest_of(part[i]) or '']
      local oldest = letters and letters[1]
      if oldest and at < before_all + places[oldest] and call('LINDEX', LETTERS, at) ~= payloads[oldest] then
        records[oldest], found_at[oldest] = part[i], at
        table.remove(letters, 1)
      end
    end
  end
end

for i = 5, #ARGV, 3 do
  local place, digest = -1 - ARGV[i], ARGV[i + 1]
  local payload = moved + #places < most and call('LINDEX', LETTERS, place)
  if not payload or redis.sha1hex(payload) ~= digest then break end
  places[#places + 1], payloads[#payloads + 1] = place, payload
  local at = before_all + place
  local record = at < recorded and call('LINDEX', INFO, at) or ''
  if digest_of(record) == digest then
    records[#places], found_at[#places] = record, at
  elseif recorded > 0 then
    lost[digest] = lost[digest] or {}
    table.insert(lost[digest], #places)
  end
end
if next(lost) then find_lost() end

local stored = {}
for i = 1, #places do
  local new = ARGV[4 + 3 * i]
  if new ~= '' then
    local ok, known = pcall(cjson.decode, records[i] or '')
    local head, rest = string.match(new, '^(' .. PREFIX .. '{"id":"[^"]+")(.*)$')
    local lane = ok and type(known) == 'table' and known.lane -- of the same priority and limit key as before
    stored[#stored + 1] = type(lane) == 'string' and head and head .. ',"lane":"' .. lane .. '"' .. rest or new
  end
end

local entries, numbers = {}, {}
for i = 1, #stored do
  if lane_of(stored[i]) then
    --#include lanes
    --#include enter
    stored, entries, numbers = enter(PENDING, WAITING, TURNS_KEY, stored)
    break
  end
end

-- Each letter is marked in its place by a word that no payload has, then all marks go at once.
local function undo(problem, marked)
  for i = 1, marked do call('LSET', LETTERS, places[i], payloads[i]) end
  for _ = 1, #stored do call('LPOP', PENDING) end
  for i = 2, #entries, 2 do call('ZREM', WAITING, entries[i]) end
  error(problem.err, 0)
end
if #places > 0 then
  if numbers[1] then call('ZADD', TURNS_KEY, 'NX', unpack(numbers)) end
  if entries[1] then call('ZADD', WAITING, unpack(entries)) end
  local pushed = stored[1] and pcall_redis('LPUSH', PENDING, unpack(stored))
  if type(pushed) == 'table' then
    stored = {}
    undo(pushed, 0)
  end
  for i = 1, #places do
    local marked = pcall_redis('LSET', LETTERS, places[i], CALL)
    if marked.err then undo(marked, i - 1) end
  end
  -- From the nearer end of the list: places are counted from its tail, the first is the nearest to that.
  local from_head = before_all + places[1] < -places[#places]
  local removed = pcall_redis('LREM', LETTERS, from_head and #places or -#places, CALL)
  if type(removed) == 'table' then undo(removed, #places) end
end
local forgotten = 0
for _, at in pairs(found_at) do
  if not pcall_redis('LSET', INFO, at, CALL).err then forgotten = forgotten + 1 end
end
if forgotten > 0 then pcall_redis('LREM', INFO, -forgotten, CALL) end
if recorded > 0 and before_all == #places then pcall_redis('UNLINK', INFO) end
moved = moved + #places
call('HSET', RECORD, 'call', CALL, 'now', #places, 'moved', moved, 'total', total)
call('PEXPIRE', RECORD, ARGV[1])
return { #places, moved, total }
