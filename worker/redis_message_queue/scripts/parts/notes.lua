-- What is remembered of a message that had trouble, as `failed lost kept`: how often its handler failed, how often a
-- lease of it ended unsettled, and 1 while it is only kept for a worker that has others in hand.
local function note_of(keys, stored)
  local failed, lost, kept = string.match(keys.noted and call('HGET', keys.notes, stored) or '', '^(%d+) (%d+) (%d)$')
  return tonumber(failed) or 0, tonumber(lost) or 0, kept == '1'
end

-- One delivery less.
local function uncount(keys, stored)
  local left = pcall_redis('HINCRBY', keys.counts, stored, -1)
  if type(left) == 'table' or left <= 0 then call('HDEL', keys.counts, stored) end
end

-- No settlement and no claim fails because a note is refused. The whole hash goes after a month, whoever left what in it.
local function note(keys, stored, failed, lost, kept)
  local new = call('EXISTS', keys.notes) == 0
  pcall_redis('HSET', keys.notes, stored, table.concat({ failed, lost, kept and 1 or 0 }, ' '))
  if new then pcall_redis('PEXPIRE', keys.notes, 2678400000) end
  keys.noted = true
end

-- A lease of it ended unsettled. What was only kept has not been delivered.
local function lost_with_lease(keys, stored)
  local failures, lost, kept = note_of(keys, stored)
  if kept then uncount(keys, stored) end
  note(keys, stored, failures, kept and lost or lost + 1)
end
