-- Refresh what a worker says about itself.
-- KEYS  1 workers
-- ARGV  1 worker id, 2 version of its state that it has seen, 3 its state (JSON), 4 age of its oldest start in ms or ''
-- reply the version of the state
-- cost  O(1); once in a while O(workers), to remove what silent ones left
local wrong = check({ KEYS[1], 'hash' })
if wrong then return wrong end
admit({ refs = KEYS[1] })
local now = now_ms()
local before, state = worker_state(KEYS[1], ARGV[1]), cjson.decode(ARGV[3])
state.n = tonumber(ARGV[2])
if before then
  -- A claim or settlement that the reporter has not seen yet counted busy better than the reporter could.
  if tonumber(before.n) ~= state.n then state.busy = tonumber(before.busy) or state.busy end
  state.n = tonumber(before.n) or state.n
  if is_retired(before, now) then state.retire = before.retire end
end
state.at = now
if ARGV[4] ~= '' then state.oldest = now - tonumber(ARGV[4]) end
call('HSET', KEYS[1], ARGV[1], cjson.encode(state))
call('PEXPIRE', KEYS[1], 60000)

if now % 32 == 0 then
  for _, id in ipairs(call('HKEYS', KEYS[1])) do
    local other = worker_state(KEYS[1], id)
    if not other or (tonumber(other.at) or 0) < now - 60000 then call('HDEL', KEYS[1], id) end
  end
end
return state.n
