-- Empty a list or the delayed set, a part in each call, so that nobody waits for it. The first call renames it: what comes
-- later stays, and a purge that was interrupted is finished by the next.
-- KEYS  1 list or sorted set, 2 what it is called from then on, 3 record of this purge, 4 delivery counts, 5 notes, then
--       the records of the messages that ended in it, if there are any; of waiting (see lanes) it is turns
-- ARGV  1 TTL of the record ms, 2 'list' or 'zset', 3 '1' if its entries may have been delivered before, 4 '1' if they are
--       those of waiting
-- reply { how many entries there were, or -1 if what an earlier purge left has to go first; 1 if something is left }
-- cost  O(1), for at most 500 entries that may have been delivered before
--#include base
--#include types
local source, gone, record, counts, notes, info, kind = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], ARGV[2]
local wrong = check({ source, kind, gone, kind, record, 'string', counts, 'hash', notes, 'hash', info or notes,
  info and (ARGV[4] == '1' and 'zset' or 'list') or 'hash' })
if wrong then return wrong end

local count = tonumber(call('GET', record) or '')
if not count and call('EXISTS', gone) == 0 then
  count = call(kind == 'zset' and 'ZCARD' or 'LLEN', source)
  if info then call('UNLINK', info) end
  if count > 0 then
    call('RENAME', source, gone)
    call('PEXPIRE', gone, 86400000)
    call('SET', record, count, 'PX', ARGV[1])
  end
end

if ARGV[3] == '1' and call('EXISTS', counts, notes) > 0 then
  local part, bytes = {}, 0
  while #part < 500 and bytes < 262144 do -- one after another, because any of them may be large
    local stored = kind == 'zset' and call('ZPOPMIN', gone)[1] or kind == 'list' and call('LPOP', gone)
    if not stored then break end
    bytes = bytes + #stored
    part[#part + 1] = ARGV[4] == '1' and string.match(stored, '^[^%z]*%z%d+%z(.*)$') or stored
  end
  if part[1] then
    call('HDEL', counts, unpack(part))
    call('HDEL', notes, unpack(part))
  end
else
  call('UNLINK', gone)
end
return { count or -1, call('EXISTS', gone) }
