-- Read the oldest entries of a list, oldest first.
-- KEYS  1 list
-- ARGV  1 how many, 2 how many to pass over at the tail, 3 how many bytes at most, or '': the first comes whatever its size,
--       4 bytes of the largest entry that may come, or ''
-- reply the length of the list, then the entries, up to one that is larger; the size of that one, where it is the first
-- cost  O(number of entries passed over and read)
--#include base
--#include types
local wrong = check({ KEYS[1], 'list' })
if wrong then return wrong end
local length = call('LLEN', KEYS[1])
local count, from = math.min(tonumber(ARGV[1]), length), tonumber(ARGV[2])
local most, largest = tonumber(ARGV[3]), tonumber(ARGV[4])
local reply, bytes = { length }, 0
-- No command tells the size of an entry without reading it. So with a limit few are read at a time, and at first one.
local step = most and 1 or count
while count > 0 do
  local part = call('LRANGE', KEYS[1], -from - math.min(step, count), -from - 1)
  for i = #part, 1, -1 do
    if largest and #part[i] > largest then
      if not reply[2] then reply[2] = #part[i] end
      return reply
    end
    bytes = bytes + #part[i]
    if most and bytes > most and reply[2] then return reply end
    reply[#reply + 1] = part[i]
  end
  if #part < step then break end
  count, from, step = count - #part, from + #part, math.min(2 * step, 8)
end
return reply
