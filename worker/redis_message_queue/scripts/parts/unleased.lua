-- Undo the LMOVE of a claim, to that end of pending, and the count of `counted`.
local function give_back(L, counted, to)
  call('LMOVE', L.processing, L.pending, 'LEFT', to)
  if counted and call('HINCRBY', L.counts, counted, -1) <= 0 then call('HDEL', L.counts, counted) end
end

-- Turn the message at the head of processing into a dead letter; why, if a write was refused.
local function bury(L, dead_list, stored)
  local _, payload = unwrap(stored)
  local written = pcall_redis('LPUSH', dead_list, payload)
  if type(written) == 'table' then return 'dead letter: ' .. written.err end
  written = pcall_redis('LREM', L.processing, 1, stored)
  if type(written) == 'table' then
    call('LPOP', dead_list)
    return 'dead letter: ' .. written.err
  end
  call('HDEL', L.counts, stored)
end

-- What becomes of a message without a lease: a dead letter, unless there is a problem; then it is pending again, and
-- the reply says why, and whether to go on with others: what cannot be buried waits behind them all.
local function unleased(L, stored, count, problem, dead_list)
  local buries = false
  if not problem then
    -- Rare enough for all the checks: a dead letter stays one, also when the claim that follows it is refused.
    local alien = L.wrong()
    buries = not alien
    alien = alien or L.wrong(true)
    problem = alien and alien.err or bury(L, dead_list, stored)
  end
  if problem then give_back(L, count and count > 0 and stored, buries and 'LEFT' or 'RIGHT') end
  return problem, buries
end
