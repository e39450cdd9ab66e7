-- Keep what became of a message for so many ms. Of several under one key the newest counts, and who waits for it takes it
-- from the head of that list to the head. No settlement fails because of that.
local function keep_text(key, text, ttl)
  local length = pcall_redis('LPUSH', key, text)
  if type(length) ~= 'number' then return end
  if length > 1 then pcall_redis('LTRIM', key, 0, 0) end
  if pcall_redis('PEXPIRE', key, ttl) ~= 1 then pcall_redis('DEL', key) end -- none stays without an expiry
end

-- The same as it is sent: how long the key is, the key, the text; or '' where nothing is kept.
local function keep_result(result, ttl)
  local length, at = string.match(result, '^(%d+) ()')
  if length then keep_text(string.sub(result, at, at + length - 1), string.sub(result, at + length), ttl) end
end
