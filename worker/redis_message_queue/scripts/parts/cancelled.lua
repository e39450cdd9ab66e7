-- A message that is to be cancelled has a mark: its id, or once it was found in somebody's hands the SHA-1 of its stored
-- form, which others under that id have not → when that was asked, and the key of its result. Told to whom claims or settles
-- it next; that one takes the mark away, and keeps as the result that it was cancelled.
local function mark_of(keys, stored)
  local id = keys.cancels and id_of(stored) or ''
  local marks = id ~= '' and pcall_redis('HMGET', keys.cancelled, redis.sha1hex(stored), id) or {}
  return marks[1] or marks[2] or nil
end

local function unmark(keys, stored)
  pcall_redis('HDEL', keys.cancelled, redis.sha1hex(stored), id_of(stored))
end

-- When it was cancelled, for one that has left the delivery count behind if it was ever claimed.
local function before_it_came(keys, stored)
  return call('HDEL', keys.counts, stored) == 1 and 'before it came again' or 'before it was started'
end

-- How it ended, for an hour, or as long as results are kept.
local function keep_cancelled(mark, when, ttl)
  local text = '{"state":"cancelled","reason":"cancelled ' .. when .. '"}'
  local key = string.gsub(mark, '^%d+ ', '', 1)
  keep_text(key, text, math.max(tonumber(ttl) or 0, 3600000))
end

-- For a claim: whether the message at the head of processing is never to be started. Then it is out.
local function drop_cancelled(keys, stored, ttl)
  local mark = mark_of(keys, stored)
  if not mark then return false end
  call('LREM', keys.processing, 1, stored)
  local when = before_it_came(keys, stored)
  if keys.noted then call('HDEL', keys.notes, stored) end
  unmark(keys, stored)
  keep_cancelled(mark, when, ttl)
  return true
end
