-- Take one message out of processing, and push its payload to another list when one is given.
-- KEYS  1 processing, 2 deadlines, 3 tokens, 4 counter, 5 counts, 6 refs, 7 ids, 8 backrefs, 9 replay record, then the
--       destination when there is one, then records of earlier calls that nobody needs any more
-- ARGV  1 stored message, 2 lease token or '' without leases, 3 replay TTL ms, and with a destination: 4 how to push there,
--       LPUSH or RPUSH, 5 payload
-- reply 1 done, 0 not there or no longer ours: nothing changed
-- cost  O(distance from the nearer end of processing)
--#include base
--#include types
--#include guard
--#include admit
--#include take_out
--#include records
--#include settle
local keys = { pending = KEYS[1], processing = KEYS[1], deadlines = KEYS[2], tokens = KEYS[3], counter = KEYS[4],
  counts = KEYS[5], refs = KEYS[6], ids = KEYS[7], backrefs = KEYS[8] }
local record, destination = KEYS[9], ARGV[4] and KEYS[10]
local stored, token, answered = ARGV[1], ARGV[2] ~= '' and ARGV[2] or nil, destination and 11 or 10

local function wrong()
  return check_leases(keys) or check({ record, 'string' }) or (destination and check({ destination, 'list' }))
end

local function place()
  call(ARGV[4], destination, ARGV[5])
  return ARGV[4] == 'LPUSH' and 'LPOP' or 'RPOP', destination
end

-- A claim without a lease is known by its value.
local function take_unleased()
  local removed
  if destination then removed = take_out(keys, stored, nil, place()) else removed = take_out(keys, stored) end
  local claim = removed == 1 and call('HGET', keys.backrefs, stored)
  if claim then
    call('HDEL', keys.ids, claim)
    call('HDEL', keys.backrefs, stored)
    pcall_redis('DEL', keys.processing .. ':claim_result:' .. claim)
  end
  return removed
end

local function take_leased()
  local one = { stored, token }
  settle(keys, { one }, destination and place)
  if one.applied == 1 then call('HDEL', keys.counts, stored) end
  return one.applied
end

-- Most calls find none of these, and then there is nothing to check or to read in them.
keys.records = call('EXISTS', keys.refs, keys.ids, keys.backrefs, record) > 0
if keys.records then
  local alien = wrong()
  if alien then return alien end
end
return guarded(wrong, function()
  local before = keys.records and call('GET', record)
  if token and call('HGET', keys.tokens, stored) ~= token then return before and 1 or 0 end
  if before and not token then return tonumber(before) end
  -- Read before anything is written: each fails for a key of another type.
  keys.length = call('LLEN', keys.processing)
  call('ZSCORE', keys.deadlines, stored)
  call('HGET', keys.counts, stored)
  admit(keys.refs, answered)
  local removed = token and take_leased() or not token and take_unleased()
  -- With a lease only success is recorded: a failure can be found out again.
  if removed == 1 or not token then call('SET', record, removed, 'PX', ARGV[3]) end
  return removed
end)
