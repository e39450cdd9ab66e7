-- Read the oldest entries of a list, oldest first.
-- KEYS  1 list
-- ARGV  1 how many
-- reply the entries
-- cost  O(number of entries read)
local wrong = check({ KEYS[1], 'list' })
if wrong then return wrong end
local entries = call('LRANGE', KEYS[1], -tonumber(ARGV[1]), -1)
local oldest_first = {}
for i = #entries, 1, -1 do
  oldest_first[#oldest_first + 1] = entries[i]
end
return oldest_first
