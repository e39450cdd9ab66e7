-- Read letters, newest first, each with what is recorded of it. Writes nothing.
-- KEYS  1 dead, failed or completed messages, 2 the records of them
-- ARGV  1 how many to pass over, 2 how many to read, 3 how many bytes at most: one comes whatever its size
-- reply how many there are, then for each letter its payload and its record, '' where there is none
-- cost  O(letters read) and the digests of their payloads, O(letters passed over) to find them; O(records), of which there
--       are at most 1000, and for as many equal payloads O(letters * records): read at most 500
--#include base
--#include types
local LETTERS, INFO, most = KEYS[1], KEYS[2], tonumber(ARGV[3])
local wrong = check({ LETTERS, 'list', INFO, 'list' })
if wrong then return wrong end

local reply, bytes, wanted = { call('LLEN', LETTERS) }, 0, {}
for at = tonumber(ARGV[1]), ARGV[1] + ARGV[2] - 1 do
  local letter = call('LINDEX', LETTERS, at)
  if not letter or reply[2] and bytes + #letter > most then break end
  local digest = redis.sha1hex(letter)
  wanted[digest] = wanted[digest] or { letters = {}, records = {} }
  table.insert(wanted[digest].letters, { at = at, place = #reply + 2 })
  reply[#reply + 1], reply[#reply + 2] = letter, ''
  bytes = bytes + #letter
end

for from = 0, reply[2] and call('LLEN', INFO) - 1 or -1, 100 do
  for i, record in ipairs(call('LRANGE', INFO, from, from + 99)) do
    local alike = wanted[string.match(record, '"digest":"(%x+)"') or '']
    if alike then table.insert(alike.records, { at = from + i - 1, text = record }) end
  end
end

-- Equal payloads are told apart by their order and their places: a letter and its record were put to the heads of their
-- lists together. Those that are more, of the one or of the other, stay alone at the end where the rest fits best.
for _, alike in pairs(wanted) do
  local ours, told_of = alike.letters, alike.records
  local pairs_of_them, best, shift = math.min(#ours, #told_of), math.huge, 0
  for by = 0, math.max(#ours, #told_of) - pairs_of_them do
    local apart = 0
    for i = 1, pairs_of_them do
      local letter, record = ours[#ours > #told_of and i + by or i], told_of[#ours > #told_of and i or i + by]
      apart = apart + math.abs(letter.at - record.at)
    end
    if apart < best then best, shift = apart, by end
  end
  for i = 1, pairs_of_them do
    local letter, record = ours[#ours > #told_of and i + shift or i], told_of[#ours > #told_of and i or i + shift]
    reply[letter.place] = record.text
  end
end
return reply
