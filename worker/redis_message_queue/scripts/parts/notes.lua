-- What is remembered of a message that had trouble, as `failed lost kept`: how often its handler failed, how often a
-- lease of it ended unsettled, and 1 while it is only kept for a worker that has others in hand.
local function note_of(keys, stored)
  local failed, lost, kept = string.match(keys.noted and call('HGET', keys.notes, stored) or '', '^(%d+) (%d+) (%d)$')
  return tonumber(failed) or 0, tonumber(lost) or 0, kept == '1'
end

-- No settlement and no claim fails because a note is refused. The whole hash goes after a month, whoever left what in it.
local function note(keys, stored, failed, lost, kept)
  local new = call('EXISTS', keys.notes) == 0
  pcall_redis('HSET', keys.notes, stored, table.concat({ failed, lost, kept and 1 or 0 }, ' '))
  if new then pcall_redis('PEXPIRE', keys.notes, 2678400000) end
  keys.noted = true
end
