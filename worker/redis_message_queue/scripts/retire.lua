-- Ask idle workers to claim no more, or take the request back. Compare-and-set: a busy or draining worker, or one of
-- another protocol, is left alone.
-- KEYS  1 workers
-- ARGV  1 how long the mark lasts in ms, 0 takes it back, then worker ids
-- reply the ids that are marked (or no longer marked) now
-- cost  O(ids)
--#include base
--#include types
--#include admit
--#include worker
local wrong = check({ KEYS[1], 'hash' })
if wrong then return wrong end
admit(KEYS[1])
local now, ttl, changed = now_ms(), tonumber(ARGV[1]), {}
for i = 2, #ARGV do
  local state = worker_state(call('HGET', KEYS[1], ARGV[i]))
  local idle = state and state.v == 1 and tonumber(state.busy) == 0 and state.draining ~= true
  if ttl > 0 and idle or ttl == 0 and state then
    state.retire = ttl > 0 and now + ttl or nil
    call('HSET', KEYS[1], ARGV[i], cjson.encode(state))
    changed[#changed + 1] = ARGV[i]
  end
end
return changed
