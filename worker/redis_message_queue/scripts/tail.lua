-- Read the oldest entries of a list, oldest first.
-- KEYS  1 list
-- ARGV  1 how many, 2 how many to pass over at the tail
-- reply the length of the list, then the entries
-- cost  O(number of entries passed over and read)
--#include base
--#include types
local wrong = check({ KEYS[1], 'list' })
if wrong then return wrong end
local count, from = tonumber(ARGV[1]), tonumber(ARGV[2])
local entries = call('LRANGE', KEYS[1], -from - count, -from - 1)
local reply = { call('LLEN', KEYS[1]) }
for i = #entries, 1, -1 do
  reply[#reply + 1] = entries[i]
end
return reply
