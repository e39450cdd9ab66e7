-- Take one message out of processing, and push its payload to another list when one is given.
-- KEYS  1 processing, 2 deadlines, 3 tokens, 4 counter, 5 counts, 6 refs, 7 ids, 8 backrefs, 9 replay record, then the
--       destination when there is one, then records of earlier calls that nobody needs any more
-- ARGV  1 stored message, 2 lease token or '' without leases, 3 replay TTL ms, 4 '1' with a destination, 5 payload
-- reply 1 done, 0 not there or no longer ours: nothing changed
-- cost  O(distance from the nearer end of processing)
--#include base
--#include guard
--#include admit
--#include take_out
--#include records
local L = { pending = KEYS[1], processing = KEYS[1], deadlines = KEYS[2], tokens = KEYS[3], counter = KEYS[4],
  counts = KEYS[5], refs = KEYS[6], ids = KEYS[7], backrefs = KEYS[8] }
local record, destination = KEYS[9], ARGV[4] == '1' and KEYS[10] or nil
local stored, token, spent = ARGV[1], ARGV[2] ~= '' and ARGV[2] or nil, destination and 11 or 10

local function wrong()
  --#include types
  return check_leases(L) or check({ record, 'string' }) or (destination and check({ destination, 'list' }))
end

-- Most calls find none of these, and then there is nothing to check or to read in them.
L.records = call('EXISTS', L.refs, L.ids, L.backrefs, record) > 0
if L.records then
  local alien = wrong()
  if alien then return alien end
end
return guarded(wrong, function()
  local before = L.records and call('GET', record)
  if token and call('HGET', L.tokens, stored) ~= token then return before and 1 or 0 end
  if before and not token then return tonumber(before) end
  -- Read before anything is written: each fails for a key of another type.
  L.length = call('LLEN', L.processing)
  call('ZSCORE', L.deadlines, stored)
  call('HGET', L.counts, stored)
  admit(L.refs, spent)
  if destination then call('LPUSH', destination, ARGV[5]) end
  local removed = take_out(L, stored, token, destination and 'LPOP', destination)
  if removed == 1 and token then
    call('HDEL', L.tokens, stored)
    call('ZREM', L.deadlines, stored)
    forget_records(L, token)
    call('HDEL', L.counts, stored)
  elseif removed == 1 then
    local claim = call('HGET', L.backrefs, stored)
    if claim then
      call('HDEL', L.ids, claim)
      call('HDEL', L.backrefs, stored)
      pcall_redis('DEL', L.processing .. ':claim_result:' .. claim)
    end
  end
  -- With a lease only success is recorded: a failure can be found out again.
  if removed == 1 or not token then call('SET', record, removed, 'PX', ARGV[3]) end
  return removed
end)
