local SHORT = 64 -- a list that is searched without asking from which end

-- Remove one entry of processing. The newest claim is at the head, and at most (counter - token) claims came after this
-- one: that tells which end is nearer, and keeps the search short in a long list. Where the message already has its next
-- place, the command behind the token undoes that, if the entry is not there or the removal is refused.
local function take_out(L, stored, token, ...)
  local count = 1
  L.length = L.length or call('LLEN', L.processing)
  if token and L.length > SHORT then
    L.newest = L.newest or tonumber(call('GET', L.counter)) or 0
    if L.newest - (tonumber(token) or 0) >= L.length / 2 then count = -1 end
  end
  local removed = pcall_redis('LREM', L.processing, count, stored)
  if removed ~= 1 and ... then call(...) end
  if type(removed) == 'table' then error(removed.err, 0) end
  return removed
end
