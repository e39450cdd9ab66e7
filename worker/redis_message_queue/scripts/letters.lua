-- Read letters, newest first, each with what is recorded of it. Writes nothing.
-- KEYS  1 dead, failed or completed messages, 2 the records of them
-- ARGV  1 how many to pass over, 2 how many to read, 3 how many bytes at most: one comes whatever its size
-- reply for each letter its payload and its record, '' where there is none
-- cost  O(letters passed over and read), and of each the digest of its payload; O(records), of which there are at most 1000
--#include base
--#include types
local LETTERS, INFO, most = KEYS[1], KEYS[2], tonumber(ARGV[3])
local wrong = check({ LETTERS, 'list', INFO, 'list' })
if wrong then return wrong end

-- Equal payloads are told apart by their order alone: the newest letter has the newest record.
local reply, bytes, wanted, open = {}, 0, {}, 0
for at = tonumber(ARGV[1]), ARGV[1] + ARGV[2] - 1 do
  local letter = call('LINDEX', LETTERS, at)
  if not letter or reply[1] and bytes + #letter > most then break end
  local digest = redis.sha1hex(letter)
  wanted[digest] = wanted[digest] or { next = 1 }
  table.insert(wanted[digest], #reply + 2)
  reply[#reply + 1], reply[#reply + 2] = letter, ''
  bytes, open = bytes + #letter, open + 1
end

for at = 0, call('LLEN', INFO) - 1, 100 do
  if open == 0 then break end
  for _, record in ipairs(call('LRANGE', INFO, at, at + 99)) do
    local places = wanted[string.match(record, '"digest":"(%x+)"') or '']
    if places and places[places.next] then
      reply[places[places.next]], places.next, open = record, places.next + 1, open - 1
    end
  end
end
return reply
