-- Take one message out of processing, and push its payload to another list when one is given.
-- KEYS  1 processing, 2 deadlines, 3 tokens, 4 counter, 5 counts, 6 refs, 7 ids, 8 backrefs, 9 replay record, then the
--       destination when there is one, then records of earlier calls that nobody needs any more
-- ARGV  1 stored message, 2 lease token or '' without leases, 3 replay TTL ms, and with a destination: 4 how to push there,
--       LPUSH or RPUSH, 5 payload
-- reply 1 done, 0 not there or no longer ours: nothing changed
-- cost  O(distance from the nearer end of processing)
--#include base
local keys = { processing = KEYS[1], counter = KEYS[4] }
local deadlines, tokens, counts, refs, ids, backrefs, record = KEYS[2], KEYS[3], unpack(KEYS, 5, 9)
local stored, token, how = ARGV[1], ARGV[2] ~= '' and ARGV[2] or nil, ARGV[4]
local destination = how and KEYS[10]

local function wrong()
  --#include types
  return check({ keys.processing, 'list', deadlines, 'zset', tokens, 'hash', keys.counter, 'string', counts, 'hash', refs, 'hash',
    ids, 'hash', backrefs, 'hash', record, 'string' }) or (destination and check({ destination, 'list' }))
end

local function body()
  -- Most calls find none of these, and then there is nothing to read in them.
  local known = call('EXISTS', refs, ids, backrefs, record) > 0
  local before = known and call('GET', record)
  if token and call('HGET', tokens, stored) ~= token then return before and 1 or 0 end
  if before and not token then return tonumber(before) end

  -- What is written to is read before anything is written: each of these fails for a key of another type. A claim without
  -- a lease is known by its value.
  --#include take_out
  keys.length = call('LLEN', keys.processing)
  local holder = token or stored
  local claim = known and call('HGET', backrefs, holder)
  if claim then call('HGET', ids, claim) end
  local remembered = claim and not token and keys.processing .. ':claim_result:' .. claim
  if token then
    call('ZSCORE', deadlines, stored)
    call('HGET', counts, stored)
    remembered = known and call('HGET', refs, token)
    keys.newest = keys.length > SHORT and tonumber(call('GET', keys.counter)) or 0
  end

  local first = destination and 11 or 10
  if KEYS[first] then call('DEL', unpack(KEYS, first)) else call('HDEL', refs, '') end -- see admit
  local removed
  if destination then
    call(how, destination, ARGV[5])
    removed = take_out(keys, stored, token, how == 'LPUSH' and 'LPOP' or 'RPOP', destination)
  else
    removed = take_out(keys, stored, token)
  end
  if removed == 1 and token then
    call('HDEL', tokens, stored)
    call('ZREM', deadlines, stored)
    if remembered then call('HDEL', refs, token) end
    call('HDEL', counts, stored)
  end
  if removed == 1 and claim then
    call('HDEL', ids, claim)
    call('HDEL', backrefs, holder)
  end
  -- The name is data, so in a cluster it may be out of reach: then its own expiry removes it.
  if removed == 1 and remembered then pcall_redis('DEL', remembered) end
  -- With a lease only success is recorded: a failure can be found out again.
  if removed == 1 or not token then call('SET', record, removed, 'PX', ARGV[3]) end
  return removed
end

--#include guard
