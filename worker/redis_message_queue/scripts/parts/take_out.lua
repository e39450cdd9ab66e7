local SHORT = 64 -- a list that is searched without asking from which end

-- Remove one entry of processing. The newest claim is at the head, and at most (counter - token) claims came after this
-- one: that tells which end is nearer, and keeps the search short in a long list. Where the message already has its next
-- place, the command behind the token undoes that, if the entry is not there or the removal is refused.
local function take_out(keys, stored, token, ...)
  local count = 1
  keys.length = keys.length or call('LLEN', keys.processing)
  if token and keys.length > SHORT then
    keys.newest = keys.newest or tonumber(call('GET', keys.counter)) or 0
    if keys.newest - (tonumber(token) or 0) >= keys.length / 2 then count = -1 end
  end
  local removed = pcall_redis('LREM', keys.processing, count, stored)
  if removed ~= 1 and ... then call(...) end
  if type(removed) == 'table' then error(removed.err, 0) end
  return removed
end
