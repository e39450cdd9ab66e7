--#include envelope
-- Turn the message at the head of processing into a dead letter; why, if a write was refused.
local function bury(keys, dead_list, stored)
  local _, payload = unwrap(stored)
  local written = pcall_redis('LPUSH', dead_list, payload)
  if type(written) == 'table' then return 'dead letter: ' .. written.err end
  written = pcall_redis('LREM', keys.processing, 1, stored)
  if type(written) == 'table' then
    call('LPOP', dead_list)
    return 'dead letter: ' .. written.err
  end
  call('HDEL', keys.counts, stored)
end

-- What becomes of a message without a lease: a dead letter, unless there is a problem; then it is pending again, not
-- counted, and the reply says why, and whether to go on with others: what cannot be buried waits behind them all.
local function without_lease(keys, stored, count, problem, dead_list)
  local buries = false
  if not problem then
    -- Rare enough for all the checks: a dead letter stays one, also when the claim that follows it is refused.
    local alien = keys.wrong()
    buries = not alien
    alien = alien or keys.wrong(true)
    problem = alien and alien.err or bury(keys, dead_list, stored)
  end
  if problem then
    call('LMOVE', keys.processing, keys.pending, 'LEFT', buries and 'LEFT' or 'RIGHT')
    if (count or 0) > 0 and call('HINCRBY', keys.counts, stored, -1) <= 0 then call('HDEL', keys.counts, stored) end
  end
  return problem, buries
end
