-- Take one message out of processing, and push its payload to another list when one is given.
-- KEYS  1 processing, 2 deadlines, 3 tokens, 4 counter, 5 counts, 6 refs, 7 ids, 8 backrefs, 9 replay record,
--       10 destination (optional)
-- ARGV  1 stored message, 2 lease token or '' without leases, 3 replay TTL ms, 4 payload
-- reply 1 done, 0 not there or no longer ours: nothing changed
-- cost  O(distance from the nearer end of processing)
local L = { pending = KEYS[1], processing = KEYS[1], deadlines = KEYS[2], tokens = KEYS[3], counter = KEYS[4],
  counts = KEYS[5], refs = KEYS[6], ids = KEYS[7], backrefs = KEYS[8] }
local record, destination = KEYS[9], KEYS[10]
local stored, token = ARGV[1], ARGV[2]
local wrong = check_leases(L) or check({ record, 'string' }) or (destination and check({ destination, 'list' }))
if wrong then return wrong end
local before = call('GET', record)

if token == '' then
  if before then return tonumber(before) end
  token = nil
elseif call('HGET', L.tokens, stored) ~= token then
  return before and 1 or 0
end
admit(L)

if destination then call('LPUSH', destination, ARGV[4]) end
local removed = take_out(L, stored, token, destination and 'LPOP', destination)
if removed == 1 and token then
  forget(L, stored, token)
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
